//! The manifest as it stands in its file: see docs/key-files.md. What is not known is kept.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::Entry;
use super::json::AlgorithmName;
use crate::keystore::KeyName;

/// The file.
#[derive(Serialize, Deserialize)]
pub(super) struct File {
    pub(super) format: u32,
    /// The number of this file: another one is a copy.
    #[serde(default)]
    pub(super) inode: Option<u64>,
    pub(super) keys: Vec<Value>,
    /// Only there if it has something to say that `keys` do not.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) more_master_keys: BTreeSet<String>,
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

/// Which version an entry is about, as far as that can be read.
pub(super) fn name_in(entry: &Value) -> Option<KeyName> {
    let number = |name: &str| u32::try_from(entry.get(name)?.as_u64()?).ok();
    KeyName::new(number("key_id")?, number("key_version")?)
}

/// An [`Entry`] as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    key_id: u32,
    key_version: u32,
    created: String,
    /// Only there if it says something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    created_by: String,
    algorithm: AlgorithmName,
    master_key: Option<String>,
    /// Only there after a re-wrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former_master_key: Option<String>,
    file_sha256: String,
    key_check: String,
    /// Only there if it is false.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    is_trusted: bool,
    /// Only there if it is true.
    #[serde(default, skip_serializing_if = "no")]
    is_left_behind: bool,
    /// Only there if it is true.
    #[serde(default, skip_serializing_if = "no")]
    is_retired: bool,
    /// Only there if its key id had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own_master_key: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

fn no(value: &bool) -> bool {
    !value
}

fn yes() -> bool {
    true
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        Self {
            key_id: entry.name.id.value(),
            key_version: entry.name.version.value(),
            created: entry.created.clone(),
            created_by: entry.created_by.clone(),
            algorithm: entry.algorithm.into(),
            master_key: entry.master_key.clone(),
            former_master_key: entry.former_master_key.clone(),
            file_sha256: entry.file_sha256.clone(),
            key_check: entry.key_check.clone(),
            is_trusted: entry.is_trusted,
            is_left_behind: entry.is_left_behind,
            is_retired: entry.is_retired,
            own_master_key: entry.own_master_key.clone(),
            other: entry.other.clone(),
        }
    }
}

impl Row {
    pub(super) fn into_entry(self, name: KeyName) -> Entry {
        let Self {
            created,
            created_by,
            algorithm,
            master_key,
            former_master_key,
            file_sha256,
            key_check,
            is_trusted,
            is_left_behind,
            is_retired,
            own_master_key,
            other,
            ..
        } = self;
        Entry {
            name,
            created,
            created_by,
            algorithm: algorithm.into(),
            master_key,
            former_master_key,
            file_sha256,
            key_check,
            is_trusted,
            is_left_behind,
            is_retired,
            own_master_key,
            other,
        }
    }
}
