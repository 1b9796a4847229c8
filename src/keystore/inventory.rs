//! The manifest in use: what the key store knows of the key versions that there ever were.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::manifest::{Entry, Finding, Manifest, OnDisk};
use super::{KeyFolder, KeyId, KeyName, KeyStoreError, KeyVersion, Reporter, Role};

/// The manifest of the key store's folder.
pub(super) struct Inventory {
    manifest: Mutex<Manifest>,
    access: Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    /// In mariadb-backup's process.
    ReadOnly,
    /// Written by a later version of the plugin, in this format: left alone, and no key is made.
    Newer(u32),
}

impl Inventory {
    /// Reads the manifest. One that is damaged is put aside, and replaced when the keys have been loaded.
    pub(super) fn open(folder: &KeyFolder, role: Role, reporter: &dyn Reporter) -> Result<Self, KeyStoreError> {
        let mut access = if role == Role::Backup { Access::ReadOnly } else { Access::ReadWrite };
        let manifest = match Manifest::read(folder)? {
            OnDisk::Good(manifest) => manifest,
            OnDisk::Missing => Manifest::default(),
            OnDisk::Damaged(reason) => {
                reporter.warning(&format!(
                    "the manifest of the key files in {} is damaged ({reason}) and is made anew from the key files; \
                     that a key file was lost or exchanged before can't be noticed",
                    folder.path().display()
                ));
                if access == Access::ReadWrite
                    && let Err(error) = Manifest::put_aside(folder)
                {
                    reporter.warning(&error.to_string());
                }
                Manifest::default()
            }
            OnDisk::Newer(format) => {
                access = Access::Newer(format);
                reporter.warning(&KeyStoreError::NewerManifest(format).to_string());
                Manifest::default()
            }
        };
        Ok(Self { manifest: Mutex::new(manifest), access })
    }

    /// Fails if no key may be made here.
    pub(super) fn check_may_add(&self) -> Result<(), KeyStoreError> {
        match self.access {
            Access::Newer(format) => Err(KeyStoreError::NewerManifest(format)),
            Access::ReadOnly | Access::ReadWrite => Ok(()),
        }
    }

    /// Compares a key file with what is known of it. Fails if it holds another key.
    pub(super) fn check(&self, name: KeyName, found: &Entry) -> Result<Finding, KeyStoreError> {
        match self.manifest().compare(name, found) {
            Finding::OtherKey => Err(KeyStoreError::OtherKey(name)),
            finding => Ok(finding),
        }
    }

    /// Adds entries, here and on the disk. The caller holds the folder's lock. If it fails, nothing has changed.
    pub(super) fn add(&self, folder: &KeyFolder, entries: Vec<(KeyName, Entry)>) -> Result<(), KeyStoreError> {
        if self.access != Access::ReadWrite || entries.is_empty() {
            return Ok(());
        }
        let mut manifest = self.manifest();
        let mut new = manifest.clone();
        for (name, entry) in entries {
            let entry = match manifest.created(name) {
                Some(created) => entry.with_created(created),
                None => entry,
            };
            new.insert(name, entry);
        }
        // Another server with the same folder may have added some.
        if let OnDisk::Good(on_disk) = Manifest::read(folder)? {
            new.add_missing(on_disk);
        }
        new.write(folder)?;
        *manifest = new;
        Ok(())
    }

    /// Takes over what another server with the same folder has added.
    pub(super) fn refresh(&self, folder: &KeyFolder) -> Result<(), KeyStoreError> {
        if self.access == Access::ReadWrite
            && let OnDisk::Good(on_disk) = Manifest::read(folder)?
        {
            self.manifest().add_missing(on_disk);
        }
        Ok(())
    }

    /// The highest version of a key that was ever here.
    pub(super) fn highest(&self, id: KeyId) -> Option<KeyVersion> {
        self.manifest().highest(id)
    }

    /// All key versions that were ever here, in order.
    pub(super) fn names(&self) -> Vec<KeyName> {
        self.manifest().names().collect()
    }

    fn manifest(&self) -> MutexGuard<'_, Manifest> {
        // Replaced as a whole, so a panic elsewhere has not spoilt it.
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
