//! All key versions in a list, for a person: what is published, what the manifest says, what failed, and when it was last
//! proven. Made from memory: nothing is asked and nobody waits; no lock is held across I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::backoff::{Backoff, FailedVersion};
use super::files::Entry;
use super::load_report::AcceptedKey;
use super::{DataKey, KeyName, PublishedKeys};
use crate::cipher::Algorithm;
use crate::kms::EncryptionContext;

/// What there is to say of a key version. No secret.
#[derive(Debug)]
pub struct ListedVersion {
    /// Which.
    pub name: KeyName,
    /// Whether new data of this key is encrypted with it.
    pub is_latest: bool,
    /// Whether it can be used.
    pub state: VersionState,
    /// What it encrypts with; `None` where it is not loaded, and not in the manifest.
    pub algorithm: Option<Algorithm>,
    /// The length of the data key in bits, if it is loaded.
    pub key_bits: Option<usize>,
    /// When it was made, or first seen.
    pub created: Option<SystemTime>,
    /// On whose behalf: `user@host`, the name of a setting, or empty.
    pub created_by: String,
    /// The ARN of the master key that wraps it in its file, if KMS gave it.
    pub master_key: Option<String>,
    /// How many wrapped copies of it there are: in its key file, and beside that.
    pub wraps: usize,
    /// What is bound into the wrapped key in its file, if that was read.
    pub encryption_context: Option<EncryptionContext>,
    /// When KMS last unwrapped what is in its file.
    pub last_verified: Option<SystemTime>,
    /// Why it cannot be used, or a restart would not find it.
    pub error: Option<String>,
}

/// Whether a key version can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It can.
    Ok,
    /// It can, but a restart would not find it in its file, as a check has found.
    Unready,
    /// It can be read with, but encrypts nothing new: it turned up under a master key that nobody knew here.
    NotTrusted,
    /// Its file is there, and it could not be loaded.
    Failed,
    /// Its file is gone.
    Missing,
    /// Its file is gone, and nothing needs it: it was left behind when the folder was copied.
    LeftBehind,
    /// It is in memory, but somebody has retired it: a restart would not find it, and nothing may need it.
    Retired,
    /// Nobody has asked for it yet: another server with the same folder has made it.
    NotLoaded,
}

/// What is known of the versions beyond what is published of them, and which of them failed.
#[derive(Default)]
pub(super) struct KnownVersions(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// As in the manifest, in order.
    entries: Arc<Vec<Entry>>,
    last_verified: BTreeMap<KeyName, SystemTime>,
    contexts: BTreeMap<KeyName, EncryptionContext>,
    /// How many other copies than the one in the key file there are.
    copies: BTreeMap<KeyName, usize>,
    /// Versions that had no key file when the folder was last listed.
    without_file: BTreeSet<KeyName>,
    /// Versions that were retired, and have no file.
    retired: BTreeMap<KeyName, Entry>,
    /// What a start would not find, and why.
    unready: BTreeMap<KeyName, String>,
}

impl KnownVersions {
    /// What the manifest says now.
    pub(super) fn set_entries(&self, entries: Vec<Entry>) {
        self.known().entries = Arc::new(entries);
    }

    /// Versions that were retired, and have no file.
    pub(super) fn set_retired(&self, retired: Vec<Entry>) {
        self.known().retired = retired.into_iter().map(|entry| (entry.name, entry)).collect();
    }

    /// Which versions have no key file, and how many other copies there are.
    pub(super) fn set_copies(&self, without_file: BTreeSet<KeyName>, copies: BTreeMap<KeyName, usize>) {
        let mut known = self.known();
        (known.without_file, known.copies) = (without_file, copies);
    }

    /// What a start would not find, and why.
    pub(super) fn set_unready(&self, unready: BTreeMap<KeyName, String>) {
        self.known().unready = unready;
    }

    /// The file of a version was read, or not: what is bound into the wrapped key in it, and whether KMS has just unwrapped it.
    pub(super) fn checked(&self, name: KeyName, was_unwrapped: bool, context: Option<&EncryptionContext>) {
        let mut known = self.known();
        if was_unwrapped {
            known.last_verified.insert(name, SystemTime::now());
        }
        if let Some(context) = context {
            known.contexts.insert(name, context.clone());
            known.without_file.remove(&name);
        }
    }

    /// A version was loaded, from its file or from a copy.
    pub(super) fn loaded(&self, AcceptedKey { entry, encryption_context, instead_of, .. }: &AcceptedKey) {
        let is_of_the_file = instead_of.as_ref().is_none_or(|instead_of| !instead_of.is_the_file());
        self.checked(entry.name, instead_of.is_none(), is_of_the_file.then_some(encryption_context));
    }

    /// The file of a version was written, with a wrapped key that KMS has just made and unwrapped.
    pub(super) fn wrapped(&self, name: KeyName, context: &EncryptionContext) {
        self.checked(name, true, Some(context));
    }

    /// All versions, in order.
    pub(super) fn list(&self, published: &PublishedKeys, failures: &Backoff) -> Vec<ListedVersion> {
        let mut failed = failures.failed_versions();
        let entries = self.known().entries.clone();
        let entries: BTreeMap<KeyName, &Entry> = entries.iter().map(|entry| (entry.name, entry)).collect();
        failed.retain(|name, failed| failed.was_here || entries.contains_key(name));
        let names: BTreeSet<KeyName> =
            entries.keys().copied().chain(published.names()).chain(failed.keys().copied()).collect();
        let known = self.known();
        let listed = names.into_iter().map(|name| {
            let retired = known.retired.get(&name);
            let (entry, failed) = (entries.get(&name).copied().or(retired), failed.get(&name));
            let key_bits = published.with_key(name, |key: &DataKey| key.as_bytes().len() * 8);
            let latest = published.latest(name.id);
            let is_trusted =
                latest.is_some_and(|latest| latest >= name.version) && entry.is_none_or(|entry| entry.is_trusted);
            let unready = known.unready.get(&name);
            let state = match VersionState::of(key_bits.is_some(), is_trusted, entry, failed) {
                VersionState::Ok | VersionState::NotTrusted if retired.is_some() => VersionState::Retired,
                VersionState::Ok if unready.is_some() => VersionState::Unready,
                state => state,
            };
            let has_file = !matches!(state, VersionState::Missing | VersionState::LeftBehind | VersionState::Retired)
                && !known.without_file.contains(&name);
            ListedVersion {
                name,
                is_latest: latest == Some(name.version),
                state,
                algorithm: match key_bits {
                    Some(_) => Some(published.algorithm(name)),
                    None => entry.map(Entry::algorithm),
                },
                key_bits,
                created: entry.and_then(Entry::created),
                created_by: entry.map_or_else(String::new, |entry| entry.created_by().to_owned()),
                master_key: entry.and_then(|entry| entry.master_key().map(str::to_owned)),
                wraps: usize::from(has_file) + known.copies.get(&name).copied().unwrap_or(0),
                encryption_context: known.contexts.get(&name).cloned(),
                last_verified: known.last_verified.get(&name).copied(),
                error: match state {
                    VersionState::Failed | VersionState::Missing => failed.map(|failed| failed.error.clone()),
                    VersionState::Unready => unready.cloned(),
                    _ => None,
                },
            }
        });
        listed.collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VersionState {
    fn of(is_loaded: bool, is_trusted: bool, entry: Option<&Entry>, failed: Option<&FailedVersion>) -> Self {
        match failed {
            _ if is_loaded && is_trusted => Self::Ok,
            _ if is_loaded => Self::NotTrusted,
            // Also if it was left behind as far as could be told: somebody has asked for it.
            Some(failed) if failed.is_missing => Self::Missing,
            Some(_) => Self::Failed,
            None if entry.is_some_and(|entry| entry.is_left_behind) => Self::LeftBehind,
            None => Self::NotLoaded,
        }
    }
}
