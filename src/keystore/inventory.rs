//! The manifest in use: what the key store knows of the key versions that there ever were.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::manifest::{Entry, Finding, Manifest, OnDisk};
use super::{KeyFolder, KeyId, KeyName, KeyStoreError, KeyVersion, Reporter, Role};

/// The manifest of the key store's folder.
pub(super) struct Inventory {
    state: Mutex<State>,
    is_writable: bool,
    was_there: bool,
}

struct State {
    manifest: Manifest,
    /// There is a manifest of a later version of the plugin, of this format: it is left alone, and no key is made.
    newer: Option<u32>,
}

impl Inventory {
    /// Reads the manifest. One that is damaged is put aside, and replaced when the keys have been loaded.
    pub(super) fn open(folder: &KeyFolder, role: Role, reporter: &dyn Reporter) -> Result<Self, KeyStoreError> {
        let is_writable = role == Role::Server;
        let found = Manifest::read(folder)?;
        let was_there = !matches!(found, OnDisk::Missing);
        let mut state = State { manifest: Manifest::default(), newer: None };
        match found {
            OnDisk::Good(manifest) => state.manifest = manifest,
            OnDisk::Missing => {}
            OnDisk::Damaged(reason) => {
                reporter.warning(&format!(
                    "the manifest of the key files in {} is damaged ({reason}) and is made anew from the key files; \
                     that a key file was lost or exchanged before can't be noticed",
                    folder.path().display()
                ));
                let put_aside = || folder.lock().and_then(|_lock| Manifest::put_aside(folder));
                if is_writable && let Err(error) = put_aside() {
                    reporter.warning(&error.to_string());
                }
            }
            OnDisk::Newer(format) => {
                state.newer = Some(format);
                reporter.warning(&KeyStoreError::NewerManifest(format).to_string());
            }
        }
        Ok(Self { state: Mutex::new(state), is_writable, was_there })
    }

    /// Whether there was a manifest at start. What is wrong with it, if anything, has been reported.
    pub(super) fn was_there(&self) -> bool {
        self.was_there
    }

    /// Fails if no key may be made here.
    pub(super) fn check_may_add(&self) -> Result<(), KeyStoreError> {
        self.state().newer.map_or(Ok(()), |format| Err(KeyStoreError::NewerManifest(format)))
    }

    /// Compares a key file with what is known of it. Fails if it holds another key.
    pub(super) fn check(&self, name: KeyName, found: &Entry) -> Result<Finding, KeyStoreError> {
        match self.state().manifest.compare(name, found) {
            Finding::OtherKey => Err(KeyStoreError::OtherKey(name)),
            Finding::OtherAlgorithm => Err(KeyStoreError::OtherAlgorithm(name, found.algorithm())),
            finding => Ok(finding),
        }
    }

    /// Adds entries, here and on the disk. The caller holds the folder's lock. What could not be written is written with
    /// the next entries.
    pub(super) fn add(&self, folder: &KeyFolder, entries: Vec<(KeyName, Entry)>) -> Result<(), KeyStoreError> {
        if !self.is_writable || entries.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        for (name, entry) in entries {
            let entry = match state.manifest.created(name) {
                Some(created) => entry.with_created(created),
                None => entry,
            };
            state.manifest.insert(name, entry);
        }
        if state.take_over(folder)? == Found::Damaged {
            Manifest::put_aside(folder)?;
        }
        state.manifest.write(folder)
    }

    /// Takes over what another server with the same folder has added.
    pub(super) fn refresh(&self, folder: &KeyFolder) -> Result<(), KeyStoreError> {
        if self.is_writable { self.state().take_over(folder).map(drop) } else { Ok(()) }
    }

    /// The highest version of a key that was ever here.
    pub(super) fn highest(&self, id: KeyId) -> Option<KeyVersion> {
        self.state().manifest.highest(id)
    }

    /// All key versions that were ever here, in order.
    pub(super) fn names(&self) -> Vec<KeyName> {
        self.state().manifest.names().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each entry is inserted as a whole, so a panic elsewhere has not spoilt it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a manifest lies there that has to be put aside before it is replaced.
#[derive(PartialEq, Eq)]
enum Found {
    Replaceable,
    Damaged,
}

impl State {
    /// Reads the manifest on the disk, which another server may have changed.
    fn take_over(&mut self, folder: &KeyFolder) -> Result<Found, KeyStoreError> {
        let mut found = Found::Replaceable;
        match Manifest::read(folder)? {
            OnDisk::Good(manifest) => self.manifest.add_missing(manifest),
            OnDisk::Missing => {}
            OnDisk::Damaged(_) => found = Found::Damaged,
            OnDisk::Newer(format) => self.newer = Some(format),
        }
        self.newer.map_or(Ok(found), |format| Err(KeyStoreError::NewerManifest(format)))
    }
}
