//! The crates `cbc` and `ctr` as the oracle: where the server's library is not, and on every backend of the `aes`
//! crate. What the server adds to the modes, and GHASH, are written here plainly, without regard to speed.

use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit, KeyIvInit, StreamCipher,
};
use aes::{Aes128, Aes192, Aes256, Block};
use aws_key_management::cipher::{Algorithm, Direction, Padding};

use super::cipher_cases::{Oracle, Setup};

pub struct Crates;

impl Oracle for Crates {
    fn message(&self, setup: Setup, key: &[u8], iv: &[u8; 16], input: &[u8]) -> Option<Vec<u8>> {
        match key.len() {
            16 => message::<Aes128>(setup, key, iv, input),
            24 => message::<Aes192>(setup, key, iv, input),
            32 => message::<Aes256>(setup, key, iv, input),
            _ => None,
        }
    }
}

/// AES with a key of one of its lengths.
trait Aes: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt<BlockSize = U16> + KeyInit {}

impl<T: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt<BlockSize = U16> + KeyInit> Aes for T {}

fn message<A: Aes>(setup: Setup, key: &[u8], iv: &[u8; 16], input: &[u8]) -> Option<Vec<u8>> {
    match (setup.algorithm, setup.padding, setup.direction) {
        (Algorithm::AesCbc, Padding::None, direction) => Some(cbc_with_tail::<A>(direction, key, iv, input)),
        (Algorithm::AesCbc, Padding::Pkcs7, Direction::Encrypt) => {
            let fill = 16 - input.len() % 16;
            let padded = [input, &vec![fill as u8; fill]].concat();
            Some(cbc::<A>(Direction::Encrypt, key, iv, &padded))
        }
        (Algorithm::AesCbc, Padding::Pkcs7, Direction::Decrypt) => {
            if input.is_empty() || !input.len().is_multiple_of(16) {
                return None;
            }
            let mut plain = cbc::<A>(Direction::Decrypt, key, iv, input);
            let fill = *plain.last()?;
            let len = plain.len().checked_sub(fill.into())?;
            if !(1..=16).contains(&fill) || plain[len..].iter().any(|&byte| byte != fill) {
                return None;
            }
            plain.truncate(len);
            Some(plain)
        }
        (Algorithm::AesCtr, Padding::None, _) => {
            let mut text = input.to_vec();
            ctr::Ctr128BE::<A>::new_from_slices(key, iv).unwrap().apply_keystream(&mut text);
            Some(text)
        }
        (Algorithm::AesCtr, Padding::Pkcs7, Direction::Encrypt) => {
            let mut sealed = gcm_text::<A>(key, iv, input);
            sealed.extend(gcm_tag::<A>(key, iv, &sealed));
            Some(sealed)
        }
        (Algorithm::AesCtr, Padding::Pkcs7, Direction::Decrypt) => {
            let (sealed, tag) = input.split_last_chunk::<16>()?;
            (gcm_tag::<A>(key, iv, sealed) == *tag).then(|| gcm_text::<A>(key, iv, sealed))
        }
    }
}

/// Whole blocks.
fn cbc<A: Aes>(direction: Direction, key: &[u8], iv: &[u8; 16], input: &[u8]) -> Vec<u8> {
    let mut text = input.to_vec();
    let (blocks, rest) = Block::slice_as_chunks_mut(&mut text);
    assert!(rest.is_empty());
    match direction {
        Direction::Encrypt => cbc::Encryptor::<A>::new_from_slices(key, iv).unwrap().encrypt_blocks(blocks),
        Direction::Decrypt => cbc::Decryptor::<A>::new_from_slices(key, iv).unwrap().decrypt_blocks(blocks),
    }
    text
}

/// A last partial block is XORed with the encrypted IV.
fn cbc_with_tail<A: Aes>(direction: Direction, key: &[u8], iv: &[u8; 16], input: &[u8]) -> Vec<u8> {
    let (blocks, tail) = input.split_at(input.len() / 16 * 16);
    let mask = block::<A>(key, *iv);
    let tail = tail.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
    cbc::<A>(direction, key, iv, blocks).into_iter().chain(tail).collect()
}

/// The text is encrypted from the second counter on; the first one is for the tag.
fn gcm_text<A: Aes>(key: &[u8], iv: &[u8; 16], input: &[u8]) -> Vec<u8> {
    let mut text = [&[0; 16], input].concat();
    ctr::Ctr32BE::<A>::new_from_slices(key, &first_counter(iv)).unwrap().apply_keystream(&mut text);
    text.split_off(16)
}

/// NIST SP 800-38D, 7.1. The last 4 bytes of the IV are authenticated with the text.
fn gcm_tag<A: Aes>(key: &[u8], iv: &[u8; 16], sealed: &[u8]) -> [u8; 16] {
    let hash_key = u128::from_be_bytes(block::<A>(key, [0; 16]));
    let lengths = (32 << 64) | (sealed.len() as u128 * 8);
    let mut hash = 0;
    for part in [&iv[12..], sealed, &lengths.to_be_bytes()].into_iter().flat_map(|part| part.chunks(16)) {
        let mut block = [0; 16];
        block[..part.len()].copy_from_slice(part);
        hash = multiply(hash ^ u128::from_be_bytes(block), hash_key);
    }
    (hash ^ u128::from_be_bytes(block::<A>(key, first_counter(iv)))).to_be_bytes()
}

fn first_counter(iv: &[u8; 16]) -> [u8; 16] {
    let mut counter = *iv;
    counter[12..].copy_from_slice(&[0, 0, 0, 1]);
    counter
}

/// In GF(2^128), bit by bit: NIST SP 800-38D, 6.3.
fn multiply(a: u128, b: u128) -> u128 {
    let (mut product, mut shifted) = (0, b);
    for bit in (0..128).rev() {
        if a >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = (shifted >> 1) ^ ((shifted & 1) * (0xe1 << 120));
    }
    product
}

/// One block, encrypted.
fn block<A: Aes>(key: &[u8], input: [u8; 16]) -> [u8; 16] {
    let mut block = Block::from(input);
    A::new_from_slice(key).unwrap().encrypt_block(&mut block);
    block.into()
}
