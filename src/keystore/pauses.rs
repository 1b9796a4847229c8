//! The pauses and the notes of a wait for KMS, or for a folder that does not answer. When a start gives up, [`super::start`] says.

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
    waits_for: Option<For>,
    messages: &'a Messages,
}

impl<'a> Patience<'a> {
    /// A wait that ends at `until`.
    pub fn new(until: Instant, messages: &'a Messages) -> Self {
        Self { until, pause: FIRST_PAUSE, next_note: Instant::now(), waits_for: None, messages }
    }

    /// When it ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for KMS: says now and then that it waits, and why; then pauses, each time longer.
    ///
    /// Fails if the wait had to end.
    pub fn wait(&mut self, name: KeyName, error: &KmsError) -> Result<(), KeyStoreError> {
        let is_through = self.pause(For::Kms, |messages, left| messages.waiting(left, name, error));
        if is_through { Ok(()) } else { Err(KeyStoreError::GivenUp(name.id)) }
    }

    /// Reads something of the folders, and waits like that while they do not answer. The answer, good or bad, is inside.
    ///
    /// Fails if there was none until the patience was over, or if the wait had to end.
    pub fn read<T>(
        &mut self,
        read: impl Fn() -> Result<T, KeyStoreError>,
    ) -> Result<Result<T, KeyStoreError>, KeyStoreError> {
        loop {
            match read() {
                Err(error) if error.is_no_answer_of_the_folder() => {
                    if self.is_over() {
                        return Err(error);
                    }
                    if !self.pause(For::Folder, |messages, left| messages.waiting_for_folder(left, &error)) {
                        return Err(KeyStoreError::FolderGivenUp);
                    }
                }
                answer => return Ok(answer),
            }
        }
    }

    /// `false` if the wait had to end.
    fn pause(&mut self, waits_for: For, say: impl FnOnce(&Messages, Duration)) -> bool {
        let now = Instant::now();
        let left = self.until.saturating_duration_since(now);
        if self.waits_for != Some(waits_for) {
            (self.waits_for, self.pause, self.next_note) = (Some(waits_for), FIRST_PAUSE, now);
        }
        if now >= self.next_note {
            say(self.messages, left);
            self.next_note = now + NOTE_EVERY;
        }
        let pause = jittered(self.pause).min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        waits::pause(pause)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Kms,
    Folder,
}

/// How often a start that waits says so.
const NOTE_EVERY: Duration = Duration::from_secs(15);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between half of `pause` and all of it, so that many servers do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
