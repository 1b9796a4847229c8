//! A new version of a key that exists.

use super::{KeyId, KeyName, KeyStore, KeyStoreError, KeyVersion, Role};

impl KeyStore {
    /// Gives a key a new version, which is the latest from then on. If it fails, nothing has changed.
    pub fn rotate(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        let _lock = self.locks.lock(id);
        let version = self.create(id, || self.next_version(id))?;
        self.failures.succeeded(id);
        Ok(version)
    }

    /// Rotates all keys; those that fail do not keep the others from being tried. Answers how many there are.
    pub fn rotate_all(&self) -> Result<usize, KeyStoreError> {
        let ids = self.all_ids()?;
        let mut failures = Vec::new();
        for id in &ids {
            if let Err(error) = self.rotate(*id) {
                self.reporter.error(&format!("rotation failed: {error}"));
                failures.push(error);
            }
        }
        let failed = failures.len();
        match failures.into_iter().next() {
            None => Ok(ids.len()),
            Some(first) => Err(KeyStoreError::Several { failed, of: ids.len(), first: Box::new(first) }),
        }
    }

    /// The number after every number that was ever used, as far as the table, the folder and the manifest know: a file
    /// that cannot be used, or is gone, still holds its number.
    fn next_version(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        self.inventory.refresh(&self.folder)?;
        let in_folder = self.folder.versions(id)?.last().copied();
        let highest = self.published.latest(id).max(in_folder).max(self.inventory.highest(id));
        match highest {
            None => Err(KeyStoreError::NoSuchKey(id)),
            Some(version) if self.role == Role::Backup => {
                Err(KeyStoreError::BackupCreatesNothing(KeyName { id, version }))
            }
            Some(version) => version.next().ok_or(KeyStoreError::NoVersionLeft(id)),
        }
    }

    fn all_ids(&self) -> Result<Vec<KeyId>, KeyStoreError> {
        let mut ids: Vec<KeyId> = self.folder.scan()?.into_iter().map(|name| name.id).collect();
        ids.extend(self.published.ids());
        ids.extend(self.inventory.names().into_iter().map(|name| name.id));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}
