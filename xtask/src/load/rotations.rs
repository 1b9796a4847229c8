//! The client that rotates keys and makes new ones, and how far it got.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;

use crate::rig::{Refusal, Server, Session};

/// One statement of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Gives a key a new version.
    Rotate(u32),
    /// Gives each key a new version.
    RotateAll,
    /// Makes a table under a key that was never used before.
    NewKey(u32),
}

/// A step that was sent to the server.
#[derive(Debug)]
pub struct Attempt {
    /// What.
    pub step: Step,
    /// Whether the server said that it is done. If not, it may be done nevertheless.
    pub is_done: bool,
}

/// The client.
pub struct Rotator {
    rng: Rng,
    known: Vec<u32>,
    last_new_key: u32,
    pause: Duration,
}

impl Rotator {
    /// One that draws from `rng` and knows the keys `known`.
    pub fn new(rng: Rng, known: Vec<u32>) -> Self {
        let last_new_key = known.iter().copied().filter(|id| NEW_KEYS.contains(id)).max().unwrap_or(*NEW_KEYS.start());
        Self { rng, known, last_new_key, pause: Duration::ZERO }
    }

    /// The same, with a `pause` before each step.
    pub fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Works until the connection is lost. A refusal by the server is an error if it is not `excused`.
    pub fn work_until_lost(
        mut self,
        server: &Server<'_>,
        mut session: Session,
        excused: impl Fn(&str) -> bool,
    ) -> Result<Vec<Attempt>> {
        let mut attempts = Vec::new();
        loop {
            thread::sleep(self.pause);
            let step = self.next();
            let answer = session.ask(&step.statement())?;
            attempts.push(Attempt { step, is_done: answer.is_ok() });
            let Err(refusal) = answer else { continue };
            let lost = refusal.lost_connection();
            ensure!(lost || excused(&refusal.to_string()), "the rotating client failed by itself: {refusal}");
            match server.session() {
                _ if lost => return Ok(attempts),
                Ok(next) => session = next,
                Err(error) if error.downcast_ref::<Refusal>().is_some_and(Refusal::lost_connection) => {
                    return Ok(attempts);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn next(&mut self) -> Step {
        match self.rng.u32(..10) {
            0..2 => Step::RotateAll,
            2..4 => {
                self.last_new_key += 1;
                Step::NewKey(self.last_new_key)
            }
            _ => Step::Rotate(self.known[self.rng.usize(..self.known.len())]),
        }
    }
}

impl Step {
    fn statement(&self) -> String {
        match self {
            Self::Rotate(id) => format!("SET GLOBAL aws_key_management_rotate_key = {id}"),
            Self::RotateAll => "SET GLOBAL aws_key_management_rotate_key = -1".to_owned(),
            Self::NewKey(id) => {
                format!("CREATE TABLE load_test.new{id} (id INT PRIMARY KEY) ENCRYPTED=YES ENCRYPTION_KEY_ID={id}")
            }
        }
    }
}

/// Ids of keys that are made meanwhile.
const NEW_KEYS: std::ops::RangeInclusive<u32> = 1000..=99_999;
