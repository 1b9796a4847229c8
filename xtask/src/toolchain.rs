//! Cargo, and the parts of the Rust toolchain that the tests need.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{command, console, paths};

/// A cargo command in the checkout with our target folder.
pub fn cargo(subcommand: &str) -> Command {
    cargo_in(subcommand, &paths::target())
}

/// The same with another target folder.
pub fn cargo_in(subcommand: &str, target: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg(subcommand).current_dir(paths::repository());
    if subcommand != "fmt" {
        command.arg("--target-dir").arg(target);
    }
    command
}

/// Builds the plugin and says where it is.
pub fn build_plugin() -> Result<PathBuf> {
    command::visibly("cargo build --release", cargo("build").args(["--release", "--package", "aws_key_management"]))?;
    Ok(paths::target().join("release/libaws_key_management.so"))
}

/// Builds the plugin with the feature `mock`. It has a target folder of its own, so that the plugin to be installed
/// stays as it is.
pub fn build_mock_plugin() -> Result<PathBuf> {
    let target = paths::target().join("mock");
    share_dependencies(&target)?;
    let mut command = Command::new(program());
    command.args(["build", "--release", "--package", "aws_key_management", "--features", "mock", "--target-dir"]);
    command::visibly("cargo build --release --features mock", command.arg(&target).current_dir(paths::repository()))?;
    Ok(target.join("release/libaws_key_management.so"))
}

/// Begins a new target folder with a copy of what is compiled already: the AWS client is the same, and takes minutes.
/// Cargo compiles for itself whatever it does not find or like there.
fn share_dependencies(target: &Path) -> Result<()> {
    let (compiled, copy) = (paths::target().join("release"), target.join("release"));
    if copy.exists() || !compiled.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(target)?;
    // Renamed at last, so that an interrupted copy is never taken for a whole one.
    let unfinished = target.join("release.unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir(&unfinished)?;
    let parts = ["deps", "build", ".fingerprint"].map(|part| compiled.join(part));
    // Times are kept: cargo compares them.
    command::quietly("copying compiled crates", Command::new("cp").arg("-a").args(parts).arg(&unfinished))?;
    Ok(std::fs::rename(&unfinished, &copy)?)
}

/// Installs clippy and rustfmt if they are missing.
pub fn ensure_lints() -> Result<()> {
    let missing: Vec<&str> = ["clippy", "fmt"].into_iter().filter(|name| !has_subcommand(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if paths::program("rustup").is_none() {
        bail!("`cargo {}` is missing, and there is no rustup to install it with", missing.join("` and `cargo "));
    }
    console::step("Installing clippy and rustfmt");
    command::quietly("rustup component add", Command::new("rustup").args(["component", "add", "clippy", "rustfmt"]))
}

fn has_subcommand(name: &str) -> bool {
    let mut command = Command::new(program());
    command.args([name, "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The cargo that runs us, else the one in PATH.
fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
