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

    /// Rotates all keys; those that fail do not keep the others from being tried, unless KMS does not answer twice in a
    /// row: to find that out for each of many keys would take many minutes. Answers how many keys there are.
    pub fn rotate_all(&self) -> Result<usize, KeyStoreError> {
        let ids = self.all_ids()?;
        let mut failures = Vec::new();
        let mut unanswered = 0;
        let mut tried = 0;
        for id in &ids {
            tried += 1;
            let Err(error) = self.rotate(*id) else {
                unanswered = 0;
                continue;
            };
            self.reporter.error(&format!("rotation failed: {error}"));
            let silent = matches!(&error, KeyStoreError::Kms(_, error) if error.class.is_no_answer());
            unanswered = if silent { unanswered + 1 } else { 0 };
            failures.push(error);
            if unanswered == 2 {
                break;
            }
        }
        let (of, failed, skipped) = (ids.len(), failures.len(), ids.len() - tried);
        match failures.into_iter().next() {
            None => Ok(of),
            Some(first) => Err(KeyStoreError::Several { failed, of, skipped, first: Box::new(first) }),
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
