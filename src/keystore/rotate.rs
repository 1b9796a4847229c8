//! A new version of a key that exists.

use super::create::{self, NewVersion};
use super::files::KeyFiles;
use super::new_keys::Recipe;
use super::published::PublishedKeys;
use super::{KeyId, KeyStoreError, KeyVersion};
use crate::kms::Kms;

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

/// Rotates all of `ids`; those that fail do not keep the others from being tried, unless KMS does not answer twice in a
/// row: to find that out for each of many keys would take many minutes.
pub fn rotate_each(
    ids: &[KeyId],
    mut rotate: impl FnMut(KeyId) -> Result<(), KeyStoreError>,
) -> Result<(), KeyStoreError> {
    let mut failures = Vec::new();
    let mut unanswered = 0;
    let mut tried = 0;
    for id in ids {
        tried += 1;
        let Err(error) = rotate(*id) else {
            unanswered = 0;
            continue;
        };
        let silent = matches!(&error, KeyStoreError::Kms(_, error) if error.class.is_no_answer());
        unanswered = if silent { unanswered + 1 } else { 0 };
        failures.push(error);
        if unanswered == 2 {
            break;
        }
    }
    let (of, failed, skipped) = (ids.len(), failures.len(), ids.len() - tried);
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(KeyStoreError::Several { failed, of, skipped, first: Box::new(first) }),
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

fn next_version(files: &KeyFiles, published: &PublishedKeys, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
    highest_version(files, published, id)?.next().ok_or(KeyStoreError::NoVersionLeft(id))
}
