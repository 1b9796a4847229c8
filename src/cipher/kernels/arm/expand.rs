//! The key schedule (FIPS 197, 5.2). The S-box is that of a round of encryption, whose shift of rows does nothing where all
//! columns are the same.

use std::arch::aarch64::{
    vaeseq_u8, vaesimcq_u8, vdupq_n_u8, vdupq_n_u32, vgetq_lane_u32, vreinterpretq_u8_u32, vreinterpretq_u32_u8,
};

use super::one_block::{bytes, load, xor};
use super::{Bytes, Schedule, narrow};

/// Makes the round keys for encryption. `key` has 16, 24 or 32 bytes.
#[target_feature(enable = "neon,aes")]
pub(in super::super) fn make_encrypting(keys: &mut Schedule, key: &[u8]) {
    match key.len() {
        16 => expand::<4>(keys, key),
        24 => expand::<6>(keys, key),
        32 => expand::<8>(keys, key),
        _ => unreachable!("the length was checked"),
    }
}

/// Makes the round keys for decryption, as the instructions for that take them, and encrypts a block with those for
/// encryption. `key` has 16, 24 or 32 bytes.
#[target_feature(enable = "neon,aes")]
pub(in super::super) fn make_decrypting(keys: &mut Schedule, key: &[u8], block: &mut Bytes) {
    make_encrypting(keys, key);
    let last = key.len() / 4 + 6;
    let mut state = xor(load(block), load(&keys[0]));
    for key in &keys[1..last] {
        state = narrow::encrypt_round(state, load(key));
    }
    *block = bytes(narrow::encrypt_last(state, load(&keys[last])));
    keys[..=last].reverse();
    for key in &mut keys[1..last] {
        *key = bytes(vaesimcq_u8(load(key)));
    }
}

/// For a key of so many words.
#[inline]
#[target_feature(enable = "neon,aes")]
fn expand<const WORDS: usize>(keys: &mut Schedule, key: &[u8]) {
    let words = keys.as_flattened_mut().as_chunks_mut::<4>().0;
    words.as_flattened_mut()[..key.len()].copy_from_slice(key);
    let mut last = u32::from_le_bytes(words[WORDS - 1]);
    for index in WORDS..4 * (WORDS + 7) {
        if index % WORDS == 0 {
            last = substituted(last).rotate_right(8) ^ RCON[index / WORDS - 1];
        } else if WORDS > 6 && index % WORDS == 4 {
            last = substituted(last);
        }
        last ^= u32::from_le_bytes(words[index - WORDS]);
        words[index] = last.to_le_bytes();
    }
}

/// Each byte of `word` through the S-box.
#[inline]
#[target_feature(enable = "neon,aes")]
fn substituted(word: u32) -> u32 {
    let state = vaeseq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), vdupq_n_u8(0));
    vgetq_lane_u32::<0>(vreinterpretq_u32_u8(state))
}

/// The round constants.
const RCON: [u32; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];
