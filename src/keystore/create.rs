//! How a key version comes to be: generate, unwrap, check, write, record.
//!
//! What is written, in this order: the id of the folder, with its first key (`files/memory.rs`); the key file, as a temporary
//! file that is synced, read back and then gets its name, and the folder is synced (`files/durable_files.rs`); the datadir's
//! memory of the folder (`files/memory.rs`); the manifest (`files/manifest.rs`), for many versions at once. Nothing is
//! encrypted with a version before it is published, which the caller does. A key file that has its name is never taken back,
//! whatever fails afterwards: another server with the same folder may have read it.

use std::time::SystemTime;

use super::failpoints::failpoint;
use super::files::{Entry, KeyFile, KeyFiles};
use super::new_keys::{NewKeys, Recipe};
use super::published::{Exposure, hide};
use super::{DataKey, KeyId, KeyName, KeyStoreError, KeyVersion};
use crate::kms::{Kms, PlainKey};

/// A key version that was made.
pub struct NewVersion {
    /// Its name.
    pub name: KeyName,
    /// The key itself, to be published.
    pub key: DataKey,
    /// What it was made with.
    pub recipe: Recipe,
    /// What the manifest is to say of it.
    pub entry: Entry,
    /// How far its memory is protected.
    pub exposure: Exposure,
}

/// Makes version 1 of a key that was never used here. Fails with [`KeyStoreError::Exists`] if another server with the same
/// folder was faster: its key is the key. The caller holds the lock of the key id.
pub fn create_first(files: &KeyFiles, kms: &dyn Kms, new: &NewKeys, id: KeyId) -> Result<NewVersion, KeyStoreError> {
    let number = || match first_version(files, id) {
        Ok(_) if !new.allows(id) => Err(KeyStoreError::NotAllowed(id)),
        number => number,
    };
    create(files, kms, new.recipe_for(id), id, number)
}

fn first_version(files: &KeyFiles, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    if let Some(version) = files.versions(id)?.first() {
        return Err(KeyStoreError::Exists(files.path_of(KeyName { id, version: *version })));
    }
    // A key that was here once and has no files now is lost, until they are restored.
    match files.highest_recorded(id).map(|version| KeyName { id, version }) {
        Some(lost) => Err(KeyStoreError::Gone(lost, files.path_of(lost))),
        None => Ok(KeyVersion::FIRST),
    }
}

/// A data key that KMS has made. It has no file, and nothing is lost if it gets none.
pub struct Generated {
    file: KeyFile,
    plain: PlainKey,
    key: DataKey,
    recipe: Recipe,
    exposure: Exposure,
}

impl Generated {
    /// The ARN of the master key that wraps it, if KMS gave it.
    pub fn master_key(&self) -> Option<&str> {
        self.plain.master_key()
    }
}

/// Makes a version that does not exist yet. `number` says which; it is asked a second time under the folder's lock, since
/// another server with the same folder may have made one meanwhile. The caller holds the lock of the key id, and has
/// checked that it may.
pub fn create(
    files: &KeyFiles,
    kms: &dyn Kms,
    recipe: Recipe,
    id: KeyId,
    number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
) -> Result<NewVersion, KeyStoreError> {
    let generated = generate(files, kms, recipe, id, &number)?;
    store(files, id, number, generated)
}

/// The first half of [`create`]: writes nothing.
pub fn generate(
    files: &KeyFiles,
    kms: &dyn Kms,
    recipe: Recipe,
    id: KeyId,
    number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
) -> Result<Generated, KeyStoreError> {
    files.refresh()?;
    files.check_may_add()?;
    let name = KeyName { id, version: number()? };
    let kms_failed = |error| KeyStoreError::Kms(name, error);
    let master_key = recipe.master_key.as_ref().ok_or(KeyStoreError::NoMasterKey(name))?;
    // KMS is not asked for a key that cannot be stored. The lock is not kept: others may need it while KMS is asked.
    drop(files.begin_adding()?);
    let wrapped = kms.generate_data_key(master_key, recipe.spec, &recipe.encryption_context).map_err(kms_failed)?;
    failpoint!("after_generate");
    // A key that cannot be unwrapped is of no use to anybody, however well it is stored.
    let plain = kms.decrypt(&wrapped).map_err(kms_failed)?;
    if plain.as_bytes().len() != recipe.spec.key_len() {
        return Err(KeyStoreError::BadNewKey { name, bytes: plain.as_bytes().len() });
    }
    let mut hidden = hide(&[(plain.as_bytes(), recipe.algorithm)]).map_err(|_| KeyStoreError::NoMemory(name))?;
    let key = hidden.keys.pop().ok_or(KeyStoreError::NoMemory(name))?;
    let file = KeyFile { algorithm: recipe.algorithm, wrapped };
    Ok(Generated { file, plain, key, recipe, exposure: hidden.exposure })
}

/// The second half of [`create`]: writes the key file.
pub fn store(
    files: &KeyFiles,
    id: KeyId,
    number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
    generated: Generated,
) -> Result<NewVersion, KeyStoreError> {
    let Generated { file, plain, key, recipe, exposure } = generated;
    let created = SystemTime::now();
    let adding = files.begin_adding()?;
    let name = KeyName { id, version: number()? };
    let contents = file.to_bytes(name, created)?;
    adding.write(name, &contents)?;
    let entry = Entry::new(name, &contents, file.algorithm, &plain, created);
    Ok(NewVersion { name, key, recipe, entry, exposure })
}

/// Records versions that were made in the manifest. If it fails, they are recorded with the next ones. Without its entry a
/// version is as good, as long as the manifest knows its master key: the next start adopts it.
pub fn record(files: &KeyFiles, new: &[NewVersion]) -> Result<(), KeyStoreError> {
    let entries: Vec<Entry> = new.iter().map(|new| new.entry.clone()).collect();
    files.note(entries.clone());
    let recorded = files.begin_adding().and_then(|adding| adding.record(entries));
    failpoint!("after_manifest");
    recorded
}
