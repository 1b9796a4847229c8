//! ARM, 64 bits: the cryptographic extension, with a block in a register.

mod expand;
pub(super) mod neon;
mod one_block;

use std::arch::is_aarch64_feature_detected;

use super::keys::{Rounds, Schedule};
use super::{Bytes, Hash, Hashed, RoundKeys, hidden, steps};
// Its registers have one block.
use neon as narrow;

/// Gives a macro the instructions of the path: those that the CPU is asked for, and that its functions may use.
macro_rules! instructions {
    ($to:ident $with:tt) => { $to!(["neon", "aes"] $with) };
}

/// Whether this CPU has these instructions. Products of polynomials are a part of `aes` to the compiler, and by themselves to
/// the CPU.
macro_rules! has {
    ([$($instruction:tt),+] ()) => {
        $(is_aarch64_feature_detected!($instruction))&&+ && is_aarch64_feature_detected!("pmull")
    };
}

/// The instructions for AES and for products of polynomials, which this CPU has. Only [`detected`](Self::detected) makes
/// one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Kernel(());

impl Kernel {
    /// It, if this CPU has it.
    pub(in super::super) fn detected() -> impl Iterator<Item = Self> {
        instructions!(has()).then_some(Self(())).into_iter()
    }

    /// The one for a block at a time.
    #[inline(always)]
    pub(super) fn narrow(self) -> Self {
        self
    }

    /// The one for so many blocks.
    #[inline(always)]
    pub(super) fn for_blocks(self, _: usize) -> Self {
        self
    }

    pub(in super::super) fn name(self) -> &'static str {
        "ARMv8"
    }
}

/// The function of that name, which uses no instructions but those of the path.
macro_rules! function_of {
    ($kernel:expr, $function:ident $parameters:tt) => {{
        let _: super::cpu::Kernel = $kernel;
        instructions!(uses_no_others($function $parameters))
    }};
}

/// A function, if it uses no instructions but these: else it does not compile.
macro_rules! uses_no_others {
    ([$($instruction:tt),+] ($function:ident ($($name:ident: $type:ty),+))) => {{
        // Is not called. Where the instructions were not enough, the call in it would be an unsafe one.
        #[target_feature($(enable = $instruction),+)]
        fn _uses_no_others($($name: $type),+) {
            super::cpu::neon::$function($($name),+);
        }
        super::cpu::neon::$function as unsafe fn($($type),+)
    }};
}
