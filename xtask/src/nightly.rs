//! The nightly toolchain, for what the stable one does not have: Miri, and AddressSanitizer. rustup installs it beside
//! the other toolchains, without touching them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{command, console, paths};

/// One of them, so that a check finds tomorrow what it finds today.
const TOOLCHAIN: &str = "nightly-2026-10-29";

/// Installs the toolchain if it is missing.
pub fn ensure() -> Result<()> {
    let Some(rustup) = paths::program("rustup") else {
        bail!(
            "this needs the Rust toolchain {TOOLCHAIN}, and there is no rustup to install it with. Install rustup \
             (https://rustup.rs, on Debian the package rustup) and run the command again"
        );
    };
    if has_components() {
        return Ok(());
    }
    console::step(format_args!("Installing the Rust toolchain {TOOLCHAIN}"));
    let mut install = Command::new(rustup);
    install.args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal", "--no-self-update"]);
    install.args(COMPONENTS.iter().flat_map(|component| ["--component", *component]));
    command::quietly("rustup toolchain install", &mut install).with_context(|| {
        format!(
            "the Rust toolchain {TOOLCHAIN} could not be installed. It is downloaded, so this machine must be able to reach \
             the server that rustup uses (RUSTUP_DIST_SERVER)"
        )
    })
}

/// A program under this toolchain, in the checkout: `cargo` is its cargo.
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN]).arg(name).current_dir(paths::repository());
    // The toolchain that runs us.
    command.env_remove("CARGO").env_remove("RUSTC");
    command
}

fn has_components() -> bool {
    let mut list = Command::new("rustup");
    list.args(["component", "list", "--installed", "--toolchain", TOOLCHAIN]);
    let answer = list.stdin(Stdio::null()).stderr(Stdio::null()).output();
    answer.is_ok_and(|answer| {
        let installed = String::from_utf8_lossy(&answer.stdout).into_owned();
        answer.status.success() && COMPONENTS.iter().all(|name| installed.lines().any(|line| line.starts_with(name)))
    })
}

/// Miri compiles the standard library for itself.
const COMPONENTS: [&str; 2] = ["miri", "rust-src"];
