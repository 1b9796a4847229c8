//! `cargo xtask miri`: tests of the boundary to the server and of the cipher in Miri, an interpreter that finds undefined
//! behaviour. It has no AES instructions, so of the cipher it sees the portable code, and no kernel: those are seen
//! by AddressSanitizer, in the fuzzer (`cargo xtask fuzz`), and by the tests with guard pages.

use anyhow::Result;

use super::test::cargo_test;
use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;

/// Installs what is missing and runs the tests.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    toolchain::ensure_nightly()?;
    for tests in [BOUNDARY, CIPHER] {
        let words = ["cargo", "miri", "test"].iter().chain(tests);
        let command = toolchain::nightly(words, &paths::target().join("miri"))
            // The tests read the clock and the environment. Pointers must not be made of integers.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-strict-provenance");
        cargo_test::run_some(&format!("cargo miri test {}", tests.join(" ")), &command, tally)?;
    }
    Ok(())
}

const BOUNDARY: &[&str] = &["--lib", "abi::"];

/// In the small package of its own.
const CIPHER: &[&str] = &["--package=portable_cipher", "--test=portable_cipher", "cipher_crates"];
