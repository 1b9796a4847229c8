//! Whether the server could start again now, and make keys: what the start, the loading of keys, the making of keys and later
//! checks have found out. Nothing is asked when it is read.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Read at any time, from any thread; the lock is held for a copy only.
pub struct Readiness(Mutex<State>);

struct State {
    /// Whether all versions that there should be are loaded.
    all_are_loaded: bool,
    /// Whether the last check could unwrap all key files. The start is one.
    all_were_unwrapped: bool,
    /// Whether it did so from the key files, and not from copies.
    all_were_fully_wrapped: bool,
    /// Whether every version has a copy under each extra master key that is to wrap one.
    has_all_copies: bool,
    has_master_key: bool,
    last_key_was_made: bool,
    /// Whether KMS would have made a key when it was last asked.
    kms_makes_keys: bool,
    last_check: Option<SystemTime>,
    unready_since: Option<SystemTime>,
}

impl Default for Readiness {
    /// Before the start: nothing is known.
    fn default() -> Self {
        Self(Mutex::new(State {
            all_are_loaded: false,
            all_were_unwrapped: true,
            all_were_fully_wrapped: true,
            has_all_copies: true,
            has_master_key: false,
            last_key_was_made: true,
            kms_makes_keys: true,
            last_check: None,
            unready_since: None,
        }))
    }
}

impl Readiness {
    /// Whether a restart would find all key versions: every version that there should be is loaded, and the last check could
    /// unwrap all key files.
    pub fn restart_is_ready(&self) -> bool {
        self.state().is_ready()
    }

    /// Whether a new key can be made, as far as is known: there is a master key for it, the last try has not failed, and KMS
    /// has not said no since. Nothing of it need have been tried.
    pub fn can_make_keys(&self) -> bool {
        let state = self.state();
        state.has_master_key && state.last_key_was_made && state.kms_makes_keys
    }

    /// Whether every version can be unwrapped with every master key that it is to be wrapped under, and from its key file: not
    /// only from another copy.
    pub fn is_fully_wrapped(&self) -> bool {
        let state = self.state();
        state.is_ready() && state.all_were_fully_wrapped && state.has_all_copies
    }

    /// When all key files were last unwrapped: by a check, or by the start.
    pub fn last_check(&self) -> Option<SystemTime> {
        self.state().last_check
    }

    /// Since when a restart would not find all key versions.
    pub fn unready_since(&self) -> Option<SystemTime> {
        self.state().unready_since
    }

    /// All key files were unwrapped at `now`, or could not be. To be called by the start and by each later check.
    pub fn checked(&self, now: SystemTime, all_were_unwrapped: bool) {
        let mut state = self.state();
        state.all_were_unwrapped = all_were_unwrapped;
        state.last_check = Some(now);
        state.update(now);
    }

    /// The same of a check that was about those only of which something was to be found out.
    pub fn set_unwrapped(&self, now: SystemTime, all_were: bool) {
        let mut state = self.state();
        state.all_were_unwrapped = all_were;
        state.update(now);
    }

    /// Whether every version was found to be so. To be called by the start, and by whatever checks or changes it.
    pub fn set_fully_wrapped(&self, all_were: bool) {
        self.state().all_were_fully_wrapped = all_were;
    }

    /// Whether every version has a copy under each extra master key that is to wrap one.
    pub fn set_has_all_copies(&self, it_has: bool) {
        self.state().has_all_copies = it_has;
    }

    /// Whether all versions that there should be are loaded, `now`.
    pub fn set_loaded(&self, now: SystemTime, all_are: bool) {
        let mut state = self.state();
        state.all_are_loaded = all_are;
        state.update(now);
    }

    /// A key was made, or one was to be made and it failed for a reason that others would meet too.
    pub fn set_made(&self, was_made: bool) {
        let mut state = self.state();
        state.last_key_was_made = was_made;
        state.kms_makes_keys |= was_made;
    }

    /// Whether KMS makes keys, or would, under each of the master keys. It says nothing of the disk.
    pub fn set_kms_makes_keys(&self, it_does: bool) {
        self.state().kms_makes_keys = it_does;
    }

    /// The settings for new keys have changed: what failed with the old ones says nothing of them.
    pub fn set_master_key(&self, is_there: bool) {
        let mut state = self.state();
        (state.has_master_key, state.last_key_was_made, state.kms_makes_keys) = (is_there, true, true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.all_are_loaded && self.all_were_unwrapped
    }

    fn update(&mut self, now: SystemTime) {
        self.unready_since = if self.is_ready() { None } else { self.unready_since.or(Some(now)) };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_restart_is_ready_when_all_is_loaded_and_the_last_check_found_nothing_and_unready_since_the_first_of_both() {
        let readiness = Readiness::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let is = |ready, last_check, since: Option<u64>| {
            assert_eq!((readiness.restart_is_ready(), readiness.is_fully_wrapped()), (ready, ready));
            assert_eq!((readiness.last_check(), readiness.unready_since()), (last_check, since.map(at)));
        };
        is(false, None, None);
        readiness.set_loaded(at(1), true);
        readiness.checked(at(1), true);
        is(true, Some(at(1)), None);
        readiness.set_loaded(at(2), false);
        readiness.checked(at(3), false);
        is(false, Some(at(3)), Some(2));
        // A key that is loaded at last does not take back what a check has found of another one.
        readiness.set_loaded(at(4), true);
        is(false, Some(at(3)), Some(2));
        readiness.checked(at(5), true);
        is(true, Some(at(5)), None);
    }

    #[test]
    fn a_version_that_lacks_a_master_key_does_not_keep_the_server_from_starting() {
        let readiness = Readiness::default();
        readiness.set_loaded(SystemTime::now(), true);
        readiness.set_fully_wrapped(false);
        assert!(readiness.restart_is_ready() && !readiness.is_fully_wrapped());
        readiness.set_fully_wrapped(true);
        assert!(readiness.is_fully_wrapped());
    }

    #[test]
    fn keys_can_be_made_with_a_master_key_until_one_fails() {
        let readiness = Readiness::default();
        assert!(!readiness.can_make_keys());
        readiness.set_master_key(true);
        assert!(readiness.can_make_keys());
        readiness.set_made(false);
        assert!(!readiness.can_make_keys());
        readiness.set_made(true);
        assert!(readiness.can_make_keys());
        readiness.set_made(false);
        readiness.set_master_key(true);
        assert!(readiness.can_make_keys(), "nothing is known of the new settings");
        readiness.set_kms_makes_keys(false);
        assert!(!readiness.can_make_keys());
        readiness.set_made(true);
        assert!(readiness.can_make_keys(), "KMS has made one");
        readiness.set_made(false);
        readiness.set_kms_makes_keys(true);
        assert!(!readiness.can_make_keys(), "it was not KMS");
        readiness.set_master_key(false);
        assert!(!readiness.can_make_keys());
    }
}
