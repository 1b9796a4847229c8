//! The manifest: which key versions there ever were in this folder, so that one that is gone is missed, and one that was
//! exchanged is noticed.
//!
//! It lies beside the key files, under a name that mariadb-backup copies along and the plugin that this one replaces
//! ignores. It holds no secret. If it is lost or damaged, it is made anew from the key files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::disk::Kind;
use super::documents::Document;
use super::durable_files::KeyFolder;
use super::entry::Entry;
use super::json::{AnyDocument, json};
use super::manifest_format::{File, Row, name_in};
use crate::keystore::{KeyId, KeyName, KeyStoreError, KeyVersion};

/// The entries, by key and version.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) entries: BTreeMap<KeyName, Entry>,
    /// The master keys of versions that may encrypt new data and are being made, so that there is no entry of them yet.
    pub(super) more_master_keys: BTreeSet<String>,
    /// Whether it was copied here, with a backup or a clone: the file says as which file it was written.
    is_copy: bool,
    /// Entries that cannot be read, damaged or of a later version of the plugin.
    pub(super) unreadable: Vec<Value>,
    /// What else a later version of the plugin has written.
    pub(super) other: Map<String, Value>,
}

/// What lies in the folder.
pub(super) enum OnDisk {
    /// No manifest.
    Missing,
    /// A good one.
    Good(Manifest),
    /// No manifest at all, with what is wrong with it.
    Damaged(String),
    /// One of a later version of the plugin, with its format.
    Newer(u32),
}

/// How a key file compares with its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As it was.
    Same,
    /// There is no entry.
    New,
    /// The file is another, the data key is the same: it was wrapped anew.
    Rewrapped,
    /// The data key is another.
    OtherKey,
    /// The data key is the same, but the file names another algorithm.
    OtherAlgorithm,
}

impl Manifest {
    /// Reads the manifest of a folder.
    pub(super) fn read(folder: &KeyFolder) -> Result<OnDisk, KeyStoreError> {
        match folder.read_document(FILE_NAME) {
            Ok(Document::Missing) => Ok(OnDisk::Missing),
            Ok(Document::NoFile) => Ok(OnDisk::Damaged("it is no file".to_owned())),
            Ok(Document::File { contents, number }) => Ok(Self::parse(&contents, number)),
            Err(error) => Err(failed("read manifest", folder, error)),
        }
    }

    /// Replaces the manifest of a folder. The caller holds the folder's lock.
    pub(super) fn write(&self, folder: &KeyFolder) -> Result<(), KeyStoreError> {
        folder.replace_document(FILE_NAME, |inode| {
            let rows = self.entries.values().map(|entry| serde_json::to_value(Row::from(entry)));
            let keys = rows.chain(self.unreadable.iter().cloned().map(Ok)).collect::<Result<_, _>>()?;
            let more_master_keys = self.more_master_keys.difference(&self.master_keys_of_entries()).cloned().collect();
            json(&File { format: FORMAT, inode: Some(inode), keys, more_master_keys, other: self.other.clone() })
        })
    }

    /// Puts a damaged manifest aside, for a person to look at.
    pub(super) fn put_aside(folder: &KeyFolder) -> Result<(), KeyStoreError> {
        folder.move_aside(FILE_NAME, DAMAGED_FILE_NAME).map(drop)
    }

    /// Adds an entry, or replaces it.
    pub(super) fn insert(&mut self, entry: Entry) {
        self.unreadable.retain(|unreadable| name_in(unreadable) != Some(entry.name));
        self.entries.insert(entry.name, entry);
    }

    /// Adds the entries of `other`, which are right where the two differ.
    pub(super) fn take_over(&mut self, other: Manifest) {
        self.entries.extend(other.entries);
        self.more_master_keys.extend(other.more_master_keys);
        (self.is_copy, self.unreadable, self.other) = (other.is_copy, other.unreadable, other.other);
    }

    /// Compares a key file with its entry.
    pub(super) fn compare(&self, found: &Entry) -> Finding {
        match self.entries.get(&found.name) {
            None if self.has_unreadable_of_another_key(found) => Finding::OtherKey,
            None => Finding::New,
            Some(entry) if entry.key_check != found.key_check => Finding::OtherKey,
            Some(entry) if entry.algorithm != found.algorithm => Finding::OtherAlgorithm,
            Some(entry) if entry.file_sha256 != found.file_sha256 => Finding::Rewrapped,
            Some(_) => Finding::Same,
        }
    }

    /// An entry that cannot be read may still say which key it is about.
    fn has_unreadable_of_another_key(&self, found: &Entry) -> bool {
        let of_version = self.unreadable.iter().filter(|unreadable| name_in(unreadable) == Some(found.name));
        let checks: Vec<&str> = of_version.filter_map(|unreadable| unreadable.get("key_check")?.as_str()).collect();
        !checks.is_empty() && !checks.contains(&found.key_check.as_str())
    }

    /// Whether it was copied here, and not written since.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// It was written, so it is no copy any more.
    pub(super) fn is_written_here(&mut self) {
        self.is_copy = false;
    }

    /// The entry of a version.
    pub(super) fn entry(&self, name: KeyName) -> Option<&Entry> {
        self.entries.get(&name)
    }

    /// Whether the version may encrypt new data; `None` if there is no entry.
    pub(super) fn is_trusted(&self, name: KeyName) -> Option<bool> {
        self.entries.get(&name).map(|entry| entry.is_trusted)
    }

    /// The master keys of all versions that may encrypt new data, also of those that are being made.
    pub(super) fn master_keys(&self) -> BTreeSet<String> {
        let mut known = self.master_keys_of_entries();
        known.extend(self.more_master_keys.iter().cloned());
        known
    }

    /// A version that may encrypt new data is going to be wrapped by this master key.
    pub(super) fn add_master_key(&mut self, arn: &str) {
        self.more_master_keys.insert(arn.to_owned());
    }

    fn master_keys_of_entries(&self) -> BTreeSet<String> {
        let trusted = self.entries.values().filter(|entry| entry.is_trusted);
        let different: BTreeSet<&str> = trusted.filter_map(|entry| entry.master_key.as_deref()).collect();
        different.into_iter().map(str::to_owned).collect()
    }

    /// The ARN of the master key that wraps a version, if there is an entry, and KMS has said which it is.
    pub(super) fn master_key(&self, name: KeyName) -> Option<&str> {
        self.entries.get(&name)?.master_key.as_deref()
    }

    /// All key versions that were ever here and are retired, or that are not.
    pub(super) fn names_by_need(&self, is_retired: bool) -> impl Iterator<Item = KeyName> {
        self.entries.iter().filter(move |(_, entry)| entry.is_retired == is_retired).map(|(name, _)| *name)
    }

    /// Nothing needs a version any more.
    pub(super) fn retire(&mut self, name: KeyName) {
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.is_retired = true;
        }
    }

    /// The versions of a key that may encrypt new data, and are not retired, ascending.
    pub(super) fn trusted_of(&self, id: KeyId) -> impl Iterator<Item = KeyName> {
        let of_key = self.entries.range(KeyName::all_of(id));
        of_key.filter(|(_, entry)| entry.is_trusted && !entry.is_retired).map(|(name, _)| *name)
    }

    /// The ARN of the master key of its own that wraps a version of a key which is not retired: that of the highest.
    pub(super) fn own_master_key_of(&self, id: KeyId) -> Option<&str> {
        let of_key = self.entries.range(KeyName::all_of(id)).rev().map(|(_, entry)| entry);
        of_key.filter(|entry| !entry.is_retired).find(|entry| entry.has_own_master_key())?.master_key()
    }

    /// The highest version of a key that was ever here, whether its entry can be read or not.
    pub(super) fn highest(&self, id: KeyId) -> Option<KeyVersion> {
        let readable = self.entries.range(KeyName::all_of(id)).next_back().map(|(name, _)| name.version);
        let unreadable = self.unreadable.iter().filter_map(name_in).filter(|name| name.id == id);
        readable.max(unreadable.map(|name| name.version).max())
    }

    /// How many entries cannot be read.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    fn parse(bytes: &[u8], inode: u64) -> OnDisk {
        let file: File = match serde_json::from_slice(bytes) {
            Ok(file) => file,
            Err(error) => {
                return match serde_json::from_slice::<AnyDocument>(bytes) {
                    Ok(AnyDocument { format }) if format > FORMAT => OnDisk::Newer(format),
                    _ => OnDisk::Damaged(error.to_string()),
                };
            }
        };
        if file.format > FORMAT {
            return OnDisk::Newer(file.format);
        }
        let is_copy = file.inode.is_some_and(|written_as| written_as != inode);
        let more_master_keys = file.more_master_keys;
        let mut manifest = Self { is_copy, more_master_keys, other: file.other, ..Self::default() };
        for value in file.keys {
            match (name_in(&value), Row::deserialize(&value)) {
                (Some(name), Ok(row)) => manifest.insert(row.into_entry(name)),
                _ => manifest.unreadable.push(value),
            }
        }
        OnDisk::Good(manifest)
    }
}

/// What lies in a folder as its manifest, good or not: the same as long as that is not replaced or changed.
pub(super) fn kind(folder: &KeyFolder) -> Result<Option<Kind>, KeyStoreError> {
    folder.document_kind(FILE_NAME).map_err(|error| failed("read manifest", folder, error))
}

fn failed(action: &'static str, folder: &KeyFolder, error: io::Error) -> KeyStoreError {
    KeyStoreError::Io { action, path: folder.path().join(FILE_NAME), error }
}

pub(super) const FILE_NAME: &str = "aws-kms-key.manifest.json";
pub(super) const DAMAGED_FILE_NAME: &str = "aws-kms-key.manifest.damaged";
const FORMAT: u32 = 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::cipher::Algorithm;
    use crate::keystore::files::Traits;
    use crate::keystore::files::system_disk::SystemDisk;
    use crate::kms::PlainKey;

    fn name(version: u32) -> KeyName {
        KeyName::new(3, version).expect("a name")
    }

    fn entry(version: u32, file: &[u8], key: u8) -> Entry {
        let plain = PlainKey::new(vec![key; 16], Some("arn:aws:kms:x:1:key/k".to_owned()));
        Entry::new(name(version), file, Algorithm::AesCbc, Traits::of(&plain), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_holds_no_key() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(Arc::new(SystemDisk), dir.path(), None).expect("folder");
        assert!(matches!(Manifest::read(&folder), Ok(OnDisk::Missing)));
        let mut manifest = Manifest::default();
        manifest.insert(entry(1, b"a", 0x41));
        manifest.insert(entry(2, b"b", 0x42));
        manifest.write(&folder).expect("write");
        assert!(matches!(Manifest::read(&folder), Ok(OnDisk::Good(read)) if read == manifest && !read.is_copy()));
        let path = dir.path().join("aws-kms-key.manifest.json");
        std::fs::copy(&path, dir.path().join("copy")).expect("copy");
        std::fs::rename(dir.path().join("copy"), &path).expect("rename");
        assert!(matches!(Manifest::read(&folder), Ok(OnDisk::Good(read)) if read.is_copy()), "a copy is told");
        let text = std::fs::read_to_string(dir.path().join("aws-kms-key.manifest.json")).expect("text");
        assert!(text.contains("\"created\": \"1970-01-01T00:00:00Z\"") && text.contains("key/k"), "{text}");
        assert!(!text.contains("AAAA") && !text.contains("41414141"), "{text}");
        assert_eq!(manifest.highest(name(1).id), Some(name(2).version));
    }

    #[test]
    fn a_file_is_compared_by_its_bytes_and_by_the_key_in_it() {
        let mut manifest = Manifest::default();
        manifest.insert(entry(1, b"file", 1));
        for (file, key, finding) in [
            (&b"file"[..], 1, Finding::Same),
            (b"other", 1, Finding::Rewrapped),
            (b"other", 2, Finding::OtherKey),
            (b"file", 2, Finding::OtherKey),
        ] {
            assert_eq!(manifest.compare(&entry(1, file, key)), finding);
        }
        assert_eq!(manifest.compare(&entry(2, b"file", 1)), Finding::New);
        let ctr = Entry { algorithm: Algorithm::AesCtr, ..entry(1, b"other", 1) };
        assert_eq!(manifest.compare(&ctr), Finding::OtherAlgorithm);
    }

    #[test]
    fn damaged_and_newer_manifests_are_told_apart() {
        for bytes in [&b""[..], b"{", b"[]", b"{\"format\": 1}", b"\0\0\0"] {
            assert!(matches!(Manifest::parse(bytes, 1), OnDisk::Damaged(_)), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [&b"{\"format\": 2}"[..], b"{\"format\": 9, \"keys\": []}"] {
            assert!(matches!(Manifest::parse(bytes, 1), OnDisk::Newer(2 | 9)));
        }
    }

    #[test]
    fn what_a_later_version_has_written_is_kept_and_one_bad_entry_spoils_no_other() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(Arc::new(SystemDisk), dir.path(), None).expect("folder");
        let mut manifest = Manifest::default();
        manifest.insert(entry(1, b"a", 0x41));
        manifest.write(&folder).expect("write");
        let path = dir.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).expect("text");
        let more = "\"made_by\": \"us\", \"keys\": [{}, {\"key_id\": 3, \"key_version\": 9, \"algorithm\": \"AES_X\"},";
        let text = text.replace("\"keys\": [", more).replace("\"created\"", "\"colour\": \"red\", \"created\"");
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, text).expect("write");
        let Ok(OnDisk::Good(mut read)) = Manifest::read(&folder) else { panic!("not good") };
        assert_eq!((read.unreadable(), read.names_by_need(false).count()), (2, 1));
        assert_eq!(read.highest(name(1).id), Some(name(9).version), "its number is used");
        let again = entry(1, b"other", 0x41).in_place_of(read.entry(name(1)).expect("an entry"));
        read.insert(again);
        read.write(&folder).expect("write");
        let text = std::fs::read_to_string(&path).expect("text");
        for kept in ["\"made_by\": \"us\"", "\"colour\": \"red\"", "AES_X", "{}"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
