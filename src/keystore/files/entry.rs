//! What is known of one key version, and kept in the manifest.

use std::time::SystemTime;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::json::{hex, time, timestamp};
use crate::cipher::Algorithm;
use crate::keystore::KeyName;
use crate::keystore::trust::is_same_master_key;
use crate::kms::PlainKey;

/// What is known of one key version.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key version.
    pub name: KeyName,
    /// When it was made, or first seen.
    pub(super) created: String,
    /// On whose behalf it was made: see [`Entry::created_by`].
    pub(super) created_by: String,
    /// What it encrypts with.
    pub(super) algorithm: Algorithm,
    /// The ARN of the master key that wraps it, as KMS gave it.
    pub(super) master_key: Option<String>,
    /// The ARN of the master key that wraps what is kept of before a re-wrap.
    pub(super) former_master_key: Option<String>,
    /// Of the whole key file, in hexadecimal digits.
    pub(super) file_sha256: String,
    /// Tells whether two wrapped keys hold the same data key.
    pub(super) key_check: String,
    /// Whether the key may encrypt new data. Not if it turned up under a master key that nobody knew here.
    pub is_trusted: bool,
    /// Whether its file was left behind when the folder was copied: see [`super::KeyFiles::left_behind`].
    pub is_left_behind: bool,
    /// Whether somebody has said that nothing needs it any more: its file may be gone.
    pub is_retired: bool,
    /// The ARN of a master key that its key id had of its own, in `master_keys`: see [`Entry::has_own_master_key`].
    pub(super) own_master_key: Option<String>,
    /// What a later version of the plugin has written of it.
    pub(super) other: Map<String, Value>,
}

/// What is kept of a data key that KMS has unwrapped: no secret.
pub struct Traits {
    master_key: Option<String>,
    key_check: String,
}

impl Traits {
    /// Of a data key.
    pub fn of(plain: &PlainKey) -> Self {
        Self { master_key: plain.master_key().map(str::to_owned), key_check: key_check(plain.as_bytes()) }
    }

    /// The ARN of the master key that wraps it, if KMS gave it.
    pub fn master_key(&self) -> Option<&str> {
        self.master_key.as_deref()
    }
}

impl Entry {
    /// For a key file and the data key in it.
    pub fn new(name: KeyName, file: &[u8], algorithm: Algorithm, key: Traits, created: SystemTime) -> Self {
        Self {
            name,
            created: timestamp(created),
            created_by: String::new(),
            algorithm,
            master_key: key.master_key,
            former_master_key: None,
            file_sha256: hex(&Sha256::digest(file)),
            key_check: key.key_check,
            is_trusted: true,
            is_left_behind: false,
            is_retired: false,
            own_master_key: None,
            other: Map::new(),
        }
    }

    /// The same, of a re-wrapped key: with the ARN of the master key that wraps what is kept of before.
    pub fn with_former_master_key(mut self, arn: Option<String>) -> Self {
        self.former_master_key = arn;
        self
    }

    /// The same; the master key that wraps it is that of its key id alone, or not.
    pub fn with_own_master_key(self, is_own: bool) -> Self {
        Self { own_master_key: self.master_key.clone().filter(|_| is_own), ..self }
    }

    /// The same; what is known of that is what was known `before`.
    pub fn with_own_master_key_of(self, before: Option<&Self>) -> Self {
        Self { own_master_key: before.and_then(|before| before.own_master_key.clone()), ..self }
    }

    /// Whether it is wrapped by a master key that its key id had of its own: then none that others have may wrap copies of it.
    pub fn has_own_master_key(&self) -> bool {
        let names = self.own_master_key.as_deref().zip(self.master_key.as_deref());
        names.is_some_and(|(own, of_file)| is_same_master_key(own, of_file))
    }

    /// The same, but neither left behind nor retired.
    pub fn found_again(self) -> Self {
        Self { is_left_behind: false, is_retired: false, ..self }
    }

    /// Whether this is the data key that it is about.
    pub fn is_key(&self, plain: &PlainKey) -> bool {
        self.key_check == key_check(plain.as_bytes())
    }

    /// The ARN of the master key that wraps what is kept of before a re-wrap, as far as it is known.
    pub fn former_master_key(&self) -> Option<&str> {
        self.former_master_key.as_deref()
    }

    /// The same, but made on behalf of `who`.
    pub fn made_by(mut self, who: &str) -> Self {
        who.clone_into(&mut self.created_by);
        self
    }

    /// When it was made, or first seen.
    pub fn created(&self) -> Option<SystemTime> {
        time(&self.created)
    }

    /// On whose behalf it was made: `user@host` or the name of a setting. Empty if that is not known, or nobody's: keys of a
    /// start, keys that were found.
    pub fn created_by(&self) -> &str {
        &self.created_by
    }

    /// The ARN of the master key that wraps it, if KMS gave it.
    pub fn master_key(&self) -> Option<&str> {
        self.master_key.as_deref()
    }

    /// The same, as it stands in the manifest: RFC 3339, in UTC.
    pub fn created_text(&self) -> &str {
        &self.created
    }

    /// Whether it is about a key file with these contents.
    pub fn is_of(&self, file: &[u8]) -> bool {
        self.file_sha256 == hex(&Sha256::digest(file))
    }

    /// What the key version encrypts with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The same, but made when and for whom `before` says, and with what that says beyond.
    pub(super) fn in_place_of(mut self, before: &Self) -> Self {
        self.created.clone_from(&before.created);
        self.created_by.clone_from(&before.created_by);
        self.other.clone_from(&before.other);
        self
    }
}

/// Eight bytes of a digest of the key and a text that no other digest begins with. They tell two keys apart and say
/// nothing else about a key of 128 random bits or more.
fn key_check(key: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"aws_key_management key check\0").chain_update(key).finalize();
    hex(digest.get(..8).unwrap_or_default())
}
