//! Files that are added, replaced and removed: only under the lock of the folder.

use super::extra_copies::ExtraCopies;
use super::lock::FolderLock;
use super::{Entry, Held, KeyFiles, Place};
use crate::cipher::Algorithm;
use crate::keystore::{KeyName, KeyStoreError};
use crate::kms::WrappedKey;

/// The right to add files, which one server at a time has. Whoever has it knows what the manifest on the disk says.
pub struct Adding<'a> {
    pub(super) files: &'a KeyFiles,
    pub(super) place: Place,
    pub(super) _lock: FolderLock,
}

impl Adding<'_> {
    /// Makes sure that the next start trusts a version that is wrapped by the master key with this ARN: to be called before
    /// its file is written.
    pub fn add_master_key(&self, arn: &str) -> Result<(), KeyStoreError> {
        self.files.inventory.add_master_key(&self.files.folder, self.place, arn)
    }

    /// Makes a key file, which must not exist. When this returns, it is whole and on the disk, and the datadir remembers
    /// that it has keys.
    pub fn write(&self, name: KeyName, contents: &[u8]) -> Result<(), KeyStoreError> {
        let id = self.name_folder()?;
        self.files.folder.write_new(name, contents)?;
        self.remember_folder(id)
    }

    /// Makes several key files, none of which may exist: all of them or none. When this returns, they are whole and on the disk.
    /// A failure takes back those that were made: the lock has been held since, so nobody can have recorded them. That the
    /// datadir remembers them, [`Adding::remember`] sees to.
    pub fn write_all(&self, keys: &[(KeyName, Vec<u8>)]) -> Result<(), KeyStoreError> {
        self.name_folder()?;
        for (made, (name, contents)) in keys.iter().enumerate() {
            let Err(error) = self.files.folder.write_new(*name, contents) else { continue };
            // The last one too: it may have got its name.
            let mut left = Vec::new();
            for (name, contents) in &keys[..=made] {
                left.extend(self.files.folder.take_back(*name, contents).err().map(|error| (*name, error)));
            }
            let names = left.iter().map(|(name, _)| *name).collect();
            return Err(match left.into_iter().next() {
                None => error,
                Some((_, why)) => KeyStoreError::NotTakenBack { names, why: Box::new(why), first: Box::new(error) },
            });
        }
        Ok(())
    }

    /// Replaces a key file that holds `before`, or makes it if it is gone, which `before` says then. What can be no key file gets
    /// another name. What a key file held is kept beside it until [`Adding::forget_before_rewrap`], unless something older is kept
    /// already, which is answered; and for good under another name, if it is not what the manifest knows. Fails if somebody else has changed it.
    pub fn replace(&self, name: KeyName, before: &Held, contents: &[u8]) -> Result<bool, KeyStoreError> {
        let folder = &self.files.folder;
        if folder.held(name)? != *before {
            return Err(KeyStoreError::ChangedMeanwhile(self.files.path_of(name)));
        }
        match before {
            Held::Contents(before) => {
                // It may hold a key that is nowhere else, and that other data needs: that is not what a good start may forget.
                if self.files.entry(name).is_some_and(|entry| !entry.is_of(before)) {
                    folder.keep(&name.file_name_damaged(), before)?;
                }
                return folder.replace_key(name, before, contents);
            }
            Held::Obstacle => drop(folder.move_obstacle_aside(name)?),
            Held::Nothing => {}
        }
        self.write(name, contents).map(|()| true)
    }

    /// Removes what was kept of before a re-wrap, where the key files are still those that have `proven` good. Answers how many
    /// there were.
    pub fn forget_before_rewrap(&self, proven: &[&Entry]) -> Result<usize, KeyStoreError> {
        let mut names = Vec::new();
        for entry in proven {
            // Another server with the same folder may have re-wrapped it since.
            if self.files.folder.contents(entry.name)?.is_some_and(|contents| entry.is_of(&contents)) {
                names.push(entry.name);
            }
        }
        self.files.folder.remove_before_rewrap(&names)?;
        Ok(names.len())
    }

    /// Adds copies of a key version, each in place of one that the same master key wraps. What has their file's name, and is of no
    /// use, is kept under another name.
    pub fn add_extra_copies(
        &self,
        name: KeyName,
        algorithm: Algorithm,
        copies: &[WrappedKey],
    ) -> Result<(), KeyStoreError> {
        let folder = &self.files.folder;
        let there = folder.read_extra_copies(name)?.filter(|there| there.algorithm() == algorithm);
        if there.is_none() {
            folder.keep_extra_copies(name)?;
        }
        let there = there.unwrap_or_else(|| ExtraCopies::none(name, algorithm));
        folder.write_extra_copies(&there.with(copies))
    }

    /// Puts these copies of a key version in the place of all that there are.
    pub fn replace_extra_copies(
        &self,
        name: KeyName,
        algorithm: Algorithm,
        copies: &[WrappedKey],
    ) -> Result<(), KeyStoreError> {
        let folder = &self.files.folder;
        // Those of a later version of the plugin are left alone.
        if folder.read_extra_copies(name)?.is_none() {
            folder.keep_extra_copies(name)?;
        }
        if copies.is_empty() {
            return folder.remove_extra_copies(name);
        }
        folder.write_extra_copies(&ExtraCopies::none(name, algorithm).with(copies))
    }

    /// Lets the datadir remember that its keys lie here. There are some.
    pub fn remember(&self) -> Result<(), KeyStoreError> {
        self.remember_folder(self.name_folder()?)
    }

    /// Takes key versions off the list of those that have to be here. Their numbers stay used. All are recorded, and have no file.
    pub fn retire(&self, names: &[KeyName]) -> Result<(), KeyStoreError> {
        self.files.inventory.retire(&self.files.folder, self.place, names)
    }

    /// Records key versions in the manifest. What could not be written is written with the next entries.
    pub fn record(&self, entries: Vec<Entry>) -> Result<(), KeyStoreError> {
        self.files.inventory.add(&self.files.folder, self.place, entries)
    }

    fn name_folder(&self) -> Result<Option<String>, KeyStoreError> {
        self.files.memory.as_ref().map(|memory| memory.name(&self.files.folder)).transpose()
    }

    fn remember_folder(&self, id: Option<String>) -> Result<(), KeyStoreError> {
        let Some((memory, id)) = self.files.memory.as_ref().zip(id) else { return Ok(()) };
        memory.remember(&self.files.folder, id)
    }
}
