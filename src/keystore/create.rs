//! How a key version comes to be: generate, unwrap, check, write, record.
//!
//! What is written, in this order: in the manifest, the master key, if the manifest knows others, but not this one; the id of
//! the folder, with its first key (`files/memory.rs`); the key file, as a temporary file that is synced, read back and then
//! gets its name, and the folder is synced (`files/durable_files.rs`); the datadir's memory of the folder
//! (`files/memory.rs`); the versions in the manifest (`files/manifest.rs`), many at once. Nothing is encrypted with a version
//! before it is published, which the caller does. A key file that has its name is never taken back, whatever fails
//! afterwards: another server with the same folder may have read it. So whatever the next start needs in order to trust it is
//! written before.

use std::time::SystemTime;

use super::failpoints::failpoint;
use super::files::{Adding, Entry, KeyFile, KeyFiles, Traits};
use super::new_keys::{NewKeys, Recipe};
use super::published::{Exposure, hide};
use super::{DataKey, KeyId, KeyName, KeyStoreError, KeyVersion, Role};
use crate::kms::{Kms, MasterKeyId};

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
pub fn create_first(maker: &Maker<'_>, new: &NewKeys, id: KeyId) -> Result<NewVersion, KeyStoreError> {
    let number = || match first_version(maker.files, id) {
        Ok(_) if !new.allows(id) => Err(KeyStoreError::NotAllowed(id)),
        number => number,
    };
    number()?;
    // Where the manifest was lost, it cannot say that there was such a key; the data can.
    if let Some(path) = maker.files.encrypted_with(id) {
        return Err(KeyStoreError::DataOfKey { id, path });
    }
    maker.create(new.recipe_for(id), id, number)
}

fn first_version(files: &KeyFiles, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    // Asked first: what another server adds after that is among the files.
    let used = files.highest_recorded(id).max(files.highest_in_folder(id)?);
    if let Some(version) = files.versions(id)?.first() {
        return Err(KeyStoreError::Exists(files.path_of(KeyName { id, version: *version })));
    }
    // A key that was here once and has no files now is lost, until they are restored.
    match used.map(|version| KeyName { id, version }) {
        Some(lost) => Err(KeyStoreError::Gone(lost, files.path_of(lost))),
        None => Ok(KeyVersion::FIRST),
    }
}

/// A data key that KMS has made. It has no file, and nothing is lost if it gets none. Once made, it lies in secret memory
/// only.
pub struct Generated {
    file: KeyFile,
    traits: Traits,
    key: DataKey,
    recipe: Recipe,
    exposure: Exposure,
}

impl Generated {
    /// The ARN of the master key that wraps it, if KMS gave it.
    pub fn master_key(&self) -> Option<&str> {
        self.traits.master_key()
    }

    /// Writes its file, under a number that was chosen under the folder's lock.
    pub fn write(self, adding: &Adding<'_>, name: KeyName) -> Result<NewVersion, KeyStoreError> {
        let Self { file, traits, key, recipe, exposure } = self;
        let created = SystemTime::now();
        let contents = file.to_bytes(name, created)?;
        if let Some(arn) = traits.master_key() {
            let failed = |error| KeyStoreError::NewMasterKey { name, arn: arn.to_owned(), error: Box::new(error) };
            adding.add_master_key(arn).map_err(failed)?;
        }
        adding.write(name, &contents)?;
        let entry = Entry::new(name, &contents, file.algorithm, traits, created);
        let entry = entry.with_own_master_key(recipe.has_own_master_key == Some(true));
        Ok(NewVersion { name, key, recipe, entry, exposure })
    }
}

/// The right to make key versions, which who only reads does not get. Nothing is made without it.
pub struct Maker<'a> {
    files: &'a KeyFiles,
    kms: &'a dyn Kms,
}

impl<'a> Maker<'a> {
    /// Fails where keys are only read. `missing` is which key the process is without then, or what is wrong besides.
    pub fn new(
        role: Role,
        files: &'a KeyFiles,
        kms: &'a dyn Kms,
        missing: impl FnOnce() -> Result<KeyName, KeyStoreError>,
    ) -> Result<Self, KeyStoreError> {
        let is_recovery = match role {
            Role::Server => return Ok(Self { files, kms }),
            Role::Recovery => true,
            Role::Backup => false,
        };
        Err(match missing() {
            Ok(name) if is_recovery => KeyStoreError::RecoveryCreatesNothing(name, files.path().to_owned()),
            Ok(name) => KeyStoreError::BackupCreatesNothing(name),
            Err(error) => error,
        })
    }

    /// Where the key files lie.
    pub fn files(&self) -> &'a KeyFiles {
        self.files
    }

    /// Makes a version that does not exist yet. `number` says which; it is asked a second time under the folder's lock, since
    /// another server with the same folder may have made one meanwhile. The caller holds the lock of the key id, and has
    /// checked that it may.
    pub fn create(
        &self,
        recipe: Recipe,
        id: KeyId,
        number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
    ) -> Result<NewVersion, KeyStoreError> {
        let generated = self.generate(recipe, id, &number)?;
        self.store(id, number, generated)
    }

    /// The first half of [`Maker::create`]: writes nothing.
    pub fn generate(
        &self,
        recipe: Recipe,
        id: KeyId,
        number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
    ) -> Result<Generated, KeyStoreError> {
        self.files.refresh()?;
        self.files.check_may_add()?;
        let name = KeyName { id, version: number()? };
        master_key_in(&recipe, name)?;
        self.check_can_add()?;
        self.ask_kms(recipe, name)
    }

    /// KMS is not asked for a key that cannot be stored. The lock is not kept: others may need it while KMS is asked.
    pub fn check_can_add(&self) -> Result<(), KeyStoreError> {
        self.files.begin_adding().map(drop)
    }

    /// Asks KMS for a key, and to unwrap it. `name` is what it is going to be called, as far as is known by now.
    pub fn ask_kms(&self, recipe: Recipe, name: KeyName) -> Result<Generated, KeyStoreError> {
        let kms_failed = |error| KeyStoreError::Kms(name, error);
        let master_key = master_key_in(&recipe, name)?;
        let wrapped = self.kms.generate_data_key(master_key, recipe.spec, &recipe.encryption_context);
        let wrapped = wrapped.map_err(kms_failed)?;
        failpoint!("after_generate");
        // A key that cannot be unwrapped is of no use to anybody, however well it is stored.
        let plain = self.kms.decrypt(&wrapped).map_err(kms_failed)?;
        if plain.as_bytes().len() != recipe.spec.key_len() {
            return Err(KeyStoreError::BadNewKey { name, bytes: plain.as_bytes().len() });
        }
        let mut hidden = hide(&[(plain.as_bytes(), recipe.algorithm)]).map_err(|_| KeyStoreError::NoMemory(name))?;
        let key = hidden.keys.pop().ok_or(KeyStoreError::NoMemory(name))?;
        let file = KeyFile { algorithm: recipe.algorithm, wrapped };
        Ok(Generated { file, traits: Traits::of(&plain), key, recipe, exposure: hidden.exposure })
    }

    /// The second half of [`Maker::create`]: writes the key file.
    pub fn store(
        &self,
        id: KeyId,
        number: impl Fn() -> Result<KeyVersion, KeyStoreError>,
        generated: Generated,
    ) -> Result<NewVersion, KeyStoreError> {
        let adding = self.files.begin_adding()?;
        let name = KeyName { id, version: number()? };
        generated.write(&adding, name)
    }
}

fn master_key_in(recipe: &Recipe, name: KeyName) -> Result<&MasterKeyId, KeyStoreError> {
    recipe.master_key.as_ref().ok_or(KeyStoreError::NoMasterKey(name))
}

/// Records versions that were made on behalf of `who` in the manifest. If it fails, they are recorded with the next ones. Without its entry a
/// version is as good, since the manifest knows its master key: the next start adopts it.
pub fn record(files: &KeyFiles, new: &[NewVersion], who: &str) -> Result<(), KeyStoreError> {
    let entries: Vec<Entry> = new.iter().map(|new| new.entry.clone().made_by(who)).collect();
    files.note(entries.clone());
    let recorded = files.begin_adding().and_then(|adding| adding.record(entries));
    failpoint!("after_manifest");
    recorded
}
