//! x86-64: a chain of AES-NI, and independent blocks in registers of three widths.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_aesdec_si128, _mm_aesenc_si128, _mm_set1_epi8, _mm256_aesdec_epi128,
    _mm256_aesenc_epi128, _mm256_set1_epi8, _mm512_aesdec_epi128, _mm512_aesenc_epi128, _mm512_set1_epi8,
};
use std::hint::black_box;

use super::short;

/// The instructions of so many blocks, and `with_key` of the key schedule before. `None` if the CPU does not have this path.
pub fn instructions(
    path: &str,
    with_key: bool,
    chained: bool,
    decrypting: bool,
    key_bits: usize,
    blocks: usize,
) -> Option<impl Fn() + Copy + Sync + use<>> {
    let [has_aes, has_vaes, has_avx_512] = has();
    let (has_it, function): (bool, unsafe fn(usize, usize)) = match (path, chained, decrypting) {
        ("VAES-512" | "VAES-256" | "AES-NI", true, _) => (has_aes, chain),
        ("VAES-512", false, false) => (has_avx_512, zmm::<false>),
        ("VAES-512", false, true) => (has_avx_512, zmm::<true>),
        ("VAES-256", false, false) => (has_vaes, ymm::<false>),
        ("VAES-256", false, true) => (has_vaes, ymm::<true>),
        ("AES-NI", false, false) => (has_aes, xmm::<false>),
        ("AES-NI", false, true) => (has_aes, xmm::<true>),
        _ => return None,
    };
    let short: unsafe fn(usize, usize) = match (key_bits, chained, decrypting) {
        (128, true, _) => short::chain::<10>,
        (128, false, false) => short::independent::<10, false>,
        (128, false, true) => short::independent::<10, true>,
        (_, true, _) => short::chain::<14>,
        (_, false, false) => short::independent::<14, false>,
        (_, false, true) => short::independent::<14, true>,
    };
    let (has_it, function) = if with_key { (has_aes, short) } else { (has_it, function) };
    let rounds = if key_bits == 128 { 10 } else { 14 };
    // SAFETY: all that is unsafe about a function with target features is that the CPU may not have them. Each stands
    // above beside what asks for its features, and without those there is no call.
    has_it.then_some(move || unsafe { function(rounds, blocks) })
}

/// The plugin's fastest path on this CPU, if it is one of these.
pub fn fastest() -> Option<&'static str> {
    let [has_aes, has_vaes, has_avx_512] = has();
    let paths = [(has_avx_512, "VAES-512"), (has_vaes, "VAES-256"), (has_aes, "AES-NI")];
    paths.into_iter().find(|&(has, _)| has).map(|(_, name)| name)
}

/// Whether the CPU has AES-NI, VAES with 256 bits, and VAES with 512 bits.
fn has() -> [bool; 3] {
    let aes = is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx");
    let vaes = aes && is_x86_feature_detected!("vaes") && is_x86_feature_detected!("avx2");
    [aes, vaes, vaes && is_x86_feature_detected!("avx512f")]
}

/// Each block waits for the one before.
#[target_feature(enable = "aes,avx")]
fn chain(rounds: usize, blocks: usize) {
    let (mut state, key) = (black_box(_mm_set1_epi8(1)), black_box(_mm_set1_epi8(2)));
    for _ in 0..blocks {
        for _ in 0..10 {
            state = _mm_aesenc_si128(state, key);
        }
        if rounds == 14 {
            for _ in 0..4 {
                state = _mm_aesenc_si128(state, key);
            }
        }
    }
    black_box(state);
}

/// Eight registers at a time, as the kernels have them.
macro_rules! independent {
    ($name:ident, $features:literal, $vector:ty, $lanes:literal, $set:ident, $encrypt:ident, $decrypt:ident) => {
        #[target_feature(enable = $features)]
        fn $name<const DECRYPTING: bool>(rounds: usize, blocks: usize) {
            let mut states: [$vector; 8] = black_box([1, 2, 3, 4, 5, 6, 7, 8].map(|byte| $set(byte)));
            let key = black_box($set(9));
            // Two rounds at a time: both numbers of rounds are even.
            for _ in 0..blocks.div_ceil(8 * $lanes) * rounds / 2 {
                for state in &mut states {
                    *state = if DECRYPTING { $decrypt(*state, key) } else { $encrypt(*state, key) };
                }
                for state in &mut states {
                    *state = if DECRYPTING { $decrypt(*state, key) } else { $encrypt(*state, key) };
                }
            }
            black_box(states);
        }
    };
}

independent!(xmm, "aes,avx", __m128i, 1, _mm_set1_epi8, _mm_aesenc_si128, _mm_aesdec_si128);
independent!(ymm, "aes,avx,avx2,vaes", __m256i, 2, _mm256_set1_epi8, _mm256_aesenc_epi128, _mm256_aesdec_epi128);
independent!(
    zmm,
    "aes,avx,avx2,vaes,avx512f",
    __m512i,
    4,
    _mm512_set1_epi8,
    _mm512_aesenc_epi128,
    _mm512_aesdec_epi128
);
