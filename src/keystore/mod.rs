//! The data keys: where they lie, who may make them, and how they reach the callbacks.
//!
//! The rules, told as absences:
//! * A look-up of a published key never waits: no lock, no I/O, no call of KMS, no log line.
//! * No lock is held across a call of KMS that another key's caller needs.
//! * Nothing unproven is ever the latest version: generate, decrypt, check the length, write, read back, publish.
//! * A version number is never used twice, and an existing key file is never overwritten or removed.
//! * A version that answered once never stops answering until the plugin is unloaded.
//! * A key whose files are there, but not usable, is never made anew.
//! * mariadb-backup's process never makes a key and never writes a file.

#![forbid(unsafe_code)]

mod backoff;
mod creation;
mod error;
mod failpoints;
mod inventory;
mod key_file;
mod key_folder;
mod key_locks;
mod key_name;
mod key_table;
mod latest_versions;
mod loading;
mod manifest;
#[cfg(all(test, feature = "model"))]
mod model;
mod name_set;
mod new_keys;
mod rotation;
mod secret_memory;
mod start;
mod swap;
#[cfg(test)]
pub(crate) mod test_keys;
#[cfg(test)]
mod test_kms;
#[cfg(all(test, not(feature = "model")))]
mod tests;
mod word_table;

use std::sync::Arc;
use std::time::Instant;

pub use error::KeyStoreError;
pub use key_name::{KeyId, KeyName, KeyVersion};
pub use key_table::PublishedKeys;
pub use new_keys::{AllowedKeyIds, NewKeys, Recipe};
pub use secret_memory::DataKey;
pub use start::Opening;

use crate::kms::Kms;
use backoff::Backoff;
use inventory::Inventory;
use key_folder::KeyFolder;
use key_locks::KeyLocks;
use key_table::Epoch;

/// All data keys of one server.
pub struct KeyStore {
    folder: KeyFolder,
    inventory: Inventory,
    kms: Arc<dyn Kms>,
    published: &'static PublishedKeys,
    epoch: Epoch,
    new_keys: NewKeys,
    role: Role,
    reporter: &'static dyn Reporter,
    locks: KeyLocks,
    failures: Backoff,
}

/// In whose process the plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server, which makes keys.
    Server,
    /// mariadb-backup, which only reads them.
    Backup,
}

/// Takes what an operator has to know. Called on the threads of the server only.
pub trait Reporter: Send + Sync {
    /// A normal event.
    fn note(&self, text: &str);
    /// Something to look at, while everything goes on.
    fn warning(&self, text: &str);
    /// Something that does not work.
    fn error(&self, text: &str);
}

impl KeyStore {
    /// The latest version of a key. A key that was never used here gets its version 1, which takes two calls of KMS;
    /// for all others see [`PublishedKeys::latest`], which this is the slow companion of.
    pub fn latest_or_new(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        self.failures.check(id, None)?;
        let _lock = self.locks.lock(id);
        // Another thread may have been here while this one waited.
        if let Some(version) = self.published.latest(id) {
            return Ok(version);
        }
        self.failures.check(id, None)?;
        self.load_or_create(id).inspect_err(|error| self.failed(id, None, error))
    }

    /// Makes sure that a version is published, if its key file is there. For versions that were published already see
    /// [`PublishedKeys::with_key`].
    pub fn load(&self, name: KeyName) -> Result<(), KeyStoreError> {
        self.failures.check(name.id, Some(name.version))?;
        let _lock = self.locks.lock(name.id);
        if self.published.with_key(name, |_| ()).is_some() {
            return Ok(());
        }
        self.failures.check(name.id, Some(name.version))?;
        let failure = self.load_files(&[name]).pop();
        failure
            .map_or(Ok(()), |(_, error)| Err(error))
            .inspect_err(|error| self.failed(name.id, Some(name.version), error))
    }

    /// What new keys are made with; may be changed at any time.
    pub fn new_keys(&self) -> &NewKeys {
        &self.new_keys
    }

    /// Forgets what failed before, so that the next caller tries again at once: after a change of settings.
    pub fn forget_failures(&self) {
        self.failures.clear();
    }

    fn load_or_create(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        let versions = self.folder.versions(id)?;
        if versions.is_empty() {
            return self.create_first(id);
        }
        self.load_versions(id, versions)
    }

    /// Loads key files that were not there at start, or that failed then. Any that works makes the key usable; that the
    /// key is made anew is out of the question.
    fn load_versions(&self, id: KeyId, versions: Vec<KeyVersion>) -> Result<KeyVersion, KeyStoreError> {
        let names: Vec<KeyName> = versions.into_iter().map(|version| KeyName { id, version }).collect();
        let mut failures = self.load_files(&names);
        let answer = match self.published.latest(id) {
            Some(version) => Ok(version),
            // There were files, and none was loaded: so there are failures.
            None => Err(failures.pop().map_or(KeyStoreError::NoSuchKey(id), |(_, error)| error)),
        };
        for (_, error) in failures {
            self.reporter.error(&error.to_string());
        }
        answer
    }

    fn failed(&self, id: KeyId, version: Option<KeyVersion>, error: &KeyStoreError) {
        self.failures.failed(id, version, error.to_string(), Instant::now());
    }
}
