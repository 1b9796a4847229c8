//! x86-64: AES-NI, and VAES with registers of 256 and of 512 bits.

mod expand;
mod one_block;
pub(super) mod xmm;
pub(super) mod ymm;
pub(super) mod zmm;

use std::arch::is_x86_feature_detected;

use super::keys::{Rounds, Schedule};
use super::{Bytes, Hash, Hashed, RoundKeys, hidden, steps};
// Its registers have one block.
use xmm as narrow;

/// Gives a macro the instructions of a set: those that the CPU is asked for, and that the functions of the path may use.
/// What one of them implies to the compiler is named, too, so that the CPU is asked for that as well.
macro_rules! instructions {
    (AesNi, $to:ident $with:tt) => {
        $to!(["sse3", "ssse3", "sse4.1", "sse4.2", "avx", "aes", "pclmulqdq"] $with)
    };
    (Vaes256, $to:ident $with:tt) => {
        $to!(["sse3", "ssse3", "sse4.1", "sse4.2", "avx", "aes", "pclmulqdq", "avx2", "vaes", "vpclmulqdq"] $with)
    };
    (Vaes512, $to:ident $with:tt) => {
        $to!(
            ["sse3", "ssse3", "sse4.1", "sse4.2", "avx", "aes", "pclmulqdq", "avx2", "vaes", "vpclmulqdq",
                "fma", "f16c", "avx512f", "avx512bw"] $with
        )
    };
}

/// Whether this CPU has these instructions.
macro_rules! has {
    ([$($instruction:tt),+] ()) => { $(is_x86_feature_detected!($instruction))&&+ };
}

/// A set of instructions that this CPU has. Only this module makes one: [`detected`](Self::detected), when it has asked the
/// CPU, and [`narrow`](Self::narrow) that of AES-NI from any other, whose instructions are a part of all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Kernel(Set);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    AesNi,
    Vaes256,
    Vaes512,
}

impl Kernel {
    /// Those that this CPU has, the fastest first.
    pub(in super::super) fn detected() -> impl Iterator<Item = Self> {
        let sets = [
            (instructions!(Vaes512, has()), Set::Vaes512),
            (instructions!(Vaes256, has()), Set::Vaes256),
            (instructions!(AesNi, has()), Set::AesNi),
        ];
        sets.into_iter().filter(|&(has, _)| has).map(|(_, set)| Self(set))
    }

    /// The one for a block at a time.
    #[inline(always)]
    pub(super) fn narrow(self) -> Self {
        Self(Set::AesNi)
    }

    /// The one for so many blocks. For narrow registers, no round key has to be spread first.
    #[inline(always)]
    pub(super) fn for_blocks(self, blocks: usize) -> Self {
        if blocks < FEW { self.narrow() } else { self }
    }

    #[inline(always)]
    pub(super) fn set(self) -> Set {
        self.0
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

/// The function of that name of the kernel's path, which uses no instructions but those of the kernel's set.
macro_rules! function_of {
    ($kernel:expr, $function:ident $parameters:tt) => {
        match $kernel.set() {
            super::cpu::Set::AesNi => instructions!(AesNi, uses_no_others(xmm $function $parameters)),
            super::cpu::Set::Vaes256 => instructions!(Vaes256, uses_no_others(ymm $function $parameters)),
            super::cpu::Set::Vaes512 => instructions!(Vaes512, uses_no_others(zmm $function $parameters)),
        }
    };
}

/// The function of a path, if it uses no instructions but these: else it does not compile.
macro_rules! uses_no_others {
    ([$($instruction:tt),+] ($path:ident $function:ident ($($name:ident: $type:ty),+))) => {{
        // Is not called. Where the instructions were not enough, the call in it would be an unsafe one.
        #[target_feature($(enable = $instruction),+)]
        fn _uses_no_others($($name: $type),+) {
            super::cpu::$path::$function($($name),+);
        }
        super::cpu::$path::$function as unsafe fn($($type),+)
    }};
}

#[cfg(test)]
#[cfg(not(miri))] // which has none of them, and not this file
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    /// Else the CPU would not be asked for all that the functions of a path may use.
    #[test]
    fn the_instructions_that_others_imply_are_named_with_them() {
        macro_rules! names {
            ($names:tt ()) => {
                $names.as_slice()
            };
        }
        let sets: [&[&str]; 3] =
            [instructions!(AesNi, names()), instructions!(Vaes256, names()), instructions!(Vaes512, names())];
        for names in sets {
            let with = |names: &[&str]| {
                let features: Vec<String> = names.iter().map(|name| format!("+{name}")).collect();
                let target_feature = format!("-Ctarget-feature={}", features.join(","));
                let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
                let told = Command::new(rustc)
                    .args(["--print=cfg", "--target=x86_64-unknown-linux-gnu", &target_feature])
                    .output()
                    .unwrap();
                let told = String::from_utf8(told.stdout).unwrap();
                let features =
                    told.lines().filter_map(|line| line.strip_prefix("target_feature=\"")?.strip_suffix('"'));
                features.map(str::to_owned).collect::<BTreeSet<_>>()
            };
            // All CPUs for this architecture have some.
            let everywhere = with(&["sse2"]);
            let implied: BTreeSet<_> = with(names).difference(&everywhere).cloned().collect();
            assert_eq!(implied, names.iter().map(|&name| name.to_owned()).collect());
        }
    }

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
