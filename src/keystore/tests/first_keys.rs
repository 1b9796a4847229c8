//! Keys that a server needs for the first time while it is still starting.

use super::*;

fn starting(setup: &Setup) -> KeyStore {
    KeyStore::open(Opening { is_starting: || true, ..setup.opening(Role::Server, setup.kms.clone()) }).expect("open")
}

#[test]
fn a_new_key_of_a_server_that_is_starting_waits_for_a_kms_that_is_late() {
    let setup = Setup::new();
    // More than all pauses together.
    let startup_timeout = Duration::from_secs(20);
    let opening = setup.opening(Role::Server, setup.kms.clone());
    let store = KeyStore::open(Opening { is_starting: || true, startup_timeout, ..opening }).expect("open");
    setup.kms.fail_next(&[
        (Generate, Class::Transient),
        (Generate, Class::NoCredentials),
        (Generate, Class::Denied),
        (Decrypt, Class::Throttled),
    ]);
    assert_eq!(store.latest_or_new(id(1)).expect("made"), version(1));
    assert!(
        setup.log.has("note: waiting for KMS, for up to 20 s more: key 1 version 1: KMS Generate"),
        "{:?}",
        setup.log.0
    );
    assert_eq!(setup.files(), [LOCK, "aws-kms-key.1.1", FOLDER_ID, MANIFEST]);
}

#[test]
fn the_wait_for_all_first_keys_together_ends_after_the_startup_timeout() {
    let setup = Setup::new();
    let store = starting(&setup);
    setup.kms.fail_next(&[(Generate, Class::Transient); 100]);
    let begun = Instant::now();
    for number in [1, 2, 3] {
        let error = store.latest_or_new(id(number)).expect_err("no KMS").to_string();
        assert!(error.contains("could not be reached"), "{error}");
    }
    assert!((3..6).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn a_server_that_is_up_does_not_wait_for_a_new_key() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    setup.kms.fail_next(&[(Generate, Class::Transient)]);
    let begun = Instant::now();
    assert!(store.latest_or_new(id(1)).is_err());
    assert!(begun.elapsed() < Duration::from_millis(400));
}

#[test]
fn a_refusal_is_not_waited_for_when_there_are_usable_keys() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let store = starting(&setup);
    setup.kms.fail_next(&[(Generate, Class::Denied)]);
    let begun = Instant::now();
    assert!(store.latest_or_new(id(2)).is_err());
    assert!(begun.elapsed() < Duration::from_millis(400));
}

#[test]
fn mariadb_backup_waits_for_no_new_key() {
    let setup = Setup::new();
    let opening = Opening { is_starting: || true, ..setup.opening(Role::Backup, setup.kms.clone()) };
    let store = KeyStore::open(opening).expect("open");
    let begun = Instant::now();
    assert!(matches!(store.latest_or_new(id(1)), Err(KeyStoreError::BackupCreatesNothing(_))));
    assert!(begun.elapsed() < Duration::from_millis(400));
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_wait_for_a_first_key_ends_when_it_must_and_is_no_failure_of_the_key() {
    let setup = Setup::new();
    let store = starting(&setup);
    setup.kms.fail_next(&[(Generate, Class::Transient)]);
    waits::tests::MUST_END.set(true);
    let begun = Instant::now();
    assert!(matches!(store.latest_or_new(id(1)), Err(KeyStoreError::GivenUp(_))));
    assert!(begun.elapsed() < Duration::from_secs(1));
    waits::tests::MUST_END.set(false);
    assert_eq!(store.latest_or_new(id(1)).expect("made at once"), version(1));
}
