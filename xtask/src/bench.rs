//! `cargo xtask bench`: how fast the plugin is, beside the server, and what a rotation costs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::tally::Tally;
use crate::{command, console, installation, packages, paths, toolchain};

/// Installs what is missing, builds the plugin and measures. An error if the plugin does not do what it must or its build
/// is bad; a target that is missed is only reported.
pub fn run(options: &[&str]) -> Result<()> {
    if let Some(unknown) = options.iter().find(|option| !OPTIONS.contains(option)) {
        bail!("bench has no option {unknown}; it takes {}", OPTIONS.join(", "));
    }
    packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])?;
    let plugin = toolchain::build_mock_plugin()?;
    command::visibly(
        "cargo build --release --package bench",
        toolchain::cargo("build").args(["--release", "--package", "bench"]),
    )?;
    let mariadbd = paths::program("mariadbd").context("there is no program mariadbd")?;
    let defaults = installation::default_values(&mariadbd)?;
    let file_key_management = Path::new(defaults.value("plugin-dir")?).join("file_key_management.so");

    let mut command = Command::new(paths::target().join("release/bench"));
    command.arg("--plugin").arg(plugin).arg("--file-key-management").arg(file_key_management);
    for option in options {
        match *option {
            WRITE_DOCS => command.arg("--docs").arg(paths::repository().join("docs")),
            option => command.arg(option),
        };
    }
    // What the plugin would write to a server's error log: of interest only if something is wrong.
    let log = NamedTempFile::new().context("making a temporary file")?;
    let result = command::visibly("bench", command.stderr(log.reopen()?));
    if result.is_err() {
        console::detail(std::fs::read_to_string(log.path())?);
    }
    result
}

/// What can be told in seconds and on a busy machine: the plugin's AES is the server's, the build has its inlining, look-ups
/// are right and wait for nothing, and what a rotation writes is in proportion to the number of keys.
pub fn smoke() -> Result<Tally> {
    run(&["--smoke"])?;
    Ok(Tally::passed(3))
}

const WRITE_DOCS: &str = "--write-docs";
const OPTIONS: [&str; 5] = ["aes", "lookup", "rotation", WRITE_DOCS, "--smoke"];
