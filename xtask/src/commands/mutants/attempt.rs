//! Each mutant, with the tests that reach it.

use anyhow::Result;

use super::reach::{Ended, Reach, in_parallel, patience, run_together};

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This test failed, or it is the first of those that had not ended when their program did.
    Caught(String),
    /// A test took for ever.
    TookTooLong(String),
    /// So many tests reach it, and none failed.
    Survived(usize),
}

/// Tries these mutants, `workers` at a time, and hands on what comes of each as soon as it is known. Answers in their order.
pub fn try_all(
    reach: &Reach,
    numbers: &[u32],
    workers: usize,
    known: impl Fn(u32, &Outcome) -> Result<()> + Sync,
) -> Result<Vec<Outcome>> {
    let outcomes = in_parallel(numbers, workers, |_, number| {
        let outcome = attempt(reach, *number)?;
        known(*number, &outcome)?;
        Ok(outcome)
    })?;
    outcomes.into_iter().collect()
}

/// The first test that fails is enough. But it has to pass without the mutant at once: what fails because the machine is busy says
/// nothing.
fn attempt(reach: &Reach, number: u32) -> Result<Outcome> {
    let switch = number.to_string();
    let batches = reach.batches(number);
    for batch in &batches {
        for _ in 0..TRIES {
            let ended = run_together(batch, Some(("MUTANT", &switch)), patience(batch))?;
            let (Ended::Failed(names) | Ended::TookTooLong(names)) = &ended else { break };
            let again: Vec<_> = batch.iter().filter(|test| names.contains(&test.name)).copied().collect();
            if run_together(&again, None, patience(&again))? == Ended::Passed {
                let name = names.first().cloned().unwrap_or_default();
                return Ok(match ended {
                    Ended::TookTooLong(_) => Outcome::TookTooLong(name),
                    _ => Outcome::Caught(name),
                });
            }
        }
    }
    Ok(Outcome::Survived(batches.iter().map(Vec::len).sum()))
}

const TRIES: usize = 3;
