//! VAES with AVX2: 2 blocks in a register.

use std::arch::x86_64::{
    __m128i, __m256i, _mm256_add_epi64, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_clmulepi64_epi128,
    _mm256_extracti128_si256, _mm256_permute2x128_si256, _mm256_set_epi64x, _mm256_shuffle_epi8, _mm256_shuffle_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256, _mm256_zextsi128_si256,
};

use super::Bytes;

type Vector = __m256i;
/// Blocks in a register.
const LANES: usize = 2;
/// Registers that there are.
const REGISTERS: usize = 16;

loops!("aes,avx,avx2,pclmulqdq,vaes,vpclmulqdq");
gcm_loops!("aes,avx,avx2,pclmulqdq,vaes,vpclmulqdq");

primitives! {
    "aes,avx,avx2,pclmulqdq,vaes,vpclmulqdq";
    fn spread(block: __m128i) -> Vector { _mm256_broadcastsi128_si256(block) }
    fn xor(a: Vector, b: Vector) -> Vector { _mm256_xor_si256(a, b) }
    fn encrypt_round(state: Vector, key: Vector) -> Vector { _mm256_aesenc_epi128(state, key) }
    fn encrypt_last(state: Vector, key: Vector) -> Vector { _mm256_aesenclast_epi128(state, key) }
    fn decrypt_round(state: Vector, key: Vector) -> Vector { _mm256_aesdec_epi128(state, key) }
    fn decrypt_last(state: Vector, key: Vector) -> Vector { _mm256_aesdeclast_epi128(state, key) }
    fn shifted_in(before: __m128i, blocks: Vector) -> Vector {
        _mm256_permute2x128_si256::<0x20>(spread(before), blocks)
    }
    fn count_up(counters: Vector, by: Vector) -> Vector { _mm256_add_epi64(counters, by) }
    fn reverse(counters: Vector, order: Vector) -> Vector { _mm256_shuffle_epi8(counters, order) }
    fn one_apart() -> Vector { _mm256_set_epi64x(0, 1, 0, 0) }
    fn low_by_low(a: Vector, b: Vector) -> Vector { _mm256_clmulepi64_epi128::<0x00>(a, b) }
    fn high_by_high(a: Vector, b: Vector) -> Vector { _mm256_clmulepi64_epi128::<0x11>(a, b) }
    fn low_halves(a: Vector, b: Vector) -> Vector { _mm256_unpacklo_epi64(a, b) }
    fn high_halves(a: Vector, b: Vector) -> Vector { _mm256_unpackhi_epi64(a, b) }
    fn halves_swapped(part: Vector) -> Vector { _mm256_shuffle_epi32::<0x4e>(part) }
    fn first_lane(block: __m128i) -> Vector { _mm256_zextsi128_si256(block) }
    fn added_lanes(sum: Vector) -> __m128i {
        one_block::xor(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum))
    }
}
