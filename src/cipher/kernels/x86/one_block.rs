//! A block at a time, which is the same on every path.

use std::arch::x86_64::{
    __m128i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_set_epi64x,
    _mm_shuffle_epi8, _mm_xor_si128,
};

use super::{Bytes, RoundKeys, Rounds, Schedule};

#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn load(block: &Bytes) -> __m128i {
    zerocopy::transmute!(*block)
}

#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn bytes(block: __m128i) -> Bytes {
    zerocopy::transmute!(block)
}

#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn xor(a: __m128i, b: __m128i) -> __m128i {
    _mm_xor_si128(a, b)
}

#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn reverse(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, reversed())
}

/// A counter as it is added to: with its lower half first.
#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn halves(counter: u128) -> __m128i {
    _mm_set_epi64x((counter >> 64) as i64, counter as i64)
}

/// The order of bytes that makes a counter of [`halves`].
#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn reversed() -> __m128i {
    _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f)
}

#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn encrypt_counter<const ROUNDS: usize>(keys: &Schedule, counter: u128) -> __m128i {
    let state = xor(reverse(halves(counter)), load(&keys[0]));
    _mm_aesenclast_si128(middle_rounds::<ROUNDS>(keys, state), load(&keys[ROUNDS]))
}

#[inline]
#[target_feature(enable = "aes,avx")]
pub(super) fn decrypt<const ROUNDS: usize>(keys: &Schedule, block: __m128i) -> __m128i {
    let mut state = xor(block, load(&keys[0]));
    for key in &keys[1..ROUNDS] {
        state = _mm_aesdec_si128(state, load(key));
    }
    _mm_aesdeclast_si128(state, load(&keys[ROUNDS]))
}

/// All rounds of an encryption but the last.
#[inline]
#[target_feature(enable = "aes,avx")]
fn middle_rounds<const ROUNDS: usize>(keys: &Schedule, mut state: __m128i) -> __m128i {
    for key in &keys[1..ROUNDS] {
        state = _mm_aesenc_si128(state, load(key));
    }
    state
}

/// Encrypts a block for itself.
#[target_feature(enable = "aes,avx")]
pub(super) fn encrypt(keys: &RoundKeys, block: &mut Bytes) {
    by_rounds!(keys.rounds, encrypt_rounds, (&keys.keys, block));
}

#[inline]
#[target_feature(enable = "aes,avx")]
fn encrypt_rounds<const ROUNDS: usize>(keys: &Schedule, block: &mut Bytes) {
    let state = middle_rounds::<ROUNDS>(keys, xor(load(block), load(&keys[0])));
    *block = bytes(_mm_aesenclast_si128(state, load(&keys[ROUNDS])));
}

/// CBC encryption.
#[target_feature(enable = "aes,avx")]
pub(super) fn cbc_encrypt(keys: &RoundKeys, chain: &mut Bytes, input: &[Bytes], output: &mut [Bytes]) {
    by_rounds!(keys.rounds, cbc_encrypt_rounds, (&keys.keys, chain, input, output));
}

/// The XOR with the next block of text is no step of the chain: it is done to the last round key before, and the
/// ciphertext comes from a second last round, beside the chain.
#[inline]
#[target_feature(enable = "aes,avx")]
fn cbc_encrypt_rounds<const ROUNDS: usize>(keys: &Schedule, chain: &mut Bytes, input: &[Bytes], output: &mut [Bytes]) {
    assert!(input.len() == output.len(), "as many blocks come out as go in");
    let [text, following @ ..] = input else { return };
    let (first, last) = (load(&keys[0]), load(&keys[ROUNDS]));
    let mut state = xor(xor(load(text), first), load(chain));
    let turn = xor(first, last);
    let (output, end) = output.split_at_mut(following.len());
    for (text, output) in following.iter().zip(output) {
        let turn = xor(turn, load(text));
        let before_last = middle_rounds::<ROUNDS>(keys, state);
        *output = bytes(_mm_aesenclast_si128(before_last, last));
        state = _mm_aesenclast_si128(before_last, turn);
    }
    *chain = bytes(_mm_aesenclast_si128(middle_rounds::<ROUNDS>(keys, state), last));
    end[0] = *chain;
}
