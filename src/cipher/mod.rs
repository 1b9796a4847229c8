//! AES as the server's own `my_aes_crypt_*` functions do it, byte for byte.
//!
//! Knows no key store, no file and no KMS: a key, an IV and bytes go in, bytes come out.
//! On valid input it never fails, allocates, locks or panics.
//!
//! What every message goes through is `inline(always)`, what few do is `inline(never)`: the time of a short message is
//! that of its instructions. See `docs/aes-performance.md`.

#![deny(unsafe_code)]

use std::borrow::BorrowMut;
use std::fmt;
use std::mem::MaybeUninit;

use aes::Block;

mod batches;
mod blocks;
mod cbc;
mod cbc_blocks;
mod ctr;
mod ctr_blocks;
mod error;
mod gcm;
mod ghash;
mod kernels;
#[cfg(test)]
mod made_up_backends;
mod message_end;
mod pending;
mod schedule;
mod wiped;

pub use error::CipherError;
pub use kernels::Path;
pub use message_end::MessageEnd;

use cbc::{Cbc, Decryption, Encryption};
use ctr::Ctr;
use gcm::{GcmDecrypt, GcmEncrypt, GcmIv};
use schedule::{DecryptSchedule, EncryptSchedule};

/// One message on its way through the cipher.
///
/// Lives where the caller puts it and owns no other memory. The key schedule, the IV and buffered text are wiped when
/// it is dropped. What the kernels and the `aes` crate leave in registers is out of reach, and so is what the crate, or the
/// compiler, puts on the stack: see `docs/aes-performance.md`.
pub struct Context {
    mode: Mode,
}

impl Context {
    /// Begins a message.
    ///
    /// `key` has 16, 24 or 32 bytes and `iv` 16: the server never passes another IV, and its own code reads 16 bytes
    /// whatever length it is told. Only [`Algorithm::AesCtr`] with [`Padding::Pkcs7`] takes one of 12 to 15 bytes too.
    pub fn new(
        algorithm: Algorithm,
        direction: Direction,
        padding: Padding,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self, CipherError> {
        Self::new_on(Path::fastest(), algorithm, direction, padding, key, iv)
    }

    /// As [`new`](Self::new), on a path that may not be the fastest.
    pub fn new_on(
        path: Path,
        algorithm: Algorithm,
        direction: Direction,
        padding: Padding,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Self, CipherError> {
        Self::build(path, algorithm, direction, padding, key, iv, |context| context)
    }

    /// As [`new`](Self::new), with the context made in its place: faster, and no copy of the context is left on the
    /// stack. Of the key schedule one is where the `aes` crate makes it, there, out of reach.
    // Inlined into a function that catches panics, the schedule would be copied three times.
    #[inline(never)]
    pub fn new_in<'a>(
        place: &'a mut MaybeUninit<Self>,
        algorithm: Algorithm,
        direction: Direction,
        padding: Padding,
        key: &[u8],
        iv: &[u8],
    ) -> Result<&'a mut Self, CipherError> {
        Self::build(Path::fastest(), algorithm, direction, padding, key, iv, |context| place.write(context))
    }

    /// As [`new_in`](Self::new_in), on a path that may not be the fastest.
    #[inline(never)]
    pub fn new_in_on<'a>(
        path: Path,
        place: &'a mut MaybeUninit<Self>,
        algorithm: Algorithm,
        direction: Direction,
        padding: Padding,
        key: &[u8],
        iv: &[u8],
    ) -> Result<&'a mut Self, CipherError> {
        Self::build(path, algorithm, direction, padding, key, iv, |context| place.write(context))
    }

    #[inline(always)]
    fn build<T: BorrowMut<Self>>(
        path: Path,
        algorithm: Algorithm,
        direction: Direction,
        padding: Padding,
        key: &[u8],
        iv: &[u8],
        place: impl FnOnce(Self) -> T,
    ) -> Result<T, CipherError> {
        let place = |mode| {
            let mut placed = place(Self { mode });
            placed.borrow_mut().complete(key);
            placed
        };
        match (algorithm, padding, direction) {
            (Algorithm::AesCbc, _, Direction::Encrypt) => {
                let iv = block(iv)?;
                EncryptSchedule::begin(path, key, |schedule| {
                    place(Mode::CbcEncrypt(Cbc::new(Encryption::new(schedule), padding, iv)))
                })
            }
            (Algorithm::AesCbc, _, Direction::Decrypt) => {
                let iv = block(iv)?;
                DecryptSchedule::begin(path, key, |schedule| {
                    place(Mode::CbcDecrypt(Cbc::new(Decryption::new(schedule), padding, iv)))
                })
            }
            (Algorithm::AesCtr, Padding::None, _) => {
                let counter = u128::from_be_bytes(block(iv)?.0);
                EncryptSchedule::begin(path, key, |schedule| place(Mode::Ctr(Ctr::new(schedule, counter))))
            }
            (Algorithm::AesCtr, Padding::Pkcs7, Direction::Encrypt) => {
                let iv = GcmIv::parse(iv)?;
                let gcm = |schedule| place(Mode::GcmEncrypt(GcmEncrypt::new(schedule, &iv)));
                let mut placed = EncryptSchedule::begin(path, key, gcm)?;
                placed.borrow_mut().complete_gcm(path, key);
                Ok(placed)
            }
            (Algorithm::AesCtr, Padding::Pkcs7, Direction::Decrypt) => {
                let iv = GcmIv::parse(iv)?;
                let gcm = |schedule| place(Mode::GcmDecrypt(GcmDecrypt::new(schedule, &iv)));
                let mut placed = EncryptSchedule::begin(path, key, gcm)?;
                placed.borrow_mut().complete_gcm(path, key);
                Ok(placed)
            }
        }
    }

    /// Makes the key schedule where there is only room for it.
    #[inline(always)]
    fn complete(&mut self, key: &[u8]) {
        match &mut self.mode {
            Mode::CbcEncrypt(cbc) => cbc.complete(key),
            Mode::CbcDecrypt(cbc) => cbc.complete(key),
            Mode::Ctr(ctr) => ctr.complete(key),
            Mode::GcmEncrypt(_) | Mode::GcmDecrypt(_) => {}
        }
    }

    /// The same for GCM, which does more.
    #[inline(never)]
    fn complete_gcm(&mut self, path: Path, key: &[u8]) {
        match &mut self.mode {
            Mode::GcmEncrypt(gcm) => gcm.complete(path, key),
            Mode::GcmDecrypt(gcm) => gcm.complete(path, key),
            Mode::CbcEncrypt(_) | Mode::CbcDecrypt(_) | Mode::Ctr(_) => {}
        }
    }

    /// Exact number of bytes that an [`update`](Self::update) with `len` bytes of input writes, unless it fails.
    #[inline(always)]
    pub fn update_len(&self, len: usize) -> usize {
        match &self.mode {
            Mode::CbcEncrypt(cbc) => cbc.update_len(len),
            Mode::CbcDecrypt(cbc) => cbc.update_len(len),
            Mode::Ctr(_) | Mode::GcmEncrypt(_) => len,
            Mode::GcmDecrypt(gcm) => gcm.update_len(len),
        }
    }

    /// Takes the next part of the message, of any length, and returns how many bytes of `output` it wrote.
    ///
    /// A decryption with [`Algorithm::AesCtr`] and [`Padding::Pkcs7`] takes the whole message at once, as the server
    /// does; it fails here, and not in [`finish`](Self::finish), if the message was tampered with.
    #[inline(always)]
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        match &mut self.mode {
            Mode::CbcEncrypt(cbc) => cbc.update(input, output),
            Mode::CbcDecrypt(cbc) => cbc.update(input, output),
            Mode::Ctr(ctr) => ctr.update(input, output),
            Mode::GcmEncrypt(gcm) => gcm.update(input, output),
            Mode::GcmDecrypt(gcm) => gcm.update(input, output),
        }
    }

    /// Whether the message has to come in one [`update`](Self::update).
    pub fn takes_one_piece(&self) -> bool {
        matches!(self.mode, Mode::GcmDecrypt(_))
    }

    /// Ends the message and returns its last bytes. The context is of no use afterwards.
    #[inline(always)]
    pub fn finish(&mut self) -> Result<MessageEnd, CipherError> {
        match &mut self.mode {
            Mode::CbcEncrypt(cbc) => cbc.finish(),
            Mode::CbcDecrypt(cbc) => cbc.finish(),
            Mode::Ctr(_) => Ok(MessageEnd::empty()),
            Mode::GcmEncrypt(gcm) => Ok(gcm.finish()),
            Mode::GcmDecrypt(gcm) => gcm.finish(),
        }
    }
}

// A tag of its own, of one byte: else it is one of 16 bytes, all of which are compared at every use.
#[repr(u8)]
enum Mode {
    CbcEncrypt(Cbc<Encryption>),
    CbcDecrypt(Cbc<Decryption>),
    Ctr(Ctr),
    GcmEncrypt(GcmEncrypt),
    GcmDecrypt(GcmDecrypt),
}

/// Algorithm of a key version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// CBC. A last partial block is XORed with the encrypted IV where padding is off, else the padding is PKCS#7.
    AesCbc,
    /// CTR where padding is off, else GCM.
    AesCtr,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AesCbc => "AES_CBC",
            Self::AesCtr => "AES_CTR",
        })
    }
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
    /// It is longer, as [`encrypted_len`] says. The server's flag `ENCRYPTION_FLAG_NOPAD` is not set.
    Pkcs7,
    /// Same length. The server's flag `ENCRYPTION_FLAG_NOPAD` is set.
    None,
}

/// Length in bytes of the ciphertext of `len` bytes with [`Padding::Pkcs7`]. With [`Padding::None`] it is `len`.
pub fn encrypted_len(algorithm: Algorithm, len: u64) -> u64 {
    match algorithm {
        Algorithm::AesCbc => (len / BLOCK_LEN as u64).saturating_add(1).saturating_mul(BLOCK_LEN as u64),
        Algorithm::AesCtr => len.saturating_add(BLOCK_LEN as u64),
    }
}

fn block(iv: &[u8]) -> Result<&Block, CipherError> {
    <&Block>::try_from(iv).map_err(|_| CipherError::IvLength)
}

/// Bytes in an AES block, in an IV and in a GCM tag.
const BLOCK_LEN: usize = 16;
