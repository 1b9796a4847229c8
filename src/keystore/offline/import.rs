//! Data keys from elsewhere become keys of this folder: KMS wraps them, and the data that is encrypted with them stays as it is.

use std::collections::BTreeSet;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::{OfflineError, OpenFolder};
use crate::cipher::Algorithm;
use crate::keystore::files::{Entry, KeyFile, KeyFiles};
use crate::keystore::{DataKey, KeyId, KeyName, KeyStoreError, rewrap};
use crate::kms::{EncryptionContext, Kms, MasterKeyId};

/// A data key from elsewhere, in the clear. Wiped when dropped; has no `Debug` and no `Clone`.
pub struct NewKey {
    /// What it is going to be called.
    pub name: KeyName,
    /// The key.
    pub key: Zeroizing<Vec<u8>>,
}

/// What was imported: all that was to be.
pub struct Imported {
    /// The ARN of the master key that wraps them, if KMS gave it.
    pub master_key: Option<String>,
    /// Why that could not be recorded in the manifest: the next start does it.
    pub not_recorded: Option<KeyStoreError>,
    /// Why the datadir could not be made to remember its keys: the next start does it.
    pub not_remembered: Option<KeyStoreError>,
}

/// Imports keys: all of them or none. Each is wrapped by KMS and proven, by unwrapping it, before the first file is made. None of
/// the key ids may ever have been used here.
pub fn import(
    folder: &OpenFolder,
    kms: &dyn Kms,
    master_key: &MasterKeyId,
    algorithm: Algorithm,
    keys: &[NewKey],
) -> Result<Imported, KeyStoreError> {
    let files = &folder.files;
    let wrong_length = keys.iter().find(|key| !DataKey::LENGTHS.contains(&key.key.len()));
    if let Some(NewKey { name, key }) = wrong_length {
        return Err(OfflineError::NoAesKey { name: *name, bytes: key.len() }.into());
    }
    files.refresh()?;
    files.check_may_add()?;
    check_may_import(files, keys)?;
    // KMS is not asked for what cannot be stored. The lock is not kept: a server may need it while KMS is asked.
    drop(files.begin_adding()?);
    let created = SystemTime::now();
    let mut contents = Vec::new();
    let mut entries = Vec::new();
    for NewKey { name, key } in keys {
        let (wrapped, traits) = rewrap::wrap(kms, master_key, &EncryptionContext::default(), *name, key)?;
        let bytes = KeyFile { algorithm, wrapped }.to_bytes(*name, created)?;
        entries.push(Entry::new(*name, &bytes, algorithm, traits, created).made_by(IMPORT));
        contents.push((*name, bytes));
    }
    let arn = entries.iter().find_map(|entry| entry.master_key().map(str::to_owned));
    let adding = files.begin_adding()?;
    check_may_import(files, keys)?;
    if let Some(arn) = &arn {
        adding.add_master_key(arn)?;
    }
    adding.write_all(&contents)?;
    // From here on, the keys are there, whole and on the disk, whatever fails.
    let not_recorded = adding.record(entries).err();
    let not_remembered = adding.remember().err();
    Ok(Imported { master_key: arn, not_recorded, not_remembered })
}

fn check_may_import(files: &KeyFiles, keys: &[NewKey]) -> Result<(), KeyStoreError> {
    let ids: BTreeSet<KeyId> = keys.iter().map(|key| key.name.id).collect();
    for id in ids {
        // Of a number of which only another copy is left, too.
        let version = files.highest_in_folder(id)?.max(files.highest_recorded(id));
        if let Some(version) = version {
            return Err(OfflineError::NotNew(KeyName { id, version }).into());
        }
    }
    // With the imported keys, the manifest names a master key, and no other is trusted any more.
    match files.present()?.into_iter().find(|name| !files.is_recorded(*name)) {
        Some(name) => Err(OfflineError::NotRecordedYet(name).into()),
        None => Ok(()),
    }
}

/// On whose behalf the keys were made, as the manifest says it.
const IMPORT: &str = "import";
