//! The data keys: where they lie, who may make them, and how they reach the callbacks.
//!
//! The rules, told as absences:
//! * A look-up of a published key never waits: no lock, no I/O, no call of KMS, no log line.
//! * No lock is held across a call of KMS that another key's caller needs.
//! * Nothing unproven is ever the latest version: generate, decrypt, check the length, write, read back, publish.
//! * A version number is never used twice, and an existing key file is never overwritten.
//! * A version that answered once never stops answering until the plugin is unloaded.
//! * A key whose files are there, but not usable, is never made anew.
//! * mariadb-backup's process never makes a key and never writes a file.

#![forbid(unsafe_code)]

mod backoff;
mod error;
mod key_file;
mod key_locks;
mod key_table;
mod new_keys;
mod rotation;
mod secret_memory;
mod start;
#[cfg(test)]
mod test_kms;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

pub use error::KeyStoreError;
pub use key_file::{KeyFolder, KeyId, KeyName, KeyVersion};
pub use key_table::PublishedKeys;
pub use new_keys::NewKeys;
pub use secret_memory::DataKey;
pub use start::Opening;

use crate::kms::Kms;
use backoff::Backoff;
use key_locks::KeyLocks;

/// All data keys of one server.
pub struct KeyStore {
    folder: KeyFolder,
    kms: Arc<dyn Kms>,
    published: &'static PublishedKeys,
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
        self.load_file(name).inspect_err(|error| self.failed(name.id, Some(name.version), error))
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
        let Some(highest) = versions.last().copied() else {
            return self.create(KeyName { id, version: KeyVersion::FIRST });
        };
        // Files that were not there at start, or that failed then. Any that works makes the key usable; that the key
        // is made anew is out of the question.
        let mut failures: Vec<KeyStoreError> =
            versions.into_iter().filter_map(|version| self.load_file(KeyName { id, version }).err()).collect();
        let latest = self.published.latest(id);
        let answer = match latest {
            Some(version) => Ok(version),
            None => Err(failures.pop().unwrap_or(KeyStoreError::Gone(KeyName { id, version: highest }))),
        };
        for error in failures {
            self.reporter.error(&error.to_string());
        }
        answer
    }

    fn load_file(&self, name: KeyName) -> Result<(), KeyStoreError> {
        let wrapped = self.folder.read(name)?;
        let plain = self.kms.decrypt(&wrapped).map_err(|error| KeyStoreError::Kms(name, error))?;
        let key = self.check_and_hide(name, &plain)?;
        self.reporter.note(&format!("loaded {name} ({} bits)", key.bits()));
        self.published.publish(vec![(name, key)]);
        Ok(())
    }

    /// Makes a version that does not exist yet. The caller holds the lock of the key id.
    fn create(&self, name: KeyName) -> Result<KeyVersion, KeyStoreError> {
        if self.role == Role::Backup {
            return Err(KeyStoreError::BackupCreatesNothing(name));
        }
        let (master_key, spec) = self.new_keys.current();
        let wrapped =
            self.kms.generate_data_key(master_key.as_deref(), spec).map_err(|error| KeyStoreError::Kms(name, error))?;
        // A key that cannot be unwrapped is of no use to anybody, however well it is stored.
        let plain = self.kms.decrypt(&wrapped).map_err(|error| KeyStoreError::Kms(name, error))?;
        if plain.as_bytes().len() != spec.key_len() {
            return Err(KeyStoreError::WrongLength { name, bytes: plain.as_bytes().len() });
        }
        let key = self.check_and_hide(name, &plain)?;
        self.folder.write_new(name, &wrapped)?;
        self.published.publish(vec![(name, key)]);
        let by = master_key.map_or_else(String::new, |id| format!(", wrapped by master key {id}"));
        self.reporter.note(&format!("made {name} ({spec}){by}, in file {}", self.folder.path_of(name).display()));
        Ok(name.version)
    }

    fn check_and_hide(&self, name: KeyName, plain: &crate::kms::PlainKey) -> Result<DataKey, KeyStoreError> {
        let bytes = plain.as_bytes();
        if !DataKey::LENGTHS.contains(&bytes.len()) {
            return Err(KeyStoreError::WrongLength { name, bytes: bytes.len() });
        }
        secret_memory::hide(&[bytes], self.reporter)
            .ok()
            .and_then(|mut keys| keys.pop())
            .ok_or(KeyStoreError::NoMemory(name))
    }

    fn failed(&self, id: KeyId, version: Option<KeyVersion>, error: &KeyStoreError) {
        self.failures.failed(id, version, error.to_string(), Instant::now());
    }
}

/// Keys for the tests of other modules.
#[cfg(test)]
pub(crate) mod test_keys {
    use super::*;

    /// Publishes a key with these bytes.
    pub(crate) fn publish(keys: &PublishedKeys, id: u32, version: u32, bytes: &[u8]) {
        let name = KeyName::new(id, version).expect("a name");
        let mut hidden = secret_memory::hide(&[bytes], &test_kms::Silent).expect("memory");
        keys.publish(vec![(name, hidden.remove(0))]);
    }
}
