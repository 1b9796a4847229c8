//! A key that failed is tried again when it is asked for, but not at every call: the server may ask many times a second. One
//! that has a key file, or had one, is tried again without being asked for, too: see `retry`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{KeyId, KeyName, KeyStoreError, KeyVersion};

/// What failed, and when it may be tried again. `None` as version stands for "the latest".
#[derive(Default)]
pub(super) struct Backoff(Mutex<Failures>);

#[derive(Default)]
struct Failures {
    by_key: HashMap<(KeyId, Option<KeyVersion>), Failure>,
    /// How many of them were kept when those that are not watched were forgotten last.
    kept: usize,
}

struct Failure {
    text: String,
    kind: String,
    pause: Duration,
    next_try: Instant,
    /// Whether it is tried again without being asked for.
    is_watched: bool,
    /// Whether the key has no file any more.
    is_missing: bool,
}

/// How much of what has or had a file cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    /// Keys with such a version.
    pub(super) keys: usize,
    /// Versions that have no file any more.
    pub(super) missing: usize,
}

/// Why a version cannot be used.
pub(super) struct FailedVersion {
    /// The text of the error.
    pub(super) error: String,
    /// Whether it has no file any more.
    pub(super) is_missing: bool,
    /// Whether it has a file, or had one: the server may ask for any number.
    pub(super) was_here: bool,
}

/// The first pause; each further failure doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A damaged page can make the server ask for any version number. More failures than this are not remembered, apart from
/// those of keys that have or had a file.
const MOST_FAILURES: usize = 1000;

impl Backoff {
    /// Fails while the pause after a failure lasts.
    pub(super) fn check(&self, id: KeyId, version: Option<KeyVersion>) -> Result<(), KeyStoreError> {
        self.check_at(id, version, Instant::now())
    }

    fn check_at(&self, id: KeyId, version: Option<KeyVersion>, now: Instant) -> Result<(), KeyStoreError> {
        match self.failures().by_key.get(&(id, version)) {
            Some(failure) if now < failure.next_try => {
                Err(KeyStoreError::NotYet { before: failure.text.clone(), wait: failure.next_try - now })
            }
            _ => Ok(()),
        }
    }

    /// Begins or prolongs the pause. Answers whether it failed for another reason than before, or for the first time.
    pub(super) fn failed(&self, id: KeyId, version: Option<KeyVersion>, error: &KeyStoreError, now: Instant) -> bool {
        let mut failures = self.failures();
        let before = failures.by_key.remove(&(id, version));
        if failures.by_key.len() >= failures.kept + MOST_FAILURES {
            failures.forget_others();
        }
        let pause = before.as_ref().map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        let (text, kind) = (error.to_string(), error.kind());
        let is_news = before.as_ref().is_none_or(|before| before.kind != kind);
        let is_watched = before.is_some_and(|before| before.is_watched);
        let is_missing = matches!(error, KeyStoreError::Gone(..) | KeyStoreError::Retired(..));
        let failure = Failure { text, kind, pause, next_try: now + pause, is_watched, is_missing };
        failures.by_key.insert((id, version), failure);
        is_news
    }

    /// Prolongs the pause of a key that would fail as before.
    pub(super) fn postpone(&self, name: KeyName, now: Instant) {
        if let Some(failure) = self.failures().by_key.get_mut(&(name.id, Some(name.version))) {
            failure.pause = (failure.pause * 2).min(LONGEST_PAUSE);
            failure.next_try = now + failure.pause;
        }
    }

    /// From now on, a key that failed is among [`Backoff::due`].
    pub(super) fn watch(&self, name: KeyName) {
        if let Some(failure) = self.failures().by_key.get_mut(&(name.id, Some(name.version))) {
            failure.is_watched = true;
        }
    }

    /// Whether a version failed, and is tried again without being asked for.
    pub(super) fn is_watched(&self, name: KeyName) -> bool {
        self.failures().by_key.get(&(name.id, Some(name.version))).is_some_and(|failure| failure.is_watched)
    }

    /// A version that is watched is tried again at once. Answers whether it is.
    pub(super) fn hurry(&self, name: KeyName) -> bool {
        let mut failures = self.failures();
        let failure = failures.by_key.get_mut(&(name.id, Some(name.version))).filter(|failure| failure.is_watched);
        failure.map(|failure| failure.next_try = Instant::now()).is_some()
    }

    /// How much is watched.
    pub(super) fn watched(&self) -> Watched {
        let failures = self.failures();
        let watched = || failures.by_key.iter().filter(|(_, failure)| failure.is_watched);
        Watched {
            keys: watched().map(|((id, _), _)| *id).collect::<BTreeSet<_>>().len(),
            missing: watched().filter(|(_, failure)| failure.is_missing).count(),
        }
    }

    /// The versions that failed last time, in order.
    pub(super) fn failed_versions(&self) -> BTreeMap<KeyName, FailedVersion> {
        let failures = self.failures();
        let of_versions = failures.by_key.iter().filter_map(|(&(id, version), failure)| {
            let Failure { text, is_missing, is_watched, .. } = failure;
            let failed = FailedVersion { error: text.clone(), is_missing: *is_missing, was_here: *is_watched };
            Some((KeyName { id, version: version? }, failed))
        });
        of_versions.collect()
    }

    /// What is to be tried again at `now`, in order.
    pub(super) fn due(&self, now: Instant) -> Vec<KeyName> {
        let mut due: Vec<_> = self
            .failures()
            .by_key
            .iter()
            .filter_map(|(key, failure)| (failure.next_try <= now).then(|| failure.named(key))?)
            .collect();
        due.sort_unstable();
        due
    }

    /// When something will be.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.failures().by_key.values().filter(|failure| failure.is_watched).map(|failure| failure.next_try).min()
    }

    /// A version works, and so does its key. Answers whether the version had failed before.
    pub(super) fn loaded(&self, name: KeyName) -> bool {
        let mut failures = self.failures();
        failures.by_key.remove(&(name.id, None));
        failures.by_key.remove(&(name.id, Some(name.version))).is_some()
    }

    /// Versions that nothing needs any more are not tried again. Answers whether there were some.
    pub(super) fn forget(&self, names: &[KeyName]) -> bool {
        let mut failures = self.failures();
        let removed = names.iter().filter_map(|name| failures.by_key.remove(&(name.id, Some(name.version))));
        removed.count() > 0
    }

    /// A new version of the key works.
    pub(super) fn made(&self, id: KeyId) {
        self.failures().by_key.remove(&(id, None));
    }

    /// Everything may be tried again at once.
    pub(super) fn end_pauses(&self) {
        let mut failures = self.failures();
        failures.forget_others();
        let now = Instant::now();
        for failure in failures.by_key.values_mut() {
            (failure.pause, failure.next_try) = (FIRST_PAUSE / 2, now);
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// Keeps those that are watched.
    fn forget_others(&mut self) {
        self.by_key.retain(|_, failure| failure.is_watched);
        self.kept = self.by_key.len();
    }
}

impl Failure {
    fn named(&self, &(id, version): &(KeyId, Option<KeyVersion>)) -> Option<KeyName> {
        version.filter(|_| self.is_watched).map(|version| KeyName { id, version })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn name(version: u32) -> KeyName {
        KeyName::new(5, version).expect("a name")
    }

    fn failure() -> KeyStoreError {
        KeyStoreError::NoSuchKey(name(1).id)
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_ends() {
        let backoff = Backoff::default();
        let id = name(1).id;
        let mut now = Instant::now();
        assert!(backoff.check_at(id, None, now).is_ok());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed(id, None, &failure(), now);
            let last_moment = now + Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(backoff.check_at(id, None, last_moment).is_err(), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(backoff.check_at(id, None, now).is_ok(), "{seconds}");
        }
        backoff.made(id);
        backoff.failed(id, None, &failure(), now);
        assert!(backoff.check_at(id, None, now + FIRST_PAUSE).is_ok());
    }

    #[test]
    fn a_failed_version_does_not_hold_up_the_other_versions() {
        let backoff = Backoff::default();
        let (id, now) = (name(1).id, Instant::now());
        for version in [2, 3] {
            backoff.failed(id, KeyVersion::new(version), &failure(), now);
        }
        assert!(backoff.check_at(id, KeyVersion::new(2), now).is_err());
        assert!(backoff.check_at(id, KeyVersion::new(3), now).is_err());
        assert!(backoff.check_at(id, KeyVersion::new(1), now).is_ok());
        assert!(backoff.check_at(id, None, now).is_ok());
    }

    #[test]
    fn a_watched_version_is_due_when_its_pause_is_over_and_not_after_it_was_loaded() {
        let backoff = Backoff::default();
        let now = Instant::now();
        for version in [1, 2] {
            backoff.failed(name(version).id, KeyVersion::new(version), &failure(), now);
        }
        assert_eq!(backoff.next_due(), None);
        backoff.watch(name(2));
        assert_eq!(backoff.next_due(), Some(now + FIRST_PAUSE));
        assert_eq!(backoff.due(now), []);
        assert_eq!(backoff.due(now + FIRST_PAUSE), [name(2)]);
        backoff.postpone(name(2), now);
        assert_eq!(backoff.next_due(), Some(now + FIRST_PAUSE * 2));
        backoff.end_pauses();
        assert_eq!(backoff.due(Instant::now()), [name(2)]);
        backoff.failed(name(2).id, KeyVersion::new(2), &failure(), now);
        assert_eq!(backoff.next_due(), Some(now + FIRST_PAUSE), "the pauses begin anew");
        assert!(backoff.loaded(name(2)) && !backoff.loaded(name(2)));
        assert_eq!(backoff.due(now + LONGEST_PAUSE), []);
    }

    #[test]
    fn what_is_watched_is_counted_by_keys_and_what_is_missing_by_versions() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let gone = |name: KeyName| KeyStoreError::Gone(name, name.file_name().into());
        for name in [name(1), name(2)] {
            backoff.failed(name.id, Some(name.version), &gone(name), now);
        }
        backoff.failed(name(3).id, Some(name(3).version), &failure(), now);
        backoff.failed(name(3).id, None, &failure(), now);
        assert_eq!(backoff.watched(), Watched::default(), "nothing of it is known to have been here");
        (1..=3).for_each(|version| backoff.watch(name(version)));
        assert_eq!(backoff.watched(), Watched { keys: 1, missing: 2 });
        // Its file is back, but is no good.
        backoff.failed(name(1).id, Some(name(1).version), &failure(), now);
        assert_eq!(backoff.watched(), Watched { keys: 1, missing: 1 });
        assert!((1..=3).all(|version| backoff.loaded(name(version))));
        assert_eq!(backoff.watched(), Watched::default());
    }

    #[test]
    fn what_is_watched_is_remembered_however_much_else_fails() {
        let backoff = Backoff::default();
        let now = Instant::now();
        backoff.failed(name(1).id, KeyVersion::new(1), &failure(), now);
        backoff.watch(name(1));
        for version in 2..3000 {
            backoff.failed(name(1).id, KeyVersion::new(version), &failure(), now);
        }
        assert_eq!(backoff.due(now + LONGEST_PAUSE), [name(1)]);
        assert!(backoff.failures().by_key.len() <= MOST_FAILURES + 1);
    }

    #[test]
    fn it_is_answered_whether_any_of_what_is_to_be_forgotten_had_failed() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed(name(1).id, Some(name(1).version), &failure(), now);
        assert_eq!(
            [[name(2), name(3)], [name(2), name(1)], [name(2), name(1)]].map(|names| backoff.forget(&names)),
            [false, true, false]
        );
    }

    #[test]
    fn a_failure_is_news_once_for_each_reason() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let other = KeyStoreError::NoVersionLeft(name(1).id);
        let news = [failure(), failure(), other].map(|error| backoff.failed(name(1).id, None, &error, now));
        assert_eq!(news, [true, false, true]);
    }
}
