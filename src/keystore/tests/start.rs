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
    let store = setup.open().expect("open");
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
