//! How a key version comes to be: generate, unwrap, check, write, record, publish. Nothing is encrypted with it before
//! the last step. A key file that has its name is never taken back, whatever fails afterwards: another server with the
//! same folder may have read it.

use std::time::SystemTime;

use super::failpoints::failpoint;
use super::key_file::KeyFile;
use super::manifest::Entry;
use super::{KeyId, KeyName, KeyStore, KeyStoreError, KeyVersion, Role, secret_memory};
use crate::kms::PlainKey;

impl KeyStore {
    /// Makes version 1 of a key that was never used here. The caller holds the lock of the key id.
    pub(super) fn create_first(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        let name = KeyName { id, version: KeyVersion::FIRST };
        if self.role == Role::Backup {
            return Err(KeyStoreError::BackupCreatesNothing(name));
        }
        // A key that was here once and has no files now is lost, until they are restored.
        if let Some(version) = self.inventory.highest(id) {
            let lost = KeyName { id, version };
            return Err(KeyStoreError::Gone(lost, self.folder.path_of(lost)));
        }
        if !self.new_keys.allows(id) {
            return Err(KeyStoreError::NotAllowed(id));
        }
        match self.create(id, || self.first_version(id)) {
            // Another server with the same folder was faster: its key is the key.
            Err(KeyStoreError::Exists(_)) => {
                let versions = self.folder.versions(id)?;
                self.load_versions(id, versions)
            }
            created => created,
        }
    }

    fn first_version(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        self.inventory.refresh(&self.folder)?;
        match self.folder.versions(id)?.first() {
            None => Ok(KeyVersion::FIRST),
            Some(version) => Err(KeyStoreError::Exists(self.folder.path_of(KeyName { id, version: *version }))),
        }
    }

    /// Makes a version that does not exist yet. `number` says which; it is asked a second time under the folder's lock,
    /// since another server with the same folder may have made one meanwhile. The caller holds the lock of the key id,
    /// and has checked that it may.
    pub(super) fn create(
        &self,
        id: KeyId,
        number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
    ) -> Result<KeyVersion, KeyStoreError> {
        self.inventory.check_may_add()?;
        let name = KeyName { id, version: number()? };
        let recipe = self.new_keys.current();
        let kms_failed = |error| KeyStoreError::Kms(name, error);
        let master_key = recipe.master_key.ok_or(KeyStoreError::NoMasterKey(name))?;
        let wrapped = self.kms.generate_data_key(&master_key, recipe.spec).map_err(kms_failed)?;
        failpoint!("after_generate");
        // A key that cannot be unwrapped is of no use to anybody, however well it is stored.
        let plain = self.kms.decrypt(&wrapped).map_err(kms_failed)?;
        if plain.as_bytes().len() != recipe.spec.key_len() {
            return Err(KeyStoreError::BadNewKey { name, bytes: plain.as_bytes().len() });
        }
        let key = secret_memory::hide(&[(plain.as_bytes(), recipe.algorithm)], self.reporter)
            .ok()
            .and_then(|mut keys| keys.pop())
            .ok_or(KeyStoreError::NoMemory(name))?;
        let file = KeyFile { algorithm: recipe.algorithm, wrapped };
        let name = self.store(id, number, &file, &plain)?;
        failpoint!("before_publish");
        self.published.publish(self.epoch, vec![(name, key)]);
        self.reporter.note(&format!(
            "made {name} ({}, {}), wrapped by master key {master_key}, in file {}",
            recipe.spec,
            recipe.algorithm,
            self.folder.path_of(name).display()
        ));
        Ok(name.version)
    }

    /// Writes the key file and its entry in the manifest. Without the entry the version is as good: the next start adopts
    /// it.
    fn store(
        &self,
        id: KeyId,
        number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
        file: &KeyFile,
        plain: &PlainKey,
    ) -> Result<KeyName, KeyStoreError> {
        let created = SystemTime::now();
        let _lock = self.folder.lock()?;
        let name = KeyName { id, version: number()? };
        let contents = file.to_bytes(name, created)?;
        let entry = Entry::new(name, &contents, file.algorithm, plain, created);
        self.folder.write_new(name, &contents)?;
        if let Err(error) = self.inventory.add(&self.folder, vec![(name, entry)]) {
            self.reporter.warning(&format!("{name} is not in the manifest of the key files yet: {error}"));
        }
        failpoint!("after_manifest");
        Ok(name)
    }
}
