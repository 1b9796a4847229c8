//! `cargo xtask arm64`: the plugin and its cipher for arm64, which is Graviton, tried on a machine with another CPU. The
//! server is Debian's for arm64, in an emulator.

mod cross;
mod server;

use anyhow::{Context, Result, ensure};

use self::server::Both;
use super::versions::server::Programs;
use super::versions::smoke;
use crate::kms_emulator;
use crate::machine::{packages, toolchain};
use crate::tally::Tally;
use crate::terminal::Steps;

/// Installs what is missing, builds for arm64, and tries what was built; an error at the first failure.
pub fn run(tally: &mut Tally) -> Result<()> {
    ensure!(std::env::consts::ARCH != "aarch64", "this machine is arm64: here all other commands try it");
    packages::ensure(&[packages::BUILD, packages::RUN, packages::ARM64])?;
    kms_emulator::ensure()?;
    toolchain::ensure_target(cross::TARGET)?;
    let mut steps = Steps::default();
    steps.next("the server, unpacked");
    let programs = Programs::for_arm64()?;
    steps.next("the plugin");
    let plugin = cross::plugin(tally)?;
    steps.next("a server");
    smoke::try_programs(&programs, &plugin, "arm64").context("with the MariaDB for arm64")?;
    tally.passed += 1;
    steps.next("data on arm64, and on this CPU");
    Both { plugin, native_plugin: toolchain::build_plugin()?, programs: &programs }.run()?;
    tally.passed += 1;
    steps.next("the cipher");
    cross::cipher(programs.tree()?, tally)?;
    Ok(())
}
