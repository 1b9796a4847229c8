//! A new version of a key that exists.

use std::io::ErrorKind;

use super::create::{self, NewVersion};
use super::files::KeyFiles;
use super::new_keys::Recipe;
use super::published::PublishedKeys;
use super::{KeyId, KeyName, KeyStoreError, KeyVersion, trust};
use crate::kms::{Class, Kms, MasterKeyId};
use crate::waits;

/// Makes the next version of a key. If it fails, nothing has changed. The caller holds the lock of the key id.
pub fn rotate(
    files: &KeyFiles,
    kms: &dyn Kms,
    published: &PublishedKeys,
    recipe: Recipe,
    id: KeyId,
) -> Result<NewVersion, KeyStoreError> {
    create::create(files, kms, recipe, id, || next_version(files, published, id))
}

/// What comes of a key of which there are only versions that may not encrypt.
pub enum Beside {
    /// A version of its own.
    Made(NewVersion),
    /// Nothing was made: these versions are wrapped by the master key that is configured, which has just turned out to be
    /// this one.
    UnderConfigured(Vec<KeyName>, MasterKeyId),
}

/// Makes the next version of a key of which there are only versions that may not encrypt. Fails if there should be others:
/// data that was encrypted with them would be given up silently. What an alias stands for, the new key shows: if that is
/// what wraps the versions that are there, none is made. The caller holds the lock of the key id.
pub fn create_beside(
    files: &KeyFiles,
    kms: &dyn Kms,
    published: &PublishedKeys,
    recipe: Recipe,
    id: KeyId,
) -> Result<Beside, KeyStoreError> {
    let number = || match files.missing_trusted(id)? {
        Some(gone) => Err(KeyStoreError::Gone(gone, files.path_of(gone))),
        None => next_version(files, published, id),
    };
    let generated = create::generate(files, kms, recipe, id, number)?;
    if let Some(arn) = generated.master_key()
        && let Some(configured) = MasterKeyId::parse(arn)
    {
        let mut names: Vec<KeyName> = files.versions(id)?.into_iter().map(|version| KeyName { id, version }).collect();
        names.retain(|name| files.master_key(*name).is_some_and(|of_file| trust::is_same_master_key(&of_file, arn)));
        if !names.is_empty() {
            return Ok(Beside::UnderConfigured(names, configured));
        }
    }
    create::store(files, id, number, generated).map(Beside::Made)
}

/// Rotates all of `ids`: see [`try_each`].
pub fn rotate_each(
    ids: &[KeyId],
    mut rotate: impl FnMut(KeyId) -> Result<(), KeyStoreError>,
) -> Result<(), KeyStoreError> {
    try_each(ids, |id| *id, |id| rotate(*id))
}

/// Does something with all of `items`; those that fail do not keep the others from being tried, unless these would fail like it.
/// If KMS does not answer, a second one is tried: to find that out for each of many would take many minutes. Ends between two
/// when the statement is killed.
pub fn try_each<T>(
    items: &[T],
    id_of: impl Fn(&T) -> KeyId,
    mut work: impl FnMut(&T) -> Result<(), KeyStoreError>,
) -> Result<(), KeyStoreError> {
    let mut failures = Vec::new();
    let mut unanswered = 0;
    let mut tried = 0;
    for item in items {
        tried += 1;
        let worked = if waits::must_end() { Err(KeyStoreError::GivenUp(id_of(item))) } else { work(item) };
        let Err(error) = worked else {
            unanswered = 0;
            continue;
        };
        let silent = matches!(&error, KeyStoreError::Kms(_, error) if error.class.is_no_answer());
        unanswered = if silent { unanswered + 1 } else { 0 };
        let all_would_fail = unanswered == 2 || is_the_same_for_all_keys(&error);
        failures.push(error);
        if all_would_fail {
            break;
        }
    }
    let (of, failed, skipped) = (items.len(), failures.len(), items.len() - tried);
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(KeyStoreError::Several { failed, of, skipped, first: Box::new(first) }),
    }
}

/// What a rotation of all keys has made.
#[derive(Default)]
pub struct Made {
    /// In the order in which they were made.
    pub versions: Vec<NewVersion>,
    /// How many of them are recorded.
    pub recorded: usize,
}

impl Made {
    /// Those that are to be recorded.
    pub fn unrecorded(&self) -> &[NewVersion] {
        self.versions.get(self.recorded..).unwrap_or_default()
    }
}

/// Whether a rotation of another key, under the same master key and in the same folder, would fail like it.
fn is_the_same_for_all_keys(error: &KeyStoreError) -> bool {
    match error {
        KeyStoreError::Kms(_, error) => match error.class {
            Class::UntrustedCa
            | Class::BadCertificate
            | Class::NoCredentials
            | Class::BadCredentials
            | Class::RoleRefused
            | Class::Clock
            | Class::Denied
            | Class::Disabled
            | Class::InvalidState
            | Class::KeyStore
            | Class::NotFound
            | Class::KeyType
            | Class::NoRegion
            | Class::WrongRegion
            | Class::Config => true,
            Class::Throttled
            | Class::Transient
            | Class::Internal
            | Class::Unavailable
            | Class::WrongKey
            | Class::Corrupt
            | Class::Rejected => false,
        },
        KeyStoreError::Io { error, .. } => matches!(
            error.kind(),
            ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::PermissionDenied
        ),
        KeyStoreError::NoMasterKey(_)
        | KeyStoreError::Locked(_)
        | KeyStoreError::FileSystem { .. }
        | KeyStoreError::NewerManifest(_)
        | KeyStoreError::Folder(..)
        | KeyStoreError::BackupCreatesNothing(_)
        | KeyStoreError::GivenUp(_) => true,
        _ => false,
    }
}

/// All keys that there ever were, in order.
pub fn all_ids(files: &KeyFiles, published: &PublishedKeys) -> Result<Vec<KeyId>, KeyStoreError> {
    let mut ids: Vec<KeyId> = files.present()?.into_iter().chain(files.recorded()).map(|name| name.id).collect();
    ids.extend(published.ids());
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The highest version that was ever used, as far as the table, the folder and the manifest know: a file that cannot be
/// used, or is gone, still holds its number.
pub fn highest_version(files: &KeyFiles, published: &PublishedKeys, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    let in_folder = files.versions(id)?.last().copied();
    let highest = published.latest(id).max(in_folder).max(files.highest_recorded(id));
    highest.ok_or(KeyStoreError::NoSuchKey(id))
}

/// Why mariadb-backup does not make another version of a key.
pub fn backup_creates_nothing(files: &KeyFiles, published: &PublishedKeys, id: KeyId) -> KeyStoreError {
    match highest_version(files, published, id) {
        Ok(version) => KeyStoreError::BackupCreatesNothing(KeyName { id, version }),
        Err(error) => error,
    }
}

fn next_version(files: &KeyFiles, published: &PublishedKeys, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    highest_version(files, published, id)?.next().ok_or(KeyStoreError::NoVersionLeft(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waits::tests::MUST_END;

    #[test]
    fn a_rotation_of_all_keys_that_is_killed_ends_before_the_next_key() {
        let ids: Vec<KeyId> = (1..=5).map(|id| KeyId::new(id).expect("an id")).collect();
        let rotated = std::cell::RefCell::new(Vec::new());
        let error = rotate_each(&ids, |id| {
            rotated.borrow_mut().push(id.value());
            MUST_END.set(id.value() == 2);
            Ok(())
        })
        .expect_err("not killed");
        MUST_END.set(false);
        assert_eq!(rotated.into_inner(), [1, 2]);
        let KeyStoreError::Several { failed: 1, of: 5, skipped: 2, first } = error else { panic!("{error}") };
        assert!(matches!(*first, KeyStoreError::GivenUp(id) if id.value() == 3), "{first}");
    }
}
