//! `cargo xtask suite`: the tests of `mysql-test/` on real servers, run by the distribution's mysql-test-run.

mod base;
pub mod mtr;
mod system;
pub mod tests_on_disk;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use duct::cmd;

use self::base::Base;
pub use self::system::System;
use self::tests_on_disk::Test;
use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;
use crate::{kms_emulator, run, terminal};

/// What to run, and how.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Tests, with or without their suite (all without it)
    pub names: Vec<String>,
    /// Takes what the tests print as their expected result
    #[arg(long)]
    pub record: bool,
    /// Leaves the folder of the run
    #[arg(long)]
    pub keep: bool,
}

/// What the tests are run with.
pub struct Subject {
    /// Where.
    pub system: System,
    /// Builds the plugin.
    pub plugin: Build,
    /// Builds it with the feature `mock`.
    pub mock_plugin: Build,
    /// Builds the offline tool.
    pub tool: Build,
    /// Whether tests may leave themselves out that are not for this version of the server.
    pub may_leave_out: bool,
}

/// Builds something, and says where it is.
pub type Build = Box<dyn Fn() -> Result<PathBuf>>;

/// Installs what is missing, builds the plugin and runs the tests; an error if one did not pass. All are added to `tally`.
pub fn run(request: &Options, tally: &mut Tally) -> Result<()> {
    let subject = Subject {
        system: System::this(),
        plugin: Box::new(toolchain::build_plugin),
        mock_plugin: Box::new(toolchain::build_mock_plugin),
        tool: Box::new(toolchain::build_tool),
        may_leave_out: false,
    };
    run_with(&subject, request, tally)
}

/// The same with the server and the plugin of `subject`.
pub fn run_with(subject: &Subject, request: &Options, tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])?;
    kms_emulator::ensure()?;
    let tests = tests_on_disk::select(&sources(), &request.names)?;
    if !request.record {
        let without = tests_on_disk::without_result(&sources(), &tests)?;
        ensure!(without.is_empty(), "no expected results (--record makes them) for: {}", without.join(" "));
    }
    let mut folder = paths::temporary_folder()?;
    folder.disable_cleanup(request.keep);
    let base = Base::new(folder.path(), &subject.system, &sources())?;
    base.put_tool(&(subject.tool)()?)?;
    let (mock, ordinary): (Vec<&Test>, Vec<&Test>) = tests.iter().partition(|test| test.name.starts_with("mock_"));
    let mut complaints = Vec::new();
    for (tests, build) in [(ordinary, &subject.plugin), (mock, &subject.mock_plugin)] {
        if tests.is_empty() {
            continue;
        }
        base.put_plugin(&build()?)?;
        let results = mtr::run(&subject.system, &base, &tests, request.record)?;
        terminal::detail(results.tally());
        *tally += results.tally();
        let new = results.complaints(&tests, subject.may_leave_out);
        if !new.is_empty() {
            keep_logs(&base.variable_files())?;
        }
        complaints.extend(new);
    }
    if request.record {
        for file in base.changed_results(&sources())? {
            terminal::detail(format_args!("recorded {}", paths::short(&file)));
        }
    }
    if request.keep {
        terminal::detail(format_args!("Kept: {}", folder.path().display()));
    } else {
        folder.close().context("removing the temporary folder")?;
    }
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

/// Copies the logs of a failed run into the target folder, where they stay until the next failure.
pub fn keep_logs(variable_files: &Path) -> Result<()> {
    let logs = paths::emptied(&logs())?;
    let from = variable_files.join("log/.");
    if from.exists() {
        run::output("cp", &cmd!("cp", "-r", from, logs))?;
    }
    Ok(())
}

/// Where they are.
pub fn logs() -> PathBuf {
    paths::target().join("suite-logs")
}

/// The suites.
pub fn sources() -> PathBuf {
    paths::repository().join("mysql-test")
}
