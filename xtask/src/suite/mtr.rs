//! A run of mysql-test-run, and what it says.

use std::process::Command;

use anyhow::Result;

use super::base::{Base, USER};
use super::tests_on_disk::Test;
use crate::tally::Tally;
use crate::{command, console, process};

/// Runs all tests that are in `base`.
pub fn run(base: &Base, tests: &[&Test], record: bool) -> Result<Results> {
    let mut suites: Vec<&str> = tests.iter().map(|test| test.suite.as_str()).collect();
    suites.dedup();
    let mut command = as_server_user("./mysql-test-run.pl");
    command
        .arg(format!("--vardir={}", base.variable_files().display()))
        .arg(format!("--suite={}", suites.join(",")))
        .args(["--parallel=2", "--force", "--retry=0", "--max-test-fail=0"])
        .current_dir(base.start_folder())
        // Nothing of the machine's AWS settings.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", base.variable_files())
        .envs(base.environment());
    if record {
        // It records only what is named.
        command.arg("--record").args(tests.iter().map(|test| test.full_name()));
    }
    let mut results = Results::default();
    let mut introduction = Vec::new();
    let status = command::lines("mysql-test-run", &mut command, |line| {
        results.read(line);
        if results.lines.is_empty() {
            introduction.push(line.to_owned());
        } else {
            console::detail(line);
        }
    })?;
    if results.lines.is_empty() {
        console::detail(introduction.join("\n"));
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
        Tally { passed: count(Ending::Passed), failed: count(Ending::Failed), skipped: count(Ending::Skipped) }
    }

    /// Why the run of `tests` is no success, if it is none.
    pub fn complaints(&self, tests: &[&Test]) -> Vec<String> {
        let mut complaints = Vec::new();
        for (test, ending) in &self.lines {
            match ending {
                Ending::Failed => complaints.push(format!("{test} failed")),
                Ending::Skipped if !MAY_BE_SKIPPED.contains(&test.as_str()) => {
                    complaints.push(format!("{test} was skipped, and is not among those that may be"));
                }
                Ending::Passed | Ending::Skipped => {}
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
        let ending = match after.split_once(" ]").map(|(word, _)| word) {
            Some("pass") => Ending::Passed,
            Some("skipped" | "disabled") => Ending::Skipped,
            // A test that passes only at a second try has failed; we ask for no second try.
            Some("fail" | "exp-fail" | "retry-pass" | "retry-fail") => Ending::Failed,
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
}

fn is_worker(word: &str) -> bool {
    word.strip_prefix('w').is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
}

/// `program` as ourselves, or as the server's user if we are root.
fn as_server_user(program: &str) -> Command {
    let mut command = process::background("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
        command.env("USER", USER);
    }
    // Told once more: a change of the user takes back the first one.
    command.args(["--pdeathsig", "INT", "--", program]);
    command
}

/// Tests that may be skipped, each with its combination as mysql-test-run shows it.
const MAY_BE_SKIPPED: [&str; 0] = [];

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
        assert_eq!(results.complaints(&[&test("one"), &test("two")]), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_did_not_run_or_was_skipped_is_a_complaint() {
        let results = results(&["aws.one w1 [ skipped ] no plugin"]);
        let complaints = results.complaints(&[&test("one"), &test("two")]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[1].starts_with("aws.two did not run"));
    }

    #[test]
    fn a_failure_of_the_run_itself_is_a_complaint() {
        let mut results = results(&["aws.one w1 [ pass ] 1"]);
        results.succeeded = false;
        assert_eq!(results.complaints(&[&test("one")]).len(), 1);
    }
}
