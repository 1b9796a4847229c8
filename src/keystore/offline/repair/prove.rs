//! What KMS says of key files, and of what is kept of them: whether they hold the keys that the manifest knows.

use std::time::{Instant, SystemTime};

use crate::keystore::files::{Entry, Finding, KeyFiles, StoredKey};
use crate::keystore::load::{self, Unwrapped};
use crate::keystore::{KeyName, KeyStoreError};
use crate::kms::{Class, Kms, MasterKeyId, WrappedKey};

/// What a file was proven to hold, and how that compares with what the manifest says.
pub(super) type Proof = Result<(Entry, Finding), KeyStoreError>;

/// Has KMS unwrap key files until `deadline`. The keys go nowhere, and are wiped. Answers in their order.
pub(super) fn prove(files: &KeyFiles, kms: &dyn Kms, stored: &[StoredKey], deadline: Instant) -> Vec<Proof> {
    prove_under(files, kms, stored, deadline, |stored| load::known_master_key(files, stored))
}

/// The same for what is kept of before a re-wrap.
pub(super) fn prove_copies(files: &KeyFiles, kms: &dyn Kms, stored: &[StoredKey], deadline: Instant) -> Vec<Proof> {
    prove_under(files, kms, stored, deadline, |stored| files.master_key_of(stored))
}

fn prove_under(
    files: &KeyFiles,
    kms: &dyn Kms,
    stored: &[StoredKey],
    deadline: Instant,
    master_key_of: impl Fn(&StoredKey) -> Option<MasterKeyId>,
) -> Vec<Proof> {
    if stored.is_empty() {
        return Vec::new();
    }
    let wrapped = stored.iter().map(|stored| stored.file.wrapped.clone().with_master_key(master_key_of(stored)));
    let wrapped: Vec<WrappedKey> = wrapped.collect();
    let now = SystemTime::now();
    let proof = |(stored, answer): (&StoredKey, _)| match answer {
        Ok(plain) => {
            let unwrapped = Unwrapped::from_file(stored, plain);
            load::check(files, &unwrapped, now)
        }
        Err(error) => Err(KeyStoreError::Kms(stored.name, error)),
    };
    stored.iter().zip(kms.decrypt_all(&wrapped, deadline)).map(proof).collect()
}

/// Whether the key file itself is at fault, so that a copy that holds its key may take its place.
pub(super) fn is_gone_or_damaged(error: &KeyStoreError) -> bool {
    match error {
        KeyStoreError::Gone(..)
        | KeyStoreError::EmptyFile(_)
        | KeyStoreError::BadKeyFile(_)
        | KeyStoreError::OtherName { .. }
        | KeyStoreError::OtherContext(_)
        | KeyStoreError::OtherKey(_)
        | KeyStoreError::OtherAlgorithm(..)
        | KeyStoreError::WrongLength { .. } => true,
        KeyStoreError::Kms(_, error) => error.class == Class::Corrupt,
        error => error.is_of_an_obstacle(),
    }
}

/// Names, as a sentence has them.
pub(super) fn list(names: &[KeyName]) -> String {
    names.iter().map(KeyName::to_string).collect::<Vec<_>>().join(", ")
}
