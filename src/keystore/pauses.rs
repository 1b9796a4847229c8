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

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;
    use crate::keystore::Reporter;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Reporter for Notes {
        fn note(&self, text: &str) {
            self.0.lock().expect("notes").push(text.to_owned());
        }
        fn warning(&self, _: &str) {}
        fn error(&self, _: &str) {}
    }

    #[test]
    fn servers_that_begin_to_wait_at_the_same_moment_pause_for_half_of_a_pause_to_all_of_it_each_by_itself() {
        let pause = Duration::from_secs(8);
        let pauses: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        assert!(pauses.iter().all(|jittered| (pause / 2..=pause).contains(jittered)), "{pauses:?}");
        assert!(pauses.iter().any(|jittered| *jittered < pause * 5 / 8));
        assert!(pauses.iter().any(|jittered| *jittered > pause * 7 / 8));
    }

    #[test]
    fn a_wait_is_noted_once_in_a_while_and_at_once_when_it_is_for_something_else() {
        let notes: &'static Notes = Box::leak(Box::default());
        let messages = Messages::new(notes);
        // No time is left, so that no pause lasts.
        let mut patience = Patience::new(Instant::now(), &messages);
        for (waits_for, pause) in
            [(For::Kms, 1), (For::Kms, 2), (For::Kms, 4), (For::Folder, 1), (For::Folder, 2), (For::Kms, 1)]
        {
            assert!(patience.pause(waits_for, |messages, _| messages.clock_was_set()));
            assert_eq!(patience.pause, FIRST_PAUSE * pause * 2, "the next one is longer");
        }
        assert_eq!(notes.0.lock().expect("notes").len(), 3, "{:?}", notes.0);
    }
}
