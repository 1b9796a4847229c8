//! A run of mysql-test-run, and what it says.

use std::ffi::OsString;

use anyhow::Result;
use duct::Expression;

use super::base::{Base, USER};
use super::system::System;
use super::tests_on_disk::Test;
use crate::process::background;
use crate::tally::Tally;
use crate::{kms_emulator, run, terminal};

/// Runs `tests`, which are in `base`, in `system`.
pub fn run(system: &System, base: &Base, tests: &[&Test], record: bool) -> Result<Results> {
    let is_root = rustix::process::geteuid().is_root();
    let mut words = system.words(base.folder());
    words.push("setpriv".into());
    if is_root {
        // As the server's user.
        words.extend(["--reuid", USER, "--regid", USER, "--init-groups"].map(OsString::from));
    }
    // Told once more: a change of the user takes back the first one.
    words.extend(["--pdeathsig", "INT", "--", "env", "--chdir"].map(OsString::from));
    words.extend([base.start_folder().into(), "./mysql-test-run.pl".into()]);
    words.push(format!("--vardir={}", base.variable_files().display()).into());
    words.extend(["--parallel=2", "--force", "--retry=0", "--max-test-fail=0"].map(OsString::from));
    words.extend(record.then(|| "--record".into()));
    words.extend(tests.iter().map(|test| test.full_name().into()));
    // Nothing of the machine's AWS settings.
    let mut environment = kms_emulator::own_environment(&base.variable_files());
    environment.extend(base.environment().map(|(name, value)| (name.into(), value.into())));
    environment.extend(is_root.then(|| ("USER".into(), USER.into())));
    environment.extend(system.path().map(|path| ("PATH".into(), path.into())));
    follow(&background(words).full_env(environment))
}

/// Runs `command`, a mysql-test-run, and shows what it says of tests.
pub fn follow(command: &Expression) -> Result<Results> {
    let mut results = Results::default();
    let mut introduction = Vec::new();
    let status = run::lines("mysql-test-run", command, |line| {
        results.read(line);
        if results.lines.is_empty() {
            introduction.push(line.to_owned());
        } else {
            terminal::detail(line);
        }
    })?;
    if results.lines.is_empty() {
        terminal::detail(introduction.join("\n"));
    }
    results.succeeded = status.success();
    Ok(results)
}

/// What mysql-test-run reported of tests.
#[derive(Default)]
pub struct Results {
    /// A test with its combination, and how it ended.
    lines: Vec<(String, Ending)>,
    /// Whether it ended with success.
    succeeded: bool,
}

impl Results {
    /// The counts.
    pub fn tally(&self) -> Tally {
        let count = |ending: Ending| self.lines.iter().filter(|(_, its)| *its == ending).count();
        Tally {
            passed: count(Ending::Passed),
            failed: count(Ending::Failed),
            skipped: count(Ending::Skipped) + count(Ending::LeftOut),
        }
    }

    /// Why the run of `tests` is no success, if it is none. With `may_leave_out`, a test may have left itself out because of
    /// the server's version.
    pub fn complaints(&self, tests: &[&Test], may_leave_out: bool) -> Vec<String> {
        let mut complaints = Vec::new();
        for (test, ending) in &self.lines {
            match ending {
                Ending::Failed => complaints.push(format!("{test} failed")),
                Ending::Skipped => complaints.push(format!("{test} was skipped")),
                Ending::LeftOut if !may_leave_out => {
                    complaints.push(format!("{test} was skipped, which is for other versions of the server"));
                }
                Ending::Passed | Ending::LeftOut => {}
            }
        }
        for name in tests.iter().map(|test| test.full_name()) {
            if !self.lines.iter().any(|(line, _)| line.split_whitespace().next() == Some(&name)) {
                complaints.push(format!("{name} did not run"));
            }
        }
        if complaints.is_empty() && !self.succeeded {
            complaints.push("mysql-test-run reported a failure that belongs to no test; see above".to_owned());
        }
        complaints
    }

    /// Takes in a line such as `suite.test 'combination' w1 [ pass ]   123`.
    fn read(&mut self, line: &str) {
        let Some((before, after)) = line.split_once("[ ") else { return };
        let Some((word, comment)) = after.split_once(" ]") else { return };
        let ending = match word {
            "pass" => Ending::Passed,
            "skipped" if comment.trim_start().starts_with(NOT_IN_THIS_VERSION) => Ending::LeftOut,
            "skipped" | "disabled" => Ending::Skipped,
            // A test that passes only at a second try has failed; we ask for no second try.
            "fail" | "exp-fail" | "retry-pass" | "retry-fail" => Ending::Failed,
            _ => return,
        };
        let words = before.split_whitespace().filter(|word| !is_worker(word));
        self.lines.push((words.collect::<Vec<_>>().join(" "), ending));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Passed,
    Failed,
    Skipped,
    /// Skipped by the test itself, because of the server's version.
    LeftOut,
}

fn is_worker(word: &str) -> bool {
    word.strip_prefix('w').is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
}

/// How the reason begins that a test gives; see `include/since.inc`.
const NOT_IN_THIS_VERSION: &str = "Not in this version of MariaDB:";

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lines: &[&str]) -> Results {
        let mut results = Results { succeeded: true, ..Results::default() };
        lines.iter().for_each(|line| results.read(line));
        results
    }

    fn test(name: &str) -> Test {
        Test { suite: "aws".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn endings_are_counted_and_other_lines_left_alone() {
        let results = results(&[
            "TEST                                  WORKER RESULT   TIME (ms) or COMMENT",
            "aws.one 'innodb'                         w1 [ pass ]   1234",
            "aws.two                                  w2 [ fail ]  Found warnings/errors in server log file!",
            "        Test ended at 2024-01-01 00:00:00",
            "aws.three                                w2 [ skipped ]  Not for you",
            "worker[1] mysql-test-run: WARNING: running",
        ]);
        assert_eq!(results.tally(), Tally { passed: 1, failed: 1, skipped: 1 });
        assert_eq!(results.lines[0].0, "aws.one 'innodb'");
    }

    #[test]
    fn a_run_in_which_every_test_passed_has_no_complaint() {
        let results = results(&["aws.one [ pass ] 1", "aws.two 'a' w1 [ pass ] 1", "aws.two 'b' w2 [ pass ] 1"]);
        assert_eq!(results.complaints(&[&test("one"), &test("two")], false), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_did_not_run_or_was_skipped_is_a_complaint() {
        let results = results(&["aws.one w1 [ skipped ] no plugin"]);
        let complaints = results.complaints(&[&test("one"), &test("two")], false);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[1].starts_with("aws.two did not run"));
    }

    #[test]
    fn a_test_may_leave_itself_out_only_with_a_reason_and_where_versions_are_tried() {
        let reason = results(&["aws.one w1 [ skipped ]  Not in this version of MariaDB: since 10.6, JSON_TABLE"]);
        assert_eq!(reason.complaints(&[&test("one")], true), Vec::<String>::new());
        assert_eq!(reason.complaints(&[&test("one")], false).len(), 1);
        let other = results(&[
            "aws.one w1 [ skipped ]  Needs something",
            "aws.two [ disabled ]  Not in this version of MariaDB:",
        ]);
        assert_eq!(other.complaints(&[&test("one"), &test("two")], true).len(), 2);
    }

    #[test]
    fn a_failure_of_the_run_itself_is_a_complaint() {
        let mut results = results(&["aws.one w1 [ pass ] 1"]);
        results.succeeded = false;
        assert_eq!(results.complaints(&[&test("one")], false).len(), 1);
    }
}
