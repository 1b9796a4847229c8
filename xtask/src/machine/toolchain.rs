//! Cargo, the nightly toolchain, and the tools that are installed with them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use duct::{Expression, cmd};

use super::paths;
use crate::{run, terminal};

/// A cargo command in the checkout, with our target folder.
pub fn cargo(words: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
    cargo_in(&paths::target(), words)
}

/// The same with another target folder.
pub fn cargo_in(target: &Path, words: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
    in_checkout(cmd(program(), words), target)
}

/// Builds the plugin and says where it is.
pub fn build_plugin() -> Result<PathBuf> {
    let words = ["build", "--release", "--package", "aws_key_management"];
    run::visibly("cargo build --release", &cargo(words))?;
    Ok(paths::target().join("release/libaws_key_management.so"))
}

/// Builds the offline tool and says where it is.
pub fn build_tool() -> Result<PathBuf> {
    let words = ["build", "--release", "--package", "aws-key-management-tool"];
    run::visibly("cargo build --release --package aws-key-management-tool", &cargo(words))?;
    Ok(paths::target().join("release/aws-key-management"))
}

/// Builds the plugin with the feature `mock`. It has a target folder of its own, so that the plugin to be installed
/// stays as it is.
pub fn build_mock_plugin() -> Result<PathBuf> {
    let target = paths::target().join("mock");
    share_dependencies(&target)?;
    let words = ["build", "--release", "--package", "aws_key_management", "--features", "mock"];
    run::visibly("cargo build --release --features mock", &cargo_in(&target, words))?;
    Ok(target.join("release/libaws_key_management.so"))
}

/// Begins a new target folder with a copy of what is compiled already: the AWS client is the same, and takes minutes.
/// Cargo compiles for itself whatever it does not find or like there.
pub fn share_dependencies(target: &Path) -> Result<()> {
    let (compiled, copy) = (paths::target().join("release"), target.join("release"));
    if copy.exists() || !compiled.exists() {
        return Ok(());
    }
    // Renamed at last, so that an interrupted copy is never taken for a whole one.
    let unfinished = paths::emptied(&target.join("release.unfinished"))?;
    let [deps, build, fingerprints] = ["deps", "build", ".fingerprint"].map(|part| compiled.join(part));
    // Times are kept: cargo compares them.
    run::quietly("copying compiled crates", &cmd!("cp", "-a", deps, build, fingerprints, &unfinished))?;
    Ok(std::fs::rename(&unfinished, &copy)?)
}

/// Installs clippy and rustfmt if they are missing.
pub fn ensure_lints() -> Result<()> {
    let is_there = |name: &&str| cmd!(program(), *name, "--version").stderr_null().read().is_ok();
    let missing: Vec<&str> = ["clippy", "fmt"].into_iter().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if paths::program("rustup").is_none() {
        bail!("`cargo {}` is missing, and there is no rustup to install it with", missing.join("` and `cargo "));
    }
    terminal::step("Installing clippy and rustfmt");
    run::quietly("rustup component add", &cmd!("rustup", "component", "add", "clippy", "rustfmt"))
}

/// Installs the nightly toolchain if it is missing, beside the other toolchains. It has what the stable one does not:
/// Miri, and AddressSanitizer.
pub fn ensure_nightly() -> Result<()> {
    if paths::program("rustup").is_none() {
        bail!(
            "this needs the Rust toolchain {NIGHTLY}, and there is no rustup to install it with. Install rustup \
             (https://rustup.rs, on Debian the package rustup) and run the command again"
        );
    }
    let list = cmd!("rustup", "component", "list", "--installed", "--toolchain", NIGHTLY);
    let installed = list.stderr_null().read().unwrap_or_default();
    if NIGHTLY_COMPONENTS.iter().all(|name| installed.lines().any(|line| line.starts_with(name))) {
        return Ok(());
    }
    terminal::step(format_args!("Installing the Rust toolchain {NIGHTLY}"));
    let words = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "--no-self-update"].into_iter();
    let components = NIGHTLY_COMPONENTS.iter().flat_map(|name| ["--component", name]);
    run::quietly("rustup toolchain install", &cmd("rustup", words.chain(components))).with_context(|| {
        format!(
            "the Rust toolchain {NIGHTLY} could not be installed. It is downloaded, so this machine must be able to reach \
             the server that rustup uses (RUSTUP_DIST_SERVER)"
        )
    })
}

/// `words` under the nightly toolchain, in the checkout: `cargo` is its cargo, which works in `target`.
pub fn nightly(words: impl IntoIterator<Item = impl Into<OsString>>, target: &Path) -> Expression {
    let run = ["run", NIGHTLY].map(OsString::from).into_iter().chain(words.into_iter().map(Into::into));
    // The toolchain that runs us.
    in_checkout(cmd("rustup", run), target).env_remove("CARGO").env_remove("RUSTC")
}

/// Installs `name` in this `version` if it is missing, in the target folder and not among the user's programs, and says
/// where it is.
pub fn ensure_tool(name: &str, version: &str) -> Result<PathBuf> {
    let folder = paths::target().join("tools");
    let installed = cmd!(program(), "install", "--list", "--root", &folder).stderr_null().unchecked().read()?;
    if !installed.lines().any(|line| line == format!("{name} v{version}:")) {
        terminal::step(format_args!("Installing {name} {version} into {}", paths::short(&folder)));
        let install = cmd!(program(), "install", "--locked", "--force", "--root", &folder, format!("{name}@{version}"));
        run::quietly(&format!("cargo install {name}"), &install)?;
    }
    Ok(folder.join("bin").join(name))
}

fn in_checkout(command: Expression, target: &Path) -> Expression {
    command.dir(paths::repository()).env("CARGO_TARGET_DIR", target)
}

/// The cargo that runs us, else the one in PATH.
fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// One of them, so that a check finds tomorrow what it finds today.
const NIGHTLY: &str = "nightly-2026-10-29";

/// Miri compiles the standard library for itself.
const NIGHTLY_COMPONENTS: [&str; 2] = ["miri", "rust-src"];
