//! What a check finds of copies, and what becomes of copies that fail, are lost, or that nothing else tells of.

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::super::offline::{self, Found, OpenFolder};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::super::verify_job::VerifyJob;
use super::extra_master_keys::{COPIES, ONE, TWO, list, name, set, used};
use super::faulty_disk::{Fails, FaultyDisk};
use super::two_servers::Meanwhile;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// The check that is due then, to its end.
fn check_all(job: &mut VerifyJob, now: Instant) {
    for seconds in 0..5 {
        job.run(now + Duration::from_secs(seconds));
    }
}

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
    assert_eq!(store.rewrap(None).expect("re-wrapped").count, 13);
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
    remove(&setup, COPIES);
    setup.put(COPIES, copies.to_string().as_bytes());
    assert!(verify(&store).lines.iter().any(|line| line.contains(ONE) && line.contains("holds another key")));
    assert_eq!((readiness(), warnings().len()), ((true, false), 1));
    store.rewrap(Some(id(7))).expect("re-wrapped");
    assert_eq!((readiness(), warnings()), ((true, true), vec![]));
    assert_eq!(setup.copies(COPIES), [ONE, TWO]);
    // No answer for once says nothing of it.
    setup.kms.set_failing(TWO, Some(Class::Transient));
    for _ in 0..4 {
        verify(&store);
        assert_eq!((readiness(), warnings()), ((true, true), vec![]), "who asks counts no round");
    }
    let mut job = VerifyJob::new(store.clone(), Instant::now());
    for day in 1..=3 {
        assert_eq!((readiness(), warnings()), ((true, true), vec![]), "{day}");
        check_all(&mut job, Instant::now() + DAY * day);
    }
    assert_eq!((readiness(), warnings().len()), ((true, false), 1));
    setup.kms.set_failing(TWO, None);
    verify(&store);
    assert_eq!((readiness(), warnings().len()), ((true, true), 0));
}

#[test]
fn a_version_that_only_copies_tell_of_is_not_recorded_as_if_the_extra_master_key_wrapped_its_file() {
    let (setup, store, before) = used();
    drop(store);
    remove(&setup, MANIFEST);
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
    let mut job = VerifyJob::new(store.clone(), Instant::now());
    (1..=3).for_each(|day| check_all(&mut job, Instant::now() + DAY * day));
    assert!(!store.figures().readiness().is_fully_wrapped());
    set(&store, &[ONE]);
    store.rewrap(None).expect("re-wrapped");
    assert!(store.figures().readiness().is_fully_wrapped());
    store.verify(None);
    assert!(store.figures().readiness().is_fully_wrapped(), "the other one is of no account any more");
    let mut job = MakeExtraCopies::new(store.clone());
    job.run(Instant::now());
    remove(&setup, COPIES);
    store.verify(None);
    job.run(Instant::now());
    assert_eq!(setup.copies(COPIES), [ONE]);
}

#[test]
fn a_copy_is_used_though_the_key_file_may_not_be_opened() {
    let (setup, store, before) = used();
    drop(store);
    remove(&setup, "aws-kms-key.7.1");
    fs::create_dir(setup.folder.path().join("aws-kms-key.7.1")).expect("a folder in its place");
    assert_eq!(key(&setup.open_extra(Role::Server), 7, 1), before);
}

#[test]
fn after_a_start_from_copies_it_is_asked_soon_whether_keys_can_be_made() {
    let (setup, store, _) = used();
    drop(store);
    setup.kms.disable(TEST_MASTER_KEY, true);
    for (is_disabled, can_make) in [(true, false), (false, true)] {
        setup.kms.disable(TEST_MASTER_KEY, true);
        let store = setup.open_extra(Role::Server);
        setup.kms.disable(TEST_MASTER_KEY, is_disabled);
        let now = Instant::now();
        let mut job = VerifyJob::new(store.clone(), now);
        for seconds in 0..3 {
            job.run(now + Duration::from_secs(seconds));
        }
        assert_eq!(store.figures().readiness().can_make_keys(), can_make);
    }
}

#[test]
fn a_key_file_that_gives_an_io_error_to_the_end_of_a_start_is_used_from_its_copy() {
    let (setup, store, before) = used();
    store.latest_or_new(id(8)).expect("made");
    drop(store);
    let open = |file: &str| {
        let disk = FaultyDisk::default();
        disk.plant(Fails::Read, file, libc::EIO, usize::MAX);
        let opening =
            Opening { startup_timeout: Duration::from_secs(1), ..setup.opening(Role::Server, setup.kms.clone()) };
        KeyStore::open_on(Arc::new(disk), opening)
    };
    let store = open("aws-kms-key.7.1").expect("from its copy");
    assert_eq!(key(&store, 7, 1), before);
    assert!(setup.log.has("note: waiting for the key files"));
    assert!(setup.log.has("error: key 7 version 1 has no key file that can be used, and is used from a copy"));
    assert!(!store.figures().readiness().restart_is_ready());
    let error = open("aws-kms-key.8.1").err().expect("it has no copy").to_string();
    assert!(error.contains("aws-kms-key.8.1"), "{error}");
}

#[test]
fn a_copy_that_gives_no_answer_does_not_hide_what_is_wrong_with_the_key_file() {
    let (setup, store, _) = used();
    let failed = |store: &KeyStore| store.verify(None).result.expect_err("it fails").to_string();
    [ONE, TWO].iter().for_each(|extra| setup.kms.set_failing(extra, Some(Class::Transient)));
    setup.kms.disable(TEST_MASTER_KEY, true);
    let error = failed(&store);
    assert!(error.contains("KMS Decrypt failed: the master key is disabled"), "{error}");
    assert!(error.contains("Nor from a copy: KMS Decrypt failed: KMS could not be reached"), "{error}");
    setup.kms.disable(TEST_MASTER_KEY, false);
    remove(&setup, "aws-kms-key.7.1");
    setup.log();
    let error = failed(&store);
    assert!(error.contains("aws-kms-key.7.1 is gone"), "{error}");
    let log = setup.log();
    assert!(log.iter().any(|line| line.starts_with("error: a restart would not find key 7 version 1")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("KMS cannot be asked")), "{log:?}");
}

#[test]
fn copies_that_give_no_answer_keep_no_server_from_starting_that_would_without_them() {
    let (setup, store, _) = used();
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    store.latest_or_new(id(8)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    drop(store);
    setup.kms.disable(TEST_MASTER_KEY, true);
    [ONE, TWO].iter().for_each(|extra| setup.kms.set_failing(extra, Some(Class::Transient)));
    let opening = Opening { startup_timeout: Duration::from_secs(1), ..setup.opening(Role::Server, setup.kms.clone()) };
    let store = KeyStore::open(opening).expect("key 8 works");
    assert_eq!((store.published.latest(id(8)), store.published.latest(id(7))), (Some(version(1)), None));
    assert!(setup.log.has("error: key not loaded: key 7 version 1"), "{:?}", setup.log());
}

#[test]
fn a_re_wrap_that_cannot_make_all_copies_does_not_call_those_that_there_are_good() {
    let (setup, store, _) = used();
    setup.kms.disable(TWO, true);
    store.verify(None);
    setup.log();
    store.rewrap(None).expect("re-wrapped");
    assert!(!store.figures().readiness().is_fully_wrapped());
    assert!(!setup.log.has("can be used again"), "{:?}", setup.log());
    setup.kms.disable(TWO, false);
    store.rewrap(None).expect("re-wrapped");
    assert!(store.figures().readiness().is_fully_wrapped());
}

#[test]
fn no_key_is_imported_under_a_number_of_which_a_copy_is_left() {
    use zeroize::Zeroizing;
    for file in [COPIES, "aws-kms-key.7.1.before-rewrap"] {
        let (setup, store, _) = used();
        drop(store);
        let held = read(&setup, COPIES);
        [COPIES, "aws-kms-key.7.1", MANIFEST].iter().for_each(|file| remove(&setup, file));
        setup.put(file, &held);
        // Another key, so that the folder is still known.
        setup.put_key("aws-kms-key.1.1", 1);
        drop(setup.open_extra(Role::Server));
        let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
        let key = offline::NewKey { name: name(), key: Zeroizing::new(vec![9; 16]) };
        let one = MasterKeyId::parse(ONE).expect("a name");
        let error = offline::import(&folder, &*setup.kms, &one, Algorithm::AesCbc, &[key]).err().expect("not new");
        assert!(error.to_string().contains("key 7 version 1"), "{error}");
    }
}

#[test]
fn the_tool_names_the_master_key_that_works_where_only_a_copy_does() {
    let (setup, store, _) = used();
    drop(store);
    setup.kms.disable(TEST_MASTER_KEY, true);
    let folder = OpenFolder::to_read(setup.folder.path()).expect("open");
    let verified = offline::verify(&folder, &*setup.kms, Duration::from_secs(5)).expect("verified");
    assert!(matches!(verified.versions[0].found, Found::OnlyCopy(_)));
    assert_eq!(verified.master_keys().into_iter().collect::<Vec<_>>(), [ONE]);
}

#[test]
fn the_list_counts_no_key_file_that_is_gone_and_shows_no_context_but_that_of_the_key_file() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    let set = |text: &str| {
        let context = EncryptionContext::parse(text).expect("a context");
        store.new_keys().change(|settings| settings.encryption_context = context.clone());
    };
    set("server=db1");
    store.latest_or_new(id(7)).expect("made");
    let listed = |store: &KeyStore| store.figures().version_list().remove(0);
    let context = |store: &KeyStore| format!("{:?}", listed(store).encryption_context);
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    store.verify(None).result.expect("good");
    assert_eq!(listed(&store).wraps, 3);
    // Another server with the same folder, or the tool, wraps it anew, and a check sees what is bound into it now.
    let other = setup.open_extra(Role::Server);
    let new = EncryptionContext::parse("server=db2").expect("a context");
    other.new_keys().change(|settings| settings.encryption_context = new.clone());
    other.rewrap(None).expect("re-wrapped");
    assert!(context(&store).contains("db1"), "{}", context(&store));
    store.verify(None).result.expect("good");
    assert!(context(&store).contains("db2"), "{}", context(&store));
    let kept = read(&setup, "aws-kms-key.7.1.before-rewrap");
    remove(&setup, "aws-kms-key.7.1.before-rewrap");
    remove(&setup, "aws-kms-key.7.1");
    drop(store.verify(None));
    assert_eq!((listed(&store).wraps, listed(&store).state), (2, VersionState::Unready));
    // From a copy, a start cannot tell what was bound into the key file.
    let again = setup.open_extra(Role::Server);
    assert_eq!((listed(&again).wraps, listed(&again).encryption_context), (2, None));
    setup.put("aws-kms-key.7.1", &kept);
    drop(again.verify(None));
    assert_eq!(listed(&again).wraps, 3);
    assert!(context(&again).contains("db1"), "{}", context(&again));
}

#[test]
fn a_re_wrap_whose_extra_master_keys_are_changed_meanwhile_drops_no_copy_before_the_others_are_there() {
    let (setup, store, _) = used();
    drop(store);
    let of_kms: Arc<Mutex<Option<Arc<KeyStore>>>> = Arc::default();
    let during = of_kms.clone();
    // While KMS is asked, another session sets others.
    let meanwhile = move || {
        let store = during.lock().expect("store").clone();
        store.into_iter().for_each(|store| set(&store, &["arn:aws:kms:eu-west-3:1:key/three"]));
    };
    let opening = setup.opening(Role::Server, Arc::new(Meanwhile(TestKms::default(), meanwhile)));
    opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE, TWO]));
    let store = Arc::new(KeyStore::open(opening).expect("open"));
    *of_kms.lock().expect("store") = Some(store.clone());
    store.rewrap(None).expect("re-wrapped");
    *of_kms.lock().expect("store") = None;
    assert_eq!(setup.copies(COPIES), [ONE, TWO]);
    store.rewrap(None).expect("re-wrapped");
    assert_eq!(setup.copies(COPIES), ["arn:aws:kms:eu-west-3:1:key/three"], "now it is there");
}
