//! Other copies of a data key than its key file, as far as they lie beside it: those under extra master keys, and what is kept of
//! before a re-wrap.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::extra_copies::ExtraCopies;
use super::{KeyFile, KeyFiles, StoredKey};
use crate::keystore::{KeyName, KeyStoreError};

impl KeyFiles {
    /// The versions whose key files of before a re-wrap are kept, in order.
    pub fn kept_before_rewrap(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.folder.kept_before_rewrap()
    }

    /// What a key file said before a re-wrap, if that is kept and can be read, with the master key that wraps it, as far as it
    /// is known.
    pub fn before_rewrap(&self, name: KeyName) -> Option<KeyFile> {
        let stored = self.copy_of_before_rewrap(name)?;
        let master_key = self.master_key_of(&stored);
        let KeyFile { algorithm, wrapped } = stored.file;
        Some(KeyFile { algorithm, wrapped: wrapped.with_master_key(master_key) })
    }

    /// The file that keeps what a key file held before a re-wrap, as if it were the key file.
    pub fn copy_of_before_rewrap(&self, name: KeyName) -> Option<StoredKey> {
        let contents = self.folder.read_before_rewrap(name)?;
        let file = KeyFile::parse(name, &contents).ok()?;
        Some(StoredKey { name, contents, file })
    }

    /// The versions of which there may be other copies than the key file, in order.
    pub fn with_copies(&self) -> Result<BTreeSet<KeyName>, KeyStoreError> {
        let is_copy = |name: &str| KeyName::parse_extra(name).or_else(|| KeyName::parse_before_rewrap(name));
        Ok(self.folder.names_of(is_copy)?.into_iter().collect())
    }

    /// The versions of which there may be copies under extra master keys, in order.
    pub fn with_extra_copies(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.folder.with_extra_copies()
    }

    /// The path of the file with other copies of a key version, if there is one: under extra master keys, or of before a re-wrap.
    pub fn path_of_copy(&self, name: KeyName) -> Result<Option<PathBuf>, KeyStoreError> {
        self.folder.path_of_copy(name)
    }

    /// Copies of a key version under extra master keys, in order, as far as they can be read.
    pub fn extra_copies(&self, name: KeyName) -> Vec<KeyFile> {
        self.folder.read_extra_copies(name).ok().flatten().iter().flat_map(ExtraCopies::all).collect()
    }
}
