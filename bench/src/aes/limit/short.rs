//! x86-64: a short message from its key on: the key schedule, and then the blocks.

use std::arch::x86_64::{
    __m128i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aesimc_si128,
    _mm_set1_epi8, _mm_set1_epi32, _mm_shuffle_epi8, _mm_slli_si128, _mm_xor_si128,
};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    /// The end of the message before, which is the next key: else the CPU would do several messages at once.
    static BEFORE: Cell<Option<__m128i>> = const { Cell::new(None) };
}

/// Each block waits for the one before.
#[target_feature(enable = "aes,avx")]
pub fn chain<const ROUNDS: usize>(_: usize, blocks: usize) {
    let (keys, mut state) = begin::<ROUNDS>();
    for _ in 0..blocks {
        state = _mm_xor_si128(state, keys[0]);
        for key in &keys[1..ROUNDS] {
            state = _mm_aesenc_si128(state, *key);
        }
        state = _mm_aesenclast_si128(state, keys[ROUNDS]);
    }
    BEFORE.set(Some(state));
}

/// Four blocks at a time.
#[target_feature(enable = "aes,avx")]
pub fn independent<const ROUNDS: usize, const DECRYPTING: bool>(_: usize, blocks: usize) {
    let (mut keys, state) = begin::<ROUNDS>();
    if DECRYPTING {
        keys[..=ROUNDS].reverse();
        for key in &mut keys[1..ROUNDS] {
            *key = _mm_aesimc_si128(*key);
        }
    }
    for _ in 0..blocks.div_ceil(4) {
        let mut states = black_box([state; 4]).map(|state| _mm_xor_si128(state, keys[0]));
        for key in &keys[1..ROUNDS] {
            for state in &mut states {
                *state = if DECRYPTING { _mm_aesdec_si128(*state, *key) } else { _mm_aesenc_si128(*state, *key) };
            }
        }
        let last = keys[ROUNDS];
        for state in black_box(states) {
            let end = if DECRYPTING { _mm_aesdeclast_si128(state, last) } else { _mm_aesenclast_si128(state, last) };
            BEFORE.set(Some(end));
        }
    }
}

/// The round keys, and the state to begin with.
#[inline]
#[target_feature(enable = "aes,avx")]
fn begin<const ROUNDS: usize>() -> ([__m128i; 15], __m128i) {
    let before = BEFORE.get().unwrap_or(_mm_set1_epi8(1));
    let mut keys = [before; 15];
    if ROUNDS == 10 {
        for round in 1..=10 {
            keys[round] = next(keys[round - 1], keys[round - 1]);
        }
    } else {
        for round in 2..15 {
            keys[round] = next(keys[round - 2], keys[round - 1]);
        }
    }
    (keys, black_box(_mm_set1_epi8(3)))
}

/// The next round key, as fast as it can be had: what its words are made of, and the word before that goes through the S-box.
#[inline]
#[target_feature(enable = "aes,avx")]
fn next(words: __m128i, last: __m128i) -> __m128i {
    let substituted = _mm_aesenclast_si128(_mm_shuffle_epi8(last, _mm_set1_epi32(0x0c0f_0e0d)), _mm_set1_epi8(1));
    let words = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    _mm_xor_si128(_mm_xor_si128(words, _mm_slli_si128::<8>(words)), substituted)
}
