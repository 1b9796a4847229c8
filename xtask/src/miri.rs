//! `cargo xtask miri`: tests of the callbacks and of the cipher in Miri, an interpreter that finds undefined behaviour.
//! It has no AES instructions, so the cipher uses its portable code.

use anyhow::Result;

use crate::tally::Tally;
use crate::{cargo_test, nightly, packages, paths};

/// Installs what is missing and runs the tests.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    nightly::ensure()?;
    for tests in [CALLBACKS, CIPHER] {
        let mut command = nightly::program("cargo");
        command.args(["miri", "test"]).args(tests).arg("--target-dir").arg(paths::target().join("miri"));
        // The tests read the clock and the environment. Pointers must not be made of integers.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-strict-provenance");
        cargo_test::run_some(&format!("cargo miri test {}", tests.join(" ")), &mut command, tally)?;
    }
    Ok(())
}

const CALLBACKS: &[&str] = &["--lib", "abi::encryption"];

/// In the small package of its own.
const CIPHER: &[&str] = &["--package=portable_cipher", "--test=portable_cipher", "cipher_crates"];
