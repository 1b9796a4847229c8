//! What the kernels work with: round keys, and the key of a hash. The calls into the kernels, which are all unsafe code of
//! the cipher.

use super::super::CipherError;
use super::super::wiped::Wiped;
use super::{Bytes, Kernel};

/// Calls the function of that name of the kernel's path.
macro_rules! call {
    ($kernel:expr, $function:ident($($argument:expr => $type:ty),+)) => {{
        let function: unsafe fn($($type),+) = function_of!($kernel, $function);
        // SAFETY: all that is unsafe about a function of a path is that the CPU may not have its instructions. A
        // `Kernel` is made only when the CPU has been found to have them: the features in `Kernel::detected` are those
        // named in the module of the path that `function_of` takes for it.
        unsafe { function($($argument),+) }
    }};
}

/// The round keys of one direction, for the loops of a path.
///
/// They are made where they are to stay: moving them takes as long as making them. The keys are first, and aligned: one
/// that straddles two lines of the cache cannot be read until both are written.
#[repr(C, align(16))]
pub(in super::super) struct RoundKeys {
    pub(super) keys: Wiped<Schedule>,
    pub(super) rounds: Rounds,
    kernel: Kernel,
}

/// A key for each round, and one before the first.
pub(super) type Schedule = [Bytes; MOST_ROUNDS + 1];

/// How often a block goes round, by the length of the key.
#[derive(Clone, Copy)]
pub(super) enum Rounds {
    Ten,
    Twelve,
    Fourteen,
}

pub(super) const MOST_ROUNDS: usize = 14;

#[allow(unsafe_code, reason = "the call of a function with target features: see `call!`")]
impl RoundKeys {
    /// Room for the round keys of a key of `key_len` bytes.
    #[inline(always)]
    pub(in super::super) fn room(kernel: Kernel, key_len: usize) -> Result<Self, CipherError> {
        let rounds = match key_len {
            16 => Rounds::Ten,
            24 => Rounds::Twelve,
            32 => Rounds::Fourteen,
            _ => return Err(CipherError::KeyLength),
        };
        Ok(Self { keys: Wiped::new([[0; 16]; MOST_ROUNDS + 1]), kernel, rounds })
    }

    /// Makes the round keys for encryption.
    #[inline(always)]
    pub(in super::super) fn make_encrypting(&mut self, key: &[u8]) {
        call!(self.kernel, make_encrypting(&mut self.keys => &mut Schedule, key => &[u8]));
    }

    /// Makes the round keys for decryption.
    #[inline(always)]
    pub(in super::super) fn make_decrypting(&mut self, key: &[u8]) {
        call!(self.kernel, make_decrypting(&mut self.keys => &mut Schedule, key => &[u8]));
    }

    /// Encrypts `input` into `output` in CBC. `chain` is the block before, and becomes the last of `output`.
    #[inline(always)]
    pub(in super::super) fn cbc_encrypt(&self, chain: &mut Bytes, input: &[Bytes], output: &mut [Bytes]) {
        call!(self.kernel, cbc_encrypt(self => &Self, chain => &mut Bytes, input => &[Bytes], output => &mut [Bytes]));
    }

    /// Decrypts `input` into `output` in CBC. `chain` is the block before, and becomes the last of `input`.
    #[inline(always)]
    pub(in super::super) fn cbc_decrypt(&self, chain: &mut Bytes, input: &[Bytes], output: &mut [Bytes]) {
        call!(
            self.kernel.for_blocks(input.len()),
            cbc_decrypt(self => &Self, chain => &mut Bytes, input => &[Bytes], output => &mut [Bytes])
        );
    }

    /// XORs `input` with the key stream from `counter` on into `output`. The block of key stream after those goes into
    /// `next`. `counter` becomes the next one that was not used.
    #[inline(always)]
    pub(in super::super) fn ctr(
        &self,
        counter: &mut u128,
        input: &[Bytes],
        output: &mut [Bytes],
        next: Option<&mut Bytes>,
    ) {
        call!(
            self.kernel.for_blocks(input.len()),
            ctr(self => &Self, counter => &mut u128, input => &[Bytes], output => &mut [Bytes],
                next => Option<&mut Bytes>)
        );
    }

    /// As [`ctr`](Self::ctr), and hashes the ciphertext. The lower 32 bits of the counter must not overflow.
    #[inline(always)]
    pub(in super::super) fn gcm(
        &self,
        hash: &mut Hash,
        counter: &mut u128,
        input: &[Bytes],
        output: &mut [Bytes],
        next: Option<&mut Bytes>,
        hashed: Hashed,
    ) {
        call!(
            self.kernel.for_blocks(input.len()),
            gcm(self => &Self, hash => &mut Hash, counter => &mut u128, input => &[Bytes], output => &mut [Bytes],
                next => Option<&mut Bytes>, hashed => Hashed)
        );
    }

    /// Encrypts a block for itself.
    #[inline(always)]
    pub(in super::super) fn encrypt(&self, block: &mut Bytes) {
        call!(self.kernel, encrypt(self => &Self, block => &mut Bytes));
    }
}

/// Which side of GCM is the ciphertext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Hashed {
    Input,
    Output,
}

/// A hash of GCM under way.
pub(in super::super) struct Hash {
    pub(super) key: Wiped<Bytes>,
    pub(super) value: Wiped<Bytes>,
    kernel: Kernel,
}

#[allow(unsafe_code, reason = "the call of a function with target features: see `call!`")]
impl Hash {
    /// Its key has to follow, when it lies where it is going to stay.
    #[inline(always)]
    pub(in super::super) fn new(kernel: Kernel) -> Self {
        Self { key: Wiped::new([0; 16]), value: Wiped::new([0; 16]), kernel }
    }

    /// `key` is the key of POLYVAL that gives the same hash as GCM's, if the bytes of all blocks are reversed.
    #[inline(always)]
    pub(in super::super) fn set_key(&mut self, key: &Bytes) {
        *self.key = *key;
    }

    /// The next block.
    #[inline(always)]
    pub(in super::super) fn block(&mut self, block: &Bytes) {
        call!(self.kernel, hash_block(self => &mut Self, block => &Bytes));
    }

    /// The hash of the blocks so far, with its bytes reversed.
    #[inline(always)]
    pub(in super::super) fn value(&self) -> &Bytes {
        &self.value
    }
}
