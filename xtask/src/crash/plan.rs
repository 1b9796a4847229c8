//! What the rotating client does, and how far it got.

use anyhow::{Result, bail, ensure};
use fastrand::Rng;

use super::client::Said;
use super::key_files::KeyFiles;

/// One statement of the rotating client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Gives a key a new version.
    Rotate(u32),
    /// Gives each key a new version.
    RotateAll,
    /// Makes a table under a key that was never used before.
    NewKey(u32),
}

/// Makes the steps of each round.
#[derive(Default)]
pub struct Plan {
    new_keys: u32,
}

/// What had been done when the server was killed.
pub struct Killed {
    /// Steps that the client was told had been done.
    pub done: Vec<Step>,
    /// The step that the server was busy with.
    pub during: Option<Step>,
}

impl Plan {
    /// More steps than a server lives for.
    pub fn next(&mut self, rng: &mut Rng, keys: &KeyFiles) -> Vec<Step> {
        let known = keys.ids();
        (0..STEPS)
            .map(|_| match rng.u32(..10) {
                0..2 => Step::RotateAll,
                2..4 => {
                    self.new_keys += 1;
                    Step::NewKey(FIRST_NEW_KEY + self.new_keys)
                }
                _ => Step::Rotate(known[rng.usize(..known.len())]),
            })
            .collect()
    }
}

/// Each step in two lines: the statement, and an answer after it.
pub fn statements(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("{};\nSELECT 'done';\n", step.statement())).collect()
}

impl Step {
    fn statement(&self) -> String {
        match self {
            Self::Rotate(id) => format!("SET GLOBAL aws_key_management_rotate_key = {id}"),
            Self::RotateAll => "SET GLOBAL aws_key_management_rotate_key = -1".to_owned(),
            Self::NewKey(id) => {
                format!("CREATE TABLE crash.new{id} (id INT PRIMARY KEY) ENCRYPTED=YES ENCRYPTION_KEY_ID={id}")
            }
        }
    }
}

impl Killed {
    /// From what the client was told.
    pub fn new(steps: Vec<Step>, said: &Said) -> Result<Self> {
        ensure!(said.lost_connection(), "the rotating client failed by itself: {}", said.errors);
        let done = said.answers.lines().count();
        let Some(line) = said.failed_line() else { bail!("the rotating client did not say where: {}", said.errors) };
        // Lines 1, 3, 5.. are steps. One that is answered by a lost connection may have been done or not.
        let during = (line % 2 == 1).then(|| steps.get(line / 2).cloned()).flatten();
        let certain = steps.get(..done.max(line / 2));
        Ok(Self { done: certain.unwrap_or_default().to_vec(), during })
    }
}

const STEPS: usize = 60;
const FIRST_NEW_KEY: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(answers: &str, line: usize) -> Result<Killed> {
        let steps = vec![Step::Rotate(1), Step::RotateAll, Step::NewKey(1001)];
        let errors = format!("ERROR 2013 (HY000) at line {line}: Lost connection to server during query\n");
        Killed::new(steps, &Said { answers: answers.to_owned(), errors })
    }

    #[test]
    fn a_step_whose_answer_is_missing_was_under_way() -> Result<()> {
        let killed = killed("done\n", 4)?;
        assert_eq!((killed.done, killed.during), (vec![Step::Rotate(1)], Some(Step::RotateAll)));
        Ok(())
    }

    #[test]
    fn a_step_that_was_answered_by_ok_is_done_even_if_the_next_answer_is_missing() -> Result<()> {
        let killed = killed("done\n", 5)?;
        assert_eq!((killed.done, killed.during), (vec![Step::Rotate(1), Step::RotateAll], None));
        Ok(())
    }
}
