//! ARM, 64 bits: the cryptographic extension, with a block in a register.

mod expand;
pub(super) mod neon;
mod one_block;

use std::arch::is_aarch64_feature_detected;

use super::keys::{MOST_ROUNDS, Rounds, Schedule};
use super::{Bytes, Hash, Hashed, RoundKeys, steps};
// Its registers have one block.
use neon as narrow;

/// The instructions for AES and for products of polynomials, which this CPU has. Only [`detected`](Self::detected) makes
/// one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Kernel(());

impl Kernel {
    /// It, if this CPU has it.
    pub(in super::super) fn detected() -> impl Iterator<Item = Self> {
        let has = is_aarch64_feature_detected!("neon")
            && is_aarch64_feature_detected!("aes")
            && is_aarch64_feature_detected!("pmull");
        has.then_some(Self(())).into_iter()
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

/// The function of that name.
macro_rules! function_of {
    ($kernel:expr, $function:ident) => {{
        let _: super::cpu::Kernel = $kernel;
        super::cpu::neon::$function
    }};
}
