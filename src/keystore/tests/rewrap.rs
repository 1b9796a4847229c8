//! Keys that are wrapped anew, also when the master key that wrapped them is gone.

use std::sync::atomic::Ordering;

use super::super::files::Held;
use super::super::test_kms::TEST_MASTER_KEY;
use super::*;

const NEW: &str = "arn:aws:kms:eu-west-1:1:key/new";
const FILE: &str = "aws-kms-key.7.1";
const KEPT: &str = "aws-kms-key.7.1.before-rewrap";

impl Setup {
    fn open_under_new(&self) -> KeyStore {
        let opening = self.opening(Role::Server, self.kms.clone());
        opening.new_keys.change(|settings| settings.master_key = MasterKeyId::parse(NEW));
        KeyStore::open(opening).expect("open")
    }
}

fn under_new(store: &KeyStore) {
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(NEW));
}

/// A server with keys 1.1, 7.1 and 7.2, which is to re-wrap them.
fn used() -> (Setup, KeyStore) {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    store.latest_or_new(id(7)).expect("made");
    store.rotate(id(7)).expect("rotated");
    under_new(&store);
    setup.kms.calls();
    (setup, store)
}

fn keys(store: &KeyStore) -> [Option<Vec<u8>>; 3] {
    [(1, 1), (7, 1), (7, 2)].map(|(id, version)| key(store, id, version))
}

#[test]
fn when_all_is_re_wrapped_the_old_master_key_can_go_at_once() {
    let (setup, store) = used();
    let before = keys(&store);
    assert!(before.iter().all(Option::is_some));
    // It is gone already: KMS is never asked to unwrap what it has wrapped.
    setup.kms.disable(TEST_MASTER_KEY, true);
    assert_eq!(store.rewrap(None).expect("re-wrapped").count, 3);
    assert_eq!(setup.kms.calls(), [Encrypt, Decrypt, Encrypt, Decrypt, Encrypt, Decrypt]);
    assert_eq!(store.files.master_keys(), [NEW.to_owned()].into());
    assert!(setup.log.has(&format!("re-wrapped key 7 version 1: by {NEW}, before by {TEST_MASTER_KEY}")));
    drop(store);
    setup.log.0.lock().expect("log").clear();
    let store = setup.open_under_new();
    assert_eq!(keys(&store), before);
    assert_eq!([id(1), id(7)].map(|id| store.published.latest(id)), [Some(version(1)), Some(version(2))]);
    assert!(!setup.log.has("warning") && !setup.log.has("error"), "{:?}", setup.log.0);
    assert_eq!(store.rotate(id(7)).expect("rotated"), version(3));
}

#[test]
fn the_old_files_stay_until_a_start_has_proven_the_new_ones() {
    let (setup, store) = used();
    let old = read(&setup, FILE);
    store.rewrap(Some(id(7))).expect("re-wrapped");
    assert_eq!(read(&setup, KEPT), old);
    assert_ne!(read(&setup, FILE), old);
    assert!(!setup.files().iter().any(|file| file.starts_with("aws-kms-key.1.1.")), "only key 7 was asked for");
    // The new master key fails at a start: the old file is used, and stays.
    setup.kms.disable(NEW, true);
    for _ in 0..2 {
        let again = setup.open_under_new();
        assert_eq!(keys(&again), keys(&store));
        assert_eq!(again.published.latest(id(7)), Some(version(2)));
        assert!(setup.log.has("key 7 version 1 is used from a copy that another master key wraps"));
        assert_eq!(read(&setup, KEPT), old);
    }
    // What the manifest says of the key file does not change by that.
    setup.kms.disable(NEW, false);
    setup.log.0.lock().expect("log").clear();
    let again = setup.open_under_new();
    assert_eq!(again.files.master_key(KeyName::new(7, 1).expect("a name")).as_deref(), Some(NEW));
    assert!(!setup.files().contains(&KEPT.to_owned()));
    assert!(setup.log.has("removed the old files of 2 key version(s)"));
    assert!(!setup.log.has("warning") && !setup.log.has("adopted"), "{:?}", setup.log.0);
}

#[test]
fn of_two_re_wraps_without_a_start_between_the_file_that_was_proven_is_kept() {
    const THIRD: &str = "arn:aws:kms:us-west-2:1:key/third";
    let (setup, store) = used();
    let old = read(&setup, FILE);
    store.rewrap(Some(id(7))).expect("re-wrapped");
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(THIRD));
    store.rewrap(Some(id(7))).expect("re-wrapped");
    assert_eq!(read(&setup, KEPT), old);
    let entry = store.files.entry(KeyName::new(7, 1).expect("a name")).expect("an entry");
    assert_eq!((entry.master_key(), entry.former_master_key()), (Some(THIRD), Some(TEST_MASTER_KEY)));
    // Both newer master keys are gone at the next start.
    setup.kms.disable(THIRD, true);
    setup.kms.disable(NEW, true);
    assert_eq!(keys(&setup.open_under_new()), keys(&store));
}

#[test]
fn what_another_server_has_re_wrapped_since_is_kept_by_a_start_that_has_proven_the_file_before() {
    let (setup, store) = used();
    let entry = store.files.entry(KeyName::new(7, 1).expect("a name")).expect("an entry");
    store.rewrap(Some(id(7))).expect("re-wrapped");
    let adding = store.files.begin_adding().expect("adding");
    assert_eq!(adding.forget_before_rewrap(&[&entry]).expect("asked"), 0);
    assert!(setup.files().contains(&KEPT.to_owned()));
}

#[test]
fn a_key_that_is_used_from_the_old_file_does_not_make_the_manifest_vouch_for_the_new_one() {
    let (setup, store) = used();
    store.rewrap(None).expect("re-wrapped");
    let (before, good) = (keys(&store), read(&setup, FILE));
    drop(store);
    fs::remove_file(setup.folder.path().join(FILE)).expect("remove");
    setup.put(FILE, b"garbage");
    let manifest = entries(&setup);
    let store = setup.open_under_new();
    assert_eq!(keys(&store), before);
    assert!(
        setup.log.has("key 7 version 1 has no key file that can be used") && !setup.log.has("adopted"),
        "{:?}",
        setup.log.0
    );
    assert_eq!(entries(&setup), manifest);
    fs::remove_file(setup.folder.path().join(FILE)).expect("remove");
    setup.put(FILE, &good);
    setup.log.0.lock().expect("log").clear();
    setup.open_under_new();
    assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

fn entries(setup: &Setup) -> serde_json::Value {
    let mut manifest: serde_json::Value = serde_json::from_slice(&read(setup, MANIFEST)).expect("JSON");
    manifest["keys"].take()
}

#[test]
fn a_key_of_another_algorithm_is_used_from_the_old_file_as_what_it_is() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.new_keys().change(|settings| settings.algorithm = Algorithm::AesCtr);
    store.latest_or_new(id(7)).expect("made");
    under_new(&store);
    store.rewrap(None).expect("re-wrapped");
    fs::remove_file(setup.folder.path().join(FILE)).expect("remove");
    setup.put(FILE, b"garbage");
    let again = setup.open_under_new();
    let name = KeyName::new(7, 1).expect("a name");
    assert_eq!((key(&again, 7, 1), again.published.algorithm(name)), (key(&store, 7, 1), Algorithm::AesCtr));
}

#[test]
fn a_file_that_is_not_recorded_is_not_looked_for_where_the_manifest_says() {
    let (setup, store) = used();
    let manifest = read(&setup, MANIFEST);
    store.rewrap(Some(id(7))).expect("re-wrapped");
    drop(store);
    // As after a crash before the manifest was written.
    fs::remove_file(setup.folder.path().join(MANIFEST)).expect("remove");
    setup.put(MANIFEST, &manifest);
    setup.kms.asked_where.lock().expect("asked").clear();
    setup.open_under_new();
    let asked = setup.kms.asked_where.lock().expect("asked").clone();
    let known = |arn: &str| Some(arn.to_owned());
    assert_eq!(asked[..3], [known(TEST_MASTER_KEY), None, None], "key 1 is as it was");
}

#[test]
fn what_fails_stays_as_it_was_and_is_named_and_all_others_are_tried() {
    let (setup, store) = used();
    let (old, manifest) = (read(&setup, FILE), read(&setup, MANIFEST));
    setup.kms.fail_next(&[(Encrypt, Class::Rejected)]);
    let error = store.rewrap(Some(id(7))).expect_err("one fails").to_string();
    assert!(
        error.starts_with("1 of 2 key versions could not be re-wrapped (see the error log): key 7 version 1."),
        "{error}"
    );
    assert_eq!(read(&setup, FILE), old);
    assert!(setup.log.has("error: not re-wrapped: key 7 version 1: KMS Encrypt failed"));
    assert_ne!(read(&setup, MANIFEST), manifest, "the other one is recorded");
    assert!(store.files.master_keys().contains(NEW) && store.files.master_keys().contains(TEST_MASTER_KEY));
    // A master key that may not be used is asked once.
    setup.kms.disable(NEW, true);
    setup.kms.calls();
    let error = store.rewrap(None).expect_err("disabled").to_string();
    let all = "3 of 3 key versions could not be re-wrapped (see the error log), 2 were not tried, as they would fail like it: key 1 \
               version 1, key 7 version 1, key 7 version 2. First: key 1 version 1";
    assert!(error.contains(all), "{error}");
    assert_eq!(setup.kms.calls(), [Encrypt]);
}

#[test]
fn what_kms_wraps_is_proven_to_be_the_key_before_the_file_is_touched() {
    let (setup, store) = used();
    let before = (setup.files(), read(&setup, FILE));
    setup.kms.wraps_another_key.store(true, Ordering::Relaxed);
    let error = store.rewrap(Some(id(7))).expect_err("another key").to_string();
    assert!(error.contains("key 7 version 1: what KMS wrapped is not the key that it was given"), "{error}");
    assert_eq!((setup.files(), read(&setup, FILE)), before);
    setup.kms.wraps_another_key.store(false, Ordering::Relaxed);
    setup.kms.fail_next(&[(Decrypt, Class::Denied)]);
    store.rewrap(Some(id(7))).expect_err("not proven");
    assert_eq!(read(&setup, FILE), before.1);
}

#[test]
fn a_key_file_that_is_gone_damaged_or_exchanged_is_made_whole_from_memory() {
    for damage in [None, Some(&b""[..]), Some(b"garbage"), Some(wrap(&[66; 16]).as_bytes())] {
        let (setup, store) = used();
        let before = keys(&store);
        match damage {
            None => fs::remove_file(setup.folder.path().join(FILE)).expect("remove"),
            Some(bytes) => {
                fs::remove_file(setup.folder.path().join(FILE)).expect("remove");
                setup.put(FILE, bytes);
            }
        }
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, 3);
        let again = setup.open_under_new();
        assert_eq!(keys(&again), before);
    }
}

#[test]
fn an_empty_or_exchanged_folder_is_not_filled() {
    let (setup, store) = used();
    for file in setup.files() {
        fs::remove_file(setup.folder.path().join(file)).expect("remove");
    }
    let error = store.rewrap(None).expect_err("another folder").to_string();
    assert!(error.contains("the keys of this datadir lie in"), "{error}");
    assert_eq!((setup.files(), setup.kms.calls()), (Vec::new(), Vec::new()));
}

#[test]
fn a_file_that_somebody_else_changes_meanwhile_is_left_alone() {
    let (setup, store) = used();
    let name = KeyName::new(7, 1).expect("a name");
    let adding = store.files.begin_adding().expect("adding");
    let error = adding.replace(name, &Held::Contents(b"as it was".to_vec()), b"new").expect_err("changed").to_string();
    assert!(error.contains("aws-kms-key.7.1 was changed by somebody else meanwhile"), "{error}");
    assert!(!setup.files().contains(&KEPT.to_owned()));
}

#[test]
fn a_key_that_is_not_trusted_or_not_in_memory_is_not_re_wrapped() {
    let (setup, store) = used();
    drop(store);
    setup.put("aws-kms-key.7.9", &[&b"other:"[..], &[9; 16]].concat());
    setup.put("aws-kms-key.7.10", b"garbage");
    let store = setup.open().expect("open");
    under_new(&store);
    let error = store.rewrap(Some(id(7))).expect_err("two fail").to_string();
    assert!(error.contains("2 of 4 key versions") && error.contains("key 7 version 9, key 7 version 10"), "{error}");
    assert!(setup.log.has("key 7 version 9: it has turned up here under a master key that is not known"));
    assert!(setup.log.has("key 7 version 10: it is not in memory"));
    let error = store.rewrap(Some(id(70))).expect_err("no such key").to_string();
    assert!(error.contains("key 70 does not exist"), "{error}");
}

#[test]
fn the_context_and_the_master_key_of_the_id_are_those_of_new_keys() {
    let (setup, store) = used();
    store.new_keys().change(|settings| {
        settings.encryption_context = EncryptionContext::parse("server=db1").expect("a context");
        settings.master_keys = MasterKeysOfIds::parse("1=arn:aws:kms:eu-west-1:1:key/one").expect("a list");
    });
    store.rewrap(None).expect("re-wrapped");
    let context = |file| {
        let document: serde_json::Value = serde_json::from_slice(&read(&setup, file)).expect("format 2");
        document["encryption_context"]["mariadb_key_id"].as_str().map(str::to_owned)
    };
    assert_eq!((context("aws-kms-key.1.1"), context(FILE)), (Some("1".to_owned()), Some("7".to_owned())));
    let by = |id, version| store.files.master_key(KeyName::new(id, version).expect("a name"));
    assert_eq!((by(1, 1).as_deref(), by(7, 2).as_deref()), (Some("arn:aws:kms:eu-west-1:1:key/one"), Some(NEW)));
    assert_eq!(keys(&setup.open_under_new()), keys(&store));
}

#[test]
fn mariadb_backup_re_wraps_nothing() {
    let (setup, store) = used();
    drop(store);
    let before = (setup.files(), read(&setup, FILE));
    let backup = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
    assert!(backup.rewrap(None).is_err());
    assert_eq!((setup.files(), read(&setup, FILE)), before);
}

#[test]
fn after_a_re_wrap_that_was_not_recorded_the_kept_file_is_looked_for_where_its_master_key_is() {
    let (setup, store) = used();
    let (before, manifest) = (keys(&store), read(&setup, MANIFEST));
    store.rewrap(None).expect("re-wrapped");
    drop(store);
    fs::remove_file(setup.folder.path().join(MANIFEST)).expect("remove");
    setup.put(MANIFEST, &manifest);
    setup.kms.disable(NEW, true);
    setup.kms.asked_where.lock().expect("asked").clear();
    assert_eq!(keys(&setup.open_under_new()), before);
    let asked = setup.kms.asked_where.lock().expect("asked").clone();
    assert_eq!(asked.iter().flatten().filter(|arn| *arn == TEST_MASTER_KEY).count(), 3, "{asked:?}");
}

#[test]
fn a_file_that_holds_another_key_is_kept_for_good_when_the_key_in_memory_takes_its_place() {
    let (setup, store) = used();
    let foreign = wrap(&[99; 16]);
    remove(&setup, FILE);
    setup.put(FILE, foreign.as_bytes());
    let told = store.verify(None).lines;
    assert!(told[0].contains("its file holds another key") && told[0].contains("is kept"), "{told:?}");
    store.rewrap(Some(id(7))).expect("re-wrapped");
    let kept = |setup: &Setup| read(setup, &format!("{FILE}.damaged"));
    assert_eq!(kept(&setup), foreign.as_bytes());
    drop(store);
    let store = setup.open_under_new();
    assert!(!setup.files().contains(&KEPT.to_owned()), "the start has proven the new one");
    assert_eq!(kept(&setup), foreign.as_bytes(), "it may be what other data needs");
    // What is as the manifest knows it is kept until the next start, and no longer.
    store.rewrap(None).expect("re-wrapped");
    let damaged = setup.files().into_iter().filter(|file| file.contains("damaged")).count();
    assert_eq!(damaged, 1, "{:?}", setup.files());
}
