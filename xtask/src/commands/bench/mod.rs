//! `cargo xtask bench`: how fast the plugin is, beside the server, what a rotation costs, and what encryption costs a whole server.

mod server;

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result};
use duct::cmd;
use tempfile::NamedTempFile;

use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;
use crate::{rig, run, terminal};

/// What to measure, and what to do with it.
#[derive(clap::Args, Default)]
pub struct Options {
    /// What is measured: all but `server` without it
    #[arg(value_parser = ["aes", "lookup", "rotation", SERVER])]
    parts: Vec<String>,
    /// How often each server has its turn (part `server`)
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The path of AES that is measured, such as AES-NI, and not the fastest (part `aes`)
    #[arg(long, value_name = "NAME")]
    aes_path: Option<String>,
    /// Renews docs/*-benchmark.*
    #[arg(long, conflicts_with_all = ["smoke", "aes_path"])]
    write_docs: bool,
    /// Takes seconds, and checks only what does not depend on the machine
    #[arg(long)]
    smoke: bool,
}

/// Installs what is missing, builds the plugin and measures. An error if the plugin does not do what it must or its build
/// is bad; a target that is missed is only reported.
pub fn run(options: &Options) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])?;
    let (whole_server, parts): (Vec<&String>, Vec<&String>) = options.parts.iter().partition(|part| *part == SERVER);
    if !whole_server.is_empty() {
        server::run(&rig::prepare()?, options.rounds as usize, options.write_docs)?;
        if parts.is_empty() {
            return Ok(());
        }
    }
    let plugin = toolchain::build_mock_plugin()?;
    let build = toolchain::cargo(["build", "--release", "--package", "bench"]);
    run::visibly("cargo build --release --package bench", &build)?;
    let file_key_management = Path::new(&rig::default_value("plugin-dir")?).join("file_key_management.so");

    let mut words: Vec<OsString> =
        vec!["--plugin".into(), plugin.into(), "--file-key-management".into(), file_key_management.into()];
    words.extend(parts.into_iter().map(OsString::from));
    if options.smoke {
        words.push("--smoke".into());
    }
    if options.write_docs {
        words.extend(["--docs".into(), paths::repository().join("docs").into()]);
    }
    // What the plugin would write to a server's error log: of interest only if something is wrong.
    let log = NamedTempFile::new().context("making a temporary file")?;
    let mut bench = cmd(paths::target().join("release/bench"), words).stderr_file(log.reopen()?);
    if let Some(path) = &options.aes_path {
        bench = bench.env("AWS_KEY_MANAGEMENT_AES_PATH", path);
    }
    let result = run::visibly("bench", &bench);
    if result.is_err() {
        terminal::detail(std::fs::read_to_string(log.path())?);
    }
    result
}

/// What can be told in seconds and on a busy machine: the plugin's AES is the server's, the build has its inlining, look-ups
/// are right and wait for nothing, and what a rotation writes is in proportion to the number of keys.
pub fn smoke(tally: &mut Tally) -> Result<()> {
    run(&Options { smoke: true, ..Options::default() })?;
    tally.passed += 3;
    Ok(())
}

const SERVER: &str = "server";
