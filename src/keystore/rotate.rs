//! A new version of a key that exists.

use super::create::{Maker, NewVersion};
use super::files::KeyFiles;
use super::new_keys::Recipe;
use super::published::PublishedKeys;
use super::{KeyId, KeyName, KeyStore, KeyStoreError, KeyVersion, given_up, trust};
use crate::kms::MasterKeyId;

/// What comes of a key of which there are only versions that may not encrypt.
pub enum Beside {
    /// A version of its own.
    Made(Box<NewVersion>),
    /// Nothing was made: these versions are wrapped by the master key that is configured, which has just turned out to be
    /// this one.
    UnderConfigured(Vec<KeyName>, MasterKeyId),
}

/// Makes the next version of a key of which there are only versions that may not encrypt. Fails if there should be others:
/// data that was encrypted with them would be given up silently. What an alias stands for, the new key shows: if that is
/// what wraps the versions that are there, none is made. The caller holds the lock of the key id.
pub fn create_beside(
    maker: &Maker<'_>,
    published: &PublishedKeys,
    recipe: Recipe,
    id: KeyId,
) -> Result<Beside, KeyStoreError> {
    let files = maker.files();
    let number = || match files.missing_trusted(id)? {
        Some(gone) => Err(KeyStoreError::Gone(gone, files.path_of(gone))),
        None => next_version(files, published, id),
    };
    let generated = maker.generate(recipe, id, number)?;
    if let Some(arn) = generated.master_key()
        && let Some(configured) = MasterKeyId::parse(arn)
    {
        let mut names: Vec<KeyName> = files.versions(id)?.into_iter().map(|version| KeyName { id, version }).collect();
        names.retain(|name| files.master_key(*name).is_some_and(|of_file| trust::is_same_master_key(&of_file, arn)));
        if !names.is_empty() {
            return Ok(Beside::UnderConfigured(names, configured));
        }
    }
    maker.store(id, number, generated).map(|new| Beside::Made(Box::new(new)))
}

/// The highest version that was ever used, as far as the table, the folder and the manifest know: a file that cannot be
/// used, or is gone, still holds its number.
pub fn highest_version(files: &KeyFiles, published: &PublishedKeys, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    highest_beside(files, published, files.highest_in_folder(id)?, id)
}

/// The version after the highest that was ever used, of which `in_folder` is the highest that has a file, or another copy.
pub fn version_after(
    files: &KeyFiles,
    published: &PublishedKeys,
    in_folder: Option<KeyVersion>,
    id: KeyId,
) -> Result<KeyVersion, KeyStoreError> {
    highest_beside(files, published, in_folder, id)?.next().ok_or(KeyStoreError::NoVersionLeft(id))
}

fn highest_beside(
    files: &KeyFiles,
    published: &PublishedKeys,
    in_folder: Option<KeyVersion>,
    id: KeyId,
) -> Result<KeyVersion, KeyStoreError> {
    let highest = published.latest(id).max(in_folder).max(files.highest_recorded(id));
    highest.ok_or(KeyStoreError::NoSuchKey(id))
}

fn next_version(files: &KeyFiles, published: &PublishedKeys, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    version_after(files, published, files.highest_in_folder(id)?, id)
}

impl KeyStore {
    /// Gives a key a new version, which is the latest from then on. If it fails, nothing has changed.
    pub fn rotate(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        let _lock = self.locks.lock(id).ok_or(KeyStoreError::GivenUp(id))?;
        let rotated = self.make_next(id).map(|new| self.publish_new(new));
        self.count_rotation(rotated.as_ref().err());
        rotated.inspect(|_| self.messages.rotated(1, &(self.who)()))
    }

    /// Fails if a version of the key is wrapped by a master key that its id had of its own, and has no more: a new version would be
    /// wrapped by that of all others, and nobody has said that this may be.
    pub(super) fn check_own_master_key(&self, id: KeyId) -> Result<(), KeyStoreError> {
        match self.files.own_master_key_of(id).filter(|_| !self.new_keys.names_own_master_key(id)) {
            Some(master_key) => Err(KeyStoreError::OwnMasterKeyGone { id, master_key }),
            None => Ok(()),
        }
    }

    /// The caller holds the lock of the key id.
    pub(super) fn make_next(&self, id: KeyId) -> Result<NewVersion, KeyStoreError> {
        self.make_numbered(id, || next_version(&self.files, self.published, id))
    }

    /// Makes a version that gets this number, as [`Maker::create`] does. The caller holds the lock of the key id.
    pub(super) fn make_numbered(
        &self,
        id: KeyId,
        number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
    ) -> Result<NewVersion, KeyStoreError> {
        let maker = self.maker(|| self.highest(id))?;
        self.check_own_master_key(id)?;
        let new = maker.create(self.new_keys.recipe_for(id), id, number);
        let new = new.map_err(|error| given_up(id, error));
        self.note_making(new.as_ref().err());
        let new = new?;
        self.failures.made(id);
        Ok(new)
    }
}
