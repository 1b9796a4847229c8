//! `cargo xtask miri`: the tests of the callbacks in Miri, an interpreter that finds undefined behaviour. It has no AES
//! instructions, so the cipher uses its portable code.

use anyhow::Result;

use crate::tally::Tally;
use crate::{cargo_test, nightly, packages, paths};

/// Installs what is missing and runs the tests.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    nightly::ensure()?;
    let mut command = nightly::program("cargo");
    command.args(["miri", "test", "--lib"]).arg("--target-dir").arg(paths::target().join("miri")).arg(TESTS);
    // The tests read the clock and the environment. Pointers must not be made of integers.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-strict-provenance");
    cargo_test::run_some(&format!("cargo miri test --lib {TESTS}"), &mut command, tally)
}

const TESTS: &str = "abi::encryption";
