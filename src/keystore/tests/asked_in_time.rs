//! Which wrapped keys KMS is asked to unwrap, until when, and what its answer means where there are copies.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::super::load::{self, NotFromFile};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::super::verify;
use super::extra_master_keys::{ONE, TWO, name, used};
use super::*;

const TIME: Duration = Duration::from_secs(600);

/// What of the time was left, in tenths, each time that KMS was asked for several keys.
fn asked(setup: &Setup, deadline: Instant) -> Vec<u64> {
    let asked = std::mem::take(&mut *setup.kms.asked_until.lock().expect("asked"));
    asked.into_iter().map(|until| (until - (deadline - TIME)).as_secs().div_ceil(TIME.as_secs() / 10)).collect()
}

fn load_seven(setup: &Setup, store: &KeyStore) -> LoadReport {
    setup.kms.asked_where.lock().expect("asked").clear();
    load::load(&store.files, &*setup.kms, &[name()], Instant::now() + TIME)
}

#[test]
fn half_of_the_time_is_left_for_the_copies_and_each_of_them_gets_its_share() {
    let (setup, store, _) = used();
    store.latest_or_new(id(8)).expect("it has no copies");
    setup.kms.set_failing(TEST_MASTER_KEY, Some(Class::Transient));
    setup.kms.disable(ONE, true);
    let deadline = Instant::now() + TIME;
    asked(&setup, deadline);
    assert_eq!(load::load(&store.files, &*setup.kms, &[name()], deadline).accepted.len(), 1);
    assert_eq!(asked(&setup, deadline), [5, 5, 10]);
    load::load(&store.files, &*setup.kms, &[KeyName::new(8, 1).expect("a name")], deadline);
    assert_eq!(asked(&setup, deadline), [10], "without copies it gets all");
    // A check asks for all copies, whatever the key file is.
    setup.kms.set_failing(TEST_MASTER_KEY, None);
    verify::verify(&store.files, &*setup.kms, &|_| None, &[name()], deadline, &|_| true);
    assert_eq!(asked(&setup, deadline), [5, 5, 10]);
}

#[test]
fn what_is_a_matter_of_who_asks_is_not_asked_of_other_master_keys() {
    let (setup, store, _) = used();
    for (class, asked) in
        [(Class::NoCredentials, 1), (Class::BadCredentials, 1), (Class::Denied, 2), (Class::Transient, 2)]
    {
        setup.kms.fail_next(&[(Decrypt, class)]);
        let report = load_seven(&setup, &store);
        assert_eq!((report.accepted.len(), report.refused.len()), (asked - 1, 2 - asked), "{class}");
        assert_eq!(setup.kms.asked_where.lock().expect("asked").len(), asked, "{class}");
    }
}

#[test]
fn a_file_is_called_damaged_only_if_it_is_not_what_was_recorded() {
    let (setup, store, before) = used();
    let is_the_file = |report: &LoadReport| {
        let accepted = &report.accepted[0];
        assert_eq!(Some(accepted.key.as_bytes()), before.as_deref());
        accepted.instead_of.as_ref().expect("from a copy").is_the_file()
    };
    setup.kms.fail_next(&[(Decrypt, Class::Corrupt)]);
    assert!(!is_the_file(&load_seven(&setup, &store)), "whatever KMS says");
    remove(&setup, "aws-kms-key.7.1");
    setup.put("aws-kms-key.7.1", b"garbage");
    assert!(is_the_file(&load_seven(&setup, &store)));
    setup.kms.fail_next(&[(Decrypt, Class::Disabled)]);
    assert!(!is_the_file(&load_seven(&setup, &store)), "KMS has not looked");
}

#[test]
fn why_a_key_file_cannot_be_read_is_told_once() {
    let (setup, store, _) = used();
    remove(&setup, "aws-kms-key.7.1");
    let report = load_seven(&setup, &store);
    let reason = report.accepted[0].instead_of.as_ref().map(NotFromFile::to_string);
    let path = store.files.path_of(name());
    assert_eq!(reason, Some(format!("key file {} is gone", path.display())));
    let error = store.verify(Some(id(7))).result.expect_err("no file").to_string();
    let told =
        format!("key 7 version 1 is only in a copy that another master key wraps: key file {} is gone", path.display());
    assert!(error.contains(&told), "{error}");
}

/// Key 8 is wrapped by another master key.
fn with_key_8() -> Setup {
    let (setup, store, _) = used();
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    store.latest_or_new(id(8)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    setup
}

#[test]
fn a_start_waits_for_a_copy_that_gives_no_answer_yet_and_for_none_that_is_refused() {
    let setup = with_key_8();
    let before = key(&setup.open_extra(Role::Server), 7, 1);
    setup.kms.disable(TEST_MASTER_KEY, true);
    for (class, waits) in [(Class::Transient, true), (Class::Denied, false)] {
        let set = |class| [ONE, TWO].iter().for_each(|extra| setup.kms.set_failing(extra, class));
        set(Some(class));
        setup.log();
        let is_open = AtomicBool::new(false);
        let store = std::thread::scope(|scope| {
            if waits {
                scope.spawn(|| {
                    while !setup.log.has("note: waiting for KMS") && !is_open.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    set(None);
                });
            }
            let startup_timeout = Duration::from_secs(if waits { 60 } else { 1 });
            let opening = Opening { startup_timeout, ..setup.opening(Role::Server, setup.kms.clone()) };
            let store = KeyStore::open(opening).expect("key 8 works");
            is_open.store(true, Ordering::Relaxed);
            store
        });
        assert_eq!(key(&store, 7, 1), before.clone().filter(|_| waits), "{class}");
        assert_eq!(setup.log.has("note: waiting for KMS"), waits, "{class}");
    }
}

#[test]
fn a_start_that_gives_up_says_what_failed_before_its_last_round_was_cut_short() {
    let setup = Setup::new();
    setup.open().expect("open").latest_or_new(id(7)).expect("made");
    setup.kms.calls();
    setup.kms.fail_next(&[(Decrypt, Class::Throttled)]);
    setup.kms.set_failing(TEST_MASTER_KEY, Some(Class::Transient));
    // One pause, and then it is over.
    let startup_timeout = Duration::from_millis(200);
    let opening = Opening { startup_timeout, ..setup.opening(Role::Server, setup.kms.clone()) };
    let error = KeyStore::open(opening).err().expect("no answer");
    let KeyStoreError::Kms(_, error) = error else { panic!("{error}") };
    assert_eq!(error.class, Class::Throttled);
    assert_eq!(setup.kms.calls(), [Decrypt; 2]);
}
