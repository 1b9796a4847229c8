//! Each mutant, with the tests that reach it.

use anyhow::Result;

use super::reach::{Ended, Reach, in_parallel, patience, run_together};

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A test failed, this one or one that was run together with it.
    Caught(String),
    /// A test took for ever.
    TookTooLong(String),
    /// So many tests reach it, and none failed.
    Survived(usize),
}

/// Tries these mutants, `workers` at a time. Answers in their order.
pub fn try_all(reach: &Reach, numbers: &[u32], workers: usize) -> Result<Vec<Outcome>> {
    in_parallel(numbers, workers, |_, number| attempt(reach, *number))?.into_iter().collect()
}

/// The first that fails is enough. But it has to pass without the mutant at once: what fails because the machine is busy says
/// nothing.
fn attempt(reach: &Reach, number: u32) -> Result<Outcome> {
    let switch = number.to_string();
    let batches = reach.batches(number);
    for batch in &batches {
        let (patience, name) = (patience(batch), batch.first().map(|test| test.name.clone()).unwrap_or_default());
        for _ in 0..TRIES {
            let ended = run_together(batch, Some(("MUTANT", &switch)), patience)?;
            if ended == Ended::Passed {
                break;
            }
            if run_together(batch, None, patience)? == Ended::Passed {
                return Ok(match ended {
                    Ended::TookTooLong => Outcome::TookTooLong(name),
                    _ => Outcome::Caught(name),
                });
            }
        }
    }
    Ok(Outcome::Survived(batches.iter().map(Vec::len).sum()))
}

const TRIES: usize = 3;
