//! Copies of a data key that more master keys wrap: a document beside its key file, which stays as it is.

use std::collections::BTreeMap;
use std::io;

use aws_smithy_types::base64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::disk::Kind;
use super::durable_files::{KeyFolder, failed};
use super::json::{AlgorithmName, AnyDocument, json};
use super::key_file::KeyFile;
use super::repairing;
use crate::cipher::Algorithm;
use crate::keystore::{KeyName, KeyStoreError};
use crate::kms::{EncryptionContext, MasterKeyId, WrappedKey};

/// The copies of one key version. Those that cannot be read, and whatever a later version of the plugin has written beside
/// them, are kept as they are.
#[derive(Clone, PartialEq)]
pub(super) struct ExtraCopies {
    name: KeyName,
    algorithm: Algorithm,
    wraps: Vec<Value>,
    other: Map<String, Value>,
}

impl ExtraCopies {
    /// None.
    pub(super) fn none(name: KeyName, algorithm: Algorithm) -> Self {
        Self { name, algorithm, wraps: Vec::new(), other: Map::new() }
    }

    /// What the key version encrypts with.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `None` if this is no document with copies of that key. Fails if it is one of a later version of the plugin.
    fn parse(name: KeyName, bytes: &[u8]) -> Result<Option<Self>, KeyStoreError> {
        match serde_json::from_slice::<AnyDocument>(bytes) {
            Ok(AnyDocument { format }) if format > FORMAT => return Err(KeyStoreError::NewerKeyFile { name, format }),
            _ => {}
        }
        let document = serde_json::from_slice::<Document>(bytes).ok();
        let document = document.filter(|document| KeyName::new(document.key_id, document.key_version) == Some(name));
        Ok(document.map(|document| {
            let Document { algorithm, wraps, other, .. } = document;
            Self { name, algorithm: algorithm.into(), wraps, other }
        }))
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        json(&Document {
            format: FORMAT,
            key_id: self.name.id.value(),
            key_version: self.name.version.value(),
            algorithm: self.algorithm.into(),
            wraps: self.wraps.clone(),
            other: self.other.clone(),
        })
    }

    /// All that can be read, in order, each with its master key.
    pub(super) fn all(&self) -> impl Iterator<Item = KeyFile> {
        let wrapped = self.wraps.iter().filter_map(|wrap| self.wrapped_in(wrap));
        wrapped.map(|wrapped| KeyFile { algorithm: self.algorithm, wrapped })
    }

    /// The same, and these copies that have a master key, each in place of one that the same master key wraps.
    pub(super) fn with(mut self, copies: &[WrappedKey]) -> Self {
        for (copy, arn) in copies.iter().filter_map(|copy| Some((copy, copy.master_key()?.as_str()))) {
            let row = Row {
                master_key: arn.to_owned(),
                encryption_context: copy.encryption_context().pairs().clone(),
                ciphertext: base64::encode(copy.as_bytes()),
                other: Map::new(),
            };
            let Ok(row) = serde_json::to_value(row) else { continue };
            match self.wraps.iter_mut().find(|wrap| wrap.get("master_key").and_then(Value::as_str) == Some(arn)) {
                Some(wrap) => *wrap = row,
                None => self.wraps.push(row),
            }
        }
        self
    }

    fn wrapped_in(&self, wrap: &Value) -> Option<WrappedKey> {
        let row = Row::deserialize(wrap).ok()?;
        let context = EncryptionContext::of(row.encryption_context);
        if !context.may_be_of(self.name.id.value()) {
            return None;
        }
        let wrapped = WrappedKey::new(base64::decode(&row.ciphertext).ok()?).with_encryption_context(context);
        Some(wrapped.with_master_key(Some(MasterKeyId::parse(&row.master_key)?)))
    }
}

impl KeyFolder {
    /// The versions of which there may be copies, in order.
    pub(super) fn with_extra_copies(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.names_of(KeyName::parse_extra)
    }

    /// The copies of a key version; `None` if there are none, or if they are damaged as a whole.
    pub(super) fn read_extra_copies(&self, name: KeyName) -> Result<Option<ExtraCopies>, KeyStoreError> {
        let file_name = name.file_name_extra();
        for folder in self.folders() {
            let path = folder.join(&file_name);
            let read = match self.disk.kind(&path) {
                Ok(Kind::File { .. }) => self.disk.read(&path, LONGEST_FILE),
                Ok(_) => return Ok(None),
                Err(error) => Err(error),
            };
            match read {
                Ok((bytes, _)) => return ExtraCopies::parse(name, &bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("read", &path, error)),
            }
        }
        Ok(None)
    }

    /// Keeps what has the name of a file with copies, and is none of this key, under another name: it may be all that is left of
    /// one. The caller holds the folder's lock.
    pub(super) fn keep_extra_copies(&self, name: KeyName) -> Result<(), KeyStoreError> {
        match repairing::read(self, &name.file_name_extra())? {
            Some(contents) if !contents.is_empty() => self.keep(&name.file_name_extra_damaged(), &contents).map(drop),
            _ => Ok(()),
        }
    }

    /// The caller holds the folder's lock. When this returns, the copies are on the disk; until then, those before are.
    pub(super) fn write_extra_copies(&self, copies: &ExtraCopies) -> Result<(), KeyStoreError> {
        self.replace_document(&copies.name.file_name_extra(), |_| copies.to_bytes())
    }

    /// The caller holds the folder's lock.
    pub(super) fn remove_extra_copies(&self, name: KeyName) -> Result<(), KeyStoreError> {
        let path = self.path.join(name.file_name_extra());
        match self.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove", &path, error)),
            Ok(()) => self.disk.sync_folder(&self.path).map_err(|error| failed("sync the folder of", &path, error)),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    key_id: u32,
    key_version: u32,
    algorithm: AlgorithmName,
    wraps: Vec<Value>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    master_key: String,
    encryption_context: BTreeMap<String, String>,
    ciphertext: String,
    #[serde(flatten)]
    other: Map<String, Value>,
}

const FORMAT: u32 = 1;

/// In bytes: room for a hundred of the longest wrapped keys.
const LONGEST_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;
    use crate::keystore::files::system_disk::SystemDisk;

    fn name() -> KeyName {
        KeyName::new(7, 3).expect("a name")
    }

    fn copy(arn: &str, bytes: &[u8]) -> WrappedKey {
        WrappedKey::new(bytes.to_vec()).with_master_key(MasterKeyId::parse(arn))
    }

    fn parse(bytes: &[u8]) -> Option<ExtraCopies> {
        ExtraCopies::parse(name(), bytes).expect("not newer")
    }

    #[test]
    fn copies_are_read_as_they_were_written_each_with_its_master_key() {
        let copies = ExtraCopies::none(name(), Algorithm::AesCtr)
            .with(&[copy("arn:aws:kms:x:1:key/a", &[1]), copy("arn:aws:kms:y:1:key/b", &[2])])
            .with(&[copy("arn:aws:kms:x:1:key/a", &[3])]);
        let read: Vec<KeyFile> = parse(&copies.to_bytes().expect("bytes")).expect("good").all().collect();
        let wrapped = read.iter().map(|copy| &copy.wrapped);
        let wrapped: Vec<_> =
            wrapped.map(|key| (key.as_bytes(), key.master_key().and_then(MasterKeyId::region))).collect();
        assert_eq!(wrapped, [(&[3][..], Some("x")), (&[2], Some("y"))]);
        assert!(read.iter().all(|copy| copy.algorithm == Algorithm::AesCtr));
    }

    #[test]
    fn a_hundred_of_the_longest_wrapped_keys_are_read_back() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(std::sync::Arc::new(SystemDisk), dir.path(), None).expect("folder");
        let longest = |number: u8| copy(&format!("arn:aws:kms:x:1:key/{number}"), &[number; 6144]);
        let copies = ExtraCopies::none(name(), Algorithm::AesCbc).with(&(0..100).map(longest).collect::<Vec<_>>());
        let path = dir.path().join(name().file_name_extra());
        std::fs::write(path, copies.to_bytes().expect("bytes")).expect("write");
        let read = folder.read_extra_copies(name()).expect("read").expect("copies");
        assert!(read.all().zip(0..100).all(|(copy, number)| copy.wrapped.as_bytes() == [number; 6144]));
        assert_eq!(read.all().count(), 100);
    }

    #[test]
    fn what_a_later_version_has_written_is_kept_and_one_bad_copy_spoils_no_other() {
        let text = r#"{"format": 1, "key_id": 7, "key_version": 3, "algorithm": "AES_CBC", "by": "us", "wraps": [{"what": "ever"},
            {"master_key": "k", "encryption_context": {"mariadb_key_id": "8"}, "ciphertext": "AQI="},
            {"master_key": "arn:aws:kms:x:1:key/a", "encryption_context": {}, "ciphertext": "AQI=", "colour": "red"}]}"#;
        let copies = parse(text.as_bytes()).expect("good");
        assert_eq!(copies.all().count(), 1, "another key's context");
        let copies = copies.with(&[copy("arn:aws:kms:y:1:key/b", &[2])]);
        let text = String::from_utf8(copies.to_bytes().expect("bytes")).expect("UTF-8");
        assert!(["\"by\": \"us\"", "ever", "red", "key/b"].iter().all(|kept| text.contains(kept)), "{text}");
    }

    #[test]
    fn what_is_no_document_of_this_key_has_no_copies_and_a_newer_one_is_refused() {
        let of_another = r#"{"format": 1, "key_id": 7, "key_version": 4, "algorithm": "AES_CBC", "wraps": []}"#;
        let without_algorithm = r#"{"format": 1, "key_id": 7, "key_version": 3, "wraps": []}"#;
        for text in ["", "{", "[]", of_another, without_algorithm] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(ExtraCopies::parse(name(), br#"{"format": 2}"#).is_err());
    }
}
