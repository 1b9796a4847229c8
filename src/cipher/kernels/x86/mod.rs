//! x86-64: AES-NI, and VAES with registers of 256 and of 512 bits.

mod expand;
mod one_block;
pub(super) mod xmm;
pub(super) mod ymm;
pub(super) mod zmm;

use std::arch::is_x86_feature_detected;

use super::keys::{MOST_ROUNDS, Rounds, Schedule};
use super::{Bytes, Hash, Hashed, RoundKeys, steps};
// Its registers have one block.
use xmm as narrow;

/// A set of instructions that this CPU has. Only [`detected`](Self::detected) makes one, and
/// [`for_blocks`](Self::for_blocks) one of AES-NI from it, which is a part of every other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Kernel(pub(super) Set);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
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
    pub(super) fn for_blocks(self, blocks: usize) -> Self {
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

/// The function of that name of the kernel's path. Those of AES-NI are asked for by each path.
macro_rules! function_of {
    ($kernel:expr, $function:ident) => {
        match $kernel.0 {
            super::cpu::Set::AesNi => super::cpu::xmm::$function,
            super::cpu::Set::Vaes256 => super::cpu::ymm::$function,
            super::cpu::Set::Vaes512 => super::cpu::zmm::$function,
        }
    };
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
