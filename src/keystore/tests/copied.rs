//! A folder that was copied while keys were rotated, as a backup does it: the manifest can list versions whose files were made
//! too late.

use super::super::files::first_page;
use super::*;

/// The keys lie in the datadir, which is copied as a whole.
fn open(setup: &Setup) -> KeyStore {
    open_as(setup, Role::Server)
}

fn open_as(setup: &Setup, role: Role) -> KeyStore {
    KeyStore::open(Opening { datadir: setup.folder.path(), ..setup.opening(role, setup.kms.clone()) }).expect("open")
}

/// A copy of a used folder without the file of the newest version of key 1.
fn copied() -> Setup {
    let original = Setup::new();
    let store = open(&original);
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
        let store = open(&setup);
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
        assert!(!store.files.is_copy(), "its manifest was written in this place");
        let log = log(&setup);
        assert_eq!(log.iter().find(|line| is_loud(line.as_str())), None);
        assert_eq!(log.iter().any(|line| line.contains("copied here without key 1 version 2")), is_first, "{log:?}");
    }
    let store = open(&setup);
    // If some data needs it all the same, that is an error.
    assert!(matches!(store.load(KeyName::new(1, 2).expect("a name")), Err(KeyStoreError::Gone(..))));
    for _ in 0..2 {
        assert!(store.verify(None).result.is_err() && !store.figures().readiness().restart_is_ready());
    }
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(3));
}

#[test]
fn a_version_that_data_in_the_copy_needs_was_not_made_too_late_for_it() {
    let setup = copied();
    let folder = setup.folder.path();
    fs::create_dir(folder.join("db")).expect("folder");
    for (lowest_version, is_missing) in [(1, false), (2, true)] {
        fs::write(folder.join("db/t.ibd"), first_page(0x15, 10_428, 1, lowest_version)).expect("write");
        for _ in 0..2 {
            let store = open(&setup);
            assert_eq!(store.figures().key_versions_missing(), usize::from(is_missing), "{lowest_version}");
            assert_eq!(store.figures().readiness().restart_is_ready(), !is_missing);
        }
    }
}

#[test]
fn when_the_file_turns_up_it_is_used_and_missed_when_it_is_lost_again() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 11);
    setup.put_key("aws-kms-key.1.2", 12);
    open(&setup);
    let path = |file: &str| setup.folder.path().join(file);
    // All but the newer version is copied.
    fs::remove_file(path("aws-kms-key.1.2")).expect("remove");
    fs::copy(path(MANIFEST), path("copy")).expect("copy");
    fs::rename(path("copy"), path(MANIFEST)).expect("rename");
    open(&setup);
    assert!(log(&setup).iter().any(|line| line.contains("copied here without key 1 version 2")));
    setup.put_key("aws-kms-key.1.2", 12);
    assert_eq!(open(&setup).published.latest(id(1)), Some(version(2)));
    fs::remove_file(path("aws-kms-key.1.2")).expect("remove");
    open(&setup);
    assert!(log(&setup).iter().any(|line| line.starts_with("error: key not loaded: key 1 version 2")));
}

#[test]
fn a_file_that_is_lost_where_it_was_made_is_an_error_at_every_start() {
    let setup = copied();
    open(&setup).rotate(id(2)).expect("rotate");
    fs::remove_file(setup.folder.path().join("aws-kms-key.2.2")).expect("remove");
    for _ in 0..2 {
        log(&setup);
        open(&setup);
        assert!(log(&setup).iter().any(|line| line.starts_with("error: key not loaded: key 2 version 2")));
    }
}

#[test]
fn in_a_copy_a_version_that_is_older_than_others_or_the_only_one_is_missed() {
    let setup = copied();
    fs::remove_file(setup.folder.path().join("aws-kms-key.2.1")).expect("remove");
    for _ in 0..2 {
        open(&setup);
        assert!(log(&setup).iter().any(|line| line.starts_with("error: key not loaded: key 2 version 1")));
    }
}

fn misses(setup: &Setup, key: &str) -> bool {
    log(setup).iter().any(|line| line.starts_with(&format!("error: key not loaded: {key}: ")))
}

#[test]
fn mariadb_backup_knows_a_version_that_was_made_too_late_to_be_copied() {
    let setup = copied();
    open_as(&setup, Role::Backup);
    let log = log(&setup);
    assert_eq!(log.iter().find(|line| is_loud(line.as_str())), None);
}

#[test]
fn a_version_is_missed_where_the_key_folder_is_copied_by_itself_for_the_data_may_need_it() {
    let setup = copied();
    fs::remove_file(setup.folder.path().join(MEMORY)).expect("remove");
    for role in [Role::Server, Role::Server, Role::Backup] {
        setup.open_as(role, setup.kms.clone()).expect("open");
        assert!(misses(&setup, "key 1 version 2"));
    }
}

#[test]
fn a_version_is_missed_where_the_older_ones_cannot_be_used_either() {
    let setup = copied();
    let path = setup.folder.path().join("aws-kms-key.1.1");
    fs::remove_file(&path).expect("remove");
    setup.put("aws-kms-key.1.1", b"garbage");
    for _ in 0..2 {
        open(&setup);
        assert!(misses(&setup, "key 1 version 2"));
    }
}

#[test]
fn a_start_that_knows_what_was_left_behind_does_not_wait_for_who_adds_files() {
    let setup = copied();
    open(&setup);
    let lock = fs::File::open(setup.folder.path().join(LOCK)).expect("open");
    lock.lock().expect("lock");
    log(&setup);
    open(&setup);
    assert_eq!(log(&setup).iter().find(|line| is_loud(line.as_str())), None);
}
