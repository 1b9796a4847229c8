//! `cargo xtask setup`: what the other commands need, so that they need no network.

use anyhow::Result;

use crate::kms_emulator;
use crate::machine::{packages, toolchain};

/// Installs what is missing.
pub fn run() -> Result<()> {
    packages::ensure(&[
        packages::BUILD,
        packages::RUN,
        packages::TEST,
        packages::GALERA,
        packages::FUZZ,
        packages::SOURCE_TREE,
    ])?;
    toolchain::ensure_lints()?;
    toolchain::ensure_nightly()?;
    kms_emulator::ensure()
}
