//! `cargo xtask test`: lints and every test, up to the first failure.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::console::{self, Steps};
use crate::tally::Tally;
use crate::{command, emulator, packages, suite, symbols, toolchain, versions};

/// Installs what is missing and runs all of it. The last line printed is the count of tests; `false` means a failure,
/// which has been reported.
pub fn run() -> bool {
    let mut checks = Checks::default();
    let started = Instant::now();
    let result = checks.all();
    match &result {
        Ok(()) => {
            let time = console::seconds(started.elapsed());
            console::line(console::green(format_args!("\nEverything passed in {time}")));
        }
        Err(error) => {
            // A lint is no test, but a run that failed must not count no failure.
            checks.tally.failed = checks.tally.failed.max(1);
            let step = format!("{}, {}", checks.steps.number(), checks.title);
            console::line(console::red(format_args!("\nerror in step {step}: {error:#}")));
        }
    }
    console::line(checks.tally);
    result.is_ok()
}

#[derive(Default)]
struct Checks {
    steps: Steps,
    title: &'static str,
    tally: Tally,
}

impl Checks {
    fn all(&mut self) -> Result<()> {
        self.step("what the tests need", || {
            packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])?;
            toolchain::ensure_lints()?;
            emulator::ensure()
        })?;
        self.step("format", || {
            command::visibly("cargo fmt --check", toolchain::cargo("fmt").args(["--all", "--check"]))
        })?;
        self.step("lints", lints)?;
        self.step("documentation", documentation)?;
        self.counted("unit and integration tests", cargo_tests)?;
        self.counted("self test of the KMS emulator", emulator_tests)?;
        self.counted("symbols of the plugin", |tally| {
            symbols::check(&toolchain::build_plugin()?)?;
            *tally += Tally::passed(1);
            Ok(())
        })?;
        self.counted("server suite", |tally| suite::run(&suite::Request::default(), tally))?;
        self.counted("other versions of MariaDB", |tally| {
            *tally += versions::run()?;
            Ok(())
        })
    }

    fn step(&mut self, title: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.title = title;
        self.steps.next(title);
        let started = Instant::now();
        work()?;
        console::detail(console::dim(console::seconds(started.elapsed())));
        Ok(())
    }

    fn counted(&mut self, title: &'static str, work: impl FnOnce(&mut Tally) -> Result<()>) -> Result<()> {
        let mut tally = Tally::default();
        let result = self.step(title, || work(&mut tally));
        self.tally += tally;
        result
    }
}

/// With and without the feature, since each leaves out code of the other. In the release profile, whose build scripts
/// (a C library is compiled by one) then serve the builds that follow.
fn lints() -> Result<()> {
    for features in ["", " --features mock"] {
        let mut command = toolchain::cargo("clippy");
        command
            .args(["--release", "--workspace", "--all-targets"])
            .args(features.split_whitespace())
            .args(["--", "--deny", "warnings"]);
        command::visibly(&["cargo clippy", features].concat(), &mut command)?;
    }
    Ok(())
}

fn documentation() -> Result<()> {
    let mut command = toolchain::cargo("doc");
    command.args(["--release", "--workspace", "--no-deps", "--document-private-items"]);
    command::visibly("cargo doc", command.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// In the release profile, which the plugin to be installed is built in too: the AWS client is compiled only once. Our
/// own crate gets the checks of the dev profile for it.
fn cargo_tests(tally: &mut Tally) -> Result<()> {
    let mut command = toolchain::cargo("test");
    command.args(["--release", "--workspace", "--no-fail-fast"]);
    for check in ["overflow-checks", "debug-assertions"] {
        command.arg("--config").arg(format!("profile.release.package.aws_key_management.{check}=true"));
    }
    command.env("KMS_EMULATOR_PYTHON", emulator::python());
    // Tests say for themselves what AWS settings they want.
    std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    let status = command::all_lines("cargo test", &mut command, |line| {
        if let Some(counts) = cargo_counts(line) {
            *tally += counts;
        }
        let passed = line.starts_with("test ") && line.ends_with(" ... ok");
        if !passed && !line.starts_with("running ") {
            console::detail(line);
        }
    })?;
    if !status.success() {
        bail!("cargo test failed");
    }
    Ok(())
}

fn emulator_tests(tally: &mut Tally) -> Result<()> {
    let mut command = Command::new(emulator::python());
    command.arg(emulator::folder().join("test_kms_emulator.py")).arg("--verbose").env_clear();
    let mut said = Vec::new();
    let mut progress = console::Progress::new("test_kms_emulator.py");
    let status = command::all_lines("test_kms_emulator.py", &mut command, |line| {
        progress.tick();
        said.push(line.to_owned());
    })?;
    drop(progress);
    let said = said.join("\n");
    *tally += unittest_counts(&said);
    if !status.success() || tally.passed == 0 {
        bail!("the KMS emulator does not do what it should:\n{said}");
    }
    console::detail(format_args!("{tally}"));
    Ok(())
}

/// Counts from a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out`.
fn cargo_counts(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let number = counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
        number.unwrap_or(0)
    };
    Some(Tally { passed: count(" passed"), failed: count(" failed"), skipped: count(" ignored") })
}

/// Counts from the end of a run of Python's unittest: `Ran 12 tests in 3.4s`, then `OK (skipped=1)` or
/// `FAILED (failures=1, errors=2)`.
fn unittest_counts(said: &str) -> Tally {
    let ran = said.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<usize>().ok());
    let ending = said.lines().last().unwrap_or_default();
    let count = |what: &str| {
        let words = ending.split(['(', ')', ',', ' ']);
        words.filter_map(|word| word.strip_prefix(what)?.strip_prefix('=')?.parse::<usize>().ok()).sum::<usize>()
    };
    let (failed, skipped) = (count("failures") + count("errors"), count("skipped"));
    Tally { passed: ran.unwrap_or(0).saturating_sub(failed + skipped), failed, skipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_cargo_test() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s";
        assert_eq!(cargo_counts(line), Some(Tally { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(cargo_counts("test a::result ... ok"), None);
    }

    #[test]
    fn counts_are_read_from_unittest() {
        let good = "..s\n-----\nRan 12 tests in 3.4s\n\nOK (skipped=1)";
        assert_eq!(unittest_counts(good), Tally { passed: 11, failed: 0, skipped: 1 });
        let bad = "Ran 12 tests in 3.4s\n\nFAILED (failures=1, errors=2)";
        assert_eq!(unittest_counts(bad), Tally { passed: 9, failed: 3, skipped: 0 });
        assert_eq!(unittest_counts("Traceback"), Tally::default());
    }
}
