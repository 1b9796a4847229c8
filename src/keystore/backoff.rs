//! A key that failed is tried again when it is asked for, but not at every call: the server may ask many times a second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{KeyId, KeyStoreError, KeyVersion};

/// What failed, and when it may be tried again. `None` as version stands for "the latest".
#[derive(Default)]
pub(super) struct Backoff(Mutex<HashMap<(KeyId, Option<KeyVersion>), Failure>>);

struct Failure {
    text: String,
    pause: Duration,
    next_try: Instant,
}

/// The first pause; each further failure doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A damaged page can make the server ask for any version number. More failures than this are not remembered.
const MOST_FAILURES: usize = 1000;

impl Backoff {
    /// Fails while the pause after a failure lasts.
    pub(super) fn check(&self, id: KeyId, version: Option<KeyVersion>) -> Result<(), KeyStoreError> {
        self.check_at(id, version, Instant::now())
    }

    fn check_at(&self, id: KeyId, version: Option<KeyVersion>, now: Instant) -> Result<(), KeyStoreError> {
        match self.failures().get(&(id, version)) {
            Some(failure) if now < failure.next_try => {
                Err(KeyStoreError::NotYet { before: failure.text.clone(), wait: failure.next_try - now })
            }
            _ => Ok(()),
        }
    }

    /// Begins or prolongs the pause.
    pub(super) fn failed(&self, id: KeyId, version: Option<KeyVersion>, text: String, now: Instant) {
        let mut failures = self.failures();
        let pause = failures.get(&(id, version)).map_or(FIRST_PAUSE, |failure| (failure.pause * 2).min(LONGEST_PAUSE));
        if failures.len() >= MOST_FAILURES && !failures.contains_key(&(id, version)) {
            failures.clear();
        }
        failures.insert((id, version), Failure { text, pause, next_try: now + pause });
    }

    /// The key works again.
    pub(super) fn succeeded(&self, id: KeyId) {
        self.failures().retain(|(failed, _), _| *failed != id);
    }

    pub(super) fn clear(&self) {
        self.failures().clear();
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<(KeyId, Option<KeyVersion>), Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_ends() {
        let backoff = Backoff::default();
        let id = KeyId::new(5).expect("id");
        let mut now = Instant::now();
        assert!(backoff.check_at(id, None, now).is_ok());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed(id, None, "no".into(), now);
            let last_moment = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(backoff.check_at(id, None, last_moment).is_err(), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(backoff.check_at(id, None, now).is_ok(), "{seconds}");
        }
        backoff.succeeded(id);
        backoff.failed(id, None, "no".into(), now);
        assert!(backoff.check_at(id, None, now + FIRST_PAUSE).is_ok());
    }

    #[test]
    fn a_failed_version_does_not_hold_up_the_other_versions() {
        let backoff = Backoff::default();
        let (id, now) = (KeyId::new(5).expect("id"), Instant::now());
        backoff.failed(id, KeyVersion::new(2), "no".into(), now);
        assert!(backoff.check_at(id, KeyVersion::new(2), now).is_err());
        assert!(backoff.check_at(id, KeyVersion::new(1), now).is_ok());
        assert!(backoff.check_at(id, None, now).is_ok());
    }
}
