//! Rotations by age that fail.

use super::super::test_kms::{TEST_MASTER_KEY, WhileMaking};
use super::rotation_period::{DAY, HOUR, Server, old_keys, opening};
use super::*;
use crate::kms::KmsError;

#[test]
fn failures_are_tried_again_after_pauses_up_to_a_day_counted_each_and_logged_once() {
    let setup = old_keys(3);
    let mut server = Server::on(&setup, 100);
    setup.kms.calls();
    setup.kms.disable(TEST_MASTER_KEY, true);
    assert_eq!(server.live(8 * DAY).len(), 0);
    let tries = setup.kms.calls().len();
    // After 1, 2, 4, .. 1024 minutes, and then once a day.
    assert!((3 * 13..=3 * 19).contains(&tries), "{tries}");
    assert_eq!(server.store.figures().rotations_failed(), tries as u64);
    let errors = || setup.log.0.lock().expect("log").iter().filter(|line| line.starts_with("error")).count();
    assert!(setup.log.has("error: rotation failed: key "), "{:?}", setup.log.0);
    assert_eq!(errors(), 1, "{:?}", setup.log.0);
    server.live(DAY);
    let tries = setup.kms.calls().len();
    assert!((2..=4).contains(&tries), "each once a day: {tries}");
    // The error is another one now.
    setup.kms.disable(TEST_MASTER_KEY, false);
    server.store.new_keys().change(|settings| settings.master_key = None);
    server.store.forget_failures();
    server.live(HOUR);
    assert!(errors() > 1 && setup.log.has("no master key is set"), "{:?}", setup.log.0);
    server.store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse("alias/test"));
    server.store.forget_failures();
    assert_eq!(server.live(HOUR).len(), 3);
}

#[test]
fn a_key_that_fails_does_not_keep_others_from_being_rotated() {
    let setup = old_keys(3);
    let mut server = Server::on(&setup, 100);
    setup.kms.fail_next(&[(Generate, Class::Throttled)]);
    assert_eq!(server.live(3 * HOUR).len(), 3);
    assert_eq!(server.store.figures().rotations_failed(), 1);
}

#[test]
fn after_a_change_of_settings_the_pauses_of_what_still_fails_begin_anew() {
    let setup = old_keys(1);
    let mut server = Server::on(&setup, 100);
    setup.kms.disable(TEST_MASTER_KEY, true);
    assert_eq!(server.live(DAY).len(), 0);
    server.store.forget_failures();
    let before = server.store.figures().rotations_failed();
    // At once, after a minute, and after two more: no pause between two keys is longer than three minutes.
    for tries in 1..=3 {
        server.run();
        assert_eq!(server.store.figures().rotations_failed() - before, tries);
        server.sleep(Duration::from_secs(200));
    }
}

#[test]
fn a_rotation_that_the_end_of_the_server_ends_is_no_failure() {
    let setup = old_keys(1);
    // It does not answer until the server ends.
    let kms = Arc::new(WhileMaking(setup.kms.clone(), || {
        waits::tests::MUST_END.set(true);
        Err(KmsError::new(Generate, Class::Transient, "as planned"))
    }));
    let mut server = Server::new(KeyStore::open(Opening { kms, ..opening(&setup) }).expect("open"), 100);
    assert_eq!(server.live(3 * HOUR).len(), 0);
    assert!(!setup.log.has("error"), "{:?}", setup.log.0);
    assert_eq!(server.store.figures().rotations_failed(), 0);
}
