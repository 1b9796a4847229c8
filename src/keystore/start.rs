//! What happens once, before the first look-up: all key files are read and all keys unwrapped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::backoff::Backoff;
use super::inventory::Inventory;
use super::key_file::KeyFile;
use super::key_folder::KeyFolder;
use super::key_locks::KeyLocks;
use super::manifest::{Entry, Finding};
use super::secret_memory;
use super::{DataKey, KeyName, KeyStore, KeyStoreError, NewKeys, PublishedKeys, Reporter, Role};
use crate::kms::{Kms, KmsError, PlainKey, WrappedKey};

/// What a key store is opened with.
pub struct Opening<'a> {
    /// Where the key files lie.
    pub folder: &'a Path,
    /// Where key files may lie too: mariadb-backup's folder of an incremental backup, while it is prepared.
    pub also: Option<&'a Path>,
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
        let Opening { folder, also, kms, published, new_keys, role, startup_timeout, reporter } = opening;
        published.reset();
        let folder = KeyFolder::open(folder, also)?;
        let store = Self {
            inventory: Inventory::open(&folder, role, reporter)?,
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
        self.report_missing(&names);
        if names.is_empty() {
            self.reporter.note(&format!(
                "no key files in {}; a key is made when it is first used",
                self.folder.path().display()
            ));
            return Ok(());
        }
        let mut failures = Failures::new();
        let files = self.read_all(&names, &mut failures);
        let plain = self.unwrap_all(&files, started + patience, &mut failures)?;
        let (keys, entries) = self.check_all(&files, &plain, &mut failures);
        let usable = keys.len();
        self.published.publish(keys);
        for (name, error) in &failures {
            self.reporter.error(&format!("key not loaded: {error}"));
            self.failed(name.id, Some(name.version), error);
            if self.published.latest(name.id).is_none() {
                self.failed(name.id, None, error);
            }
        }
        self.reporter.note(&format!(
            "loaded {} of {} key versions ({} keys) from {} in {:.1} s",
            usable,
            names.len(),
            self.published.ids().len(),
            self.folder.path().display(),
            started.elapsed().as_secs_f32()
        ));
        self.record_findings(entries);
        Ok(())
    }

    /// What the manifest knows of, but the folder does not hold.
    fn report_missing(&self, present: &[KeyName]) {
        for name in self.inventory.names().into_iter().filter(|name| present.binary_search(name).is_err()) {
            let error = KeyStoreError::Gone(self.folder.path_of(name));
            self.reporter.error(&format!("key not loaded: {name}: {error}"));
        }
    }

    fn read_all(&self, names: &[KeyName], failures: &mut Failures) -> Vec<ReadFile> {
        let mut files = Vec::new();
        for name in names.iter().copied() {
            let read = self.folder.read(name).and_then(|contents| {
                let file = KeyFile::parse(name, &contents)?;
                Ok(ReadFile { name, contents, file })
            });
            match read {
                Ok(file) => files.push(file),
                Err(error) => failures.push((name, error)),
            }
        }
        files
    }

    /// Unwraps all keys; what fails for a passing reason is tried again until `until`. Answers in the order of `files`,
    /// with nothing for a key that was refused.
    fn unwrap_all(
        &self,
        files: &[ReadFile],
        until: Instant,
        failures: &mut Failures,
    ) -> Result<Vec<Option<PlainKey>>, KeyStoreError> {
        let mut plain: Vec<Option<PlainKey>> = files.iter().map(|_| None).collect();
        let mut waiting: Vec<(&ReadFile, &mut Option<PlainKey>)> = files.iter().zip(&mut plain).collect();
        let mut pause = FIRST_PAUSE;
        let mut next_note = Instant::now();
        let mut reason: Option<(KeyName, KmsError)> = None;
        // A short startup_timeout, even 0, leaves time for one try.
        let mut deadline = until.max(Instant::now() + FIRST_ROUND);
        while !waiting.is_empty() {
            let wrapped: Vec<WrappedKey> = waiting.iter().map(|(file, _)| file.file.wrapped.clone()).collect();
            let answers = self.kms.decrypt_all(&wrapped, deadline);
            deadline = until;
            let mut again = Vec::new();
            let mut passing: Option<(KeyName, KmsError)> = None;
            for ((file, place), answer) in waiting.into_iter().zip(answers) {
                match answer {
                    Ok(key) => *place = Some(key),
                    Err(error) if error.class.is_passing() => {
                        passing = Some((file.name, error));
                        again.push((file, place));
                    }
                    Err(error) => failures.push((file.name, KeyStoreError::Kms(file.name, error))),
                }
            }
            waiting = again;
            let Some((name, error)) = passing else { break };
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                // A round that the deadline cut short says only that there was no answer in time; the one before says why.
                let (name, error) = reason.unwrap_or((name, error));
                return Err(KeyStoreError::Kms(name, error));
            }
            if now >= next_note {
                let seconds = left.as_secs() + 1;
                self.reporter.note(&format!("waiting for KMS, for up to {seconds} s more: {name}: {error}"));
                next_note = now + NOTE_EVERY;
            }
            reason = Some((name, error));
            std::thread::sleep(jittered(pause).min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(plain)
    }

    /// Checks lengths and the manifest, and puts all good keys into one piece of secret memory.
    fn check_all(
        &self,
        files: &[ReadFile],
        plain: &[Option<PlainKey>],
        failures: &mut Failures,
    ) -> (Vec<(KeyName, DataKey)>, Findings) {
        let mut good = Vec::new();
        let mut entries = Vec::new();
        let now = SystemTime::now();
        for (file, key) in files.iter().zip(plain).filter_map(|(file, key)| Some((file, key.as_ref()?))) {
            let (name, bytes) = (file.name, key.as_bytes());
            if !DataKey::LENGTHS.contains(&bytes.len()) {
                failures.push((name, KeyStoreError::WrongLength { name, bytes: bytes.len() }));
                continue;
            }
            let entry = Entry::new(name, &file.contents, bytes, key.master_key(), now);
            match self.inventory.check(name, &entry) {
                Ok(finding) => {
                    good.push((name, (bytes, file.file.algorithm)));
                    entries.push((name, entry, finding));
                }
                Err(error) => failures.push((name, error)),
            }
        }
        let (names, keys): (Vec<KeyName>, Vec<_>) = good.into_iter().unzip();
        match secret_memory::hide(&keys, self.reporter) {
            Ok(hidden) => (names.into_iter().zip(hidden).collect(), entries),
            Err(_) => {
                failures.extend(names.into_iter().map(|name| (name, KeyStoreError::NoMemory(name))));
                (Vec::new(), Vec::new())
            }
        }
    }

    /// Brings the manifest up to date, and says what was found.
    fn record_findings(&self, entries: Findings) {
        if self.role == Role::Backup {
            return;
        }
        let had_manifest = !self.inventory.names().is_empty();
        let changed: Vec<_> = entries.into_iter().filter(|(_, _, finding)| *finding != Finding::Same).collect();
        for (name, _, finding) in &changed {
            match finding {
                Finding::New if had_manifest => self.reporter.note(&format!(
                    "adopted {name}: its file was copied here, or written by another version of the plugin"
                )),
                Finding::Rewrapped => self
                    .reporter
                    .note(&format!("adopted the new file of {name}: the same data key, wrapped anew elsewhere")),
                _ => {}
            }
        }
        if !had_manifest && !changed.is_empty() {
            self.reporter.warning(&format!(
                "there is no manifest of the key files in {}, so it is made from the {} that are there. This is normal at \
                 the first start after another plugin; otherwise see that no key file is missing",
                self.folder.path().display(),
                changed.len()
            ));
        }
        if let Err(error) = self.record(changed.into_iter().map(|(name, entry, _)| (name, entry)).collect()) {
            self.reporter.warning(&format!("the manifest is not up to date: {error}"));
        }
    }
}

/// A key file that was read.
struct ReadFile {
    name: KeyName,
    contents: Vec<u8>,
    file: KeyFile,
}

type Failures = Vec<(KeyName, KeyStoreError)>;
type Findings = Vec<(KeyName, Entry, Finding)>;

/// How often a start that waits says so.
const NOTE_EVERY: Duration = Duration::from_secs(15);

/// The least time for the first try.
const FIRST_ROUND: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between half of `pause` and all of it, so that many servers do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
