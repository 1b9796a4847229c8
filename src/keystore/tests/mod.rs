//! The rules of the key store, each broken on purpose.

#![allow(clippy::expect_used, clippy::panic)] // clippy sees no tests in the helpers

mod asked_in_time;
mod copied;
mod copies_that_fail;
#[cfg(feature = "failpoints")]
mod crash;
mod data_without_keys;
mod disk_errors;
mod encryption_context;
mod errors;
mod extra_master_keys;
mod faulty_disk;
mod figures;
mod findings;
mod first_keys;
mod found_at_start;
mod hanging_kms;
mod late_folder;
mod lossy_disk;
mod lost_manifest;
mod machine;
mod making_copies;
mod master_keys;
mod memory;
mod messages;
mod obstacles;
mod offline;
mod offline_words;
mod planted;
mod power_failure;
mod repair;
mod repair_files;
mod repair_findings;
mod repair_interrupted;
mod retired;
mod retry;
mod rewrap;
mod rewrap_groups;
mod rotate;
mod rotate_all;
mod rotation_failures;
mod rotation_period;
mod start;
mod two_servers;
mod verify;
mod verify_others;
mod verify_round;
mod version_list;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::test_kms::{TestKms, wrap};
use super::*;
use crate::cipher::Algorithm;
use crate::kms::Call::{Decrypt, Encrypt, GenerateDataKeyWithoutPlaintext as Generate};
use crate::kms::{Class, EncryptionContext, KeySpec, MasterKeyId};

/// A key store in a folder of its own.
struct Setup {
    folder: tempfile::TempDir,
    datadir: tempfile::TempDir,
    kms: Arc<TestKms>,
    log: &'static Log,
}

impl Setup {
    fn new() -> Self {
        let [folder, datadir] = [(); 2].map(|()| tempfile::tempdir().expect("folder"));
        Self { folder, datadir, kms: Arc::default(), log: Box::leak(Box::default()) }
    }

    fn open(&self) -> Result<KeyStore, KeyStoreError> {
        self.open_as(Role::Server, self.kms.clone())
    }

    fn open_as(&self, role: Role, kms: Arc<dyn Kms>) -> Result<KeyStore, KeyStoreError> {
        self.open_in(self.folder.path(), role, kms)
    }

    fn open_in(&self, folder: &Path, role: Role, kms: Arc<dyn Kms>) -> Result<KeyStore, KeyStoreError> {
        KeyStore::open(Opening { folder, ..self.opening(role, kms) })
    }

    fn opening(&self, role: Role, kms: Arc<dyn Kms>) -> Opening<'_> {
        let settings = NewKeySettings {
            master_key: MasterKeyId::parse("alias/test"),
            master_keys: MasterKeysOfIds::default(),
            extra_master_keys: ExtraMasterKeys::default(),
            encryption_context: EncryptionContext::default(),
            spec: KeySpec::Aes128,
            algorithm: Algorithm::AesCbc,
        };
        Opening {
            folder: self.folder.path(),
            datadir: self.datadir.path(),
            also: None,
            kms,
            published: Box::leak(Box::default()),
            new_keys: NewKeys::new(settings, AllowedKeyIds::parse("1-99,100000,4294967295").expect("a list")),
            role,
            is_filled_by_rsync: false,
            startup_timeout: Duration::from_secs(3),
            verify_interval: Duration::from_secs(86_400),
            is_starting: || false,
            who: || "dba@localhost".to_owned(),
            reporter: self.log,
        }
    }

    fn put(&self, file: &str, contents: &[u8]) {
        fs::write(self.folder.path().join(file), contents).expect("write");
    }

    /// A key file whose key is 16 times the same byte.
    fn put_key(&self, file: &str, byte: u8) {
        self.put(file, wrap(&[byte; 16]).as_bytes());
    }

    fn files(&self) -> Vec<String> {
        files_in(self.folder.path())
    }
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("list");
    let mut files: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
    files.sort();
    files
}

fn read(setup: &Setup, file: &str) -> Vec<u8> {
    fs::read(setup.folder.path().join(file)).expect("read")
}

fn remove(setup: &Setup, file: &str) {
    fs::remove_file(setup.folder.path().join(file)).expect("remove");
}

/// A server with keys 1.1, 7.1 and 7.2.
fn used() -> Setup {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    store.latest_or_new(id(7)).expect("made");
    store.rotate(id(7)).expect("rotated");
    setup.kms.calls();
    setup
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn has(&self, text: &str) -> bool {
        self.0.lock().expect("log").iter().any(|line| line.contains(text))
    }
}

impl Reporter for Log {
    fn note(&self, text: &str) {
        self.0.lock().expect("log").push(format!("note: {text}"));
    }
    fn warning(&self, text: &str) {
        self.0.lock().expect("log").push(format!("warning: {text}"));
    }
    fn error(&self, text: &str) {
        self.0.lock().expect("log").push(format!("error: {text}"));
    }
}

const LOCK: &str = ".aws-kms-key.lock";
const MANIFEST: &str = "aws-kms-key.manifest.json";
const FOLDER_ID: &str = "aws-kms-key.folder.json";
const MEMORY: &str = "aws-kms-key.datadir.json";

fn id(number: u32) -> KeyId {
    KeyId::new(number).expect("an id")
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).expect("a version")
}

fn key(store: &KeyStore, id: u32, version: u32) -> Option<Vec<u8>> {
    store.published.with_key(KeyName::new(id, version).expect("a name"), |key| key.as_bytes().to_vec())
}

#[test]
fn a_key_is_made_when_it_is_first_used_and_never_again() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    assert_eq!(store.latest_or_new(id(7)).expect("new"), version(1));
    assert_eq!(setup.kms.calls(), [Generate, Decrypt]);
    assert_eq!(setup.files(), [LOCK, "aws-kms-key.7.1", FOLDER_ID, MANIFEST]);
    assert_eq!(store.latest_or_new(id(7)).expect("old"), version(1));
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn without_a_master_key_nothing_is_asked_of_kms_and_keys_that_exist_go_on() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let store = setup.open().expect("open");
    store.new_keys().change(|recipe| recipe.master_key = None);
    setup.kms.calls();
    for error in [store.latest_or_new(id(7)).map(drop), store.rotate(id(1)).map(drop)] {
        let error = error.expect_err("no master key");
        assert!(matches!(error, KeyStoreError::NoMasterKey(_)), "{error}");
        assert!(error.to_string().contains("Set aws_key_management_master_key_id"), "{error}");
    }
    assert_eq!(setup.kms.calls(), []);
    assert_eq!(key(&store, 1, 1), Some(vec![1; 16]));
}

#[test]
fn keys_are_the_same_after_a_restart() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in [1, 2, 100_000, u32::MAX] {
        store.latest_or_new(id(number)).expect("new");
    }
    store.rotate(id(1)).expect("rotate");
    let before: Vec<_> = [(1, 1), (1, 2), (2, 1), (100_000, 1), (u32::MAX, 1)].map(|(i, v)| key(&store, i, v)).into();
    assert!(before.iter().all(Option::is_some));
    let again = setup.open().expect("open");
    let after: Vec<_> = [(1, 1), (1, 2), (2, 1), (100_000, 1), (u32::MAX, 1)].map(|(i, v)| key(&again, i, v)).into();
    assert_eq!(before, after);
    assert_eq!(again.published.latest(id(1)), Some(version(2)));
}

#[test]
fn a_key_of_the_wrong_length_is_never_written() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for length in [0, 15, 24, 32, 33] {
        *setup.kms.key_len.lock().expect("length") = Some(length);
        let error = store.latest_or_new(id(1)).expect_err("wrong length");
        assert!(matches!(error, KeyStoreError::BadNewKey { bytes, .. } if bytes == length), "{error}");
        store.forget_failures();
    }
    assert_eq!(setup.files(), [LOCK]);
}

#[test]
fn a_key_whose_file_is_damaged_is_reported_and_not_made_anew() {
    let setup = Setup::new();
    setup.put("aws-kms-key.1.1", b"garbage");
    setup.put("aws-kms-key.2.1", b"");
    setup.put_key("aws-kms-key.3.1", 3);
    let store = setup.open().expect("the other key works");
    assert_eq!(key(&store, 3, 1), Some(vec![3; 16]));
    for number in [1, 2] {
        assert!(store.latest_or_new(id(number)).is_err());
        store.forget_failures();
        assert!(store.latest_or_new(id(number)).is_err());
    }
    assert!(setup.log.has("error: key not loaded: key 1 version 1: KMS Decrypt failed"), "{:?}", setup.log.0);
    assert!(setup.log.has("aws-kms-key.2.1 is empty. Restore the file from a backup"), "{:?}", setup.log.0);
    assert!(!setup.kms.calls().contains(&Generate));
    assert_eq!(setup.files(), [LOCK, "aws-kms-key.1.1", "aws-kms-key.2.1", "aws-kms-key.3.1", FOLDER_ID, MANIFEST]);
}

#[test]
fn a_key_file_that_turns_up_later_is_loaded_when_it_is_asked_for() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    setup.put_key("aws-kms-key.4.2", 42);
    assert_eq!(store.latest_or_new(id(4)).expect("found"), version(2));
    setup.put_key("aws-kms-key.4.1", 41);
    store.load(KeyName::new(4, 1).expect("name")).expect("load");
    assert_eq!(key(&store, 4, 1), Some(vec![41; 16]));
    assert!(!setup.kms.calls().contains(&Generate));
}

#[test]
fn a_version_that_nobody_knows_changes_nothing() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    setup.kms.calls();
    for number in [2, 77, u32::MAX - 1] {
        assert!(store.load(KeyName::new(1, number).expect("name")).is_err());
    }
    assert!(store.load(KeyName::new(9, 1).expect("name")).is_err());
    assert_eq!((store.published.latest(id(1)), store.published.latest(id(9))), (Some(version(1)), None));
    assert_eq!(setup.kms.calls(), []);
    assert_eq!(setup.files(), [LOCK, "aws-kms-key.1.1", FOLDER_ID, MANIFEST]);
}

#[test]
fn a_failure_is_not_repeated_at_every_call_but_at_once_after_a_change_of_settings() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    setup.kms.fail_next(&[(Generate, Class::Denied)]);
    assert!(matches!(store.latest_or_new(id(1)), Err(KeyStoreError::Kms(..))));
    setup.kms.calls();
    let error = store.latest_or_new(id(1)).expect_err("not yet");
    assert!(matches!(&error, KeyStoreError::NotYet { before, .. } if before.contains("access denied")), "{error}");
    assert_eq!(setup.kms.calls(), []);
    store.forget_failures();
    assert_eq!(store.latest_or_new(id(1)).expect("now"), version(1));
}

#[test]
fn mariadb_backup_reads_keys_and_makes_none() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put(".aws-kms-key.new-1", b"of a server");
    let store = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    assert!(matches!(store.latest_or_new(id(2)), Err(KeyStoreError::BackupCreatesNothing(_))));
    assert!(matches!(store.rotate(id(1)), Err(KeyStoreError::BackupCreatesNothing(_))));
    assert!(!setup.kms.calls().contains(&Generate));
    assert_eq!(setup.files(), [".aws-kms-key.new-1", "aws-kms-key.1.1"]);
}

#[test]
fn only_allowed_keys_are_made_and_keys_that_exist_are_not_affected() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.200.1", 200);
    let store = setup.open().expect("open");
    assert!(matches!(store.latest_or_new(id(100)), Err(KeyStoreError::NotAllowed(_))));
    assert_eq!(setup.kms.calls(), [Decrypt]);
    assert_eq!(store.published.latest(id(200)), Some(version(1)));
    assert_eq!(store.rotate(id(200)).expect("rotate"), version(2));
}

#[test]
fn the_algorithm_belongs_to_the_key_version_and_outlives_a_restart() {
    use Algorithm::{AesCbc, AesCtr};
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.new_keys().change(|recipe| recipe.algorithm = AesCtr);
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(2));
    store.new_keys().change(|recipe| recipe.algorithm = AesCbc);
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(3));
    let again = setup.open().expect("open");
    for store in [&store, &again] {
        let algorithms = [1, 2, 3].map(|v| store.published.algorithm(KeyName::new(1, v).expect("a name")));
        assert_eq!(algorithms, [AesCbc, AesCtr, AesCbc]);
    }
    assert_eq!([1, 2, 3].map(|v| key(&store, 1, v)), [1, 2, 3].map(|v| key(&again, 1, v)));
    assert!(read(&setup, "aws-kms-key.1.1").starts_with(b"wrapped:"), "format 1");
    assert!(read(&setup, "aws-kms-key.1.2").starts_with(b"{\n  \"format\": 2"), "format 2");
    assert!(read(&setup, "aws-kms-key.1.3").starts_with(b"wrapped:"), "format 1");
}
