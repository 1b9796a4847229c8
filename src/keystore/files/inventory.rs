//! The manifest in use: what the key store knows of the key versions that there ever were.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::disk::Kind;
use super::durable_files::KeyFolder;
use super::entry::Entry;
use super::json;
use super::manifest::{self, Finding, Manifest, OnDisk};
use crate::keystore::{KeyId, KeyName, KeyStoreError, KeyVersion};

/// The manifest of the key store's folder.
pub(super) struct Inventory {
    state: Mutex<State>,
}

/// What there was at start.
pub enum FoundManifest {
    /// No manifest.
    Missing,
    /// A good one.
    Good {
        /// How many of its entries could not be read. They are kept as they are.
        unreadable: usize,
    },
    /// A damaged one.
    Damaged {
        /// What is wrong with it.
        reason: String,
        /// Why it could not be put aside.
        not_put_aside: Option<KeyStoreError>,
    },
    /// One of a later version of the plugin, with its format.
    Newer(u32),
}

#[derive(Default)]
struct State {
    manifest: Manifest,
    /// There is a manifest of a later version of the plugin, of this format: it is left alone, and no key is made.
    newer: Option<u32>,
    /// The file that was read or written last, if it was a good one: not read again as long as it is the same.
    known: Option<Kind>,
    /// The master keys that the manifest on the disk knew when it was read or written last.
    master_keys_on_disk: BTreeSet<String>,
    /// Whether a good manifest was ever on the disk: it is missed if it is gone.
    was_on_disk: bool,
    /// What has become of the one on the disk, if that is lost.
    lost: Option<LostManifest>,
    /// What had become of one that was made anew since.
    made_anew: Option<LostManifest>,
}

/// What has become of a manifest while it was in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostManifest {
    /// It is gone.
    Gone,
    /// It cannot be read, for this reason.
    Damaged(String),
}

impl Inventory {
    /// What a manifest says, wherever it is from: to compare with.
    pub(super) fn of(manifest: Manifest) -> Self {
        Self { state: Mutex::new(State { manifest, ..State::default() }) }
    }

    /// Reads the manifest. One that is damaged is put aside, and replaced when the keys have been loaded. Only read if not
    /// `is_writable`.
    pub(super) fn open(folder: &KeyFolder, is_writable: bool) -> Result<(Self, FoundManifest), KeyStoreError> {
        let mut state = State::default();
        let found = match Manifest::read(folder)? {
            OnDisk::Good(manifest) => {
                state.manifest = manifest;
                state.master_keys_on_disk = state.manifest.master_keys();
                state.was_on_disk = true;
                FoundManifest::Good { unreadable: state.manifest.unreadable() }
            }
            OnDisk::Missing => FoundManifest::Missing,
            OnDisk::Damaged(reason) => {
                let put_aside = || folder.lock().and_then(|_lock| Manifest::put_aside(folder));
                let not_put_aside = if is_writable { put_aside().err() } else { None };
                FoundManifest::Damaged { reason, not_put_aside }
            }
            OnDisk::Newer(format) => {
                state.newer = Some(format);
                FoundManifest::Newer(format)
            }
        };
        Ok((Self { state: Mutex::new(state) }, found))
    }

    /// Fails if no key may be made here.
    pub(super) fn check_may_add(&self) -> Result<(), KeyStoreError> {
        self.state().newer.map_or(Ok(()), |format| Err(KeyStoreError::NewerManifest(format)))
    }

    /// Compares a key file with what is known of it. Fails if it holds another key.
    pub(super) fn check(&self, found: &Entry) -> Result<Finding, KeyStoreError> {
        match self.state().manifest.compare(found) {
            Finding::OtherKey => Err(KeyStoreError::OtherKey(found.name)),
            Finding::OtherAlgorithm => Err(KeyStoreError::OtherAlgorithm(found.name, found.algorithm())),
            finding => Ok(finding),
        }
    }

    /// Takes over what the manifest on the disk says, which another server with the same folder may have changed. What
    /// could not be written there yet is kept.
    pub(super) fn refresh(&self, folder: &KeyFolder, ask: Ask) -> Result<Place, KeyStoreError> {
        let mut state = self.state();
        // Before it is read: what takes its place meanwhile is read the next time.
        let kind = manifest::kind(folder)?;
        if ask == Ask::IfChanged && kind.is_some() && state.known == kind {
            return Ok(Place::Free);
        }
        let found = Manifest::read(folder)?;
        (state.newer, state.known, state.lost) = (None, None, None);
        state.master_keys_on_disk.clear();
        match found {
            OnDisk::Good(manifest) => {
                state.master_keys_on_disk = manifest.master_keys();
                state.manifest.take_over(manifest);
                (state.known, state.was_on_disk) = (kind, true);
            }
            OnDisk::Missing => state.lost = state.was_on_disk.then_some(LostManifest::Gone),
            OnDisk::Damaged(reason) => {
                state.lost = Some(LostManifest::Damaged(reason));
                return Ok(Place::Taken);
            }
            OnDisk::Newer(format) => state.newer = Some(format),
        }
        Ok(Place::Free)
    }

    /// Whether there was no good manifest on the disk any more when it was asked last.
    pub(super) fn is_lost(&self) -> bool {
        self.state().lost.is_some()
    }

    /// What had become of a manifest that was made anew since this was asked last.
    pub(super) fn take_made_anew(&self) -> Option<LostManifest> {
        self.state().made_anew.take()
    }

    /// Adds entries, here and on the disk. The caller holds the folder's lock, and has called [`Inventory::refresh`] since.
    /// What could not be written is written with the next entries. No entry takes the place of one of another key.
    pub(super) fn add(&self, folder: &KeyFolder, place: Place, entries: Vec<Entry>) -> Result<(), KeyStoreError> {
        for entry in &entries {
            self.check(entry)?;
        }
        self.note(entries);
        self.state().write(folder, place)
    }

    /// Makes sure that the next start trusts a version that is wrapped by this master key, even if its entry could not be
    /// written. The caller holds the folder's lock, and has called [`Inventory::refresh`] since.
    pub(super) fn add_master_key(&self, folder: &KeyFolder, place: Place, arn: &str) -> Result<(), KeyStoreError> {
        let mut state = self.state();
        // Where no master key is known, all versions are trusted.
        if state.master_keys_on_disk.is_empty() || state.master_keys_on_disk.contains(arn) {
            return Ok(());
        }
        state.manifest.add_master_key(arn);
        state.write(folder, place)
    }

    /// Adds entries here only: they are written with the next ones. No entry takes the place of one of another key.
    pub(super) fn note(&self, entries: Vec<Entry>) {
        let mut state = self.state();
        for entry in entries {
            let entry = match (state.manifest.compare(&entry), state.manifest.entry(entry.name)) {
                (Finding::OtherKey | Finding::OtherAlgorithm, _) => continue,
                (_, Some(before)) => entry.in_place_of(before),
                (_, None) => entry,
            };
            state.manifest.insert(entry);
        }
    }

    /// Whether a version may encrypt new data; `None` if it is not known.
    pub(super) fn is_trusted(&self, name: KeyName) -> Option<bool> {
        self.state().manifest.is_trusted(name)
    }

    /// Whether the manifest was copied here, and not written since.
    pub(super) fn is_copy(&self) -> bool {
        self.state().manifest.is_copy()
    }

    /// The entry of a version.
    pub(super) fn entry(&self, name: KeyName) -> Option<Entry> {
        self.state().manifest.entry(name).cloned()
    }

    /// All entries of versions that are not retired, in order.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let state = self.state();
        state.manifest.names_by_need(false).filter_map(|name| state.manifest.entry(name).cloned()).collect()
    }

    /// The master keys of all versions that may encrypt new data.
    pub(super) fn master_keys(&self) -> BTreeSet<String> {
        self.state().manifest.master_keys()
    }

    /// The master keys of all versions that are needed, and when the oldest of the versions `latest` was made, or first seen.
    pub(super) fn summary(&self, latest: &[KeyName]) -> (BTreeSet<String>, Option<SystemTime>) {
        let state = self.state();
        let entries = || state.manifest.names_by_need(false).filter_map(|name| state.manifest.entry(name));
        let needed = entries().filter(|entry| !entry.is_left_behind);
        let master_keys = needed.filter_map(|entry| entry.master_key().map(str::to_owned)).collect();
        // In this form the earliest date is the least.
        let made = latest.iter().filter_map(|name| Some(state.manifest.entry(*name)?.created.as_str()));
        (master_keys, made.min().and_then(json::time))
    }

    /// When a version was made, or first seen.
    pub(super) fn created(&self, name: KeyName) -> Option<SystemTime> {
        json::time(&self.state().manifest.entry(name)?.created)
    }

    /// The highest version of a key that was ever here.
    pub(super) fn highest(&self, id: KeyId) -> Option<KeyVersion> {
        self.state().manifest.highest(id)
    }

    /// The ARN of the master key that wraps a key version.
    pub(super) fn master_key(&self, name: KeyName) -> Option<String> {
        self.state().manifest.master_key(name).map(str::to_owned)
    }

    /// Whether a key version was ever here.
    pub(super) fn has(&self, name: KeyName) -> bool {
        self.state().manifest.entry(name).is_some()
    }

    /// The versions of a key that may encrypt new data, ascending.
    pub(super) fn trusted_of(&self, id: KeyId) -> Vec<KeyName> {
        self.state().manifest.trusted_of(id).collect()
    }

    /// The ARN of the master key of its own that wraps the highest such version of a key.
    pub(super) fn own_master_key_of(&self, id: KeyId) -> Option<String> {
        self.state().manifest.own_master_key_of(id).map(str::to_owned)
    }

    /// Whether a version is wrapped by a master key that its key id has, or had, of its own.
    pub(super) fn has_own_master_key(&self, name: KeyName) -> bool {
        self.state().manifest.entry(name).is_some_and(Entry::has_own_master_key)
    }

    /// All key versions that were ever here, in order: those that are retired, or those that are not.
    pub(super) fn names(&self, are_retired: bool) -> Vec<KeyName> {
        self.state().manifest.names_by_need(are_retired).collect()
    }

    /// Marks key versions as retired, here and on the disk. The caller holds the folder's lock, and has called
    /// [`Inventory::refresh`] since.
    pub(super) fn retire(&self, folder: &KeyFolder, place: Place, names: &[KeyName]) -> Result<(), KeyStoreError> {
        let mut state = self.state();
        names.iter().for_each(|name| state.manifest.retire(*name));
        state.write(folder, place)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each entry is inserted as a whole, so a panic elsewhere has not spoilt it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, folder: &KeyFolder, place: Place) -> Result<(), KeyStoreError> {
        if place == Place::Taken {
            Manifest::put_aside(folder)?;
        }
        self.known = None;
        self.manifest.write(folder)?;
        self.manifest.is_written_here();
        self.was_on_disk = true;
        self.made_anew = self.lost.take().or(self.made_anew.take());
        self.master_keys_on_disk = self.manifest.master_keys();
        self.known = manifest::kind(folder)?;
        Ok(())
    }
}

/// When the manifest on the disk is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// If its length, number or time has changed.
    IfChanged,
    /// In any case: what is added depends on it.
    Always,
}

/// Where the manifest is to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is there, or a manifest that may be replaced.
    Free,
    /// What is there is no manifest, and has to be put aside first.
    Taken,
}
