//! What an operator is told in numbers, and whether it is so.

use std::time::SystemTime;

use super::super::background::Job;
use super::super::retry::Retry;
use super::super::test_kms::OTHER_MASTER_KEY;
use super::two_servers::Meanwhile;
use super::*;
use crate::waits::tests::MUST_END;

/// Keys, versions, failed keys, missing versions, master keys.
fn counts(store: &KeyStore) -> [u64; 5] {
    let figures = store.figures();
    let [keys, versions] = [figures.keys(), figures.key_versions()].map(|number| number as u64);
    let [failed, missing] = [figures.keys_failed(), figures.key_versions_missing()].map(|number| number as u64);
    [keys, versions, failed, missing, figures.master_keys()]
}

#[test]
fn a_server_without_keys_is_ready_for_a_restart_and_has_none() {
    let store = Setup::new().open().expect("open");
    let (figures, readiness) = (store.figures(), store.figures().readiness());
    assert_eq!(counts(&store), [0; 5]);
    assert!(readiness.restart_is_ready() && readiness.can_make_keys() && readiness.is_fully_wrapped());
    assert!(readiness.last_check().is_some() && readiness.unready_since().is_none());
    assert_eq!((figures.oldest_latest_version_age(), figures.last_rotation()), (Duration::ZERO, None));
    assert!(figures.memory_is_locked());
}

#[test]
fn keys_are_counted_as_they_are_made_and_rotated_and_it_is_known_by_whom() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(7)).expect("new");
    store.latest_or_new(id(8)).expect("new");
    let figures = store.figures();
    assert_eq!((counts(&store), figures.rotations()), ([2, 2, 0, 0, 1], 0));
    assert_eq!((figures.last_rotation(), figures.last_rotation_by().as_str()), (None, ""));
    setup.kms.has_other_master_key.store(true, std::sync::atomic::Ordering::Relaxed);
    let before = SystemTime::now();
    store.rotate(id(7)).expect("rotate");
    assert_eq!((counts(&store), figures.rotations()), ([2, 3, 0, 0, 2], 1), "under {OTHER_MASTER_KEY} now");
    assert!(figures.last_rotation().is_some_and(|when| when >= before));
    assert_eq!(figures.last_rotation_by(), "dba@localhost");
    store.rotate_all().expect("rotate");
    assert_eq!((counts(&store), figures.rotations(), figures.rotations_failed()), ([2, 5, 0, 0, 2], 3, 0));
    let again = setup.open().expect("open");
    assert!(figures.memory_is_locked() && again.figures().memory_is_locked());
    assert_eq!((counts(&again), again.figures().rotations()), ([2, 5, 0, 0, 2], 0));
    again.published.clear();
    assert_eq!(counts(&again)[..2], [0, 0]);
}

#[test]
fn a_key_that_failed_is_counted_until_it_is_loaded_and_so_long_a_restart_is_not_ready() {
    let setup = Setup::new();
    (1..=3).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
    setup.put_key("aws-kms-key.2.2", 22);
    drop(setup.open().expect("open"));
    [2, 22, 3].iter().for_each(|key| setup.kms.refuse(*key, Class::Denied));
    let store = Arc::new(setup.open().expect("open"));
    let readiness = store.figures().readiness();
    assert_eq!(counts(&store), [1, 1, 2, 0, 1]);
    assert!(!readiness.restart_is_ready() && !readiness.is_fully_wrapped() && readiness.can_make_keys());
    let since = readiness.unready_since().expect("unready");
    assert!(since <= readiness.last_check().expect("the start"));
    [2, 22].iter().for_each(|key| setup.kms.allow(*key));
    let mut retry = Retry::new(store.clone());
    store.forget_failures();
    retry.run(Instant::now());
    assert_eq!(counts(&store), [2, 3, 1, 0, 1]);
    assert_eq!((readiness.restart_is_ready(), readiness.unready_since()), (false, Some(since)));
    setup.kms.allow(3);
    store.forget_failures();
    store.latest_or_new(id(3)).expect("loaded");
    assert_eq!(counts(&store), [3, 4, 0, 0, 1]);
    assert!(readiness.restart_is_ready() && readiness.is_fully_wrapped() && readiness.unready_since().is_none());
}

#[test]
fn a_version_without_its_file_is_missing_until_that_is_back() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.rotate(id(1)).expect("rotate");
    let file = read(&setup, "aws-kms-key.1.1");
    fs::remove_file(setup.folder.path().join("aws-kms-key.1.1")).expect("remove");
    let store = setup.open().expect("open");
    assert_eq!(counts(&store), [1, 1, 1, 1, 1]);
    assert!(!store.figures().readiness().restart_is_ready());
    setup.put("aws-kms-key.1.1", &file);
    store.forget_failures();
    store.load(KeyName::new(1, 1).expect("a name")).expect("loaded");
    assert_eq!(counts(&store), [1, 2, 0, 0, 1]);
    assert!(store.figures().readiness().restart_is_ready());
    // A version that nobody knows is none that is missing.
    store.load(KeyName::new(1, 9).expect("a name")).expect_err("never made");
    assert_eq!(counts(&store), [1, 2, 0, 0, 1]);
}

#[test]
fn a_version_that_is_lost_while_the_server_runs_makes_a_restart_unready_when_it_is_noticed() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    setup.put_key("aws-kms-key.4.1", 4);
    setup.kms.refuse(4, Class::Denied);
    store.latest_or_new(id(4)).expect_err("denied");
    assert_eq!(counts(&store)[2..4], [1, 0]);
    assert!(!store.figures().readiness().restart_is_ready());
}

#[test]
fn keys_cannot_be_made_after_one_failed_until_one_is_made_or_the_settings_change() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    let can_make_keys = || store.figures().readiness().can_make_keys();
    setup.kms.fail_next(&[(Generate, Class::Denied)]);
    store.latest_or_new(id(1)).expect_err("denied");
    assert!(!can_make_keys());
    store.forget_failures();
    assert!(can_make_keys(), "nothing is known of the new settings");
    setup.kms.fail_next(&[(Generate, Class::Transient)]);
    store.latest_or_new(id(1)).expect_err("no answer");
    assert!(!can_make_keys());
    store.latest_or_new(id(2)).expect("made");
    assert!(can_make_keys());
    // What is wrong with one key alone.
    store.latest_or_new(id(100)).expect_err("not allowed");
    store.rotate(id(50)).expect_err("no such key");
    assert!(can_make_keys());
    store.new_keys().change(|recipe| recipe.master_key = None);
    store.forget_failures();
    assert!(!can_make_keys(), "without a master key");
    assert!(store.figures().readiness().restart_is_ready(), "which keys that exist do not need");
}

#[test]
fn a_key_id_that_was_mistyped_is_no_failed_rotation() {
    let setup = used();
    let store = setup.open().expect("open");
    assert!(matches!(store.rotate(id(70)), Err(KeyStoreError::NoSuchKey(_))));
    assert_eq!((store.figures().rotations(), store.figures().rotations_failed()), (0, 0));
}

#[test]
fn rotations_that_failed_are_counted_and_those_that_were_killed_are_not() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in 1..=3 {
        store.latest_or_new(id(number)).expect("new");
    }
    setup.kms.fail_next(&[(Generate, Class::Denied)]);
    store.rotate(id(1)).expect_err("denied");
    assert_eq!((store.figures().rotations(), store.figures().rotations_failed()), (0, 1));
    // The first of the three fails for a reason of its own, and the others are rotated.
    setup.kms.fail_next(&[(Generate, Class::Throttled)]);
    store.rotate_all().expect_err("throttled");
    assert_eq!((store.figures().rotations(), store.figures().rotations_failed()), (2, 2));
    MUST_END.set(true);
    setup.kms.fail_next(&[(Generate, Class::Transient)]);
    assert!(matches!(store.rotate(id(1)), Err(KeyStoreError::GivenUp(_))));
    store.rotate_all().expect_err("killed");
    MUST_END.set(false);
    assert_eq!((store.figures().rotations(), store.figures().rotations_failed()), (2, 2));
    assert!(store.figures().readiness().can_make_keys(), "the last that was not killed was made");
}

#[test]
fn the_age_is_that_of_the_latest_version_that_was_made_first() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in 1..=3 {
        store.latest_or_new(id(number)).expect("new");
    }
    drop(store);
    let manifest = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    let mut created = manifest.lines().filter(|line| line.contains("\"created\"")).map(str::to_owned);
    let of_key_1 = created.next().expect("an entry");
    // Key 1 was made long ago.
    let old = manifest.replacen(&of_key_1, "      \"created\": \"2001-09-09T01:46:40Z\",", 1);
    setup.put(MANIFEST, old.as_bytes());
    let store = setup.open().expect("open");
    let since_2001 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let expected = since_2001.elapsed().expect("in the past");
    let age = store.figures().oldest_latest_version_age();
    assert!(age >= expected && age < expected + Duration::from_secs(600), "{age:?}");
    store.rotate(id(1)).expect("rotate");
    assert!(store.figures().oldest_latest_version_age() < Duration::from_secs(600));
}

#[test]
fn mariadb_backup_counts_nothing_that_only_a_server_has() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put("aws-kms-key.2.1", b"garbage");
    let store = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
    assert_eq!(counts(&store), [1, 1, 0, 0, 0]);
}

#[test]
fn a_rewrap_changes_the_number_of_master_keys_and_makes_all_fully_wrapped_again() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in [1, 2] {
        store.latest_or_new(id(number)).expect("new");
    }
    setup.kms.has_other_master_key.store(true, std::sync::atomic::Ordering::Relaxed);
    store.rotate(id(1)).expect("rotate");
    assert_eq!(store.figures().master_keys(), 2);
    store.figures().readiness().set_fully_wrapped(false);
    store.rewrap(Some(id(2))).expect("rewrapped");
    assert!(!store.figures().readiness().is_fully_wrapped(), "nothing is known of key 1");
    store.rewrap(None).expect("rewrapped");
    assert_eq!(counts(&store), [2, 3, 0, 0, 1]);
    assert!(store.figures().readiness().is_fully_wrapped());
}

#[test]
fn a_version_that_is_loaded_from_a_copy_keeps_no_server_from_starting_but_is_not_fully_wrapped() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    setup.kms.has_other_master_key.store(true, std::sync::atomic::Ordering::Relaxed);
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    store.rewrap(None).expect("rewrapped");
    setup.kms.disable(OTHER_MASTER_KEY, true);
    let store = setup.open().expect("open");
    let readiness = store.figures().readiness();
    assert_eq!(counts(&store), [1, 1, 0, 0, 1]);
    assert_eq!((readiness.restart_is_ready(), readiness.is_fully_wrapped()), (true, false), "{:?}", setup.log.0);
}

#[test]
fn how_long_the_start_took_is_known() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let slow = Duration::from_millis(30);
    let kms = Arc::new(Meanwhile(TestKms::default(), move || std::thread::sleep(slow)));
    let begun = Instant::now();
    let store = setup.open_as(Role::Server, kms).expect("open");
    let took = store.figures().start_time();
    assert!(took >= slow && took <= begun.elapsed(), "{took:?}");
}
