//! `cargo xtask fuzz`: the fuzzer in fuzz/, which calls the plugin's callbacks under AddressSanitizer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::tally::Tally;
use crate::{command, console, nightly, packages, paths};

/// A run that is to be trusted.
pub const LONG: Duration = Duration::from_secs(600);

/// Enough among many other tests: faults that were made on purpose were found within seconds.
pub const SHORT: Duration = Duration::from_secs(20);

/// Installs what is missing, builds the fuzzer, and lets it look for that long. What it has learnt lies in
/// target/fuzz-corpus, for the next run. An error if it finds something, with the last lines that it printed.
pub fn run(time: Duration) -> Result<Tally> {
    packages::ensure(&[packages::BUILD, packages::FUZZ])?;
    nightly::ensure()?;
    let cargo_fuzz = ensure_cargo_fuzz()?;
    let fuzzer = |subcommand: &str| {
        let mut command = nightly::program(&cargo_fuzz);
        // All that the plugin links is compiled anew for the sanitizer. In several units that takes less time.
        command.args([subcommand, "--sanitizer", "address", "--codegen-units", "16"]);
        command.arg("--target-dir").arg(paths::target().join("fuzz"));
        command.arg(TARGET);
        command
    };
    command::quietly("cargo fuzz build", &mut fuzzer("build"))?;

    let corpus = paths::target().join("fuzz-corpus");
    std::fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
    let mut command = fuzzer("run");
    command.arg(&corpus).arg("--");
    command.arg(format!("-max_total_time={}", time.as_secs())).args(["-max_len=2048", "-print_final_stats=1"]);
    let (mut last, mut found) = (VecDeque::new(), false);
    let mut progress = console::Progress::new("fuzzer");
    let status = command::all_lines("cargo fuzz run", &mut command, |line| {
        progress.tick();
        // From a finding on, everything is kept: what was found, the stack, and the list of calls.
        found |= line.contains(" panicked at ") || line.contains("ERROR: AddressSanitizer");
        last.push_back(line.to_owned());
        if last.len() > LINES && !found {
            last.pop_front();
        }
    })?;
    drop(progress);
    let said = last.make_contiguous().join("\n");
    ensure!(status.success(), "the fuzzer has found something; it said at last:\n{said}");
    let number = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let Some(runs) = number("stat::number_of_executed_units:") else { bail!("the fuzzer did not run:\n{said}") };
    // So few are no search.
    ensure!(runs > 10 * time.as_secs(), "the fuzzer is too slow: {runs} lists of calls in {}", console::seconds(time));
    console::detail(format_args!("{runs} lists of calls, and each answer was right"));
    Ok(Tally::passed(1))
}

/// In the target folder, not among the user's programs.
fn ensure_cargo_fuzz() -> Result<PathBuf> {
    let folder = paths::target().join("tools");
    let program = folder.join("bin/cargo-fuzz");
    let answer = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    let is_there = answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(CARGO_FUZZ_VERSION));
    if !is_there {
        let mut install = nightly::program("cargo");
        install.arg("install").arg("--root").arg(&folder).args(["--locked", "--force"]);
        install.arg(format!("cargo-fuzz@{CARGO_FUZZ_VERSION}"));
        command::quietly("cargo install cargo-fuzz", &mut install)?;
    }
    Ok(program)
}

const TARGET: &str = "callbacks";
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Kept of what the fuzzer says while it finds nothing; its figures come last.
const LINES: usize = 60;
