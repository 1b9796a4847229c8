//! From key files to keys: read, unwrap, compare with the manifest, and put into secret memory.

use std::time::{Duration, Instant, SystemTime};

use super::key_file::KeyFile;
use super::manifest::{Entry, Finding};
use super::{DataKey, KeyName, KeyStore, KeyStoreError, Role, secret_memory};
use crate::kms::{Class, KmsError, PlainKey, WrappedKey};

/// What came of some key files.
#[derive(Default)]
pub(super) struct Loaded {
    /// Ready to be published.
    pub(super) keys: Vec<(KeyName, DataKey)>,
    /// What the manifest does not say of them yet.
    pub(super) findings: Findings,
    /// Those that failed for a reason of their own.
    pub(super) failures: Failures,
}

/// A key file that was read.
pub(super) struct ReadFile {
    pub(super) name: KeyName,
    contents: Vec<u8>,
    file: KeyFile,
}

pub(super) type Findings = Vec<(KeyName, Entry, Finding)>;
pub(super) type Failures = Vec<(KeyName, KeyStoreError)>;

impl KeyStore {
    /// Loads and publishes key files while the plugin runs. Answers those that failed, for whatever reason. The caller
    /// holds the locks of the key ids.
    pub(super) fn load_files(&self, names: &[KeyName]) -> Failures {
        let mut loaded = Loaded::default();
        let files = self.read_all(names, &mut loaded.failures);
        let again = self.unwrap_once(&files.iter().collect::<Vec<_>>(), Instant::now() + LONGEST_LOAD, &mut loaded);
        loaded
            .failures
            .extend(again.into_iter().map(|(file, error)| (file.name, KeyStoreError::Kms(file.name, error))));
        let notes: Vec<String> = loaded
            .keys
            .iter()
            .map(|(name, key)| format!("loaded {name} ({} bits, {})", key.bits(), key.algorithm()))
            .collect();
        self.published.publish(self.epoch, loaded.keys);
        notes.iter().for_each(|note| self.reporter.note(note));
        self.record(loaded.findings);
        loaded.failures
    }

    pub(super) fn read_all(&self, names: &[KeyName], failures: &mut Failures) -> Vec<ReadFile> {
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

    /// Asks KMS once for each key, until `deadline`. What it unwraps goes into secret memory at once. Answers those for
    /// which it may be asked again.
    pub(super) fn unwrap_once<'a>(
        &self,
        files: &[&'a ReadFile],
        deadline: Instant,
        loaded: &mut Loaded,
    ) -> Vec<(&'a ReadFile, KmsError)> {
        let wrapped: Vec<WrappedKey> = files.iter().map(|file| file.file.wrapped.clone()).collect();
        let answers = self.kms.decrypt_all(&wrapped, deadline);
        let mut plain = Vec::new();
        let mut again = Vec::new();
        for (file, answer) in files.iter().zip(answers) {
            match answer {
                Ok(key) => plain.push((*file, key)),
                Err(error) if error.class.is_passing() || error.class == Class::Config => again.push((*file, error)),
                Err(error) => loaded.failures.push((file.name, KeyStoreError::Kms(file.name, error))),
            }
        }
        self.accept(&plain, loaded);
        again
    }

    /// Checks lengths and the manifest, and puts all good keys into one piece of secret memory.
    fn accept(&self, plain: &[(&ReadFile, PlainKey)], loaded: &mut Loaded) {
        let mut good = Vec::new();
        let now = SystemTime::now();
        for (file, key) in plain {
            let (name, bytes) = (file.name, key.as_bytes());
            if !DataKey::LENGTHS.contains(&bytes.len()) {
                loaded.failures.push((name, KeyStoreError::WrongLength { name, bytes: bytes.len() }));
                continue;
            }
            let entry = Entry::new(name, &file.contents, file.file.algorithm, key, now);
            match self.inventory.check(name, &entry) {
                Ok(finding) => good.push((name, (bytes, file.file.algorithm), (name, entry, finding))),
                Err(error) => loaded.failures.push((name, error)),
            }
        }
        let bytes: Vec<_> = good.iter().map(|(_, key, _)| *key).collect();
        match secret_memory::hide(&bytes, self.reporter) {
            Ok(hidden) => {
                for ((name, _, finding), key) in good.into_iter().zip(hidden) {
                    loaded.keys.push((name, key));
                    if finding.2 != Finding::Same {
                        loaded.findings.push(finding);
                    }
                }
            }
            Err(_) => {
                loaded.failures.extend(good.into_iter().map(|(name, ..)| (name, KeyStoreError::NoMemory(name))));
            }
        }
    }

    /// Brings the manifest up to date. The keys are in use already, so a failure is no more than a warning.
    pub(super) fn record(&self, findings: Findings) {
        // A manifest of a later version of the plugin is left alone; that has been reported.
        if self.role == Role::Backup || findings.is_empty() || self.inventory.check_may_add().is_err() {
            return;
        }
        let entries = findings.into_iter().map(|(name, entry, _)| (name, entry)).collect();
        let recorded = self.folder.lock().and_then(|_lock| self.inventory.add(&self.folder, entries));
        if let Err(error) = recorded {
            self.reporter.warning(&format!("the manifest of the key files is not up to date: {error}"));
        }
    }
}

/// For all versions of a key together, while the server waits for it.
const LONGEST_LOAD: Duration = Duration::from_secs(20);
