//! What a check finds of copies, and what becomes of copies that fail, are lost, or that nothing else tells of.

use super::super::extra_copies::MakeExtraCopies;
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::extra_master_keys::{COPIES, ONE, TWO, name, set, used};
use super::*;

#[test]
fn an_extra_master_key_that_fails_holds_up_no_rescue_and_is_asked_twice_only() {
    let (setup, store, _) = used();
    for key_id in 8..20 {
        store.latest_or_new(id(key_id)).expect("made");
    }
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    setup.log();
    setup.kms.calls();
    setup.kms.disable(TWO, true);
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    assert_eq!(store.rewrap(None).expect("re-wrapped"), 13);
    let calls = setup.kms.calls();
    assert_eq!(calls.iter().filter(|call| **call == Encrypt).count(), 13 + 13 + 2, "{calls:?}");
    assert_eq!(setup.copies(COPIES), [ONE, TWO], "the older copy stays");
    assert_eq!(setup.log().iter().filter(|line| line.starts_with("warning")).count(), 1);
}

#[test]
fn a_copy_that_is_of_no_use_any_more_is_found_by_a_check_told_once_and_does_not_keep_a_restart_from_working() {
    let (setup, store, _) = used();
    let verify = |store: &Arc<KeyStore>| store.verify(None);
    let readiness = || (store.figures().readiness().restart_is_ready(), store.figures().readiness().is_fully_wrapped());
    let warnings = || setup.log().into_iter().filter(|line| line.starts_with("warning")).collect::<Vec<_>>();
    let told = verify(&store).lines;
    assert!(told.iter().any(
        |line| line.starts_with("key 7 version 1: good") && line.ends_with("2 good copies under extra master keys")
    ));
    assert_eq!((readiness(), warnings()), ((true, true), vec![]));
    // The master key does not unwrap it.
    setup.kms.disable(TWO, true);
    let told = verify(&store);
    assert!(told.result.is_ok() && told.lines.iter().any(|line| line.contains(TWO) && line.contains("1 good copy")));
    let warned = warnings();
    assert!(
        warned.len() == 1 && warned[0].contains(&format!("under the extra master key {TWO} cannot be used")),
        "{warned:?}"
    );
    assert_eq!(readiness(), (true, false));
    verify(&store);
    assert_eq!(warnings(), [""; 0], "it is known");
    setup.kms.disable(TWO, false);
    verify(&store);
    assert!(setup.log().iter().any(|line| line.contains(&format!("{TWO} can be used again"))));
    assert_eq!(readiness(), (true, true));
    // It holds another key.
    let mut copies: serde_json::Value = serde_json::from_slice(&read(&setup, COPIES)).expect("JSON");
    // `other:` and 16 times 7.
    copies["wraps"][0]["ciphertext"] = "b3RoZXI6BwcHBwcHBwcHBwcHBwcHBw==".into();
    setup.remove(COPIES);
    setup.put(COPIES, copies.to_string().as_bytes());
    assert!(verify(&store).lines.iter().any(|line| line.contains(ONE) && line.contains("holds another key")));
    assert_eq!((readiness(), warnings().len()), ((true, false), 1));
    store.rewrap(Some(id(7))).expect("re-wrapped");
    assert_eq!((readiness(), warnings()), ((true, true), vec![]));
    assert_eq!(setup.copies(COPIES), [ONE, TWO]);
    // No answer for once says nothing of it.
    setup.kms.set_failing(TWO, Some(Class::Transient));
    for _ in 0..2 {
        verify(&store);
        assert_eq!((readiness(), warnings()), ((true, true), vec![]));
    }
    verify(&store);
    assert_eq!((readiness(), warnings().len()), ((true, false), 1));
    setup.kms.set_failing(TWO, None);
    verify(&store);
    assert_eq!((readiness(), warnings().len()), ((true, true), 0));
}

#[test]
fn one_version_whose_copies_cannot_be_written_keeps_no_other_from_having_its_own() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    for key_id in 7..10 {
        store.latest_or_new(id(key_id)).expect("made");
    }
    setup.put(COPIES, br#"{"format": 2}"#);
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    assert_eq!([8, 9].map(|id| setup.copies(&format!("aws-kms-key.{id}.1.extra")).len()), [2, 2]);
    assert!(setup.log().iter().any(|line| line.starts_with("warning: key 7 version 1, and perhaps others")));
}

#[test]
fn a_version_that_only_copies_tell_of_is_not_recorded_as_if_the_extra_master_key_wrapped_its_file() {
    let (setup, store, before) = used();
    drop(store);
    setup.remove(MANIFEST);
    setup.kms.disable(TEST_MASTER_KEY, true);
    assert_eq!(key(&setup.open_extra(Role::Server), 7, 1), before);
    setup.kms.disable(TEST_MASTER_KEY, false);
    setup.kms.asked_where.lock().expect("asked").clear();
    setup.log();
    let store = setup.open_extra(Role::Server);
    let asked = setup.kms.asked_where.lock().expect("asked").clone();
    assert_eq!((key(&store, 7, 1), &asked[..]), (before, &[None][..]), "not where the extra master key is");
    assert!(setup.log().iter().all(|line| !line.starts_with("warning")));
    assert_eq!(store.files.master_key(name()).as_deref(), Some(TEST_MASTER_KEY));
}

#[test]
fn a_master_key_that_is_taken_out_and_a_file_of_copies_that_is_lost_are_noticed() {
    let (setup, store, _) = used();
    setup.kms.set_failing(TWO, Some(Class::Transient));
    (0..3).for_each(|_| drop(store.verify(None)));
    assert!(!store.figures().readiness().is_fully_wrapped());
    set(&store, &[ONE]);
    store.rewrap(None).expect("re-wrapped");
    assert!(store.figures().readiness().is_fully_wrapped());
    store.verify(None);
    assert!(store.figures().readiness().is_fully_wrapped(), "the other one is of no account any more");
    let mut job = MakeExtraCopies::new(store.clone());
    job.run(Instant::now());
    setup.remove(COPIES);
    store.verify(None);
    job.run(Instant::now());
    assert_eq!(setup.copies(COPIES), [ONE]);
}

#[test]
fn a_copy_is_used_though_the_key_file_may_not_be_opened() {
    let (setup, store, before) = used();
    drop(store);
    setup.remove("aws-kms-key.7.1");
    fs::create_dir(setup.folder.path().join("aws-kms-key.7.1")).expect("a folder in its place");
    assert_eq!(key(&setup.open_extra(Role::Server), 7, 1), before);
}
