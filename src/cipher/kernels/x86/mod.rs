//! x86-64: AES-NI, and VAES with registers of 256 and of 512 bits.

/// Calls a function made for the number of rounds.
macro_rules! by_rounds {
    ($rounds:expr, $function:ident, ($($argument:expr),+)) => {
        match $rounds {
            Rounds::Ten => $function::<10>($($argument),+),
            Rounds::Twelve => $function::<12>($($argument),+),
            Rounds::Fourteen => $function::<14>($($argument),+),
        }
    };
}

mod expand;
#[macro_use]
mod gcm_loops;
#[macro_use]
mod loops;
mod one_block;
mod steps;
mod xmm;
mod ymm;
mod zmm;

use std::arch::is_x86_feature_detected;

use super::super::CipherError;
use super::super::wiped::Wiped;
use super::Bytes;

/// A set of instructions that this CPU has. Only [`detected`](Self::detected) makes one, and
/// [`for_blocks`](Self::for_blocks) one of AES-NI from it, which is a part of every other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Kernel(Set);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    AesNi,
    Vaes256,
    Vaes512,
}

impl Kernel {
    /// Those that this CPU has, the fastest first.
    pub(in super::super) fn detected() -> impl Iterator<Item = Self> {
        let aes_ni =
            is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx") && is_x86_feature_detected!("pclmulqdq");
        let vaes_256 = aes_ni
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        let vaes_512 = vaes_256 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        let sets = [(vaes_512, Set::Vaes512), (vaes_256, Set::Vaes256), (aes_ni, Set::AesNi)];
        sets.into_iter().filter(|&(has, _)| has).map(|(_, set)| Self(set))
    }

    /// The one for so many blocks. For narrow registers, no round key has to be spread first.
    #[inline(always)]
    fn for_blocks(self, blocks: usize) -> Self {
        if blocks < FEW { Self(Set::AesNi) } else { self }
    }

    pub(in super::super) fn name(self) -> &'static str {
        match self.0 {
            Set::AesNi => "AES-NI",
            Set::Vaes256 => "VAES-256",
            Set::Vaes512 => "VAES-512",
        }
    }
}

/// Fewer blocks than these are done as fast in narrow registers.
const FEW: usize = 8;

/// Calls the function of that name of the kernel's path.
macro_rules! call {
    ($kernel:expr, $function:ident($($argument:expr => $type:ty),+)) => {{
        let function: unsafe fn($($type),+) = match $kernel.0 {
            Set::AesNi => xmm::$function,
            Set::Vaes256 => ymm::$function,
            Set::Vaes512 => zmm::$function,
        };
        // SAFETY: all that is unsafe about a function of a path is that the CPU may not have its instructions. A
        // `Kernel` is made only when the CPU has been found to have them: the features in `Kernel::detected` are those
        // named in the module of the path, and those of AES-NI are asked for each.
        unsafe { function($($argument),+) }
    }};
}

/// The round keys of one direction, for the loops of a path.
///
/// They are made where they are to stay: moving them takes as long as making them. The keys are first, and aligned: one
/// that straddles two lines of the cache cannot be read until both are written.
#[repr(C, align(16))]
pub(in super::super) struct RoundKeys {
    keys: Wiped<Schedule>,
    kernel: Kernel,
    rounds: Rounds,
}

/// A key for each round, and one before the first.
type Schedule = [Bytes; MOST_ROUNDS + 1];

/// How often a block goes round, by the length of the key.
#[derive(Clone, Copy)]
enum Rounds {
    Ten,
    Twelve,
    Fourteen,
}

const MOST_ROUNDS: usize = 14;

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
    key: Wiped<Bytes>,
    value: Wiped<Bytes>,
    kernel: Kernel,
}

#[allow(unsafe_code, reason = "the call of a function with target features: see `call!`")]
impl Hash {
    /// `key` is the key of POLYVAL that gives the same hash as GCM's, if the bytes of all blocks are reversed.
    #[inline(always)]
    pub(in super::super) fn new(kernel: Kernel, key: &Bytes) -> Self {
        Self { key: Wiped::new(*key), value: Wiped::new([0; 16]), kernel }
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

#[cfg(test)]
#[cfg(not(miri))] // which has none of them, and not this file
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_whose_instructions_the_operating_system_reports() {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = cpu.lines().find(|line| line.starts_with("flags")).unwrap();
        let has = |names: &str| names.split(' ').all(|name| flags.split_whitespace().any(|flag| flag == name));
        let expected = [
            ("VAES-512", has("aes avx pclmulqdq avx2 vaes vpclmulqdq avx512f avx512bw")),
            ("VAES-256", has("aes avx pclmulqdq avx2 vaes vpclmulqdq")),
            ("AES-NI", has("aes avx pclmulqdq")),
        ];
        let expected: Vec<_> = expected.into_iter().filter(|&(_, has)| has).map(|(name, _)| name).collect();
        assert_eq!(Kernel::detected().map(Kernel::name).collect::<Vec<_>>(), expected);
    }
}
