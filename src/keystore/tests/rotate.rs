//! New versions of keys.

use std::sync::atomic::Ordering;

use super::lossy_disk::{Faults, LossyDisk};
use super::*;

#[test]
fn a_rotation_that_fails_at_any_call_leaves_nothing_behind_and_the_next_one_works() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    for (call, class) in [(Generate, Class::Denied), (Decrypt, Class::Denied), (Decrypt, Class::Transient)] {
        setup.kms.fail_next(&[(call, class)]);
        assert!(store.rotate(id(1)).is_err());
        assert_eq!(setup.files(), [LOCK, "aws-kms-key.1.1", FOLDER_ID, MANIFEST]);
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
    }
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(2));
}

#[test]
fn a_rotation_of_all_keys_tries_all_of_them() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in [1, 2, 3] {
        store.latest_or_new(id(number)).expect("new");
    }
    setup.kms.fail_next(&[(Generate, Class::Throttled)]);
    let error = store.rotate_all().expect_err("one failure");
    assert!(error.to_string().starts_with("1 of 3 keys could not be rotated"), "{error}");
    let latest: Vec<_> = [1, 2, 3].map(|number| store.published.latest(id(number)).map(KeyVersion::value)).into();
    assert_eq!(latest, [Some(1), Some(2), Some(2)]);
    assert_eq!(store.rotate_all().expect("all"), 3);
}

#[test]
fn a_rotation_of_all_keys_ends_early_if_kms_does_not_answer() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in 1..=5 {
        store.latest_or_new(id(number)).expect("new");
    }
    setup.kms.fail_next(&[(Generate, Class::Transient), (Generate, Class::Transient)]);
    let error = store.rotate_all().expect_err("no answer").to_string();
    assert!(error.starts_with("2 of 5 keys could not be rotated") && error.contains("3 were not tried"), "{error}");
}

#[test]
fn a_key_that_does_not_exist_is_not_rotated_into_being() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    assert!(matches!(store.rotate(id(5)), Err(KeyStoreError::NoSuchKey(_))));
    assert_eq!(store.rotate_all().expect("none"), 0);
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_number_that_an_unusable_file_holds_is_not_used_again() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put("aws-kms-key.1.2", b"garbage");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(3));
    assert_eq!(fs::read(setup.folder.path().join("aws-kms-key.1.2")).expect("read"), b"garbage");
}

/// A key store with keys 1 to 3.
fn three_keys() -> (Setup, KeyStore) {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in [1, 2, 3] {
        store.latest_or_new(id(number)).expect("new");
    }
    setup.kms.calls();
    (setup, store)
}

#[test]
fn a_rotation_of_all_keys_ends_at_the_first_error_that_is_the_same_for_all() {
    let (setup, store) = three_keys();
    for class in [Class::NoCredentials, Class::Denied, Class::Disabled, Class::NotFound, Class::RoleRefused] {
        setup.kms.fail_next(&[(Generate, class)]);
        let error = store.rotate_all().expect_err("the same for all").to_string();
        assert!(error.starts_with("1 of 3 keys could not be rotated"), "{error}");
        assert!(error.contains(", 2 were not tried, as they would fail like it. First: key 1 version 2"), "{error}");
        assert_eq!(setup.kms.calls(), [Generate], "{class:?}");
    }
    store.new_keys().change(|recipe| recipe.master_key = None);
    assert!(store.rotate_all().expect_err("no master key").to_string().contains("2 were not tried"));
}

#[test]
fn a_rotation_that_cannot_have_the_lock_of_the_folder_asks_kms_nothing() {
    let (setup, store) = three_keys();
    let lock = fs::File::open(setup.folder.path().join(LOCK)).expect("open");
    lock.lock().expect("lock");
    // The wait for the lock is cut short, as by KILL.
    waits::tests::MUST_END.set(true);
    let error = store.rotate(id(1)).expect_err("locked");
    assert!(matches!(error, KeyStoreError::LockGivenUp(_)), "{error}");
    assert_eq!(setup.kms.calls(), []);
    assert_eq!(store.figures().rotations_failed(), 0, "it was ended, and has not failed");
    waits::tests::MUST_END.set(false);
    drop(lock);
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(2));
}

#[test]
fn a_rotation_of_all_keys_can_be_ended() {
    let (setup, store) = three_keys();
    setup.kms.fail_next(&[(Generate, Class::Transient)]);
    waits::tests::MUST_END.set(true);
    let error = store.rotate_all().expect_err("ended").to_string();
    assert!(error.starts_with("1 of 3 keys") && error.contains("2 were not tried"), "{error}");
    assert!(error.contains("First: key 1: given up, since"), "{error}");
}

#[test]
fn a_rotation_of_all_keys_writes_the_manifest_once_and_all_of_them_are_in_it() {
    let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data"]));
    let open = || {
        let (folder, datadir) = (Path::new("/keys"), Path::new("/data"));
        let opening = Opening { folder, datadir, ..setup.opening(Role::Server, setup.kms.clone()) };
        KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open")
    };
    let store = open();
    for number in 1..=30 {
        store.latest_or_new(id(number)).expect("new");
    }
    disk.set_faults(Faults::default());
    setup.kms.fail_next(&[(Generate, Class::Throttled)]);
    assert!(store.rotate_all().is_err(), "one of them fails");
    assert_eq!(disk.syncs(), 29 * 2 + 2, "each file and its name, and then the manifest");
    assert!((2..=30).all(|number| store.published.latest(id(number)) == Some(version(2))));
    setup.log.0.lock().expect("log").clear();
    let again = open();
    assert!((2..=30).all(|number| again.published.latest(id(number)) == Some(version(2))));
    assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

/// The files of a folder now, as a crash leaves them.
fn crashed(setup: &Setup) -> Setup {
    let copy = Setup { kms: setup.kms.clone(), ..Setup::new() };
    for file in setup.files() {
        fs::copy(setup.folder.path().join(&file), copy.folder.path().join(&file)).expect("copy");
    }
    copy
}

#[test]
fn versions_that_were_made_under_a_new_master_key_are_the_latest_after_a_crash() {
    let (setup, store) = three_keys();
    setup.kms.has_other_master_key.store(true, Ordering::Relaxed);
    // The server ends before the third key: only what is on the disk by then is there afterwards.
    for number in [1, 2] {
        store.make_next(id(number)).expect("made");
    }
    let after = crashed(&setup);
    let store = after.open().expect("open");
    assert_eq!([1, 2, 3].map(|number| store.published.latest(id(number))), [2, 2, 1].map(|v| Some(version(v))));
    assert!(!after.log.has("turned up"), "{:?}", after.log.0);
}

#[test]
fn what_could_not_be_recorded_is_recorded_with_the_next_version() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(2)).expect("new");
    setup.kms.has_other_master_key.store(true, Ordering::Relaxed);
    // The lock of the folder cannot be had when the version is to be recorded.
    let new = store.make_next(id(1)).expect("made");
    let lock = fs::File::open(setup.folder.path().join(LOCK)).expect("open");
    lock.lock().expect("lock");
    waits::tests::MUST_END.set(true);
    store.publish_new(new);
    waits::tests::MUST_END.set(false);
    drop(lock);
    assert!(setup.log.has("key 1 version 2 is not in the manifest"), "{:?}", setup.log.0);
    setup.kms.has_other_master_key.store(false, Ordering::Relaxed);
    store.rotate(id(2)).expect("rotate");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(2)));
}

#[test]
fn a_version_under_a_new_master_key_is_the_latest_also_after_a_restart_or_is_not_made() {
    let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data"]));
    let open = || {
        let (folder, datadir) = (Path::new("/keys"), Path::new("/data"));
        let opening = Opening { folder, datadir, ..setup.opening(Role::Server, setup.kms.clone()) };
        KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open")
    };
    let store = open();
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(2)).expect("new");
    // The alias is pointed at another master key, and the manifest cannot be written.
    setup.kms.has_other_master_key.store(true, Ordering::Relaxed);
    disk.set_faults(Faults { manifest_stays: true, ..Faults::default() });
    let latest = |store: &KeyStore| [1, 2].map(|number| store.published.latest(id(number)));
    for error in [store.rotate(id(1)).map(drop), store.rotate_all().map(drop), store.latest_or_new(id(3)).map(drop)] {
        let error = error.map_or_else(|error| error.to_string(), |()| "none".to_owned());
        let after = open();
        assert_eq!(latest(&after), latest(&store), "{error}");
        assert!(!setup.log.has("turned up"), "{:?}", setup.log.0);
        assert!(error.contains(" was not made: it would be the first under master key arn:"), "{error}");
        assert!(error.contains("could not write /keys/aws-kms-key.manifest.json: the disk failed"), "{error}");
    }
    assert_eq!(latest(&store), [Some(version(1)); 2]);
    // The manifest can be written once only: by then it knows the master key.
    disk.set_faults(Faults::default());
    let new = store.make_next(id(1)).expect("made");
    disk.set_faults(Faults { manifest_stays: true, ..Faults::default() });
    store.publish_new(new);
    assert!(setup.log.has("key 1 version 2 is not in the manifest"), "{:?}", setup.log.0);
    disk.set_faults(Faults::default());
    let store = open();
    assert_eq!(latest(&store), [Some(version(2)), Some(version(1))]);
    assert!(!setup.log.has("turned up"), "{:?}", setup.log.0);
}

#[test]
fn a_version_whose_file_does_not_hold_what_was_written_is_not_made() {
    let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data"]));
    let store = setup.open_on(&disk);
    store.latest_or_new(id(1)).expect("new");
    disk.set_faults(Faults { writes_garbage: true, ..Faults::default() });
    let error = store.rotate(id(1)).expect_err("garbage");
    assert!(matches!(error, KeyStoreError::ReadBack(_)), "{error}");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    disk.set_faults(Faults::default());
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(2), "there is no file of that number");
}
