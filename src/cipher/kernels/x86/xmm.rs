//! AES-NI: a block in a register.

use std::arch::x86_64::{
    __m128i, _mm_add_epi64, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128,
    _mm_clmulepi64_si128, _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_unpackhi_epi64,
    _mm_unpacklo_epi64, _mm_xor_si128,
};

use super::Bytes;

pub(super) type Vector = __m128i;
/// Blocks in a register.
const LANES: usize = 1;
/// Registers that there are.
const REGISTERS: usize = 16;

loops!("aes,avx,pclmulqdq");
gcm_loops!("aes,avx,pclmulqdq");

primitives! {
    "aes,avx,pclmulqdq";
    fn spread(block: __m128i) -> Vector { block }
    fn xor(a: Vector, b: Vector) -> Vector { _mm_xor_si128(a, b) }
    fn encrypt_round(state: Vector, key: Vector) -> Vector { _mm_aesenc_si128(state, key) }
    fn encrypt_last(state: Vector, key: Vector) -> Vector { _mm_aesenclast_si128(state, key) }
    fn decrypt_round(state: Vector, key: Vector) -> Vector { _mm_aesdec_si128(state, key) }
    fn decrypt_last(state: Vector, key: Vector) -> Vector { _mm_aesdeclast_si128(state, key) }
    fn shifted_in(before: __m128i, _blocks: Vector) -> Vector { before }
    fn count_up(counters: Vector, by: Vector) -> Vector { _mm_add_epi64(counters, by) }
    fn reverse(counters: Vector, order: Vector) -> Vector { _mm_shuffle_epi8(counters, order) }
    fn one_apart() -> Vector { _mm_setzero_si128() }
    fn low_by_low(a: Vector, b: Vector) -> Vector { _mm_clmulepi64_si128::<0x00>(a, b) }
    fn high_by_high(a: Vector, b: Vector) -> Vector { _mm_clmulepi64_si128::<0x11>(a, b) }
    fn low_halves(a: Vector, b: Vector) -> Vector { _mm_unpacklo_epi64(a, b) }
    fn high_halves(a: Vector, b: Vector) -> Vector { _mm_unpackhi_epi64(a, b) }
    fn halves_swapped(part: Vector) -> Vector { _mm_shuffle_epi32::<0x4e>(part) }
    fn first_lane(block: __m128i) -> Vector { block }
    fn added_lanes(sum: Vector) -> __m128i { sum }
}
