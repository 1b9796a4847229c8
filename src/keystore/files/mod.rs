//! The key files on the disk: the folder, the formats of what lies in it, and the manifest of what there ever was. Knows
//! no KMS, and nothing of what is published.

mod adding;
mod copies;
mod disk;
mod documents;
mod durable_files;
mod encrypted_data;
mod entry;
mod extra_copies;
mod file_lock;
mod inventory;
mod json;
mod key_file;
mod limits;
mod lock;
mod manifest;
mod manifest_format;
mod memory;
mod owner;
mod repairing;
mod replaced_keys;
mod salvage;
mod system_disk;
mod tablespaces;
mod tie;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use adding::Adding;
pub use disk::Disk;
#[cfg(all(test, not(feature = "model")))]
pub use disk::{Kind, Listed, LockFile, NewFile};
pub use encrypted_data::{Elsewhere, Needing, encrypted_file};
pub use entry::{Entry, Traits};
pub use inventory::{FoundManifest, LostManifest};
pub use key_file::KeyFile;
pub use limits::may_pass;
pub use manifest::Finding;
pub use owner::Closed;
pub use repairing::{FoundFolders, WholeManifest};
pub use replaced_keys::Held;
pub use system_disk::SystemDisk;
#[cfg(all(test, not(feature = "model")))]
pub use tablespaces::first_page;
pub use tie::{BrokenTie, Tie};

use super::{KeyId, KeyName, KeyStoreError, KeyVersion};
use crate::kms::{EncryptionContext, MasterKeyId};
use durable_files::KeyFolder;
use inventory::{Ask, Inventory, Place};
use memory::Memory;

/// The key files of one folder, and its manifest.
pub struct KeyFiles {
    folder: KeyFolder,
    /// Whether the folder is the datadir.
    holds_data: bool,
    inventory: Inventory,
    /// `None` where nothing is written.
    memory: Option<Memory>,
}

/// Where key files lie.
pub struct Folders<'a> {
    /// The key folder, which must exist.
    pub keys: &'a Path,
    /// A second folder to read key files from, if it is there.
    pub also: Option<&'a Path>,
    /// The datadir, which remembers what was in the key folder.
    pub datadir: &'a Path,
    /// Nothing is written, now or later, and what the datadir remembers is not asked.
    pub is_read_only: bool,
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

impl StoredKey {
    /// What is bound into the wrapped key.
    pub fn encryption_context(&self) -> EncryptionContext {
        self.file.wrapped.encryption_context().clone()
    }
}

impl KeyFiles {
    /// Opens the folders and reads the manifest. Fails if the keys of the datadir lie elsewhere.
    pub fn open(disk: Arc<dyn Disk>, folders: &Folders<'_>) -> Result<(Self, FoundManifest), KeyStoreError> {
        let folder = KeyFolder::open(disk.clone(), folders.keys, folders.also)?;
        let holds_data = match disk.canonicalize(folders.datadir) {
            Err(error) if may_pass(&error) => return Err(durable_files::not_opened(folders.datadir, error)),
            datadir => datadir.is_ok_and(|datadir| datadir == folder.path()),
        };
        let memory = match folders.is_read_only {
            true => None,
            false => Some(Memory::new(KeyFolder::open(disk, folders.datadir, None)?)),
        };
        if let Some(memory) = &memory {
            memory.check(&folder)?;
        }
        let (inventory, manifest) = Inventory::open(&folder, memory.is_some())?;
        Ok((Self { folder, holds_data, inventory, memory }, manifest))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether this process may make files in the folder, as far as that can be told without making one.
    pub fn check_writable(&self) -> io::Result<()> {
        self.folder.check_writable()
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

    /// All versions that have a file, or another copy, in order: their numbers are used.
    pub fn in_use(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.folder.names_of(|name| {
            KeyName::parse(name).or_else(|| KeyName::parse_extra(name)).or_else(|| KeyName::parse_before_rewrap(name))
        })
    }

    /// The highest version of one key that has a file, or another copy.
    pub fn highest_in_folder(&self, id: KeyId) -> Result<Option<KeyVersion>, KeyStoreError> {
        Ok(self.in_use()?.into_iter().filter(|name| name.id == id).map(|name| name.version).max())
    }

    /// All key versions that were ever here and are not retired, as far as the manifest knows, in order.
    pub fn recorded(&self) -> Vec<KeyName> {
        self.inventory.names(false)
    }

    /// All key versions that nothing needs any more, in order.
    pub fn retired(&self) -> Vec<KeyName> {
        self.inventory.names(true)
    }

    /// Whether nothing needs a version any more.
    pub fn is_retired(&self, name: KeyName) -> bool {
        self.inventory.entry(name).is_some_and(|entry| entry.is_retired)
    }

    /// What is known of all key versions that were ever here, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.inventory.entries()
    }

    /// Whether a key version was ever here, as far as the manifest knows.
    pub fn is_recorded(&self, name: KeyName) -> bool {
        self.inventory.has(name)
    }

    /// The ARN of the master key that wraps a key version, as far as the manifest knows.
    pub fn master_key(&self, name: KeyName) -> Option<String> {
        self.inventory.master_key(name)
    }

    /// Whether a key version is wrapped by a master key that its key id has, or had, of its own, as far as the manifest knows.
    pub fn has_own_master_key(&self, name: KeyName) -> bool {
        self.inventory.has_own_master_key(name)
    }

    /// The ARN of such a master key that wraps a version of a key which is not retired, as far as the manifest knows.
    pub fn own_master_key_of(&self, id: KeyId) -> Option<String> {
        self.inventory.own_master_key_of(id)
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

    /// All that a key file holds, whatever it is; `None` if it is not there.
    pub fn contents(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        self.folder.contents(name)
    }

    /// What has the name of a key file. Fails if the folder does not answer.
    pub fn held(&self, name: KeyName) -> Result<Held, KeyStoreError> {
        self.folder.held(name)
    }

    /// The master key that wraps a key file, or what is kept of one, as far as it is known. Another file than the one that the
    /// manifest knows may be the one of before a re-wrap.
    pub fn master_key_of(&self, stored: &StoredKey) -> Option<MasterKeyId> {
        let entry = self.entry(stored.name)?;
        // That of a re-wrap which has not been recorded yet is still as the manifest says.
        let is_of_it = entry.is_of(&stored.contents);
        MasterKeyId::parse(if is_of_it { entry.master_key() } else { entry.former_master_key() }?)
    }

    /// Whether a key file is the one that the manifest knows.
    pub fn is_as_recorded(&self, stored: &StoredKey) -> bool {
        self.entry(stored.name).is_some_and(|entry| entry.is_of(&stored.contents))
    }

    /// The key store's files in the folder that whom `datadir` belongs to cannot read, as far as owners and modes tell.
    pub fn closed_to_owner_of(&self, datadir: &Path) -> Result<Vec<(String, Closed)>, KeyStoreError> {
        let names = self.folder.all_names()?.into_iter();
        let closed = |name: String| {
            let closed = owner::closed_to_owner_of(datadir, &self.path().join(&name)).ok().flatten()?;
            Some((name, closed))
        };
        Ok(names.filter_map(closed).collect())
    }

    /// What the manifest knows of a key version.
    pub fn entry(&self, name: KeyName) -> Option<Entry> {
        self.inventory.entry(name)
    }

    /// Where the keys lie, if the folder is a datadir whose keys lie in another one.
    pub fn elsewhere(&self) -> Result<Option<PathBuf>, KeyStoreError> {
        memory::elsewhere(&self.folder)
    }

    /// Fails if the folder is a datadir whose keys do not lie in it, as a start of a server would find.
    pub fn check_as_datadir(&self) -> Result<(), KeyStoreError> {
        memory::check_as_datadir(&self.folder)
    }

    /// The names of files like those of the plugin which a server that runs well does not need, in order: what a re-wrap or a
    /// stopped server has left, and what a person has put there.
    pub fn other_names(&self) -> Result<Vec<String>, KeyStoreError> {
        let mut names = self.folder.all_names()?;
        let needed = [manifest::FILE_NAME, memory::DATADIR_FILE, memory::FOLDER_FILE, lock::LOCK_FILE];
        let is_needed = |name: &str| {
            needed.contains(&name) || KeyName::parse(name).is_some() || KeyName::parse_extra(name).is_some()
        };
        names.retain(|name| !is_needed(name));
        Ok(names)
    }

    /// Compares a key file with what is known of it. Fails if it holds another key.
    pub fn check(&self, found: &Entry) -> Result<Finding, KeyStoreError> {
        self.inventory.check(found)
    }

    /// Whether the manifest says that a version was left behind: see [`KeyFiles::left_behind`].
    pub fn is_left_behind(&self, name: KeyName) -> bool {
        self.inventory.entry(name).is_some_and(|entry| entry.is_left_behind)
    }

    /// Whether the manifest was copied here, with a backup or a clone, and not written since.
    pub fn is_copy(&self) -> bool {
        self.inventory.is_copy()
    }

    /// The entries of versions that are missing since the folder was copied. A backup that was taken while keys were rotated
    /// can hold a manifest that lists a version whose file was made too late to be copied, and so too late for any data in
    /// it. Such a version is higher than all of its key that are `present`, which is in order. Where the keys do not lie in the datadir, they were
    /// copied by themselves, so that nothing says what the data needs: there are none then.
    pub fn left_behind(&self, missing: &[KeyName], present: &[KeyName]) -> Vec<Entry> {
        if !self.holds_data {
            return Vec::new();
        }
        let is_copy = self.is_copy();
        let highest: BTreeMap<KeyId, KeyVersion> = present.iter().map(|name| (name.id, name.version)).collect();
        let entry = |name: &KeyName| {
            let entry = self.inventory.entry(*name)?;
            let is_newer = highest.get(&name.id).is_some_and(|highest| name.version > *highest);
            (entry.is_left_behind || (is_copy && is_newer)).then_some(entry)
        };
        missing.iter().filter_map(entry).collect()
    }

    /// Whether a version may encrypt new data, as far as the manifest knows; `None` if it does not know the version.
    pub fn is_trusted(&self, name: KeyName) -> Option<bool> {
        self.inventory.is_trusted(name)
    }

    /// A version of a key that may encrypt new data, as the manifest says, but has no file.
    pub fn missing_trusted(&self, id: KeyId) -> Result<Option<KeyName>, KeyStoreError> {
        let present = self.versions(id)?;
        let trusted = self.inventory.trusted_of(id);
        Ok(trusted.into_iter().find(|name| present.binary_search(&name.version).is_err()))
    }

    /// The master keys of all versions that may encrypt new data, as far as the manifest knows.
    pub fn master_keys(&self) -> BTreeSet<String> {
        self.inventory.master_keys()
    }

    /// The master keys of all versions that are needed, and when the oldest of the versions `latest` was made, or first seen;
    /// as far as the manifest knows.
    pub fn summary(&self, latest: &[KeyName]) -> (BTreeSet<String>, Option<SystemTime>) {
        self.inventory.summary(latest)
    }

    /// When a version was made, or first seen, as far as the manifest knows.
    pub fn created(&self, name: KeyName) -> Option<SystemTime> {
        self.inventory.created(name)
    }

    /// Takes over what the manifest on the disk says, which another server with the same folder may have changed. Fails if
    /// the folder is not the one any more where the keys of the datadir lie: it was unmounted, or exchanged.
    pub fn refresh(&self) -> Result<(), KeyStoreError> {
        self.ask_disk(Ask::IfChanged).map(drop)
    }

    /// Whether the manifest that was here was gone, or could not be read, at the last [`KeyFiles::refresh`].
    pub fn manifest_is_lost(&self) -> bool {
        self.inventory.is_lost()
    }

    /// What had become of a manifest that was made anew, of what is in memory, since this was asked last.
    pub fn take_made_anew(&self) -> Option<LostManifest> {
        self.inventory.take_made_anew()
    }

    fn ask_disk(&self, ask: Ask) -> Result<Place, KeyStoreError> {
        let Some(memory) = &self.memory else { return Ok(Place::Free) };
        memory.check(&self.folder)?;
        self.inventory.refresh(&self.folder, ask)
    }

    /// Fails if no key may be made here, as far as is known since [`KeyFiles::refresh`].
    pub fn check_may_add(&self) -> Result<(), KeyStoreError> {
        self.inventory.check_may_add()
    }

    /// Takes entries of versions that are to be recorded, whether that will work or not: what is not written is written with
    /// the next ones.
    pub fn note(&self, entries: Vec<Entry>) {
        self.inventory.note(entries);
    }

    /// Waits, but not for ever, until nobody else adds files, and asks the manifest on the disk. Fails if no key may be
    /// made here.
    pub fn begin_adding(&self) -> Result<Adding<'_>, KeyStoreError> {
        let lock = self.folder.lock()?;
        let place = self.ask_disk(Ask::Always)?;
        self.check_may_add()?;
        Ok(Adding { files: self, place, _lock: lock })
    }

    /// Whether the datadir remembers that its keys lie here.
    pub fn is_remembered(&self) -> Result<bool, KeyStoreError> {
        self.memory.as_ref().map_or(Ok(true), |memory| memory.is_up_to_date(&self.folder))
    }

    /// Makes sure that key files which were found here, and not made, are on the disk. Answers those for which it failed.
    pub fn sync(&self, names: &[KeyName]) -> Vec<(KeyName, KeyStoreError)> {
        self.folder.sync(names)
    }

    /// The same for keys that were loaded from copies.
    pub fn sync_copies(&self, names: &[KeyName]) -> Vec<(KeyName, KeyStoreError)> {
        self.folder.sync_copies(names)
    }

    /// Removes temporary files that a stopped server left behind. Answers how many.
    pub fn remove_leftovers(&self) -> Result<usize, KeyStoreError> {
        let datadir = self.memory.as_ref().map(Memory::datadir).filter(|datadir| datadir.path() != self.path());
        Ok(self.folder.remove_leftovers()? + datadir.map_or(Ok(0), KeyFolder::remove_leftovers)?)
    }
}
