//! Has the build lost its inlining? With more than one codegen unit, the code for a block of AES may be no part of the
//! functions with target features any more: it is called for each block, and the plugin is slow, but correct.

use std::fmt;

use anyhow::Result;

use super::case::{Case, Mode, PAGE};
use super::compare::Sides;
use crate::machine::Cpu;
use crate::pairs::Plan;

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inlining {
    /// The ratio to the server is what a good build has.
    Kept(f64),
    /// It is not.
    Lost(f64),
    /// The CPU, or the path, is not one for which the ratio of a good build is known.
    Unknown,
}

/// Measures the case that suffers most: CBC decryption of a page.
pub fn check(sides: &Sides<'_>, cpu: &Cpu, plan: Plan) -> Result<Inlining> {
    let case = Case { mode: Mode::CbcDecrypt, key_bits: 128, shape: PAGE, threads: 1 };
    Ok(judge(cpu.has_vaes_512, super::measure(sides, case, NO_LIMIT, plan)?.ratio))
}

fn judge(has_vaes_512: bool, ratio: f64) -> Inlining {
    match (has_vaes_512, ratio >= LEAST) {
        (false, _) => Inlining::Unknown,
        (true, true) => Inlining::Kept(ratio),
        (true, false) => Inlining::Lost(ratio),
    }
}

impl fmt::Display for Inlining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(ratio) => write!(
                f,
                "inlining: kept. CBC decryption of a page is {ratio:.2} times as fast as the server's; without inlining it \
                 would be below {LEAST}"
            ),
            Self::Lost(ratio) => write!(
                f,
                "this build has lost its inlining: CBC decryption of a page is only {ratio:.2} times as fast as the server's, \
                 and must be {LEAST}. Was it made with `codegen-units = 1`, which Cargo.toml sets for the profile release?"
            ),
            Self::Unknown => f.write_str(
                "inlining: not checked. How much faster than the server a good build is, is known only for VAES with 512 bits",
            ),
        }
    }
}

/// No path of this name has a limit: it is not asked for.
const NO_LIMIT: &str = "";

/// Between good builds and bad ones: 4.4 to 5.0, and 1.74 with 16 units, on an EPYC (Zen 5). A good build has at least 2.9
/// wherever the targets are met.
const LEAST: f64 = 2.25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_on_a_cpu_with_wide_vaes_is_a_build_called_bad() {
        assert_eq!(judge(true, 2.9), Inlining::Kept(2.9));
        assert_eq!(judge(true, 1.75), Inlining::Lost(1.75));
        assert_eq!(judge(false, 1.75), Inlining::Unknown);
        assert_eq!(judge(false, 2.9), Inlining::Unknown);
    }
}
