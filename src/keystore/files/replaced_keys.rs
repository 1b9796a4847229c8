//! Key files that are replaced when their keys are re-wrapped, and what is kept of them until the new ones have proven good.

use std::io;

use super::disk::Kind;
use super::durable_files::{KeyFolder, LONGEST_FILE, failed};
use crate::keystore::failpoints::failpoint;
use crate::keystore::{KeyName, KeyStoreError};

/// What has the name of a key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Nothing,
    /// A file with these contents, whatever they are.
    Contents(Vec<u8>),
    /// What can be read as no key file: a folder, a file longer than any wrapped key, or one that this process may not read.
    Obstacle,
}

impl KeyFolder {
    /// What has the name of a key file. Fails if the folder does not answer.
    pub fn held(&self, name: KeyName) -> Result<Held, KeyStoreError> {
        match self.contents(name) {
            Ok(Some(contents)) => Ok(Held::Contents(contents)),
            Ok(None) => Ok(Held::Nothing),
            Err(error) if error.is_of_an_obstacle() => Ok(Held::Obstacle),
            Err(error) => Err(error),
        }
    }

    /// Gives what is in the place of a key file, and can be none, another name. Answers which.
    pub fn move_obstacle_aside(&self, name: KeyName) -> Result<String, KeyStoreError> {
        self.move_aside(&name.file_name(), &name.file_name_damaged())
    }

    /// All that a key file holds, whatever it is, as far as a key file may be long; `None` if it is not there.
    pub fn contents(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        match self.open_document(&name.file_name(), LONGEST_FILE) {
            Ok(Some((_, Kind::File { bytes, .. }))) if bytes > LONGEST_FILE => {
                Err(KeyStoreError::LargeFile(self.path.join(name.file_name()), bytes))
            }
            Ok(Some((contents, Kind::File { .. }))) => Ok(Some(contents)),
            Ok(Some(_)) => Err(KeyStoreError::NotAFile(self.path.join(name.file_name()))),
            Ok(None) => Ok(None),
            Err(error) => Err(failed("read key file", &self.path.join(name.file_name()), error)),
        }
    }

    /// Writes a key file in place of the one that is there, which holds `before`. That stays in a file beside it, which is on
    /// the disk before the key file is touched: whenever the machine stops, the key file is whole, the old or the new one. If
    /// something is kept already, no start has proven what is there now: so that is what stays. Answers whether it does.
    pub fn replace_key(&self, name: KeyName, before: &[u8], contents: &[u8]) -> Result<bool, KeyStoreError> {
        // One that cannot be read is not written over: nothing else may hold the key.
        let is_kept = self.kept_before(name)?.is_some();
        if !is_kept {
            self.replace_document(&name.file_name_before_rewrap(), |_| Ok(before.to_vec()))?;
        }
        failpoint!("after_old_copy");
        self.replace_document(&name.file_name(), |_| Ok(contents.to_vec()))?;
        Ok(is_kept)
    }

    /// The versions whose old key file is kept, in order.
    pub fn kept_before_rewrap(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.names_of(KeyName::parse_before_rewrap)
    }

    /// What a key file held before it was re-wrapped, if that is kept.
    pub fn read_before_rewrap(&self, name: KeyName) -> Option<Vec<u8>> {
        self.kept_before(name).ok().flatten()
    }

    /// The same. Fails if it cannot be read.
    fn kept_before(&self, name: KeyName) -> Result<Option<Vec<u8>>, KeyStoreError> {
        let file_name = name.file_name_before_rewrap();
        let kept = self.open_document(&file_name, LONGEST_FILE);
        let kept = kept.map_err(|error| failed("read", &self.path.join(&file_name), error))?;
        Ok(kept.map(|(contents, _)| contents).filter(|contents| !contents.is_empty()))
    }

    /// Removes old key files that were kept. The caller holds the folder's lock.
    pub fn remove_before_rewrap(&self, names: &[KeyName]) -> Result<(), KeyStoreError> {
        for name in names {
            let path = self.path.join(name.file_name_before_rewrap());
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove old key file", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
