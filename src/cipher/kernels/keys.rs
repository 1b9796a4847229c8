//! What the kernels work with: round keys, and the key of a hash. The call into the kernels, which is all unsafe code of the
//! cipher.

use super::super::CipherError;
use super::super::wiped::Wiped;
use super::{Bytes, Kernel};

/// Calls the function of that name of the kernel's path. Its parameters have to be named.
macro_rules! call {
    ($kernel:expr, $function:ident($($name:ident: $type:ty = $argument:expr),+)) => {{
        let function = function_of!($kernel, $function($($name: $type),+));
        #[allow(unsafe_code, reason = "the one call of a function with target features")]
        // SAFETY: all that is unsafe about `function` is that the CPU may not have the instructions which it is allowed to
        // use: those in the list of its set, in `instructions`. A `Kernel` of a set exists only where the CPU was asked for
        // each of the same list, by `Kernel::detected`, and has it.
        let () = unsafe { function($($argument),+) };
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

const MOST_ROUNDS: usize = 14;

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
        call!(self.kernel.narrow(), make_encrypting(keys: &mut Schedule = &mut self.keys, key: &[u8] = key));
    }

    /// Makes the round keys for decryption, and encrypts a block with those for encryption, which are not kept.
    #[inline(always)]
    pub(in super::super) fn make_decrypting(&mut self, key: &[u8], block: &mut Bytes) {
        call!(
            self.kernel.narrow(),
            make_decrypting(keys: &mut Schedule = &mut self.keys, key: &[u8] = key, block: &mut Bytes = block)
        );
    }

    /// Encrypts `input` into `output` in CBC. `chain` is the block before, and becomes the last of `output`.
    #[inline(always)]
    pub(in super::super) fn cbc_encrypt(&self, chain: &mut Bytes, input: &[Bytes], output: &mut [Bytes]) {
        call!(
            self.kernel.narrow(),
            cbc_encrypt(keys: &RoundKeys = self, chain: &mut Bytes = chain, input: &[Bytes] = input,
                output: &mut [Bytes] = output)
        );
    }

    /// Decrypts `input` into `output` in CBC. `chain` is the block before, and becomes the last of `input`.
    #[inline(always)]
    pub(in super::super) fn cbc_decrypt(&self, chain: &mut Bytes, input: &[Bytes], output: &mut [Bytes]) {
        call!(
            self.kernel.for_blocks(input.len()),
            cbc_decrypt(keys: &RoundKeys = self, chain: &mut Bytes = chain, input: &[Bytes] = input,
                output: &mut [Bytes] = output)
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
            ctr(keys: &RoundKeys = self, counter: &mut u128 = counter, input: &[Bytes] = input,
                output: &mut [Bytes] = output, next: Option<&mut Bytes> = next)
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
            gcm(keys: &RoundKeys = self, hash: &mut Hash = hash, counter: &mut u128 = counter, input: &[Bytes] = input,
                output: &mut [Bytes] = output, next: Option<&mut Bytes> = next, hashed: Hashed = hashed)
        );
    }

    /// Encrypts a block for itself.
    #[inline(always)]
    pub(in super::super) fn encrypt(&self, block: &mut Bytes) {
        call!(self.kernel.narrow(), encrypt(keys: &RoundKeys = self, block: &mut Bytes = block));
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
        call!(self.kernel.narrow(), hash_block(hash: &mut Hash = self, block: &Bytes = block));
    }

    /// The hash of the blocks so far, with its bytes reversed.
    #[inline(always)]
    pub(in super::super) fn value(&self) -> &Bytes {
        &self.value
    }
}
