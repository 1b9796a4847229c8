//! The folders as they are found by who repairs them. Nothing is refused because of what they hold, and nothing is put aside;
//! what is replaced is kept under another name, and only replaced if it is still what was looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::documents::Document;
use super::durable_files::{KeyFolder, failed};
use super::encrypted_data::encrypted_file;
use super::inventory::Inventory;
use super::manifest::{DAMAGED_FILE_NAME, FILE_NAME, Manifest, OnDisk};
use super::manifest_format::name_in;
use super::memory::DATADIR_FILE;
use super::salvage::{in_place_of_unreadable, salvage};
use super::tie::{BrokenTie, Tie};
use super::{Adding, Disk, Entry, Folders, Held, KeyFiles, StoredKey};
use crate::keystore::{KeyName, KeyStoreError};

/// The folder of the key files and the datadir, with what the manifest says, or with what is left of it.
pub struct FoundFolders {
    folder: KeyFolder,
    datadir: KeyFolder,
    manifest: Manifest,
    state: WholeManifest,
    /// What is in the manifest's file; `None` if there is no file.
    contents: Option<Vec<u8>>,
}

/// How the manifest as a whole is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WholeManifest {
    /// There is none.
    Missing {
        /// Whether a start has put a damaged one aside, of which something can be read.
        is_put_aside: bool,
    },
    /// It can be read, but perhaps for some entries.
    Good,
    /// It cannot, for this reason.
    Damaged(String),
    /// A later version of the plugin has written it, in this format.
    Newer(u32),
}

impl FoundFolders {
    /// Reads the manifest. Fails if a folder cannot be read.
    pub fn open(disk: Arc<dyn Disk>, keys: &Path, datadir: &Path) -> Result<Self, KeyStoreError> {
        let folder = KeyFolder::open(disk.clone(), keys, None)?;
        let datadir = KeyFolder::open(disk, datadir, None)?;
        let contents = read(&folder, FILE_NAME)?;
        let remains = |contents: &Option<Vec<u8>>| contents.as_deref().map(salvage).unwrap_or_default();
        let (manifest, state) = match Manifest::read(&folder)? {
            OnDisk::Good(manifest) => (manifest, WholeManifest::Good),
            OnDisk::Damaged(reason) => (remains(&contents), WholeManifest::Damaged(reason)),
            OnDisk::Newer(format) => (Manifest::default(), WholeManifest::Newer(format)),
            OnDisk::Missing => {
                let remains = remains(&last_put_aside(&folder)?);
                let is_put_aside = remains != Manifest::default();
                (remains, WholeManifest::Missing { is_put_aside })
            }
        };
        Ok(Self { folder, datadir, manifest, state, contents })
    }

    /// The folder of the key files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The datadir.
    pub fn datadir(&self) -> &Path {
        self.datadir.path()
    }

    /// How the manifest as a whole is.
    pub fn manifest(&self) -> &WholeManifest {
        &self.state
    }

    /// Where the manifest is.
    pub fn manifest_path(&self) -> PathBuf {
        self.path().join(FILE_NAME)
    }

    /// The key files, only to be read, and compared with what the manifest says, or with what is left of it.
    pub fn to_read(&self) -> KeyFiles {
        let inventory = Inventory::of(self.manifest.clone());
        KeyFiles { folder: self.folder.clone(), holds_data: self.is_one(), inventory, memory: None }
    }

    /// The same, to change something. The manifest on the disk is a good one, and the datadir is tied to the folder.
    pub fn to_write(&self) -> Result<KeyFiles, KeyStoreError> {
        let folders = Folders { keys: self.path(), also: None, datadir: self.datadir(), is_read_only: false };
        Ok(KeyFiles::open(self.folder.disk.clone(), &folders)?.0)
    }

    /// A file of the datadir with encrypted data, if there is one.
    pub fn encrypted_file(&self) -> Option<PathBuf> {
        encrypted_file(&*self.datadir.disk, self.datadir.path())
    }

    /// Whether the datadir remembers where its keys lie.
    pub fn is_remembered(&self) -> Result<bool, KeyStoreError> {
        Ok(read(&self.datadir, DATADIR_FILE)?.is_some())
    }

    /// The names of key files, and of copies of keys, in a datadir whose keys lie in another folder, in order.
    pub fn strays(&self) -> Result<Vec<String>, KeyStoreError> {
        if self.is_one() {
            return Ok(Vec::new());
        }
        let is_of_a_key = |name: &String| {
            KeyName::parse(name).is_some()
                || KeyName::parse_extra(name).is_some()
                || KeyName::parse_before_rewrap(name).is_some()
        };
        Ok(self.datadir.all_names()?.into_iter().filter(is_of_a_key).collect())
    }

    /// How the datadir and the folder belong together.
    pub fn tie(&self) -> Result<Tie, KeyStoreError> {
        BrokenTie::find(&self.folder, &self.datadir)
    }

    /// Ties them together. Answers as what is kept what was there.
    pub fn mend(&self, tie: &BrokenTie) -> Result<Vec<String>, KeyStoreError> {
        tie.mend(&self.folder, &self.datadir)
    }

    /// The entries that cannot be read, each with the version that it is about, as far as that can be told.
    pub fn unreadable(&self) -> Vec<Option<KeyName>> {
        self.manifest.unreadable.iter().map(name_in).collect()
    }

    /// The entry of a key file that was proven, with what can be read of one that cannot be read.
    pub fn in_place_of_unreadable(&self, entry: Entry) -> Entry {
        let is_of_it = |value: &&Value| name_in(value) == Some(entry.name);
        self.manifest.unreadable.iter().filter(is_of_it).fold(entry.clone(), in_place_of_unreadable)
    }

    /// The master keys that a manifest with these entries more would know.
    pub fn master_keys_with(&self, more: &[Entry]) -> BTreeSet<String> {
        self.with(more).master_keys()
    }

    fn with(&self, more: &[Entry]) -> Manifest {
        let mut manifest = self.manifest.clone();
        for entry in more {
            let entry = entry.clone();
            manifest.insert(match self.manifest.entry(entry.name) {
                Some(before) if before.file_sha256 == entry.file_sha256 => {
                    let former = before.former_master_key.clone();
                    entry.in_place_of(before).with_former_master_key(former)
                }
                Some(before) => entry.in_place_of(before),
                None => entry,
            });
        }
        manifest
    }

    /// Writes the manifest, with these entries more. If something is lost by that, what was there is kept: answers as what.
    pub fn replace_manifest(&self, more: &[Entry]) -> Result<Option<String>, KeyStoreError> {
        let _lock = self.folder.lock()?;
        if read(&self.folder, FILE_NAME)? != self.contents {
            return Err(KeyStoreError::ChangedMeanwhile(self.manifest_path()));
        }
        let manifest = self.with(more);
        let loses_something = self.state != WholeManifest::Good || manifest.unreadable() != self.manifest.unreadable();
        let kept = match &self.contents {
            Some(contents) if loses_something => Some(self.folder.keep(DAMAGED_FILE_NAME, contents)?),
            Some(_) => None,
            None if matches!(self.state, WholeManifest::Damaged(_)) => {
                Some(self.folder.move_aside(FILE_NAME, DAMAGED_FILE_NAME)?)
            }
            None => None,
        };
        manifest.write(&self.folder)?;
        Ok(kept)
    }

    /// How many temporary files a stopped server has left.
    pub fn temporary_files(&self) -> Result<usize, KeyStoreError> {
        let of = |folder: &KeyFolder| -> Result<usize, KeyStoreError> {
            let is_left = |path: &&PathBuf| folder.disk.is_locked(path).is_ok_and(|is_locked| !is_locked);
            Ok(folder.temporary_files()?.iter().filter(is_left).count())
        };
        Ok(of(&self.folder)? + if self.is_one() { 0 } else { of(&self.datadir)? })
    }

    /// Removes them.
    pub fn remove_temporary_files(&self) -> Result<(), KeyStoreError> {
        self.folder.remove_leftovers()?;
        if self.is_one() { Ok(()) } else { self.datadir.remove_leftovers().map(drop) }
    }

    fn is_one(&self) -> bool {
        self.folder.path() == self.datadir.path()
    }
}

impl Adding<'_> {
    /// Fails if a key file does not hold `held` any more, or is not gone any more, or if what is kept of before a re-wrap is not
    /// `copy` any more.
    pub fn check_may_put_back(&self, copy: &StoredKey, held: &Held) -> Result<(), KeyStoreError> {
        let (name, folder) = (copy.name, &self.files.folder);
        if folder.held(name)? != *held {
            return Err(KeyStoreError::ChangedMeanwhile(self.files.path_of(name)));
        }
        if folder.read_before_rewrap(name).as_deref() != Some(&copy.contents) {
            return Err(KeyStoreError::ChangedMeanwhile(self.files.path().join(name.file_name_before_rewrap())));
        }
        Ok(())
    }

    /// Makes a key file hold what is kept of before a re-wrap, which was proven to be its key. In its place is `held`, which is kept:
    /// answers as what. The caller has called [`Adding::check_may_put_back`].
    pub fn put_back(&self, copy: &StoredKey, held: &Held) -> Result<Option<String>, KeyStoreError> {
        let (name, folder) = (copy.name, &self.files.folder);
        let kept = match held {
            Held::Nothing => None,
            Held::Obstacle => Some(folder.move_obstacle_aside(name)?),
            Held::Contents(held) => {
                let is_empty = held.is_empty();
                let kept = if is_empty { None } else { Some(folder.keep(&name.file_name_damaged(), held)?) };
                folder.replace_document(&name.file_name(), |_| Ok(copy.contents.clone()))?;
                return Ok(kept);
            }
        };
        self.write(name, &copy.contents).map(|()| kept)
    }
}

impl KeyFolder {
    /// Keeps what a file holds, in a file with this name, or with a number after it if that holds something else. When this
    /// returns, it is on the disk. Answers the name.
    pub(super) fn keep(&self, file_name: &str, contents: &[u8]) -> Result<String, KeyStoreError> {
        for name in names_like(file_name) {
            match self.read_document(&name).map_err(|error| failed("read", &self.path.join(&name), error))? {
                Document::Missing => {
                    self.replace_document(&name, |_| Ok(contents.to_vec()))?;
                    return Ok(name);
                }
                // From a repair that was interrupted.
                Document::File { contents: before, .. } if before == contents => return Ok(name),
                Document::File { .. } | Document::NoFile => {}
            }
        }
        Err(no_name_left(self, file_name))
    }

    /// Gives what is no file another name, which nothing has.
    pub(super) fn move_aside(&self, file_name: &str, to: &str) -> Result<String, KeyStoreError> {
        let is_free = |name: &String| matches!(self.read_document(name), Ok(Document::Missing));
        let to = names_like(to).find(is_free).ok_or_else(|| no_name_left(self, to))?;
        self.rename_document(file_name, &to)
            .map_err(|error| failed("move aside", &self.path.join(file_name), error))?;
        Ok(to)
    }
}

/// The one with the highest number.
fn last_put_aside(folder: &KeyFolder) -> Result<Option<Vec<u8>>, KeyStoreError> {
    let mut last = None;
    for name in names_like(DAMAGED_FILE_NAME) {
        match read(folder, &name)? {
            Some(contents) => last = Some(contents),
            None => break,
        }
    }
    Ok(last)
}

fn names_like(file_name: &str) -> impl Iterator<Item = String> {
    (1..=MOST_KEPT).map(move |number| if number == 1 { file_name.to_owned() } else { format!("{file_name}.{number}") })
}

fn no_name_left(folder: &KeyFolder, file_name: &str) -> KeyStoreError {
    KeyStoreError::Exists(folder.path().join(file_name))
}

/// What a file of the plugin holds; `None` if there is no file of that name.
pub(super) fn read(folder: &KeyFolder, file_name: &str) -> Result<Option<Vec<u8>>, KeyStoreError> {
    match folder.read_document(file_name).map_err(|error| failed("read", &folder.path().join(file_name), error))? {
        Document::File { contents, .. } => Ok(Some(contents)),
        Document::Missing | Document::NoFile => Ok(None),
    }
}

/// Files that are kept of one name.
const MOST_KEPT: usize = 99;
