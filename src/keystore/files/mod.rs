//! The key files on the disk: the folder, the formats of what lies in it, and the manifest of what there ever was. Knows
//! no KMS, and nothing of what is published.

mod disk;
mod folder;
mod inventory;
mod json;
mod key_file;
mod manifest;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use disk::{Disk, SystemDisk};
#[cfg(all(test, not(feature = "model")))]
pub use disk::{Kind, Listed, LockFile, NewFile};
pub use folder::FolderLock;
pub use inventory::FoundManifest;
pub use key_file::KeyFile;
pub use manifest::{Entry, Finding};

use super::{KeyId, KeyName, KeyStoreError, KeyVersion};
use folder::KeyFolder;
use inventory::Inventory;

/// The key files of one folder, and its manifest.
pub struct KeyFiles {
    folder: KeyFolder,
    inventory: Inventory,
}

/// A key file that was read.
pub struct StoredKey {
    /// The key version.
    pub name: KeyName,
    /// All its bytes.
    pub contents: Vec<u8>,
    /// What they say.
    pub file: KeyFile,
}

impl KeyFiles {
    /// Opens a folder, which must exist, and reads its manifest. `also` is a second folder to read key files from, if it is
    /// there. Writes nothing, now or later, if not `is_writable`.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        also: Option<&Path>,
        is_writable: bool,
    ) -> Result<(Self, FoundManifest), KeyStoreError> {
        let folder = KeyFolder::open(disk, folder, also)?;
        let (inventory, manifest) = Inventory::open(&folder, is_writable)?;
        Ok((Self { folder, inventory }, manifest))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a key's file, which need not exist.
    pub fn path_of(&self, name: KeyName) -> PathBuf {
        self.folder.path_of(name)
    }

    /// All key files, usable or not, in order.
    pub fn present(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.folder.scan()
    }

    /// The versions of one key that have a file, usable or not, ascending.
    pub fn versions(&self, id: KeyId) -> Result<Vec<KeyVersion>, KeyStoreError> {
        self.folder.versions(id)
    }

    /// All key versions that were ever here, as far as the manifest knows, in order.
    pub fn recorded(&self) -> Vec<KeyName> {
        self.inventory.names()
    }

    /// The highest version of a key that was ever here, as far as the manifest knows.
    pub fn highest_recorded(&self, id: KeyId) -> Option<KeyVersion> {
        self.inventory.highest(id)
    }

    /// Reads a key file.
    pub fn read(&self, name: KeyName) -> Result<StoredKey, KeyStoreError> {
        let contents = self.folder.read(name)?;
        let file = KeyFile::parse(name, &contents)?;
        Ok(StoredKey { name, contents, file })
    }

    /// Compares a key file with what is known of it. Fails if it holds another key.
    pub fn check(&self, found: &Entry) -> Result<Finding, KeyStoreError> {
        self.inventory.check(found)
    }

    /// Fails if no key may be made here.
    pub fn check_may_add(&self) -> Result<(), KeyStoreError> {
        self.inventory.check_may_add()
    }

    /// Takes over what another server with the same folder has recorded.
    pub fn refresh(&self) -> Result<(), KeyStoreError> {
        self.inventory.refresh(&self.folder)
    }

    /// Waits, but not for ever, until nobody else adds files.
    pub fn lock(&self) -> Result<FolderLock, KeyStoreError> {
        self.folder.lock()
    }

    /// Makes a key file, which must not exist. When this returns, it is whole and on the disk.
    pub fn write(&self, _lock: &FolderLock, name: KeyName, contents: &[u8]) -> Result<(), KeyStoreError> {
        self.folder.write_new(name, contents)
    }

    /// Records key versions in the manifest. What could not be written is written with the next entries.
    pub fn record(&self, _lock: &FolderLock, entries: Vec<Entry>) -> Result<(), KeyStoreError> {
        self.inventory.add(&self.folder, entries)
    }

    /// Removes temporary files that a stopped server left behind. Answers how many.
    pub fn remove_leftovers(&self) -> Result<usize, KeyStoreError> {
        self.folder.remove_leftovers()
    }
}
