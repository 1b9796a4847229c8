//! AES by the instructions of the CPU, without the crate `aes`: which of them this CPU has, and the loops made of them.
//!
//! The loops of a path are functions with target features, safe inside. Only the call of one is not, and there is one
//! place for that: `keys.rs`.

use std::fmt;
use std::sync::OnceLock;

// What the modules below are made of.
#[macro_use]
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod loops;
#[macro_use]
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod gcm_loops;
#[macro_use]
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod one_block;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod hidden;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod steps;

#[macro_use]
#[cfg(target_arch = "x86_64")]
#[path = "x86/mod.rs"]
mod cpu;
#[macro_use]
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
#[path = "arm/mod.rs"]
mod cpu;

#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod keys;
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
mod none;

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
pub(super) use none::{Hash, Hashed, Kernel, RoundKeys};
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
pub(super) use {
    cpu::Kernel,
    keys::{Hash, Hashed, RoundKeys},
};

/// A way of computing AES that this CPU has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Path(Option<Kernel>);

impl Path {
    /// The crate `aes`, which works on every CPU.
    pub const PORTABLE: Self = Self(None);

    /// All that this CPU has, the fastest first.
    pub fn all() -> impl Iterator<Item = Self> {
        Kernel::detected().map(|kernel| Self(Some(kernel))).chain([Self::PORTABLE])
    }

    /// The fastest. Looked for once.
    #[inline(always)]
    pub fn fastest() -> Self {
        *FASTEST.get_or_init(|| Self::all().next().unwrap_or(Self::PORTABLE))
    }

    /// Makes the one of this name the fastest, if this CPU has it and none has been looked for: for measurements.
    pub fn choose(name: &str) -> Option<Self> {
        let chosen = Self::all().find(|path| path.to_string() == name)?;
        Some(*FASTEST.get_or_init(|| chosen)).filter(|path| *path == chosen)
    }

    /// None where it is the crate `aes` that works.
    #[inline(always)]
    pub(super) fn kernel(self) -> Option<Kernel> {
        self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.map_or("portable", Kernel::name))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

static FASTEST: OnceLock<Path> = OnceLock::new();

/// A block, an IV or a round key, as the kernels take it: the crate `aes` has a type of its own.
pub(super) type Bytes = [u8; super::BLOCK_LEN];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_path_is_the_first_and_the_crate_is_the_last() {
        let all: Vec<Path> = Path::all().collect();
        assert_eq!((all.first(), all.last()), (Some(&Path::fastest()), Some(&Path::PORTABLE)));
        assert_eq!(all.iter().filter(|&&path| path == Path::PORTABLE).count(), 1);
    }

    #[test]
    fn a_path_is_chosen_before_the_fastest_is_looked_for_or_never() {
        let fastest = Path::fastest();
        assert_eq!(Path::choose(&fastest.to_string()), Some(fastest));
        let others = Path::all().filter(|path| *path != fastest);
        others.for_each(|path| assert_eq!(Path::choose(&path.to_string()), None, "{path}"));
        assert_eq!(Path::choose("no such path"), None);
    }
}
