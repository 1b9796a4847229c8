//! `cargo xtask suite`: the tests of `mysql-test/` on real servers, run by the distribution's mysql-test-run.

mod base;
mod flavour;
mod mtr;
mod tests_on_disk;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::base::Workshop;
use self::flavour::Flavour;
use self::mtr::Results;
use self::tests_on_disk::Test;
use crate::tally::Tally;
use crate::{command, console, emulator, packages, paths};

/// What to run, and how.
#[derive(Default)]
pub struct Request {
    /// Names of tests, with or without their suite; none means all.
    pub names: Vec<String>,
    /// Takes what the tests print as their expected result.
    pub record: bool,
    /// Keeps the folder of the run.
    pub keep: bool,
}

/// Installs what is missing, builds the plugin and runs the tests; an error if one did not pass. All are added to `tally`.
pub fn run(request: &Request, tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])?;
    emulator::ensure()?;
    let tests = tests_on_disk::select(&sources(), &request.names)?;
    if !request.record {
        let without = tests_on_disk::without_result(&sources(), &tests)?;
        ensure!(without.is_empty(), "no expected results (--record makes them) for: {}", without.join(" "));
    }
    let mut folder = paths::temporary_folder()?;
    folder.disable_cleanup(request.keep);
    let workshop = Workshop::new(folder.path())?;
    let mut own = Tally::default();
    let mut complaints = Vec::new();
    for flavour in [Flavour::Default, Flavour::Mock] {
        let tests: Vec<&Test> = tests.iter().filter(|test| flavour.takes(&test.name)).collect();
        if tests.is_empty() {
            continue;
        }
        let results = run_flavour(&workshop, flavour, &tests, request)?;
        own += results.tally();
        complaints.extend(results.complaints(&tests));
    }
    if request.keep {
        console::detail(format_args!("Kept: {}", folder.path().display()));
    } else {
        folder.close().context("removing the temporary folder")?;
    }
    console::detail(own);
    *tally += own;
    if !complaints.is_empty() {
        bail!(
            "{}\nThe servers' logs are in {}. Run one test with `cargo xtask suite NAME`; \
             --keep keeps everything of the run.",
            complaints.join("\n"),
            paths::short(&logs())
        );
    }
    Ok(())
}

fn run_flavour(workshop: &Workshop, flavour: Flavour, tests: &[&Test], request: &Request) -> Result<Results> {
    let plugin = flavour.build()?;
    console::detail(format_args!("{} tests with {}", tests.len(), flavour.description()));
    let base = workshop.base(flavour, &plugin, &sources(), tests)?;
    let results = mtr::run(&base, tests, request.record)?;
    if request.record {
        for file in base.changed_results(&sources())? {
            console::detail(format_args!("recorded {}", paths::short(&file)));
        }
    }
    if !results.complaints(tests).is_empty() {
        keep_logs(&base.variable_files())?;
    }
    Ok(results)
}

/// Copies the logs of a failed run into the target folder, where they stay until the next failure.
fn keep_logs(variable_files: &Path) -> Result<()> {
    let logs = logs();
    if logs.exists() {
        std::fs::remove_dir_all(&logs)?;
    }
    let from = variable_files.join("log");
    if from.exists() {
        command::output("cp", std::process::Command::new("cp").arg("-r").arg(from).arg(&logs))?;
    }
    Ok(())
}

fn logs() -> PathBuf {
    paths::target().join("suite-logs")
}

fn sources() -> PathBuf {
    paths::repository().join("mysql-test")
}
