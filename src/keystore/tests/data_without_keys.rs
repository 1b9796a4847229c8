//! A datadir with encrypted data and not one key, as a state transfer by rsync leaves it; and a server that only says its
//! position.

use super::*;

impl Setup {
    /// A redo log as 10.11 begins it.
    fn put_redo_log(&self, head: &[u8]) {
        fs::write(self.datadir.path().join("ib_logfile0"), head).expect("write");
    }
}

const ENCRYPTED: &[u8] = &[0xF0, 0x9F, 0x97, 0x9D];

#[test]
fn where_data_is_encrypted_and_there_is_no_key_the_start_fails_and_nothing_is_made() {
    let setup = Setup::new();
    setup.put_redo_log(ENCRYPTED);
    for role in [Role::Server, Role::Recovery] {
        let error = setup.open_as(role, setup.kms.clone()).err().expect("no keys").to_string();
        assert!(error.contains("ib_logfile0 is encrypted, but there is no key file in"), "{error}");
        assert!(error.contains("Restore the aws-kms-key.* files") && !error.contains("rsync"), "{error}");
    }
    let opening = Opening { is_filled_by_rsync: true, ..setup.opening(Role::Server, setup.kms.clone()) };
    let error = KeyStore::open(opening).err().expect("no keys").to_string();
    assert!(error.contains("wsrep_sst_method is rsync, which does not copy the key files"), "{error}");
    assert_eq!((setup.kms.calls(), setup.files()), (vec![], vec![]));
}

#[test]
fn with_a_key_or_a_trace_of_one_or_without_encrypted_data_the_start_goes_on() {
    let setup = Setup::new();
    setup.put_redo_log(b"Phys");
    let store = setup.open().expect("no encrypted data");
    store.latest_or_new(id(1)).expect("new");
    setup.put_redo_log(ENCRYPTED);
    assert_eq!(setup.open().expect("a key").published.latest(id(1)), Some(version(1)));
    fs::remove_file(setup.folder.path().join("aws-kms-key.1.1")).expect("remove");
    let error = setup.open().err().expect("it is gone").to_string();
    assert!(error.contains("key file") && error.contains("aws-kms-key.1.1 is gone"), "{error}");
}

#[test]
fn key_files_without_a_manifest_are_enough_for_encrypted_data() {
    let setup = Setup::new();
    setup.put_redo_log(ENCRYPTED);
    setup.put_key("aws-kms-key.1.1", 1);
    assert_eq!(setup.open().expect("as the C++ plugin leaves it").published.latest(id(1)), Some(version(1)));
}

#[test]
fn mariadb_backup_opens_a_folder_of_encrypted_data_without_keys() {
    let setup = Setup::new();
    setup.put_redo_log(ENCRYPTED);
    setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
}

#[test]
fn a_server_that_only_recovers_its_position_reads_keys_and_makes_and_writes_nothing() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put(".aws-kms-key.new-1", b"of a server");
    let store = setup.open_as(Role::Recovery, setup.kms.clone()).expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    let error = store.latest_or_new(id(2)).expect_err("none is made").to_string();
    assert!(error.contains("key 2 version 1 does not exist in") && error.contains("--wsrep_recover"), "{error}");
    assert!(matches!(store.rotate(id(1)), Err(KeyStoreError::RecoveryCreatesNothing(..))));
    assert!(store.rewrap(None).is_err());
    assert!(!setup.kms.calls().contains(&Generate));
    assert_eq!(setup.files(), [".aws-kms-key.new-1", "aws-kms-key.1.1"]);
    assert_eq!(files_in(setup.datadir.path()), [""; 0]);
}
