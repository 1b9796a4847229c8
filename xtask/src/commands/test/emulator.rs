//! The tests of the KMS emulator itself.

use anyhow::{Result, bail};
use duct::cmd;

use crate::kms_emulator;
use crate::tally::Tally;
use crate::{run, terminal};

/// Runs and counts them.
pub fn tests(tally: &mut Tally) -> Result<()> {
    let script = kms_emulator::scripts().join("test_kms_emulator.py");
    let command = cmd!(kms_emulator::python(), script, "--verbose").full_env(std::iter::empty::<(&str, &str)>());
    let mut said = String::new();
    let status = run::lines_with_progress("test_kms_emulator.py", &command, |line| said.extend([line, "\n"]))?;
    let counts = unittest_counts(&said);
    *tally += counts;
    if !status.success() || counts.passed == 0 {
        bail!("the KMS emulator does not do what it should:\n{said}");
    }
    terminal::detail(counts);
    Ok(())
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
    fn counts_are_read_from_unittest() {
        let good = "..s\n-----\nRan 12 tests in 3.4s\n\nOK (skipped=1)";
        assert_eq!(unittest_counts(good), Tally { passed: 11, failed: 0, skipped: 1 });
        let bad = "Ran 12 tests in 3.4s\n\nFAILED (failures=1, errors=2)";
        assert_eq!(unittest_counts(bad), Tally { passed: 9, failed: 3, skipped: 0 });
        assert_eq!(unittest_counts("Traceback"), Tally::default());
    }
}
