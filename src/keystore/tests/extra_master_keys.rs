//! Copies of the keys under more master keys: when they are made, used, and dropped.

use std::sync::atomic::Ordering;

use super::super::extra_copies::MakeExtraCopies;
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::lossy_disk::{Faults, LossyDisk};
use super::*;

pub(super) const ONE: &str = "arn:aws:kms:eu-west-1:1:key/one";
pub(super) const TWO: &str = "arn:aws:kms:eu-north-1:1:key/two";
pub(super) const COPIES: &str = "aws-kms-key.7.1.extra";

impl Setup {
    pub(super) fn open_extra(&self, role: Role) -> Arc<KeyStore> {
        let opening = self.opening(role, self.kms.clone());
        opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE, TWO]));
        Arc::new(KeyStore::open(opening).expect("open"))
    }

    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.0.lock().expect("log"))
    }

    /// The master keys of the copies in a file.
    pub(super) fn copies(&self, file: &str) -> Vec<String> {
        let document: serde_json::Value = serde_json::from_slice(&read(self, file)).expect("JSON");
        let wraps = document["wraps"].as_array().expect("wraps").iter();
        wraps.map(|wrap| wrap["master_key"].as_str().expect("an ARN").to_owned()).collect()
    }
}

pub(super) fn list(arns: &[&str]) -> ExtraMasterKeys {
    ExtraMasterKeys::parse(&arns.join(",")).expect("a list")
}

pub(super) fn set(store: &KeyStore, arns: &[&str]) {
    store.new_keys().change(|settings| settings.extra_master_keys = list(arns));
    store.forget_failures();
}

pub(super) fn name() -> KeyName {
    KeyName::new(7, 1).expect("a name")
}

/// A server with key 7, which has its copies, and how it looked.
pub(super) fn used() -> (Setup, Arc<KeyStore>, Option<Vec<u8>>) {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    store.latest_or_new(id(7)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    let before = key(&store, 7, 1);
    assert_eq!(setup.copies(COPIES), [ONE, TWO]);
    setup.kms.calls();
    setup.log();
    (setup, store, before)
}

#[test]
fn copies_are_made_after_the_key_and_proven_and_the_key_file_stays_as_it_is() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    let mut job = MakeExtraCopies::new(store.clone());
    assert_eq!(job.run(Instant::now()), None);
    store.latest_or_new(id(7)).expect("made");
    assert_eq!(setup.kms.calls(), [Generate, Decrypt], "the statement does not wait for them");
    let file = read(&setup, "aws-kms-key.7.1");
    assert_eq!(job.run(Instant::now()), None);
    assert_eq!(setup.kms.calls(), [Encrypt, Decrypt, Encrypt, Decrypt]);
    assert_eq!((setup.copies(COPIES), read(&setup, "aws-kms-key.7.1")), (vec![ONE.to_owned(), TWO.to_owned()], file));
    assert!(store.figures().readiness().is_fully_wrapped());
    assert_eq!(store.figures().version_list()[0].wraps, 3);
    // Nothing is done twice, at any start.
    assert_eq!((job.run(Instant::now()), setup.kms.calls()), (None, vec![]));
    let again = setup.open_extra(Role::Server);
    setup.kms.calls();
    assert_eq!(MakeExtraCopies::new(again).run(Instant::now()), None);
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn the_bell_brings_the_copies_of_a_new_key_in_the_background() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    let background = Background::start(store.bell(), vec![store.extra_copies_job()], setup.log).expect("a thread");
    for number in [7, 8] {
        store.latest_or_new(id(number)).expect("made");
        let until = Instant::now() + Duration::from_secs(10);
        let file = format!("aws-kms-key.{number}.1.extra");
        while !setup.files().contains(&file) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(setup.files().contains(&file), "{file}");
    }
    drop(background);
}

#[test]
fn a_copy_that_holds_another_key_is_not_written() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    store.latest_or_new(id(7)).expect("made");
    setup.kms.wraps_another_key.store(true, Ordering::Relaxed);
    assert!(MakeExtraCopies::new(store.clone()).run(Instant::now()).is_some());
    assert!(!setup.files().contains(&COPIES.to_owned()));
    assert!(setup.log.has("what KMS wrapped is not the key that it was given"), "{:?}", setup.log());
}

#[test]
fn when_the_master_key_is_gone_a_start_uses_the_copies_in_order_and_says_so() {
    let (setup, _, before) = used();
    setup.kms.disable(TEST_MASTER_KEY, true);
    for gone in [None, Some(ONE)] {
        gone.into_iter().for_each(|arn| setup.kms.disable(arn, true));
        let store = setup.open_extra(Role::Server);
        assert_eq!((key(&store, 7, 1), store.published.latest(id(7))), (before.clone(), Some(version(1))));
        let log = setup.log();
        let is_warning = |line: &String| line.starts_with("warning: key 7 version 1 is used from a copy");
        assert!(log.iter().any(is_warning) && !log.iter().any(|line| line.starts_with("error")), "{log:?}");
        assert!(!store.figures().readiness().is_fully_wrapped());
        assert_eq!(store.files.master_key(name()).as_deref(), Some(TEST_MASTER_KEY), "it is about the key file");
    }
    setup.kms.disable(TWO, true);
    assert!(KeyStore::open(setup.opening(Role::Server, setup.kms.clone())).is_err());
}

#[test]
fn mariadb_backup_uses_copies_and_makes_none() {
    let (setup, store, before) = used();
    setup.kms.disable(TEST_MASTER_KEY, true);
    let files = (setup.files(), read(&setup, COPIES));
    let backup = setup.open_extra(Role::Backup);
    assert_eq!(key(&backup, 7, 1), before);
    assert_eq!((setup.files(), read(&setup, COPIES)), files);
    store.latest_or_new(id(8)).expect_err("disabled");
    setup.kms.disable(TEST_MASTER_KEY, false);
    store.forget_failures();
    store.latest_or_new(id(8)).expect("made");
    let backup = setup.open_extra(Role::Backup);
    setup.kms.calls();
    assert_eq!(MakeExtraCopies::new(backup).run(Instant::now()), None);
    assert_eq!((setup.kms.calls(), setup.files().contains(&"aws-kms-key.8.1.extra".to_owned())), (vec![], false));
}

#[test]
fn a_copy_with_another_key_is_passed_over_and_the_next_one_is_used() {
    let (setup, _, before) = used();
    setup.kms.disable(TEST_MASTER_KEY, true);
    // `other:` and 16 times 7, and the same of 5 bytes.
    for planted in ["b3RoZXI6BwcHBwcHBwcHBwcHBwcHBw==", "b3RoZXI6BwcHBwc="] {
        let text = String::from_utf8(read(&setup, COPIES)).expect("UTF-8");
        let row = format!(
            r#""wraps": [{{"master_key": "{OTHER_MASTER_KEY}", "encryption_context": {{}}, "ciphertext": "{planted}"}},"#
        );
        remove(&setup, COPIES);
        setup.put(COPIES, text.replacen("\"wraps\": [", &row, 1).as_bytes());
        assert_eq!(setup.copies(COPIES)[0], OTHER_MASTER_KEY);
        let store = setup.open_extra(Role::Server);
        assert_eq!((key(&store, 7, 1), store.published.latest(id(7))), (before.clone(), Some(version(1))));
    }
}

#[test]
fn planted_copies_never_make_a_version_the_latest_nor_a_key() {
    let (setup, store, before) = used();
    let text = String::from_utf8(read(&setup, COPIES)).expect("UTF-8");
    let of = |id: u32, version: u32, text: &str| {
        let text = text.replace("\"key_id\": 7", &format!("\"key_id\": {id}"));
        text.replace("\"key_version\": 1", &format!("\"key_version\": {version}"))
    };
    let own = text.replacen("\"wraps\": [", &format!(
        r#""wraps": [{{"master_key": "{OTHER_MASTER_KEY}", "encryption_context": {{}}, "ciphertext": "b3RoZXI6BwcHBwcHBwcHBwcHBwcHBw=="}},"#
    ), 1);
    // Without a key file; beside garbage; and those of this server under another number.
    for (version, text, file) in [(5, &own, None), (6, &own, Some(&b"garbage"[..])), (8, &text, Some(b"garbage"))] {
        setup.put(&format!("aws-kms-key.7.{version}.extra"), of(7, version, text).as_bytes());
        file.into_iter().for_each(|file| setup.put(&format!("aws-kms-key.7.{version}"), file));
    }
    setup.put("aws-kms-key.7.4", &[&b"other:"[..], &[4; 16]].concat());
    setup.put("aws-kms-key.9.1.extra", of(9, 1, &own).as_bytes());
    drop(store);
    for _ in 0..2 {
        let store = setup.open_extra(Role::Server);
        assert_eq!((store.published.latest(id(7)), key(&store, 7, 1)), (Some(version(1)), before.clone()));
        assert_eq!((key(&store, 7, 5), store.published.latest(id(9))), (None, None));
        assert_eq!(key(&store, 7, 4), Some(vec![4; 16]), "it can be read");
        setup.kms.calls();
        MakeExtraCopies::new(store.clone()).run(Instant::now());
        assert!(!setup.kms.calls().contains(&Encrypt), "KMS is asked for none");
    }
    assert!(!setup.files().contains(&"aws-kms-key.7.4.extra".to_owned()), "not under a master key of this server");
    assert_eq!(setup.copies("aws-kms-key.7.6.extra")[0], OTHER_MASTER_KEY, "it is left alone");
    let store = setup.open_extra(Role::Server);
    assert_eq!(store.rotate(id(7)).expect("rotate"), version(9));
}

#[test]
fn a_key_file_that_is_gone_or_damaged_is_an_error_at_every_start_until_it_is_made_whole_and_the_key_is_used_from_its_copy()
 {
    for damage in [None, Some(&b""[..]), Some(b"garbage")] {
        let (setup, _, before) = used();
        remove(&setup, "aws-kms-key.7.1");
        damage.into_iter().for_each(|bytes| setup.put("aws-kms-key.7.1", bytes));
        let store = || {
            let store = setup.open_extra(Role::Server);
            assert_eq!((key(&store, 7, 1), store.published.latest(id(7))), (before.clone(), Some(version(1))));
            store
        };
        let calls = |call| setup.kms.calls().iter().filter(|made| **made == call).count();
        for _ in 0..2 {
            let store = store();
            let log = setup.log();
            let errors: Vec<_> = log.iter().filter(|line| line.starts_with("error")).collect();
            assert_eq!(errors.len(), 1, "{log:?}");
            assert!(errors[0].contains("key 7 version 1 has no key file that can be used, and is used from a copy"));
            assert!(errors[0].contains("SET GLOBAL aws_key_management_rewrap_key = 7"), "{errors:?}");
            assert!(!store.figures().readiness().restart_is_ready());
            assert_eq!((calls(Generate), store.latest_or_new(id(7)).expect("it is there")), (0, version(1)));
        }
        let before_rewrap = store();
        before_rewrap.rewrap(Some(id(7))).expect("re-wrapped");
        assert!(before_rewrap.figures().readiness().restart_is_ready());
        setup.log();
        assert!(store().figures().readiness().restart_is_ready());
        assert!(!setup.log.has("error") && !setup.log.has("warning"), "{:?}", setup.log());
    }
}

#[test]
fn without_a_copy_that_works_a_missing_key_file_is_what_it_was_and_is_tried_again() {
    let (setup, _, before) = used();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.open_extra(Role::Server);
    remove(&setup, "aws-kms-key.7.1");
    [ONE, TWO].iter().for_each(|arn| setup.kms.disable(arn, true));
    setup.log();
    let store = setup.open_extra(Role::Server);
    assert!(setup.log.has("error: key not loaded: key 7 version 1: key file"));
    assert_eq!(store.published.latest(id(7)), None);
    assert!(matches!(store.latest_or_new(id(7)), Err(KeyStoreError::NotYet { .. } | KeyStoreError::Gone(..))));
    setup.kms.disable(TWO, false);
    let mut job = super::super::retry::Retry::new(store.clone());
    job.run(Instant::now() + Duration::from_secs(100));
    assert_eq!(key(&store, 7, 1), before);
    assert!(!store.figures().readiness().restart_is_ready());
}

#[test]
fn a_key_id_with_a_master_key_of_its_own_gets_no_copies_and_loses_those_that_it_had_when_it_is_re_wrapped() {
    const TENANT: &str = "arn:aws:kms:eu-west-1:1:key/tenant";
    let (setup, store, before) = used();
    let own = |settings: &mut NewKeySettings| {
        settings.master_keys = MasterKeysOfIds::parse(&format!("7-8={TENANT}")).expect("a list");
    };
    store.new_keys().change(own);
    store.latest_or_new(id(8)).expect("made");
    store.latest_or_new(id(9)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    let has = |file: &str| setup.files().contains(&file.to_owned());
    assert!(has(COPIES) && !has("aws-kms-key.8.1.extra") && has("aws-kms-key.9.1.extra"));
    store.rewrap(None).expect("re-wrapped");
    assert!(!has(COPIES) && !has("aws-kms-key.8.1.extra") && has("aws-kms-key.9.1.extra"));
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    assert!(!has(COPIES) && store.figures().readiness().is_fully_wrapped());
    // What the file held before is gone after a start. Then the tenant's key opens the data, and no other does.
    for is_disabled in [false, true] {
        setup.kms.disable(TENANT, is_disabled);
        let opening = setup.opening(Role::Server, setup.kms.clone());
        opening.new_keys.change(own);
        let store = KeyStore::open(opening).expect("open");
        assert_eq!(key(&store, 7, 1), before.clone().filter(|_| !is_disabled));
    }
}

#[test]
fn a_key_whose_id_has_lost_its_own_master_key_gets_no_copies_before_it_is_re_wrapped() {
    let own = |settings: &mut NewKeySettings| {
        settings.extra_master_keys = list(&[ONE]);
        settings.master_keys = MasterKeysOfIds::parse(&format!("7={OTHER_MASTER_KEY}")).expect("a list");
    };
    let open = |setup: &Setup, is_own: bool| {
        let opening = setup.opening(Role::Server, setup.kms.clone());
        opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE]));
        if is_own {
            opening.new_keys.change(own);
        }
        Arc::new(KeyStore::open(opening).expect("open"))
    };
    // Of a version of the plugin that did not write it down.
    let forget_mark = |setup: &Setup| {
        let manifest = String::from_utf8(read(setup, MANIFEST)).expect("text");
        assert!(manifest.contains("own_master_key"), "{manifest}");
        let lines = manifest.lines().filter(|line| !line.contains("own_master_key"));
        let text = lines.collect::<Vec<_>>().join("\n").replace(",\n    }", "\n    }");
        setup.put(MANIFEST, text.as_bytes());
    };
    for was_marked_at_start in [false, true] {
        let setup = Setup::new();
        let store = open(&setup, true);
        store.latest_or_new(id(7)).expect("made");
        store.latest_or_new(id(9)).expect("made");
        if was_marked_at_start {
            drop(store);
            forget_mark(&setup);
            drop(open(&setup, true));
        }
        // The entry is gone: at a start, and while the server runs.
        for is_running in [false, true] {
            let store = open(&setup, is_running);
            store.new_keys().change(|settings| settings.master_keys = MasterKeysOfIds::default());
            setup.log();
            let mut job = MakeExtraCopies::new(store.clone());
            job.run(Instant::now());
            store.forget_failures();
            job.run(Instant::now());
            let has = |file: &str| setup.files().contains(&file.to_owned());
            assert!(!has(COPIES) && has("aws-kms-key.9.1.extra"), "{:?}", setup.files());
            let log = setup.log();
            let told =
                log.iter().filter(|line| line.contains("no copies under the extra master keys are made of key 7"));
            assert_eq!(told.count(), 1, "{log:?}");
        }
        // Who wants it says so.
        let store = open(&setup, false);
        store.rewrap(Some(id(7))).expect("re-wrapped");
        MakeExtraCopies::new(store.clone()).run(Instant::now());
        assert_eq!(setup.copies(COPIES), [ONE]);
        setup.log();
        MakeExtraCopies::new(open(&setup, false)).run(Instant::now());
        assert!(!setup.log.has("no copies"), "{:?}", setup.log());
    }
}

#[test]
fn a_re_wrap_makes_all_copies_anew_at_once_and_drops_others_only_when_all_are_proven() {
    const THREE: &str = "arn:aws:kms:eu-west-1:1:key/three";
    let (setup, store, before) = used();
    set(&store, &[TWO, THREE]);
    for fails in [Class::Disabled, Class::Transient] {
        setup.kms.fail_after(2, Encrypt, fails);
        store.rewrap(Some(id(7))).expect("re-wrapped without one of the copies");
        assert!(setup.log().iter().any(|line| line.starts_with("warning: key 7 version 1") && line.contains(THREE)));
        assert_eq!(setup.copies(COPIES), [ONE, TWO]);
    }
    setup.kms.calls();
    store.rewrap(Some(id(7))).expect("re-wrapped");
    assert_eq!(setup.kms.calls().len(), 6);
    assert_eq!(setup.copies(COPIES), [TWO, THREE]);
    // Under one of them as the first there is no second copy under the same.
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(TWO));
    store.rewrap(None).expect("re-wrapped");
    assert_eq!(setup.copies(COPIES), [THREE]);
    assert_eq!(
        (MakeExtraCopies::new(store.clone()).run(Instant::now()), setup.copies(COPIES)),
        (None, vec![THREE.into()])
    );
    set(&store, &[]);
    store.rewrap(None).expect("re-wrapped");
    assert!(!setup.files().contains(&COPIES.to_owned()));
    // What a re-wrap has dropped is made again when it is wanted again.
    let mut job = MakeExtraCopies::new(store.clone());
    set(&store, &[ONE]);
    assert_eq!((job.run(Instant::now()), setup.copies(COPIES)), (None, vec![ONE.into()]));
    set(&store, &[]);
    store.rewrap(None).expect("re-wrapped");
    set(&store, &[ONE]);
    assert_eq!((job.run(Instant::now()), setup.copies(COPIES)), (None, vec![ONE.into()]));
    assert_eq!(key(&setup.open_extra(Role::Server), 7, 1), before);
}

#[test]
fn copies_of_a_later_version_of_the_plugin_are_left_alone() {
    let (setup, store, before) = used();
    let newer = br#"{"format": 2, "what": "ever"}"#;
    remove(&setup, COPIES);
    setup.put(COPIES, newer);
    assert!(MakeExtraCopies::new(store.clone()).run(Instant::now()).is_some());
    store.rewrap(None).expect("the key file is wrapped anew all the same");
    assert!(setup.log().iter().any(|line| line.starts_with("warning: key 7 version 1 is re-wrapped, but its copies")));
    assert_eq!((read(&setup, COPIES), key(&setup.open_extra(Role::Server), 7, 1)), (newer.to_vec(), before));
}

#[test]
fn how_often_the_folder_and_the_manifest_are_looked_at_does_not_depend_on_the_number_of_keys_that_are_re_wrapped() {
    let looks = [64, 1000].map(|keys: u32| {
        let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data"]));
        for number in 1..=keys {
            disk.copy_in(&format!("/keys/aws-kms-key.{number}.1"), wrap(&[1; 16]).as_bytes());
        }
        let (folder, datadir) = (Path::new("/keys"), Path::new("/data"));
        let opening = Opening { folder, datadir, ..setup.opening(Role::Server, setup.kms.clone()) };
        opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE]));
        let store = KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open");
        disk.set_faults(Faults::default());
        let longest = Duration::from_secs(600);
        assert_eq!(store.rewrap_holding(None, longest).expect("all").count, keys as usize);
        disk.looks()
    });
    assert_eq!(looks[0], looks[1]);
    assert!(looks[0] < 100, "{looks:?}");
}

#[test]
fn a_version_that_nobody_missed_is_missed_again_after_it_was_used_from_a_copy() {
    // What is retired and has no file, nobody looks for.
    for (mark, has_file) in [("is_left_behind", false), ("is_retired", true)] {
        let (setup, store, before) = used();
        drop(store);
        match has_file {
            true => setup.put("aws-kms-key.7.1", b"damaged"),
            false => remove(&setup, "aws-kms-key.7.1"),
        }
        let mut manifest: serde_json::Value = serde_json::from_slice(&read(&setup, MANIFEST)).expect("JSON");
        manifest["keys"][0][mark] = true.into();
        setup.put(MANIFEST, manifest.to_string().as_bytes());
        let store = setup.open_extra(Role::Server);
        assert_eq!(key(&store, 7, 1), before, "{mark}");
        let manifest: serde_json::Value = serde_json::from_slice(&read(&setup, MANIFEST)).expect("JSON");
        let row = &manifest["keys"][0];
        assert!(row["key_check"].is_string() && row[mark].is_null(), "{mark}: {row}");
    }
}

#[test]
fn a_key_that_another_master_key_wraps_than_its_ids_own_is_kept_apart_no_more() {
    let opened = |setup: &Setup, of_all: &str, own: Option<&str>| {
        let opening = setup.opening(Role::Server, setup.kms.clone());
        opening.new_keys.change(|settings| {
            settings.master_key = MasterKeyId::parse(of_all);
            settings.extra_master_keys = list(&[ONE]);
            let entry = own.map(|own| format!("7={own}")).unwrap_or_default();
            settings.master_keys = MasterKeysOfIds::parse(&entry).expect("a list");
        });
        Arc::new(KeyStore::open(opening).expect("open"))
    };
    let setup = Setup::new();
    opened(&setup, TWO, None).latest_or_new(id(7)).expect("made");
    // Neither did that of all wrap it, nor does the id's own: it is still wrapped by that of all of before.
    drop(opened(&setup, OTHER_MASTER_KEY, Some(TEST_MASTER_KEY)));
    let store = opened(&setup, OTHER_MASTER_KEY, None);
    assert!(!store.files.has_own_master_key(name()));
    drop(store);
    // Its own wraps it, and then becomes that of all.
    let store = opened(&setup, OTHER_MASTER_KEY, Some(TEST_MASTER_KEY));
    store.rewrap(Some(id(7))).expect("re-wrapped");
    assert!(store.files.has_own_master_key(name()));
    drop(store);
    assert!(opened(&setup, OTHER_MASTER_KEY, None).files.has_own_master_key(name()));
    assert!(opened(&setup, TEST_MASTER_KEY, Some(TEST_MASTER_KEY)).files.has_own_master_key(name()), "it is known");
    // That of all is no id's own, whatever the entries say.
    let setup = Setup::new();
    opened(&setup, TEST_MASTER_KEY, Some(TEST_MASTER_KEY)).latest_or_new(id(7)).expect("made");
    assert!(!opened(&setup, TEST_MASTER_KEY, None).files.has_own_master_key(name()));
    drop(opened(&setup, TEST_MASTER_KEY, Some(TEST_MASTER_KEY)));
    assert!(!opened(&setup, TEST_MASTER_KEY, None).files.has_own_master_key(name()));
}
