//! Which versions a restart needs, and which of them this server knows better than the manifest does.

use std::sync::PoisonError;

use super::verify::{self, Verdict, Verified};
use super::{KeyId, KeyName, KeyStore, KeyStoreError};

impl KeyStore {
    /// All versions that a start needs, in order; besides those that the manifest says so of, those without a file that data has
    /// asked for, and those that new data is encrypted with, though somebody has retired them. Fails if the folder cannot be read, or
    /// is another one.
    pub(super) fn needed(&self, only: Option<KeyId>) -> Result<Vec<KeyName>, KeyStoreError> {
        let needed = verify::needed(&self.files, only);
        let mut more = self.asked_for_in_vain();
        more.extend(self.encrypting_though_retired());
        more.retain(|name| only.is_none_or(|id| name.id == id));
        match needed {
            // All of them are retired.
            Err(KeyStoreError::NoSuchKey(_)) if !more.is_empty() => {
                more.sort();
                Ok(more)
            }
            needed => {
                let mut names = needed?;
                more.retain(|name| names.binary_search(name).is_err());
                names.extend(more);
                names.sort();
                Ok(names)
            }
        }
    }

    /// Data has asked for a version that has no file: whatever the manifest says, it is needed.
    pub(super) fn note_asked_for(&self, name: KeyName) {
        if self.role.writes() && (self.files.is_recorded(name) || self.files.is_retired(name)) {
            self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        }
    }

    /// Such versions that have no file still.
    pub(super) fn asked_for_in_vain(&self) -> Vec<KeyName> {
        let mut asked_for = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked_for.is_empty()
            && let Ok(present) = self.files.present()
        {
            asked_for.retain(|name| present.binary_search(name).is_err());
        }
        asked_for.iter().copied().collect()
    }

    /// Versions that this server could use, though somebody has retired them since it loaded them.
    pub(super) fn retired_in_memory(&self) -> Vec<KeyName> {
        let mut retired = self.files.retired();
        retired.retain(|name| self.published.with_key(*name, |_| ()).is_some());
        retired
    }

    fn encrypting_though_retired(&self) -> Vec<KeyName> {
        let mut names = self.files.retired();
        names.retain(|name| self.encrypts_with(*name));
        names
    }

    /// Whether new data is encrypted with a version: it is in memory then.
    fn encrypts_with(&self, name: KeyName) -> bool {
        self.published.latest(name.id) == Some(name.version)
    }

    /// The same; of a version that is gone because somebody has retired it, it says so.
    pub(super) fn with_retired(&self, mut verified: Vec<Verified>) -> Vec<Verified> {
        for Verified { verdict, .. } in &mut verified {
            *verdict = match std::mem::replace(verdict, Verdict::Good) {
                Verdict::Failed(error) => Verdict::Failed(self.or_retired(error)),
                verdict => verdict,
            };
        }
        verified
    }

    /// The same error; of a version that is gone because somebody has retired it, one that says so.
    pub(super) fn or_retired(&self, error: KeyStoreError) -> KeyStoreError {
        match error {
            KeyStoreError::Gone(name, path) if self.files.is_retired(name) => match self.encrypts_with(name) {
                true => KeyStoreError::RetiredInUse(name),
                false => KeyStoreError::Retired(name, path),
            },
            error => error,
        }
    }
}
