//! AES as the server's own `my_aes_crypt_*` functions do it, byte for byte.
//!
//! Knows no key store, no file and no KMS: a key, an IV and bytes go in, bytes come out.
//! On valid input it never fails, allocates, locks or panics.

#![forbid(unsafe_code)]

use std::fmt;

mod cbc;
mod pending;
mod schedule;

use cbc::{CbcDecrypt, CbcEncrypt};

/// One message on its way through the cipher.
///
/// Lives where the caller puts it and owns no other memory. The key schedule, the IV and buffered text are wiped when it
/// is dropped. Copies that the `aes` crate keeps in registers and on the stack while it works are out of reach.
pub struct Context {
    mode: Mode,
}

impl Context {
    /// Begins a message.
    ///
    /// `key` has 16, 24 or 32 bytes and `iv` 16: the server never passes another IV, and its own code reads 16 bytes
    /// whatever length it is told.
    pub fn new(
        algorithm: Algorithm,
        direction: Direction,
        padding: Padding,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self, CipherError> {
        let mode = match (algorithm, direction) {
            (Algorithm::AesCbc, Direction::Encrypt) => Mode::CbcEncrypt(CbcEncrypt::new(padding, key, iv)?),
            (Algorithm::AesCbc, Direction::Decrypt) => Mode::CbcDecrypt(CbcDecrypt::new(padding, key, iv)?),
        };
        Ok(Self { mode })
    }

    /// Exact number of bytes that an [`update`](Self::update) with `len` bytes of input writes.
    pub fn update_len(&self, len: usize) -> usize {
        match &self.mode {
            Mode::CbcEncrypt(cbc) => cbc.update_len(len),
            Mode::CbcDecrypt(cbc) => cbc.update_len(len),
        }
    }

    /// Exact number of bytes that [`finish`](Self::finish) writes; 0 if it is going to fail.
    pub fn finish_len(&self) -> usize {
        match &self.mode {
            Mode::CbcEncrypt(cbc) => cbc.finish_len(),
            Mode::CbcDecrypt(cbc) => cbc.finish_len(),
        }
    }

    /// Takes the next part of the message, of any length, and returns how many bytes of `output` it wrote.
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        match &mut self.mode {
            Mode::CbcEncrypt(cbc) => cbc.update(input, output),
            Mode::CbcDecrypt(cbc) => cbc.update(input, output),
        }
    }

    /// Ends the message and returns how many bytes of `output` it wrote. The context is of no use afterwards.
    pub fn finish(&mut self, output: &mut [u8]) -> Result<usize, CipherError> {
        match &mut self.mode {
            Mode::CbcEncrypt(cbc) => cbc.finish(output),
            Mode::CbcDecrypt(cbc) => cbc.finish(output),
        }
    }
}

enum Mode {
    CbcEncrypt(CbcEncrypt),
    CbcDecrypt(CbcDecrypt),
}

/// Algorithm of a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// CBC. A last partial block is XORed with the encrypted IV where padding is off, else the padding is PKCS#7.
    AesCbc,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plaintext to ciphertext.
    Encrypt,
    /// Ciphertext to plaintext.
    Decrypt,
}

/// Whether the ciphertext may be longer than the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// It is longer, up to [`encrypted_len`]. The server's flag `ENCRYPTION_FLAG_NOPAD` is not set.
    Pkcs7,
    /// Same length. The server's flag `ENCRYPTION_FLAG_NOPAD` is set.
    None,
}

/// Why a message cannot be encrypted or decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherError {
    /// The key has not 16, 24 or 32 bytes.
    KeyLength,
    /// The IV has not 16 bytes.
    IvLength,
    /// The padding of the last block is wrong: a wrong key or IV, or damaged data.
    BadPadding,
    /// The ciphertext is empty or does not end on a block.
    Truncated,
    /// The output is shorter than `update_len` or `finish_len` says. Nothing was written or taken in.
    OutputTooSmall,
}

impl fmt::Display for CipherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyLength => "an AES key has 16, 24 or 32 bytes",
            Self::IvLength => "an AES initialisation vector has 16 bytes",
            Self::BadPadding => "wrong padding: wrong key or damaged data",
            Self::Truncated => "the ciphertext was cut short",
            Self::OutputTooSmall => "the output buffer is too small",
        })
    }
}

impl std::error::Error for CipherError {}

/// Length in bytes of the ciphertext of `len` bytes with [`Padding::Pkcs7`]. With [`Padding::None`] it is `len`.
pub fn encrypted_len(algorithm: Algorithm, len: u64) -> u64 {
    match algorithm {
        Algorithm::AesCbc => (len / BLOCK_LEN as u64).saturating_add(1).saturating_mul(BLOCK_LEN as u64),
    }
}

/// Bytes in an AES block, in an IV and in a GCM tag.
const BLOCK_LEN: usize = 16;
