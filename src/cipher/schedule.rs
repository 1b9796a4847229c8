//! The key schedule of one direction, for keys of any AES length.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncClosure, BlockCipherEncrypt, Key, KeyInit,
};
use aes::{Aes128Dec, Aes128Enc, Aes192Dec, Aes192Enc, Aes256Dec, Aes256Enc, Block};

use super::CipherError;
use super::kernels::{Bytes, Path, RoundKeys};

/// Encrypts blocks. Has no decryption schedule, which would cost as much again.
pub(super) enum EncryptSchedule {
    Aes128(Aes128Enc),
    Aes192(Aes192Enc),
    Aes256(Aes256Enc),
    Kernel(RoundKeys),
}

impl EncryptSchedule {
    /// Makes the schedule of a key and hands it to `then`, or room for it where a kernel is to make it: then
    /// [`complete`](Self::complete) has to follow, when the schedule lies where it is going to stay.
    ///
    /// A callback, inlined once for each key length, so that a schedule is copied only once, from the stack, where the
    /// `aes` crate makes it, to where it is going to stay: each further move takes nearly as long as making it, and
    /// leaves a copy behind that nobody wipes.
    #[inline(always)]
    pub(super) fn begin<T>(path: Path, key: &[u8], then: impl FnOnce(Self) -> T) -> Result<T, CipherError> {
        if let Some(kernel) = path.kernel() {
            return Ok(then(Self::Kernel(RoundKeys::room(kernel, key.len())?)));
        }
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

    /// Makes what there is only room for.
    #[inline(always)]
    pub(super) fn complete(&mut self, key: &[u8]) {
        if let Self::Kernel(keys) = self {
            keys.make_encrypting(key);
        }
    }

    /// A schedule that is complete, for a moment. It is not moved: a copy would be left behind.
    #[inline(always)]
    pub(super) fn make<T>(path: Path, key: &[u8], with: impl FnOnce(&Self) -> T) -> Result<T, CipherError> {
        Self::begin(path, key, |mut schedule| {
            schedule.complete(key);
            with(&schedule)
        })
    }

    /// Encrypts each block for itself.
    pub(super) fn encrypt_blocks(&self, blocks: &mut [Block]) {
        match self {
            Self::Aes128(aes) => aes.encrypt_blocks(blocks),
            Self::Aes192(aes) => aes.encrypt_blocks(blocks),
            Self::Aes256(aes) => aes.encrypt_blocks(blocks),
            Self::Kernel(keys) => bytes_mut(blocks).iter_mut().for_each(|block| keys.encrypt(block)),
        }
    }

    /// Runs `work` with the kernel, or with the fastest backend of the `aes` crate, compiled for its instructions.
    #[inline(always)]
    pub(super) fn run(&self, work: impl EncryptWork) {
        match self {
            Self::Aes128(aes) => aes.encrypt_with_backend(work),
            Self::Aes192(aes) => aes.encrypt_with_backend(work),
            Self::Aes256(aes) => aes.encrypt_with_backend(work),
            Self::Kernel(keys) => work.encrypt_with_kernel(keys),
        }
    }
}

/// Decrypts blocks.
pub(super) enum DecryptSchedule {
    Aes128(Aes128Dec),
    Aes192(Aes192Dec),
    Aes256(Aes256Dec),
    Kernel(RoundKeys),
}

impl DecryptSchedule {
    /// Makes the schedule of a key, or room for it, and hands it to `then`, as [`EncryptSchedule::begin`] does.
    #[inline(always)]
    pub(super) fn begin<T>(path: Path, key: &[u8], then: impl FnOnce(Self) -> T) -> Result<T, CipherError> {
        if let Some(kernel) = path.kernel() {
            return Ok(then(Self::Kernel(RoundKeys::room(kernel, key.len())?)));
        }
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

    /// Makes what there is only room for. Where that is a kernel's, `block` is encrypted meanwhile: whether it was.
    #[inline(always)]
    pub(super) fn complete(&mut self, key: &[u8], block: &mut Block) -> bool {
        let Self::Kernel(keys) = self else { return false };
        keys.make_decrypting(key, &mut block.0);
        true
    }

    /// Runs `work` with the kernel, or with the fastest backend of the `aes` crate, compiled for its instructions.
    #[inline(always)]
    pub(super) fn run(&self, work: impl DecryptWork) {
        match self {
            Self::Aes128(aes) => aes.decrypt_with_backend(work),
            Self::Aes192(aes) => aes.decrypt_with_backend(work),
            Self::Aes256(aes) => aes.decrypt_with_backend(work),
            Self::Kernel(keys) => work.decrypt_with_kernel(keys),
        }
    }
}

/// What is done with blocks in encryption, or with a key stream.
pub(super) trait EncryptWork: BlockCipherEncClosure<BlockSize = U16> {
    fn encrypt_with_kernel(self, keys: &RoundKeys);
}

/// What is done with blocks in decryption.
pub(super) trait DecryptWork: BlockCipherDecClosure<BlockSize = U16> {
    fn decrypt_with_kernel(self, keys: &RoundKeys);
}

/// Blocks as the kernels take them.
#[inline(always)]
pub(super) fn bytes(blocks: &[Block]) -> &[Bytes] {
    Array::slice_as_flattened(blocks).as_chunks().0
}

/// Blocks as the kernels take them, for writing.
#[inline(always)]
pub(super) fn bytes_mut(blocks: &mut [Block]) -> &mut [Bytes] {
    Array::slice_as_flattened_mut(blocks).as_chunks_mut().0
}
