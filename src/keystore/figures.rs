//! What the key store knows, in numbers that anybody may read at any time: nothing is asked and nobody waits.
//!
//! What changes often is counted where it happens; how many keys there are, and which of them failed, is asked of those who
//! know it already. Each lock is held for a copy only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::backoff::Backoff;
use super::readiness::Readiness;
use super::version_list::KnownVersions;
use super::{KeyName, KeyStore, KeyStoreError, ListedVersion, PublishedKeys, trust};

/// The numbers of one key store. They outlive it.
pub struct Figures {
    published: &'static PublishedKeys,
    failures: Arc<Backoff>,
    readiness: Readiness,
    known_versions: KnownVersions,
    master_keys: AtomicU64,
    /// Seconds since 1970; 0 without keys.
    oldest_latest: AtomicU64,
    rotations: AtomicU64,
    rotations_failed: AtomicU64,
    last_rotation: Mutex<Option<Rotation>>,
    start_time_ms: AtomicU64,
    is_not_locked: AtomicBool,
}

#[derive(Clone)]
struct Rotation {
    when: SystemTime,
    by: String,
}

impl Figures {
    pub(super) fn new(published: &'static PublishedKeys, failures: Arc<Backoff>) -> Self {
        Self {
            published,
            failures,
            readiness: Readiness::default(),
            known_versions: KnownVersions::default(),
            master_keys: AtomicU64::new(0),
            oldest_latest: AtomicU64::new(0),
            rotations: AtomicU64::new(0),
            rotations_failed: AtomicU64::new(0),
            last_rotation: Mutex::new(None),
            start_time_ms: AtomicU64::new(0),
            is_not_locked: AtomicBool::new(false),
        }
    }

    /// Keys of which a version can be used.
    pub fn keys(&self) -> usize {
        self.published.count().0
    }

    /// Versions that can be used.
    pub fn key_versions(&self) -> usize {
        self.published.count().1
    }

    /// Keys of which a version that there is or was cannot be used.
    pub fn keys_failed(&self) -> usize {
        self.failures.watched().keys
    }

    /// Versions that cannot be used because they have no file any more.
    pub fn key_versions_missing(&self) -> usize {
        self.failures.watched().missing
    }

    /// Master keys that wrap a version. Replicas of a multi-region key are one.
    pub fn master_keys(&self) -> u64 {
        self.master_keys.load(Ordering::Relaxed)
    }

    /// How long ago the version was made, or first seen, that has been the latest of its key for the longest time. Zero
    /// without keys.
    pub fn oldest_latest_version_age(&self) -> Duration {
        match self.oldest_latest.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            made => (SystemTime::UNIX_EPOCH + Duration::from_secs(made)).elapsed().unwrap_or_default(),
        }
    }

    /// New versions of keys that existed.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// Keys that were to get a new version, and did not. Not those of a statement that was killed.
    pub fn rotations_failed(&self) -> u64 {
        self.rotations_failed.load(Ordering::Relaxed)
    }

    /// When a key last got a new version.
    pub fn last_rotation(&self) -> Option<SystemTime> {
        self.rotation().map(|rotation| rotation.when)
    }

    /// On whose behalf.
    pub fn last_rotation_by(&self) -> String {
        self.rotation().map_or_else(String::new, |rotation| rotation.by)
    }

    /// All key versions that there are or were, in order.
    pub fn version_list(&self) -> Vec<ListedVersion> {
        self.known_versions.list(self.published, &self.failures)
    }

    /// What is known of the versions beyond what is published of them, and which of them failed.
    pub(super) fn known_versions(&self) -> &KnownVersions {
        &self.known_versions
    }

    /// How long the start took.
    pub fn start_time(&self) -> Duration {
        Duration::from_millis(self.start_time_ms.load(Ordering::Relaxed))
    }

    /// Whether all data keys lie in memory that is never written to swap space.
    pub fn memory_is_locked(&self) -> bool {
        !self.is_not_locked.load(Ordering::Relaxed)
    }

    /// Whether the server could start again now, and make keys.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    pub(super) fn started(&self, took: Duration) {
        self.start_time_ms.store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Of the memory of keys; what was not locked once, stays so.
    pub(super) fn note_memory(&self, is_locked: bool) {
        self.is_not_locked.fetch_or(!is_locked, Ordering::Relaxed);
    }

    pub(super) fn rotated(&self, by: String) {
        self.rotations.fetch_add(1, Ordering::Relaxed);
        *self.last_rotation.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Rotation { when: SystemTime::now(), by });
    }

    pub(super) fn rotation_failed(&self) {
        self.rotations_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What the versions that there are come to: the ARNs of their master keys, and when the oldest of the latest was made.
    pub(super) fn note_versions<'a>(
        &self,
        master_keys: impl IntoIterator<Item = &'a str>,
        oldest_latest: Option<SystemTime>,
    ) {
        self.master_keys.store(trust::count_master_keys(master_keys) as u64, Ordering::Relaxed);
        let since = oldest_latest.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.oldest_latest.store(since.map_or(0, |since| since.as_secs()), Ordering::Relaxed);
    }

    /// Whether all versions are loaded may have changed.
    pub(super) fn note_loaded(&self) {
        self.readiness.set_loaded(SystemTime::now(), self.failures.watched().keys == 0);
    }

    fn rotation(&self) -> Option<Rotation> {
        self.last_rotation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where the key store counts.
impl KeyStore {
    /// What is published may have changed.
    pub(super) fn note_versions(&self) {
        if !self.role.writes() {
            return;
        }
        let latest = |id| self.published.latest(id).map(|version| KeyName { id, version });
        let latest: Vec<KeyName> = self.published.ids().into_iter().filter_map(latest).collect();
        let (master_keys, oldest) = self.files.summary(&latest);
        self.figures.note_versions(master_keys.iter().map(String::as_str), oldest);
        self.figures.known_versions.set_entries(self.files.entries());
        self.forget_retired();
        if let Some(lost) = self.files.take_made_anew() {
            self.messages.manifest_made_anew(self.files.path(), &lost);
        }
    }

    /// Versions that somebody has retired meanwhile, and that have no file, are not tried any more.
    fn forget_retired(&self) {
        let retired = self.files.retired();
        if retired.is_empty() {
            self.figures.known_versions.set_retired(Vec::new());
            return;
        }
        let Ok(present) = self.files.present() else { return };
        let gone: Vec<KeyName> = retired.into_iter().filter(|name| present.binary_search(name).is_err()).collect();
        self.figures.known_versions.set_retired(gone.iter().filter_map(|name| self.files.entry(*name)).collect());
        // But for those that data has asked for.
        let asked_for = self.asked_for_in_vain();
        let gone: Vec<KeyName> = gone.into_iter().filter(|name| !asked_for.contains(name)).collect();
        if self.failures.forget(&gone) {
            self.figures.note_loaded();
        }
    }

    /// Which versions have a key file, and which have other copies, may have changed. Lists the folder, and reads the copies.
    pub(super) fn note_copies(&self) {
        let (Ok(with_copies), Ok(kept), Ok(present)) =
            (self.files.with_copies(), self.files.kept_before_rewrap(), self.files.present())
        else {
            return;
        };
        let count = |name: KeyName| {
            (name, self.files.extra_copies(name).len() + usize::from(kept.binary_search(&name).is_ok()))
        };
        let mut gone = self.files.recorded();
        gone.retain(|name| present.binary_search(name).is_err());
        let copies = with_copies.into_iter().map(count).collect();
        self.figures.known_versions.set_copies(gone.into_iter().collect(), copies);
    }

    /// Whether a key could be made, if that says something of others.
    pub(super) fn note_making(&self, failed: Option<&KeyStoreError>) {
        match failed {
            Some(KeyStoreError::Kms(..)) => self.figures.readiness().set_kms_makes_keys(false),
            Some(error) if !error.keeps_keys_from_being_made() => {}
            failed => self.figures.readiness().set_made(failed.is_none()),
        }
    }

    /// A key was rotated, or was to be.
    pub(super) fn count_rotation(&self, failed: Option<&KeyStoreError>) {
        match failed {
            None => self.figures.rotated((self.who)()),
            // Nor is it one, if there is no such key: somebody has mistyped a number.
            Some(error) if error.is_given_up() || matches!(error, KeyStoreError::NoSuchKey(_)) => {}
            Some(_) => self.figures.rotation_failed(),
        }
    }
}
