//! What the datadir remembers of its keys, so that an empty or exchanged folder in place of the key folder is noticed: an
//! id that the datadir and the key folder share.
//!
//! Two files, whose names make mariadb-backup copy them: one in the key folder gives that its id, before the first key is
//! made there; one in the datadir says with which id its keys lie, after a key file is on the disk and before the key is
//! used. So a datadir that remembers has, or had, keys.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::documents::Document;
use super::durable_files::KeyFolder;
use super::json::{hex, json};
use super::manifest;
use crate::keystore::KeyStoreError;
use crate::keystore::error::WrongFolder;

/// The memory of one datadir.
pub(super) struct Memory {
    datadir: KeyFolder,
    /// What this process has seen, should the file in the datadir be taken away while the server runs.
    seen: Mutex<Option<Remembered>>,
}

/// The file in the datadir.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    format: u32,
    /// The id of the key folder.
    pub(super) folder_id: String,
    /// Where that was when it was last seen: `.` is the datadir itself, wherever that is.
    pub(super) folder: PathBuf,
}

/// The file in the key folder.
#[derive(Serialize, Deserialize)]
pub(super) struct FolderId {
    format: u32,
    pub(super) id: String,
}

impl FolderId {
    pub(super) fn of(id: String) -> Self {
        Self { format: FORMAT, id }
    }
}

/// Fails if `folder` is a datadir whose keys do not lie in it, as a start of a server would find.
pub(super) fn check_as_datadir(folder: &KeyFolder) -> Result<(), KeyStoreError> {
    Memory::new(folder.clone()).check(folder)
}

impl Memory {
    pub(super) fn new(datadir: KeyFolder) -> Self {
        Self { datadir, seen: Mutex::new(None) }
    }

    /// The datadir.
    pub(super) fn datadir(&self) -> &KeyFolder {
        &self.datadir
    }

    /// Fails if the datadir has keys that do not lie in `folder`.
    pub(super) fn check(&self, folder: &KeyFolder) -> Result<(), KeyStoreError> {
        let id = read_id(folder)?;
        let Some(remembered) = self.remembered()? else {
            // Perhaps an earlier version of the plugin made the keys of this datadir, or another plugin, which remembered
            // nothing.
            let is_elsewhere = !has_keys(folder)? && has_keys(&self.datadir)?;
            return if is_elsewhere { Err(self.wrong(folder, HERE.as_ref(), id, KEY_FILES)?) } else { Ok(()) };
        };
        if id.as_ref() != Some(&remembered.folder_id) || !has_keys(folder)? {
            return Err(self.wrong(folder, &remembered.folder, id, DATADIR_FILE)?);
        }
        *self.seen() = Some(remembered);
        Ok(())
    }

    /// Whether the datadir remembers just what is.
    pub(super) fn is_up_to_date(&self, folder: &KeyFolder) -> Result<bool, KeyStoreError> {
        let id = read_id(folder)?;
        Ok(id.is_some_and(|id| self.read().is_ok_and(|remembered| remembered == Some(self.to_remember(folder, id)))))
    }

    /// Gives the key folder an id, if it has none. The caller holds the folder's lock.
    pub(super) fn name(&self, folder: &KeyFolder) -> Result<String, KeyStoreError> {
        if let Some(id) = read_id(folder)? {
            return Ok(id);
        }
        let id = FolderId::of(new_id(folder)?);
        write(folder, FOLDER_FILE, &id)?;
        Ok(id.id)
    }

    /// Remembers that the keys of the datadir lie in the folder with this id.
    pub(super) fn remember(&self, folder: &KeyFolder, id: String) -> Result<(), KeyStoreError> {
        let remembered = self.to_remember(folder, id);
        if self.read()?.as_ref() != Some(&remembered) {
            write(&self.datadir, DATADIR_FILE, &remembered)?;
        }
        *self.seen() = Some(remembered);
        Ok(())
    }

    pub(super) fn to_remember(&self, folder: &KeyFolder, folder_id: String) -> Remembered {
        let is_here = folder.path() == self.datadir.path();
        let folder = if is_here { Path::new(HERE) } else { folder.path() };
        Remembered { format: FORMAT, folder_id, folder: folder.to_owned() }
    }

    fn remembered(&self) -> Result<Option<Remembered>, KeyStoreError> {
        // What is in the datadir comes first: a state transfer of Galera replaces the datadir while the server runs.
        Ok(self.read()?.or_else(|| self.seen().clone()))
    }

    fn read(&self) -> Result<Option<Remembered>, KeyStoreError> {
        read(&self.datadir, DATADIR_FILE)
    }

    fn seen(&self) -> MutexGuard<'_, Option<Remembered>> {
        // Replaced as a whole, so a panic elsewhere has not spoilt it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error about `folder`, where `memory` in the datadir says that the keys lie in `expected`.
    fn wrong(
        &self,
        folder: &KeyFolder,
        expected: &Path,
        id: Option<String>,
        memory: &str,
    ) -> Result<KeyStoreError, KeyStoreError> {
        let found = match id {
            _ if !has_keys(folder)? => WrongFolder::Empty,
            Some(_) => WrongFolder::Other,
            None => WrongFolder::Nameless,
        };
        let datadir = self.datadir.path();
        let expected = if expected == Path::new(HERE) { datadir } else { expected };
        let (folder, expected, memory) = (folder.path().to_owned(), expected.to_owned(), datadir.join(memory));
        Ok(KeyStoreError::WrongFolder { folder, expected, found, memory })
    }
}

/// Where the keys of a datadir lie, if it remembers that they do not lie in itself.
pub(super) fn elsewhere(datadir: &KeyFolder) -> Result<Option<PathBuf>, KeyStoreError> {
    let remembered: Option<Remembered> = read(datadir, DATADIR_FILE)?;
    Ok(remembered.map(|remembered| remembered.folder).filter(|folder| folder != Path::new(HERE)))
}

/// An id for a key folder that has none.
pub(super) fn new_id(folder: &KeyFolder) -> Result<String, KeyStoreError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| failed("make an id for", folder, FOLDER_FILE, error.into()))?;
    Ok(hex(&random))
}

pub(super) fn has_keys(folder: &KeyFolder) -> Result<bool, KeyStoreError> {
    Ok(manifest::kind(folder)?.is_some() || !folder.scan()?.is_empty())
}

fn read_id(folder: &KeyFolder) -> Result<Option<String>, KeyStoreError> {
    Ok(read::<FolderId>(folder, FOLDER_FILE)?.map(|file| file.id))
}

fn read<T: for<'a> Deserialize<'a>>(folder: &KeyFolder, file_name: &str) -> Result<Option<T>, KeyStoreError> {
    let damaged = |reason: String| KeyStoreError::DamagedMemory { path: folder.path().join(file_name), reason };
    match folder.read_document(file_name) {
        Ok(Document::Missing) => Ok(None),
        Ok(Document::NoFile) => Err(damaged("it is no file".to_owned())),
        Ok(Document::File { contents, .. }) => {
            serde_json::from_slice(&contents).map(Some).map_err(|error| damaged(error.to_string()))
        }
        Err(error) => Err(failed("read", folder, file_name, error)),
    }
}

pub(super) fn write(folder: &KeyFolder, file_name: &str, document: &impl Serialize) -> Result<(), KeyStoreError> {
    folder.replace_document(file_name, |_| json(document))
}

fn failed(action: &'static str, folder: &KeyFolder, file_name: &str, error: std::io::Error) -> KeyStoreError {
    KeyStoreError::Io { action, path: folder.path().join(file_name), error }
}

/// In the datadir.
pub(super) const DATADIR_FILE: &str = "aws-kms-key.datadir.json";
/// In the key folder.
pub(super) const FOLDER_FILE: &str = "aws-kms-key.folder.json";
/// The datadir itself.
pub(super) const HERE: &str = ".";
/// What a person calls all that the plugin writes.
const KEY_FILES: &str = "aws-kms-key.*";
pub(super) const FORMAT: u32 = 1;
