//! The key schedule, in registers. The S-box is that of a last round of encryption, whose shift of rows does nothing
//! where all columns are the same: faster than the instruction for key schedules, `aeskeygenassist`.

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aesimc_si128, _mm_alignr_epi8, _mm_set_epi64x, _mm_set1_epi32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_si128, _mm_unpacklo_epi64, _mm_xor_si128,
};

use super::one_block::{bytes, load};
use super::{Bytes, Schedule};

/// Makes the round keys for encryption. `key` has 16, 24 or 32 bytes.
#[target_feature(enable = "aes,avx,pclmulqdq")]
pub(in super::super) fn make_encrypting(keys: &mut Schedule, key: &[u8]) {
    expand(key, |round, _, key| keys[round] = bytes(key));
}

/// Makes the round keys for decryption, as the instructions for that take them, and encrypts a block with those for
/// encryption, which costs next to nothing: a round takes less than its key. `key` has 16, 24 or 32 bytes.
#[target_feature(enable = "aes,avx,pclmulqdq")]
pub(in super::super) fn make_decrypting(keys: &mut Schedule, key: &[u8], block: &mut Bytes) {
    let mut state = load(block);
    expand(key, |round, last, key| {
        let (encrypted, decrypting) = if round == 0 {
            (_mm_xor_si128(state, key), key)
        } else if round < last {
            (_mm_aesenc_si128(state, key), _mm_aesimc_si128(key))
        } else {
            (_mm_aesenclast_si128(state, key), key)
        };
        keys[last - round] = bytes(decrypting);
        state = encrypted;
    });
    *block = bytes(state);
}

/// Gives `put` each round, the last one and the key of that round.
#[inline]
#[target_feature(enable = "aes,avx,pclmulqdq")]
fn expand(key: &[u8], put: impl FnMut(usize, usize, __m128i)) {
    let (blocks, rest) = key.as_chunks::<16>();
    match (blocks, rest.first_chunk::<8>()) {
        ([key], None) => aes_128(load(key), put),
        ([low], Some(high)) => aes_192(load(low), _mm_set_epi64x(0, i64::from_le_bytes(*high)), put),
        ([low, high], None) => aes_256(load(low), load(high), put),
        _ => unreachable!("the length was checked"),
    }
}

#[inline]
#[target_feature(enable = "aes,avx,pclmulqdq")]
fn aes_128(mut key: __m128i, mut put: impl FnMut(usize, usize, __m128i)) {
    put(0, 10, key);
    for (round, rcon) in (1..=10).zip(RCON) {
        key = _mm_xor_si128(running_xor(key), rotated_and_substituted(key, ROTATED_LAST, rcon));
        put(round, 10, key);
    }
}

/// Steps of 6 words: `a` are the first 4, and `b` begins with the others.
#[inline]
#[target_feature(enable = "aes,avx,pclmulqdq")]
fn aes_192(mut a: __m128i, mut b: __m128i, mut put: impl FnMut(usize, usize, __m128i)) {
    let step = |a, b, rcon| {
        let a = _mm_xor_si128(running_xor(a), rotated_and_substituted(b, ROTATED_SECOND, rcon));
        let b = _mm_xor_si128(_mm_xor_si128(b, _mm_slli_si128::<4>(b)), _mm_shuffle_epi32::<0xff>(a));
        (a, b)
    };
    for (index, [rcon, next_rcon]) in RCON.as_chunks().0[..4].iter().enumerate() {
        let (a1, b1) = step(a, b, *rcon);
        put(3 * index, 12, a);
        put(3 * index + 1, 12, _mm_unpacklo_epi64(b, a1));
        put(3 * index + 2, 12, _mm_alignr_epi8::<8>(b1, a1));
        (a, b) = step(a1, b1, *next_rcon);
    }
    put(12, 12, a);
}

#[inline]
#[target_feature(enable = "aes,avx,pclmulqdq")]
fn aes_256(mut even: __m128i, mut odd: __m128i, mut put: impl FnMut(usize, usize, __m128i)) {
    for (index, rcon) in RCON[..6].iter().enumerate() {
        put(2 * index, 14, even);
        put(2 * index + 1, 14, odd);
        even = _mm_xor_si128(running_xor(even), rotated_and_substituted(odd, ROTATED_LAST, *rcon));
        odd = _mm_xor_si128(running_xor(odd), rotated_and_substituted(even, LAST, 0));
    }
    put(12, 14, even);
    put(13, 14, odd);
    put(14, 14, _mm_xor_si128(running_xor(even), rotated_and_substituted(odd, ROTATED_LAST, RCON[6])));
}

/// Each word XORed with all words before it.
#[inline]
#[target_feature(enable = "aes,avx,pclmulqdq")]
fn running_xor(key: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    _mm_xor_si128(key, _mm_slli_si128::<8>(key))
}

/// One word of `key`, by the index of its bytes, through the S-box and XORed with `rcon`, in all 4 places.
#[inline]
#[target_feature(enable = "aes,avx,pclmulqdq")]
fn rotated_and_substituted(key: __m128i, word: i32, rcon: i32) -> __m128i {
    _mm_aesenclast_si128(_mm_shuffle_epi8(key, _mm_set1_epi32(word)), _mm_set1_epi32(rcon))
}

const LAST: i32 = 0x0f0e_0d0c;
const ROTATED_LAST: i32 = 0x0c0f_0e0d;
const ROTATED_SECOND: i32 = 0x0407_0605;

/// The round constants.
const RCON: [i32; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];
