//! VAES with AVX-512: 4 blocks in a register.

use std::arch::x86_64::{
    __m128i, __m512i, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256, _mm512_add_epi64,
    _mm512_aesdec_epi128, _mm512_aesdeclast_epi128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_alignr_epi64, _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_clmulepi64_epi128,
    _mm512_extracti64x4_epi64, _mm512_set_epi64, _mm512_shuffle_epi8, _mm512_shuffle_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::Bytes;

type Vector = __m512i;
/// Blocks in a register.
const LANES: usize = 4;
/// Registers that there are.
const REGISTERS: usize = 32;

loops!("aes,avx,avx2,pclmulqdq,vaes,vpclmulqdq,avx512f,avx512bw");
gcm_loops!("aes,avx,avx2,pclmulqdq,vaes,vpclmulqdq,avx512f,avx512bw");

primitives! {
    "aes,avx,avx2,pclmulqdq,vaes,vpclmulqdq,avx512f,avx512bw";
    fn spread(block: __m128i) -> Vector { _mm512_broadcast_i32x4(block) }
    fn xor(a: Vector, b: Vector) -> Vector { _mm512_xor_si512(a, b) }
    fn encrypt_round(state: Vector, key: Vector) -> Vector { _mm512_aesenc_epi128(state, key) }
    fn encrypt_last(state: Vector, key: Vector) -> Vector { _mm512_aesenclast_epi128(state, key) }
    fn decrypt_round(state: Vector, key: Vector) -> Vector { _mm512_aesdec_epi128(state, key) }
    fn decrypt_last(state: Vector, key: Vector) -> Vector { _mm512_aesdeclast_epi128(state, key) }
    fn shifted_in(before: __m128i, blocks: Vector) -> Vector { _mm512_alignr_epi64::<6>(blocks, spread(before)) }
    fn count_up(counters: Vector, by: Vector) -> Vector { _mm512_add_epi64(counters, by) }
    fn reverse(counters: Vector, order: Vector) -> Vector { _mm512_shuffle_epi8(counters, order) }
    fn one_apart() -> Vector { _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0) }
    fn low_by_low(a: Vector, b: Vector) -> Vector { _mm512_clmulepi64_epi128::<0x00>(a, b) }
    fn high_by_high(a: Vector, b: Vector) -> Vector { _mm512_clmulepi64_epi128::<0x11>(a, b) }
    fn low_halves(a: Vector, b: Vector) -> Vector { _mm512_unpacklo_epi64(a, b) }
    fn high_halves(a: Vector, b: Vector) -> Vector { _mm512_unpackhi_epi64(a, b) }
    fn halves_swapped(part: Vector) -> Vector { _mm512_shuffle_epi32::<0x4e>(part) }
    fn first_lane(block: __m128i) -> Vector { _mm512_zextsi128_si512(block) }
    fn added_lanes(sum: Vector) -> __m128i {
        let sum = _mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
        one_block::xor(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum))
    }
}
