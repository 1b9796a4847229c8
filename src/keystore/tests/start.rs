//! What a start waits for, and what it does without.

use super::*;

#[test]
fn a_start_without_key_files_asks_kms_nothing() {
    let setup = Setup::new();
    setup.put("ibdata1", b"");
    setup.open().expect("open");
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_start_that_gets_further_goes_on_beyond_its_time() {
    let setup = Setup::new();
    for number in 1..=4 {
        setup.put_key(&format!("aws-kms-key.{number}.1"), number);
    }
    // One key in the first round, and the others in the second.
    setup.kms.fail_next(&[(Decrypt, Class::Throttled); 3]);
    let opening = Opening { startup_timeout: Duration::ZERO, ..setup.opening(Role::Server, setup.kms.clone()) };
    let store = KeyStore::open(opening).expect("open");
    assert_eq!(store.published.ids().len(), 4);
}

#[test]
fn a_start_waits_for_kms_and_for_credentials_that_turn_up_late() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.kms.fail_next(&[(Decrypt, Class::Transient), (Decrypt, Class::NoCredentials), (Decrypt, Class::Throttled)]);
    // More than all pauses together.
    let startup_timeout = Duration::from_secs(20);
    let opening = Opening { startup_timeout, ..setup.opening(Role::Server, setup.kms.clone()) };
    let store = KeyStore::open(opening).expect("open");
    assert_eq!(key(&store, 1, 1), Some(vec![1; 16]));
}

#[test]
fn a_start_gives_up_when_its_time_is_over_and_publishes_nothing() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.kms.fail_next(&[(Decrypt, Class::NoCredentials); 100]);
    let started = Instant::now();
    let error = setup.open().err().expect("no credentials").to_string();
    assert!(error.contains("no AWS credentials") && error.contains("instance role"), "{error}");
    assert!((3..6).contains(&started.elapsed().as_secs()));
}

#[test]
fn a_start_without_any_patience_still_asks_kms_once() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let open = || {
        KeyStore::open(Opening { startup_timeout: Duration::ZERO, ..setup.opening(Role::Server, setup.kms.clone()) })
    };
    assert_eq!(key(&open().expect("open"), 1, 1), Some(vec![1; 16]));
    setup.kms.fail_next(&[(Decrypt, Class::Throttled)]);
    let error = open().err().expect("throttled").to_string();
    assert!(error.contains("throttled"), "{error}");
}

#[test]
fn a_key_that_kms_refuses_does_not_hold_up_the_start_of_the_others() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.2.1", 2);
    setup.kms.fail_next(&[(Decrypt, Class::Denied)]);
    let store = setup.open().expect("open");
    assert_eq!((key(&store, 1, 1), key(&store, 2, 1)), (None, Some(vec![2; 16])));
    assert!(setup.log.has("error: key not loaded: key 1 version 1: KMS Decrypt failed: access denied"));
    assert!(setup.log.has("note: loaded 1 of 2 key versions (1 keys)"));
    // When the permission is there, the key is, too.
    store.forget_failures();
    assert_eq!(store.latest_or_new(id(1)).expect("loaded"), version(1));
}

#[test]
fn a_start_waits_for_a_permission_that_takes_effect_late_and_for_a_master_key_that_is_enabled_for_it() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    for class in [Class::Denied, Class::Disabled, Class::NotFound, Class::KeyStore, Class::Unavailable] {
        setup.kms.fail_next(&[(Decrypt, class), (Decrypt, class)]);
        let store = setup.open().expect("open");
        assert_eq!(key(&store, 1, 1), Some(vec![1; 16]), "{class:?}");
        assert!(
            setup.log.has(&format!(
                "note: waiting for KMS, for up to 3 s more: key 1 version 1: KMS Decrypt failed: {class}"
            ))
        );
    }
}

#[test]
fn a_key_that_is_refused_is_not_waited_for_when_others_work() {
    for class in [Class::Denied, Class::Disabled, Class::NotFound, Class::KeyStore, Class::InvalidState] {
        let setup = Setup::new();
        setup.put_key("aws-kms-key.1.1", 1);
        setup.put_key("aws-kms-key.2.1", 2);
        setup.kms.fail_next(&[(Decrypt, class)]);
        let store = setup.open().expect("open");
        assert_eq!((key(&store, 1, 1), key(&store, 2, 1)), (None, Some(vec![2; 16])));
        assert_eq!(setup.kms.calls(), [Decrypt; 2], "{class:?}");
    }
}

#[test]
fn a_key_that_is_unavailable_for_the_moment_is_waited_for_when_others_work() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.2.1", 2);
    setup.kms.fail_next(&[(Decrypt, Class::Unavailable)]);
    let store = setup.open().expect("open");
    assert_eq!((key(&store, 1, 1), key(&store, 2, 1)), (Some(vec![1; 16]), Some(vec![2; 16])));
}

#[test]
fn a_key_that_stays_unavailable_is_reported_and_the_others_are_loaded() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.2.1", 2);
    setup.kms.refuse(1, Class::Unavailable);
    let begun = Instant::now();
    let store = setup.open().expect("open");
    assert!((3..6).contains(&begun.elapsed().as_secs()));
    assert_eq!((key(&store, 1, 1), key(&store, 2, 1)), (None, Some(vec![2; 16])));
    assert!(
        setup.log.has("error: key not loaded: key 1 version 1: KMS Decrypt failed: the master key is not available")
    );
}

#[test]
fn a_start_fails_when_the_refusal_of_all_keys_lasts() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.2.1", 2);
    setup.kms.refuse(1, Class::Denied);
    setup.kms.refuse(2, Class::Disabled);
    let begun = Instant::now();
    let error = setup.open().err().expect("nothing is usable").to_string();
    assert!((3..6).contains(&begun.elapsed().as_secs()));
    assert!(error.starts_with("not one of the 2 key version(s) of"), "{error}");
    assert!(error.contains("First: key 1 version 1: KMS Decrypt failed: access denied"), "{error}");
}

#[test]
fn a_start_without_one_usable_key_version_fails_with_the_first_error_and_the_count() {
    let setup = Setup::new();
    setup.put("aws-kms-key.1.1", b"garbage");
    setup.put("aws-kms-key.5.1", b"");
    let begun = Instant::now();
    let error = setup.open().err().expect("nothing is usable").to_string();
    assert!(error.starts_with("not one of the 2 key version(s) of"), "{error}");
    assert!(error.contains("First: key 1 version 1: KMS Decrypt failed: not a wrapped key, or damaged"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "nothing there is worth waiting for");
    assert!(setup.open_as(Role::Backup, setup.kms.clone()).is_err(), "in mariadb-backup too");
}

#[test]
fn a_start_whose_key_files_are_all_gone_fails() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(7)).expect("new");
    for file in ["aws-kms-key.1.1", "aws-kms-key.7.1"] {
        fs::remove_file(setup.folder.path().join(file)).expect("remove");
    }
    let error = setup.open().err().expect("nothing is usable").to_string();
    assert!(error.starts_with("not one of the 2 key version(s) of"), "{error}");
    assert!(error.contains("First: key 1 version 1: key file") && error.contains("is gone"), "{error}");
}

#[test]
fn a_start_that_has_to_end_does_so_within_a_second() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.kms.fail_next(&[(Decrypt, Class::Denied); 100]);
    waits::tests::MUST_END.set(true);
    let begun = Instant::now();
    let error = setup.open().err().expect("given up");
    assert!(matches!(error, KeyStoreError::GivenUp(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}
