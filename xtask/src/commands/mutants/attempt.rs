//! Each mutant, with the tests that reach it.

use anyhow::Result;

use super::reach::{Ended, Reach, in_parallel};

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A test failed, of this name.
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

/// The quickest tests first; the first that fails is enough. But it has to pass without the mutant at once: what fails because
/// the machine is busy says nothing.
fn attempt(reach: &Reach, number: u32) -> Result<Outcome> {
    let reaching = reach.by_mutant.get(&number).map_or(&[][..], Vec::as_slice);
    let switch = number.to_string();
    for test in reaching.iter().filter_map(|place| reach.tests.get(*place)) {
        for _ in 0..TRIES {
            let ended = test.run(Some(("MUTANT", &switch)), test.patience())?;
            if ended == Ended::Passed {
                break;
            }
            if test.run(None, test.patience())? == Ended::Passed {
                return Ok(match ended {
                    Ended::TookTooLong => Outcome::TookTooLong(test.name.clone()),
                    _ => Outcome::Caught(test.name.clone()),
                });
            }
        }
    }
    Ok(Outcome::Survived(reaching.len()))
}

const TRIES: usize = 3;
