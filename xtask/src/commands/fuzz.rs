//! `cargo xtask fuzz`: the fuzzer in fuzz/, which calls the plugin's callbacks under AddressSanitizer, on one path of AES that
//! this CPU has after the other.

use std::collections::VecDeque;
use std::ffi::OsString;

use anyhow::{Context, Result, bail, ensure};
use duct::Expression;
use portable_cipher::cipher::Path;

use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;
use crate::{run, terminal};

/// How long to look.
#[derive(clap::Args)]
pub struct Options {
    /// For how many seconds it looks, on each path of AES
    #[arg(default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Installs what is missing, builds the fuzzer, and lets it look. What it has learnt lies in target/fuzz-corpus, for the
/// next run. An error if it finds something, with the last lines that it printed.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::FUZZ])?;
    toolchain::ensure_nightly()?;
    let cargo_fuzz = toolchain::ensure_tool("cargo-fuzz", "0.13.2")?;
    let target = paths::target().join("fuzz");
    let fuzzer = |subcommand: &str, rest: Vec<OsString>| {
        let mut words: Vec<OsString> = vec![cargo_fuzz.clone().into(), subcommand.into()];
        // All that the plugin links is compiled anew for the sanitizer. In several units that takes less time.
        words.extend(["--sanitizer=address", "--codegen-units=16", "--target-dir"].map(OsString::from));
        words.extend([target.clone().into(), "callbacks".into()]);
        toolchain::nightly(words.into_iter().chain(rest), &target)
    };
    run::quietly("cargo fuzz build", &fuzzer("build", Vec::new()))?;

    let corpus = paths::target().join("fuzz-corpus");
    std::fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
    let limit = format!("-max_total_time={}", options.seconds);
    let rest = vec![corpus.into(), "--".into(), limit.into(), "-max_len=2048".into(), "-print_final_stats=1".into()];
    for path in Path::all() {
        let command = fuzzer("run", rest.clone()).env("AWS_KEY_MANAGEMENT_AES_PATH", path.to_string());
        look(path, &command, options.seconds)?;
        tally.passed += 1;
    }
    Ok(())
}

/// Lets it look on a path, on which the plugin insists when it starts.
fn look(path: Path, command: &Expression, seconds: u64) -> Result<()> {
    let (mut last, mut found) = (VecDeque::new(), false);
    let status = run::lines_with_progress(&format!("cargo fuzz run, on {path}"), command, |line| {
        // From a finding on, everything is kept: what was found, the stack, and the list of calls.
        found |= line.contains(" panicked at ") || line.contains("ERROR: AddressSanitizer");
        last.push_back(line.to_owned());
        if last.len() > LINES && !found {
            last.pop_front();
        }
    })?;
    let said = last.make_contiguous().join("\n");
    ensure!(status.success(), "the fuzzer has found something on {path}; it said at last:\n{said}");
    let number = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let Some(runs) = number("stat::number_of_executed_units:") else { bail!("the fuzzer did not run:\n{said}") };
    // So few are no search.
    ensure!(runs > 10 * seconds, "the fuzzer is too slow: {runs} lists of calls in {seconds} s");
    terminal::detail(format_args!("{runs} lists of calls on {path}, and each answer was right"));
    Ok(())
}

/// Kept of what the fuzzer says while it finds nothing; its figures come last.
const LINES: usize = 60;
