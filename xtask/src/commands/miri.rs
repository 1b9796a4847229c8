//! `cargo xtask miri`: the tests of the callbacks in Miri, an interpreter that finds undefined behaviour. It has no AES
//! instructions, so the cipher uses its portable code.

use anyhow::Result;

use super::test::cargo_test;
use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;

/// Installs what is missing and runs the tests.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    toolchain::ensure_nightly()?;
    let command = toolchain::nightly(["cargo", "miri", "test", "--lib", TESTS], &paths::target().join("miri"))
        // The tests read the clock and the environment. Pointers must not be made of integers.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-strict-provenance");
    cargo_test::run_some(&format!("cargo miri test --lib {TESTS}"), &command, tally)
}

const TESTS: &str = "abi::encryption";
