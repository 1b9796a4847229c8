//! What happens once, before the first look-up: all key files are read and all keys unwrapped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DataKey, KeyFolder, KeyLocks, KeyName, KeyStore, KeyStoreError, NewKeys, PublishedKeys, Reporter, Role};
use crate::keystore::backoff::Backoff;
use crate::keystore::secret_memory;
use crate::kms::{Kms, KmsError, PlainKey, WrappedKey};

/// What a key store is opened with.
pub struct Opening<'a> {
    /// Where the key files lie.
    pub folder: &'a Path,
    /// Who unwraps them.
    pub kms: Arc<dyn Kms>,
    /// Where the keys are published.
    pub published: &'static PublishedKeys,
    /// What new keys are made with.
    pub new_keys: NewKeys,
    /// In whose process this is.
    pub role: Role,
    /// How long KMS is tried, if it cannot be reached.
    pub startup_timeout: Duration,
    /// Who is told.
    pub reporter: &'static dyn Reporter,
}

impl KeyStore {
    /// Loads all keys and publishes them. Without key files, nothing is asked of KMS.
    ///
    /// Fails if KMS could not be reached for one of the keys, or if there are no credentials: a server that went on
    /// would refuse its tables until it is restarted. A key that fails for a reason of its own is reported, and the
    /// others are loaded.
    pub fn open(opening: Opening<'_>) -> Result<Self, KeyStoreError> {
        let Opening { folder, kms, published, new_keys, role, startup_timeout, reporter } = opening;
        let folder = KeyFolder::open(folder)?;
        let store = Self {
            folder,
            kms,
            published,
            new_keys,
            role,
            reporter,
            locks: KeyLocks::default(),
            failures: Backoff::default(),
        };
        if role == Role::Server {
            store.remove_leftovers();
        }
        let loaded = store.load_all(startup_timeout);
        if loaded.is_err() {
            published.clear();
        }
        loaded.map(|()| store)
    }

    fn remove_leftovers(&self) {
        match self.folder.remove_leftovers() {
            Ok(0) => {}
            Ok(count) => self.reporter.note(&format!(
                "removed {count} temporary file(s) that an interrupted server had left in {}",
                self.folder.path().display()
            )),
            Err(error) => self.reporter.warning(&error.to_string()),
        }
    }

    fn load_all(&self, patience: Duration) -> Result<(), KeyStoreError> {
        let started = Instant::now();
        let names = self.folder.scan()?;
        if names.is_empty() {
            self.reporter.note(&format!(
                "no key files in {}; a key is made when it is first used",
                self.folder.path().display()
            ));
            return Ok(());
        }
        let (wrapped, unreadable) = self.read_all(&names);
        let (plain, refused) = self.unwrap_all(wrapped, started + patience)?;
        let (keys, useless) = self.hide_all(&plain);
        let keys_usable = keys.len();
        self.published.publish(keys);
        let failures: Vec<_> = unreadable.into_iter().chain(refused).chain(useless).collect();
        for (name, error) in &failures {
            self.reporter.error(&format!("key not loaded: {error}"));
            self.failures.failed(name.id, Some(name.version), error.to_string(), Instant::now());
            if self.published.latest(name.id).is_none() {
                self.failures.failed(name.id, None, error.to_string(), Instant::now());
            }
        }
        self.reporter.note(&format!(
            "loaded {} of {} key versions ({} keys) from {} in {:.1} s",
            keys_usable,
            names.len(),
            self.published.ids().len(),
            self.folder.path().display(),
            started.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    fn read_all(&self, names: &[KeyName]) -> (Vec<(KeyName, WrappedKey)>, Failures) {
        let mut wrapped = Vec::new();
        let mut failures = Vec::new();
        for name in names {
            match self.folder.read(*name) {
                Ok(key) => wrapped.push((*name, key)),
                Err(error) => failures.push((*name, error)),
            }
        }
        (wrapped, failures)
    }

    /// Unwraps all keys; what fails for a passing reason is tried again until `until`.
    fn unwrap_all(
        &self,
        mut waiting: Vec<(KeyName, WrappedKey)>,
        until: Instant,
    ) -> Result<(Vec<(KeyName, PlainKey)>, Failures), KeyStoreError> {
        let mut plain = Vec::new();
        let mut refused = Vec::new();
        let mut pause = FIRST_PAUSE;
        loop {
            let wrapped: Vec<WrappedKey> = waiting.iter().map(|(_, wrapped)| wrapped.clone()).collect();
            let answers = self.kms.decrypt_all(&wrapped, until);
            let mut again = Vec::new();
            let mut passing: Option<(KeyName, KmsError)> = None;
            for ((name, wrapped), answer) in waiting.into_iter().zip(answers) {
                match answer {
                    Ok(key) => plain.push((name, key)),
                    Err(error) if error.class.is_passing() => {
                        again.push((name, wrapped));
                        passing = Some((name, error));
                    }
                    Err(error) => refused.push((name, KeyStoreError::Kms(name, error))),
                }
            }
            let Some((name, error)) = passing else { return Ok((plain, refused)) };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KeyStoreError::Kms(name, error));
            }
            self.reporter.note(&format!("still waiting for KMS, for {} s more: {name}: {error}", left.as_secs() + 1));
            std::thread::sleep(jittered(pause).min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
            waiting = again;
        }
    }

    /// Puts all keys into one piece of secret memory.
    fn hide_all(&self, plain: &[(KeyName, PlainKey)]) -> (Vec<(KeyName, DataKey)>, Failures) {
        let (good, bad): (Vec<_>, Vec<_>) =
            plain.iter().partition(|(_, key)| DataKey::LENGTHS.contains(&key.as_bytes().len()));
        let mut failures: Failures = bad
            .into_iter()
            .map(|(name, key)| (*name, KeyStoreError::WrongLength { name: *name, bytes: key.as_bytes().len() }))
            .collect();
        let bytes: Vec<&[u8]> = good.iter().map(|(_, key)| key.as_bytes()).collect();
        match secret_memory::hide(&bytes, self.reporter) {
            Ok(keys) => (good.iter().map(|(name, _)| *name).zip(keys).collect(), failures),
            Err(_) => {
                failures.extend(good.iter().map(|(name, _)| (*name, KeyStoreError::NoMemory(*name))));
                (Vec::new(), failures)
            }
        }
    }
}

type Failures = Vec<(KeyName, KeyStoreError)>;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between half of `pause` and all of it, so that many servers do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
