//! A run of `cargo test`, counted.

use anyhow::{Result, bail, ensure};
use duct::Expression;

use crate::tally::Tally;
use crate::{run, terminal};

/// Runs a command that prints what `cargo test` does. Tests that pass are counted; everything else is shown.
pub fn run(name: &str, command: &Expression, tally: &mut Tally) -> Result<()> {
    terminal::aside(format_args!("$ {name}"));
    let status = run::lines(name, command, |line| {
        if let Some(counts) = counts(line) {
            *tally += counts;
        }
        let passed = line.starts_with("test ") && line.ends_with(" ... ok");
        if !passed && !line.starts_with("running ") {
            terminal::detail(line);
        }
    })?;
    if !status.success() {
        bail!("{name} failed");
    }
    Ok(())
}

/// The same, with an error if no test ran: then the filter of the command fits none any more.
pub fn run_some(name: &str, command: &Expression, tally: &mut Tally) -> Result<()> {
    let before = tally.passed;
    run(name, command, tally)?;
    ensure!(tally.passed > before, "{name} found no tests");
    Ok(())
}

/// Counts from a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out`.
fn counts(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let number = counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
        number.unwrap_or(0)
    };
    Some(Tally { passed: count(" passed"), failed: count(" failed"), skipped: count(" ignored") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_cargo_test() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s";
        assert_eq!(counts(line), Some(Tally { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(counts("test a::result ... ok"), None);
    }
}
