//! A block in a register.
//!
//! `AESE` XORs with a round key first, and x86's instructions do last: here, too, they are last. So the loops are the same,
//! and the compiler makes each XOR a part of the next `AESE`.

use std::arch::aarch64::{
    uint8x16_t, vaddq_u64, vaesdq_u8, vaeseq_u8, vaesimcq_u8, vaesmcq_u8, vdupq_n_u8, veorq_u8, vextq_u8,
    vgetq_lane_u64, vmull_high_p64, vmull_p64, vqtbl1q_u8, vreinterpretq_p64_u8, vreinterpretq_u8_p128,
    vreinterpretq_u8_u64, vreinterpretq_u64_u8, vzip1q_u64, vzip2q_u64,
};

use super::Bytes;

pub(super) type Vector = uint8x16_t;
/// Blocks in a register.
const LANES: usize = 1;
/// Registers that there are.
const REGISTERS: usize = 32;

loops!("neon,aes");
gcm_loops!("neon,aes");

primitives! {
    "neon,aes";
    fn spread(block: Vector) -> Vector { block }
    fn xor(a: Vector, b: Vector) -> Vector { veorq_u8(a, b) }
    fn encrypt_round(state: Vector, key: Vector) -> Vector { veorq_u8(vaesmcq_u8(vaeseq_u8(state, zero())), key) }
    fn encrypt_last(state: Vector, key: Vector) -> Vector { veorq_u8(vaeseq_u8(state, zero()), key) }
    fn decrypt_round(state: Vector, key: Vector) -> Vector { veorq_u8(vaesimcq_u8(vaesdq_u8(state, zero())), key) }
    fn decrypt_last(state: Vector, key: Vector) -> Vector { veorq_u8(vaesdq_u8(state, zero()), key) }
    fn shifted_in(before: Vector, _blocks: Vector) -> Vector { before }
    fn count_up(counters: Vector, by: Vector) -> Vector {
        vreinterpretq_u8_u64(vaddq_u64(vreinterpretq_u64_u8(counters), vreinterpretq_u64_u8(by)))
    }
    fn reverse(counters: Vector, order: Vector) -> Vector { vqtbl1q_u8(counters, order) }
    fn one_apart() -> Vector { zero() }
    fn low_by_low(a: Vector, b: Vector) -> Vector { product(vmull_p64(low(a), low(b))) }
    fn high_by_high(a: Vector, b: Vector) -> Vector {
        product(vmull_high_p64(vreinterpretq_p64_u8(a), vreinterpretq_p64_u8(b)))
    }
    fn low_halves(a: Vector, b: Vector) -> Vector {
        vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)))
    }
    fn high_halves(a: Vector, b: Vector) -> Vector {
        vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)))
    }
    fn halves_swapped(part: Vector) -> Vector { vextq_u8::<8>(part, part) }
    fn first_lane(block: Vector) -> Vector { block }
    fn added_lanes(sum: Vector) -> Vector { sum }
    fn zero() -> Vector { vdupq_n_u8(0) }
    fn low(part: Vector) -> u64 { vgetq_lane_u64::<0>(vreinterpretq_u64_u8(part)) }
    fn product(product: u128) -> Vector { vreinterpretq_u8_p128(product) }
}
