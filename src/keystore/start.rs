//! What happens once, before the first look-up: all key files are read and all keys unwrapped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::inventory::Inventory;
use super::key_folder::KeyFolder;
use super::key_locks::KeyLocks;
use super::loading::{Findings, Loaded, ReadFile};
use super::manifest::Finding;
use super::{KeyName, KeyStore, KeyStoreError, NewKeys, PublishedKeys, Reporter, Role};
use crate::kms::{Class, Kms, KmsError};

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
        let epoch = published.begin();
        let folder = KeyFolder::open(folder, also)?;
        let store = Self {
            inventory: Inventory::open(&folder, role, reporter)?,
            folder,
            kms,
            published,
            epoch,
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
        let missing = self.report_missing(&names);
        let folder = self.folder.path().display();
        if names.is_empty() {
            let next = if missing == 0 { "; otherwise, a key is made when it is first used" } else { "" };
            self.reporter.note(&format!(
                "no key files in {folder}. If this server has encrypted data, stop it and restore its aws-kms-key.* files, \
                 or correct aws_key_management_keyfile_dir{next}"
            ));
            return Ok(());
        }
        let mut loaded = Loaded::default();
        let files = self.read_all(&names, &mut loaded.failures);
        self.unwrap_all(&files, started + patience, &mut loaded)?;
        let usable = loaded.keys.len();
        self.published.publish(self.epoch, loaded.keys);
        for (name, error) in &loaded.failures {
            self.reporter.error(&format!("key not loaded: {error}"));
            self.failed(name.id, Some(name.version), error);
            if self.published.latest(name.id).is_none() {
                self.failed(name.id, None, error);
            }
        }
        self.reporter.note(&format!(
            "loaded {usable} of {} key versions ({} keys) from {folder} in {:.1} s",
            names.len() + missing,
            self.published.ids().len(),
            started.elapsed().as_secs_f32()
        ));
        self.report_findings(&loaded.findings);
        self.record(loaded.findings);
        Ok(())
    }

    /// What the manifest knows of, but the folder does not hold. Answers how many.
    fn report_missing(&self, present: &[KeyName]) -> usize {
        let mut missing = self.inventory.names();
        missing.retain(|name| present.binary_search(name).is_err());
        for name in &missing {
            let error = KeyStoreError::Gone(*name, self.folder.path_of(*name));
            self.reporter.error(&format!("key not loaded: {error}"));
        }
        missing.len()
    }

    /// Unwraps all keys; what fails for a passing reason is tried again. The start ends at `until` if KMS does not get
    /// it any further.
    fn unwrap_all(&self, files: &[ReadFile], until: Instant, loaded: &mut Loaded) -> Result<(), KeyStoreError> {
        let mut waiting: Vec<&ReadFile> = files.iter().collect();
        let mut pause = FIRST_PAUSE;
        let mut next_note = Instant::now();
        let mut reason: Option<(KeyName, KmsError)> = None;
        while !waiting.is_empty() {
            let count = waiting.len();
            // Even a start without any patience asks once.
            let deadline = until.max(Instant::now() + SHORTEST_ROUND);
            let again = self.unwrap_once(&waiting, deadline, loaded);
            let Some((name, error)) = again.first().map(|(file, error)| (file.name, error.clone())) else { break };
            if error.class == Class::Config {
                return Err(KeyStoreError::Kms(name, error));
            }
            let now = Instant::now();
            let left = until.saturating_duration_since(now);
            if left.is_zero() && again.len() == count {
                // A round that was cut short says only that there was no answer in time; the one before says why.
                let (name, error) = reason.unwrap_or((name, error));
                return Err(KeyStoreError::Kms(name, error));
            }
            if now >= next_note {
                let seconds = left.as_secs() + 1;
                self.reporter.note(&format!("waiting for KMS, for up to {seconds} s more: {name}: {error}"));
                next_note = now + NOTE_EVERY;
            }
            reason = Some((name, error));
            waiting = again.into_iter().map(|(file, _)| file).collect();
            std::thread::sleep(jittered(pause).min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    fn report_findings(&self, findings: &Findings) {
        if self.role == Role::Backup {
            return;
        }
        if !self.inventory.was_there() && !findings.is_empty() {
            self.reporter.warning(&format!(
                "there is no manifest of the key files in {}, so it is made from the {} that are there. This is normal at \
                 the first start after another plugin; otherwise see that no key file is missing",
                self.folder.path().display(),
                findings.len()
            ));
            return;
        }
        for (name, _, finding) in findings {
            match finding {
                Finding::New => self.reporter.note(&format!(
                    "adopted {name}: its file was copied here, or written by another version of the plugin"
                )),
                Finding::Rewrapped => self
                    .reporter
                    .note(&format!("adopted the new file of {name}: the same data key, wrapped anew elsewhere")),
                _ => {}
            }
        }
    }
}

/// How often a start that waits says so.
const NOTE_EVERY: Duration = Duration::from_secs(15);

/// What KMS gets at least, to answer all keys that are waiting.
const SHORTEST_ROUND: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between half of `pause` and all of it, so that many servers do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
