//! The pauses and the notes of a wait for KMS. When a start gives up, [`super::start`] says.

use std::time::{Duration, Instant};

use super::messages::Messages;
use super::{KeyName, KeyStoreError};
use crate::kms::KmsError;
use crate::waits;

/// One wait, with its pauses and its notes in the log.
pub struct Patience<'a> {
    until: Instant,
    pause: Duration,
    next_note: Instant,
    messages: &'a Messages,
}

impl<'a> Patience<'a> {
    /// A wait that ends at `until`.
    pub fn new(until: Instant, messages: &'a Messages) -> Self {
        Self { until, pause: FIRST_PAUSE, next_note: Instant::now(), messages }
    }

    /// When it ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Says now and then that it waits, and why. Then pauses, each time longer.
    ///
    /// Fails if the wait had to end.
    pub fn wait(&mut self, name: KeyName, error: &KmsError) -> Result<(), KeyStoreError> {
        let now = Instant::now();
        let left = self.until.saturating_duration_since(now);
        if now >= self.next_note {
            self.messages.waiting(left, name, error);
            self.next_note = now + NOTE_EVERY;
        }
        let pause = jittered(self.pause).min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if waits::pause(pause) { Ok(()) } else { Err(KeyStoreError::GivenUp(name.id)) }
    }
}

/// How often a start that waits says so.
const NOTE_EVERY: Duration = Duration::from_secs(15);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between half of `pause` and all of it, so that many servers do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
