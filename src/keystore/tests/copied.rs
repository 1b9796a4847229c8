//! A folder that was copied while keys were rotated, as a backup does it: the manifest can list versions whose files were made
//! too late.

use super::*;

/// A copy of a used folder without the file of the newest version of key 1.
fn copied() -> Setup {
    let original = Setup::new();
    let store = original.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(2)).expect("new");
    store.rotate(id(1)).expect("rotate");
    let copy = Setup::new();
    for file in original.files().iter().filter(|file| *file != "aws-kms-key.1.2") {
        fs::copy(original.folder.path().join(file), copy.folder.path().join(file)).expect("copy");
    }
    copy
}

fn log(setup: &Setup) -> Vec<String> {
    std::mem::take(&mut *setup.log.0.lock().expect("log"))
}

fn is_loud(line: &str) -> bool {
    !line.starts_with("note: ")
}

#[test]
fn a_version_that_was_made_too_late_to_be_copied_is_noted_once_and_its_number_is_not_used_again() {
    let setup = copied();
    for is_first in [true, false, false] {
        let store = setup.open().expect("open");
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
        let log = log(&setup);
        assert_eq!(log.iter().find(|line| is_loud(line.as_str())), None);
        assert_eq!(log.iter().any(|line| line.contains("copied here without key 1 version 2")), is_first, "{log:?}");
    }
    let store = setup.open().expect("open");
    // If some data needs it all the same, that is an error.
    assert!(matches!(store.load(KeyName::new(1, 2).expect("a name")), Err(KeyStoreError::Gone(..))));
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(3));
}

#[test]
fn when_the_file_turns_up_it_is_used_and_missed_when_it_is_lost_again() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 11);
    setup.put_key("aws-kms-key.1.2", 12);
    setup.open().expect("open");
    let path = |file: &str| setup.folder.path().join(file);
    // All but the newer version is copied.
    fs::remove_file(path("aws-kms-key.1.2")).expect("remove");
    fs::copy(path(MANIFEST), path("copy")).expect("copy");
    fs::rename(path("copy"), path(MANIFEST)).expect("rename");
    setup.open().expect("open");
    assert!(log(&setup).iter().any(|line| line.contains("copied here without key 1 version 2")));
    setup.put_key("aws-kms-key.1.2", 12);
    assert_eq!(setup.open().expect("open").published.latest(id(1)), Some(version(2)));
    fs::remove_file(path("aws-kms-key.1.2")).expect("remove");
    setup.open().expect("open");
    assert!(log(&setup).iter().any(|line| line.starts_with("error: key not loaded: key 1 version 2")));
}

#[test]
fn a_file_that_is_lost_where_it_was_made_is_an_error_at_every_start() {
    let setup = copied();
    setup.open().expect("open").rotate(id(2)).expect("rotate");
    fs::remove_file(setup.folder.path().join("aws-kms-key.2.2")).expect("remove");
    for _ in 0..2 {
        log(&setup);
        setup.open().expect("open");
        assert!(log(&setup).iter().any(|line| line.starts_with("error: key not loaded: key 2 version 2")));
    }
}

#[test]
fn in_a_copy_a_version_that_is_older_than_others_or_the_only_one_is_missed() {
    let setup = copied();
    fs::remove_file(setup.folder.path().join("aws-kms-key.2.1")).expect("remove");
    for _ in 0..2 {
        setup.open().expect("open");
        assert!(log(&setup).iter().any(|line| line.starts_with("error: key not loaded: key 2 version 1")));
    }
}
