//! A disk that fails at one thing, once: what it did not do is never taken for done, nor what it did not say for an answer.

use super::extra_master_keys::{COPIES, ONE, TWO, list, name, set};
use super::faulty_disk::{Fails, FaultyDisk};
use super::*;
use crate::keystore::background::Job;
use crate::keystore::extra_copies::MakeExtraCopies;
use crate::keystore::test_kms::TEST_MASTER_KEY;

const FILE: &str = "aws-kms-key.7.1";
const KEPT: &str = "aws-kms-key.7.1.before-rewrap";

fn open(setup: &Setup, disk: &FaultyDisk) -> Arc<KeyStore> {
    let opening = setup.opening(Role::Server, setup.kms.clone());
    opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE, TWO]));
    Arc::new(KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open"))
}

/// A server with key 7, which has its copies, on a disk that has no faults yet.
fn used() -> (Setup, FaultyDisk, Arc<KeyStore>) {
    let (setup, disk) = (Setup::new(), FaultyDisk::default());
    let store = open(&setup, &disk);
    store.latest_or_new(id(7)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    assert_eq!(setup.copies(COPIES), [ONE, TWO]);
    setup.log();
    (setup, disk, store)
}

#[test]
fn a_key_whose_file_is_not_sure_to_be_on_the_disk_is_not_used() {
    let (setup, disk, store) = used();
    store.latest_or_new(id(8)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    let before = key(&store, 7, 1);
    drop(store);
    // From its key file, and then from its copies: of these, one that may not be opened was not read either.
    for (is_disabled, file, code, is_used) in [
        (false, FILE, libc::EIO, false),
        (false, FILE, libc::EACCES, false),
        (true, COPIES, libc::EIO, false),
        (true, COPIES, libc::EACCES, true),
    ] {
        setup.kms.disable(TEST_MASTER_KEY, is_disabled);
        disk.plant(Fails::SyncFile, file, code, 1);
        let store = open(&setup, &disk);
        assert_eq!(disk.left(), 0);
        assert_eq!(key(&store, 7, 1), before.clone().filter(|_| is_used), "{file} {code}");
        assert_eq!(store.published.latest(id(8)), Some(version(1)));
        let is_told = setup.log().iter().any(|line| line.starts_with("error: key not loaded: could not sync key file"));
        assert_eq!(is_told, !is_used, "{file} {code}");
    }
}

#[test]
fn copies_that_give_an_io_error_are_not_written_over() {
    let (setup, disk, store) = used();
    set(&store, &["arn:aws:kms:eu-west-3:1:key/three"]);
    let before = read(&setup, COPIES);
    for fails in [Fails::Kind, Fails::Read] {
        disk.plant(fails, COPIES, libc::EIO, 1);
        store.rewrap(None).expect("the key file is re-wrapped");
        assert_eq!((disk.left(), read(&setup, COPIES)), (0, before.clone()), "{fails:?}");
        assert!(!setup.files().contains(&format!("{COPIES}.damaged")));
        assert!(setup.log().iter().any(|line| line.contains("key 7 version 1 is re-wrapped, but its copies")));
    }
}

#[test]
fn copies_that_could_not_be_removed_are_told_of() {
    let (setup, disk, store) = used();
    set(&store, &[]);
    disk.plant(Fails::Remove, COPIES, libc::EIO, 1);
    store.rewrap(None).expect("the key file is re-wrapped");
    assert_eq!((disk.left(), setup.copies(COPIES).len()), (0, 2));
    assert!(setup.log().iter().any(|line| line.contains("key 7 version 1 is re-wrapped, but its copies")));
    store.rewrap(None).expect("re-wrapped");
    assert!(!setup.files().contains(&COPIES.to_owned()));
    // What is gone is gone.
    store.rewrap(None).expect("re-wrapped");
    assert_eq!(setup.log().iter().filter(|line| line.starts_with("warning")).count(), 0);
}

#[test]
fn what_is_kept_of_before_a_re_wrap_and_could_not_be_removed_is_told_of_unless_it_is_gone() {
    let (setup, disk, store) = used();
    for (code, says) in [(libc::EIO, "are still kept"), (libc::ENOENT, "removed the old files of 1 key version(s)")] {
        store.rewrap(None).expect("re-wrapped");
        setup.log();
        disk.plant(Fails::Remove, KEPT, code, 1);
        open(&setup, &disk);
        assert_eq!(disk.left(), 0);
        let log = setup.log();
        assert!(log.iter().any(|line| line.contains(says)), "{log:?}");
    }
}

#[test]
fn whether_there_is_a_copy_is_not_known_if_the_folder_does_not_say() {
    let (setup, disk, store) = used();
    assert!(matches!(store.files.path_of_copy(name()), Ok(Some(path)) if path.ends_with(COPIES)));
    disk.plant(Fails::Kind, COPIES, libc::EIO, 1);
    assert!(store.files.path_of_copy(name()).is_err());
    remove(&setup, COPIES);
    assert!(matches!(store.files.path_of_copy(name()), Ok(None)));
}

#[test]
fn a_name_that_is_refused_for_another_reason_is_no_fault_of_the_file_system_s_kind() {
    let (setup, disk, store) = used();
    for (code, is_of_its_kind) in [(libc::EIO, false), (libc::ENOSPC, false), (libc::EPERM, true)] {
        disk.plant(Fails::NameNew, "aws-kms-key.9.1", code, 1);
        let error = store.latest_or_new(id(9)).expect_err("no name");
        assert_eq!(matches!(error, KeyStoreError::FileSystem { .. }), is_of_its_kind, "{error}");
        assert!(!setup.files().contains(&"aws-kms-key.9.1".to_owned()));
        store.forget_failures();
    }
}

#[test]
fn a_key_that_could_not_be_recorded_is_recorded_with_the_next_one() {
    let (setup, disk, store) = used();
    // Before KMS is asked, and to write the key file.
    disk.plant_after(2, Fails::Lock, LOCK, libc::EIO, 1);
    store.latest_or_new(id(8)).expect("made all the same");
    assert_eq!(disk.left(), 0);
    let recorded = || {
        let manifest: serde_json::Value = serde_json::from_slice(&read(&setup, MANIFEST)).expect("JSON");
        let entries = manifest["keys"].as_array().expect("entries").iter();
        entries.map(|entry| entry["key_id"].as_u64().expect("an id")).collect::<Vec<_>>()
    };
    assert_eq!(recorded(), [7]);
    store.latest_or_new(id(9)).expect("made");
    assert_eq!(recorded(), [7, 8, 9]);
}
