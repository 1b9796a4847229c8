//! The key schedule of one direction, for keys of any AES length.

use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc};

use super::CipherError;

/// Encrypts blocks. Has no decryption schedule, which would cost as much again.
pub(super) enum EncryptSchedule {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
}

impl EncryptSchedule {
    pub(super) fn new(key: &[u8]) -> Result<Self, CipherError> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).map(Self::Aes128),
            24 => Aes192Enc::new_from_slice(key).map(Self::Aes192),
            _ => Aes256Enc::new_from_slice(key).map(Self::Aes256),
        }
        .map_err(|_| CipherError::KeyLength)
    }

    /// Runs `work` with the fastest backend of this CPU, compiled for its instructions.
    #[inline]
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
    pub(super) fn new(key: &[u8]) -> Result<Self, CipherError> {
        match key.len() {
            16 => Aes128Dec::new_from_slice(key).map(Self::Aes128),
            24 => Aes192Dec::new_from_slice(key).map(Self::Aes192),
            _ => Aes256Dec::new_from_slice(key).map(Self::Aes256),
        }
        .map_err(|_| CipherError::KeyLength)
    }

    /// Runs `work` with the fastest backend of this CPU, compiled for its instructions.
    #[inline]
    pub(super) fn run(&self, work: impl BlockCipherDecClosure<BlockSize = U16>) {
        match self {
            Self::Aes128(aes) => aes.decrypt_with_backend(work),
            Self::Aes192(aes) => aes.decrypt_with_backend(work),
            Self::Aes256(aes) => aes.decrypt_with_backend(work),
        }
    }
}
