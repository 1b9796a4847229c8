//! The key schedule of one direction, for keys of any AES length.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt, Key, KeyInit};
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc, Block};

use super::CipherError;

/// Encrypts blocks. Has no decryption schedule, which would cost as much again.
pub(super) enum EncryptSchedule {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

impl EncryptSchedule {
    /// Makes the schedule of a key and hands it to `then`.
    ///
    /// A callback, inlined once for each key length, so that a schedule is copied only once, from the stack, where the
    /// `aes` crate makes it, to where it is going to stay: each further move takes nearly as long as making it, and
    /// leaves a copy behind that nobody wipes.
    #[inline(always)]
    pub(super) fn make<T>(key: &[u8], then: impl FnOnce(Self) -> T) -> Result<T, CipherError> {
        if let Ok(key) = <&Key<Aes128Enc>>::try_from(key) {
            Ok(then(Self::Aes128(Aes128Enc::new(key))))
        } else if let Ok(key) = <&Key<Aes192Enc>>::try_from(key) {
            Ok(then(Self::Aes192(Aes192Enc::new(key))))
        } else if let Ok(key) = <&Key<Aes256Enc>>::try_from(key) {
            Ok(then(Self::Aes256(Aes256Enc::new(key))))
        } else {
            Err(CipherError::KeyLength)
        }
    }

    /// Encrypts each block for itself.
    pub(super) fn encrypt_blocks(&self, blocks: &mut [Block]) {
        match self {
            Self::Aes128(aes) => aes.encrypt_blocks(blocks),
            Self::Aes192(aes) => aes.encrypt_blocks(blocks),
            Self::Aes256(aes) => aes.encrypt_blocks(blocks),
        }
    }

    /// Runs `work` with the fastest backend of this CPU, compiled for its instructions.
    #[inline(always)]
    pub(super) fn run(&self, work: impl BlockCipherEncClosure<BlockSize = U16>) {
        match self {
            Self::Aes128(aes) => aes.encrypt_with_backend(work),
            Self::Aes192(aes) => aes.encrypt_with_backend(work),
            Self::Aes256(aes) => aes.encrypt_with_backend(work),
        }
    }
}

/// Decrypts blocks.
pub(super) enum DecryptSchedule {
    Aes128(Aes128Dec),
    Aes192(Aes192Dec),
    Aes256(Aes256Dec),
}

impl DecryptSchedule {
    /// Makes the schedule of a key and hands it to `then`; a callback for the reason that [`EncryptSchedule::make`]
    /// gives.
    #[inline(always)]
    pub(super) fn make<T>(key: &[u8], then: impl FnOnce(Self) -> T) -> Result<T, CipherError> {
        if let Ok(key) = <&Key<Aes128Dec>>::try_from(key) {
            Ok(then(Self::Aes128(Aes128Dec::new(key))))
        } else if let Ok(key) = <&Key<Aes192Dec>>::try_from(key) {
            Ok(then(Self::Aes192(Aes192Dec::new(key))))
        } else if let Ok(key) = <&Key<Aes256Dec>>::try_from(key) {
            Ok(then(Self::Aes256(Aes256Dec::new(key))))
        } else {
            Err(CipherError::KeyLength)
        }
    }

    /// Runs `work` with the fastest backend of this CPU, compiled for its instructions.
    #[inline(always)]
    pub(super) fn run(&self, work: impl BlockCipherDecClosure<BlockSize = U16>) {
        match self {
            Self::Aes128(aes) => aes.decrypt_with_backend(work),
            Self::Aes192(aes) => aes.decrypt_with_backend(work),
            Self::Aes256(aes) => aes.decrypt_with_backend(work),
        }
    }
}
