//! Key files that turn up under a master key that nobody knows here: they can be read, and never become the latest version.

use std::sync::atomic::Ordering;

use super::super::test_kms::OTHER_MASTER_KEY;
use super::*;
use crate::kms::AtStart;

/// A server with key 1, into whose folder somebody puts files, wrapped by a master key of his own.
fn used() -> Setup {
    let setup = Setup::new();
    setup.open().expect("open").latest_or_new(id(1)).expect("new");
    setup
}

impl Setup {
    fn plant(&self, file: &str, byte: u8) {
        self.put(file, &[&b"other:"[..], &[byte; 16]].concat());
    }

    fn open_with(&self, master_key: &str) -> KeyStore {
        let opening = self.opening(Role::Server, self.kms.clone());
        opening.new_keys.change(|recipe| recipe.master_key = MasterKeyId::parse(master_key));
        KeyStore::open(opening).expect("open")
    }

    fn warns_of(&self, key: &str) -> bool {
        let log = std::mem::take(&mut *self.log.0.lock().expect("log"));
        let warning = log.iter().find(|line| line.starts_with(&format!("warning: {key}: its file has turned up here")));
        warning.is_some_and(|line| {
            line.contains(OTHER_MASTER_KEY) && line.contains("are wrapped by arn:aws:kms:us-east-1:1:")
        })
    }
}

#[test]
fn a_planted_version_is_readable_but_never_the_latest_at_any_start() {
    let setup = used();
    setup.plant("aws-kms-key.1.7", 7);
    for _ in 0..3 {
        let store = setup.open().expect("open");
        assert_eq!((store.published.latest(id(1)), key(&store, 1, 7)), (Some(version(1)), Some(vec![7; 16])));
        assert!(setup.warns_of("key 1 version 7"));
    }
    let store = setup.open().expect("open");
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(8));
    // It does not make its master key known.
    setup.plant("aws-kms-key.1.9", 9);
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(8)));
    assert!(setup.warns_of("key 1 version 9"));
}

#[test]
fn mariadb_backup_does_not_encrypt_with_a_planted_version_whether_the_manifest_knows_it_or_not() {
    let setup = used();
    setup.plant("aws-kms-key.1.7", 7);
    for is_in_manifest in [false, true] {
        if is_in_manifest {
            setup.open().expect("open");
        }
        let before = (setup.files(), read(&setup, MANIFEST));
        let backup = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
        assert_eq!((backup.published.latest(id(1)), key(&backup, 1, 7)), (Some(version(1)), Some(vec![7; 16])));
        // Also if it turns up later.
        setup.plant("aws-kms-key.1.8", 8);
        backup.load(KeyName::new(1, 8).expect("a name")).expect("readable");
        assert_eq!((backup.published.latest(id(1)), key(&backup, 1, 8)), (Some(version(1)), Some(vec![8; 16])));
        fs::remove_file(setup.folder.path().join("aws-kms-key.1.8")).expect("remove");
        assert_eq!((setup.files(), read(&setup, MANIFEST)), before, "it writes nothing");
    }
}

#[test]
fn mariadb_backup_goes_on_with_what_there_is_where_a_key_has_only_planted_versions() {
    let setup = used();
    setup.plant("aws-kms-key.5.1", 51);
    setup.plant("aws-kms-key.5.2", 52);
    setup.open().expect("open");
    let backup = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
    assert_eq!((backup.published.latest(id(5)), key(&backup, 5, 1)), (Some(version(2)), Some(vec![51; 16])));
    setup.plant("aws-kms-key.6.3", 6);
    assert_eq!(backup.latest_or_new(id(6)).expect("found"), version(3));
    assert!(!setup.kms.calls()[2..].contains(&Generate));
}

#[test]
fn a_planted_version_does_not_make_a_key_anew_whose_own_files_are_gone() {
    let setup = used();
    setup.open().expect("open").latest_or_new(id(7)).expect("made");
    fs::remove_file(setup.folder.path().join("aws-kms-key.7.1")).expect("remove");
    let store = setup.open().expect("open");
    setup.plant("aws-kms-key.7.2", 72);
    let files = setup.files();
    for _ in 0..2 {
        store.forget_failures();
        let error = store.latest_or_new(id(7)).expect_err("its data needs version 1").to_string();
        assert!(error.contains("aws-kms-key.7.1 is gone. Restore the file from a backup"), "{error}");
        assert_eq!((setup.files(), store.published.latest(id(7))), (files.clone(), None));
    }
    assert_eq!(key(&store, 7, 2), Some(vec![72; 16]));
}

#[test]
fn planted_versions_do_not_count_as_usable_keys() {
    let setup = used();
    // The server's own key is refused, which is waited for while there is no key to go on with.
    let own = key(&setup.open().expect("open"), 1, 1).and_then(|key| key.last().copied()).expect("the key");
    setup.plant("aws-kms-key.5.1", !own);
    assert_eq!(Class::Denied.at_start(), AtStart::WaitWhileNoneIsUsable);
    setup.kms.fail_next(&[(Decrypt, Class::Denied)]);
    let store = setup.open().expect("it has waited");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    assert!(setup.log.has("note: waiting for KMS"), "{:?}", setup.log.0);
    // Nor is a start with nothing else a start.
    setup.kms.refuse(own, Class::Corrupt);
    let error = setup.open().err().expect("none is usable").to_string();
    assert!(error.starts_with("not one of the 2 key version(s)") && error.contains("key 1 version 1"), "{error}");
    // mariadb-backup reads what there is.
    assert!(setup.open_as(Role::Backup, setup.kms.clone()).is_ok());
}

#[test]
fn a_first_key_waits_for_kms_while_there_are_only_planted_versions() {
    let setup = used();
    let store = KeyStore { first_keys: FirstKeys::new(|| true, Duration::from_secs(3)), ..setup.open().expect("open") };
    let own = KeyName::new(1, 1).expect("a name");
    assert!(store.published.with_key(own, |_| ()).is_some());
    store.published.clear();
    let store = KeyStore { epoch: store.published.begin(), ..store };
    setup.plant("aws-kms-key.9.7", 9);
    store.load(KeyName::new(9, 7).expect("a name")).expect("readable");
    setup.kms.fail_next(&[(Generate, Class::Denied)]);
    assert_eq!(store.latest_or_new(id(2)).expect("it has waited"), version(1));
}

#[test]
fn a_planted_version_that_is_found_while_the_server_runs_is_not_the_latest_either() {
    let setup = used();
    let store = setup.open().expect("open");
    setup.plant("aws-kms-key.1.7", 7);
    store.load(KeyName::new(1, 7).expect("a name")).expect("readable");
    assert_eq!((store.published.latest(id(1)), key(&store, 1, 7)), (Some(version(1)), Some(vec![7; 16])));
    assert!(setup.warns_of("key 1 version 7"));
}

#[test]
fn a_key_of_which_there_are_only_planted_versions_gets_one_of_its_own() {
    let setup = used();
    setup.plant("aws-kms-key.5.1", 5);
    setup.plant("aws-kms-key.200.1", 200);
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(5)), None);
    assert_eq!(store.latest_or_new(id(5)).expect("made"), version(2));
    assert_eq!(key(&store, 5, 1), Some(vec![5; 16]));
    assert!(matches!(store.latest_or_new(id(200)), Err(KeyStoreError::NotAllowed(_))));
    // Also if it turns up later.
    setup.plant("aws-kms-key.6.3", 6);
    assert_eq!(store.latest_or_new(id(6)).expect("made"), version(4));
}

#[test]
fn whoever_names_the_master_key_accepts_what_it_wraps() {
    let setup = used();
    setup.plant("aws-kms-key.1.7", 7);
    setup.open().expect("open");
    assert!(setup.warns_of("key 1 version 7"));
    for master_key in [OTHER_MASTER_KEY, "alias/test"] {
        let store = setup.open_with(master_key);
        assert_eq!(store.published.latest(id(1)), Some(version(7)), "{master_key}");
        assert!(!setup.warns_of("key 1 version 7"));
    }
    // From now on it is known.
    setup.plant("aws-kms-key.1.9", 9);
    assert_eq!(setup.open().expect("open").published.latest(id(1)), Some(version(9)));
}

#[test]
fn a_version_under_the_master_key_that_an_alias_stands_for_is_accepted_when_the_key_is_first_used() {
    // Also the alias of this key id alone.
    for of_ids in ["", "5=alias/of-5"] {
        let setup = used();
        let store = setup.open().expect("open");
        let of_ids = MasterKeysOfIds::parse(of_ids).expect("a list");
        store.new_keys().change(|settings| settings.master_keys = of_ids);
        setup.plant("aws-kms-key.5.1", 51);
        setup.put("aws-kms-key.5.2", b"other:0123456789abcdef");
        // Since then the alias has been pointed at the master key that wraps them.
        setup.kms.has_other_master_key.store(true, Ordering::Relaxed);
        assert_eq!(store.latest_or_new(id(5)).expect("accepted"), version(2));
        assert!(!setup.files().contains(&"aws-kms-key.5.3".to_owned()), "no version is made");
        assert_eq!(key(&store, 5, 2), Some(b"0123456789abcdef".to_vec()));
        assert!(setup.log.has("note: key 5 version 2 is accepted"), "{:?}", setup.log.0);
        setup.warns_of("key 5 version 1");
        // That lasts.
        let store = setup.open().expect("open");
        assert_eq!(store.published.latest(id(5)), Some(version(2)));
        assert!(!setup.log.has("has turned up"), "{:?}", setup.log.0);
    }
}

#[test]
fn keys_of_another_plugin_are_all_taken_over_whatever_wraps_them() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.plant("aws-kms-key.1.2", 2);
    for _ in 0..2 {
        assert_eq!(setup.open().expect("open").published.latest(id(1)), Some(version(2)));
    }
}

#[test]
fn a_key_that_was_wrapped_anew_by_another_master_key_stays_the_latest() {
    let setup = used();
    let bytes = key(&setup.open().expect("open"), 1, 1).expect("the key");
    fs::remove_file(setup.folder.path().join("aws-kms-key.1.1")).expect("remove");
    setup.put("aws-kms-key.1.1", &[&b"other:"[..], &bytes].concat());
    for _ in 0..2 {
        assert_eq!(setup.open().expect("open").published.latest(id(1)), Some(version(1)));
        assert!(!setup.warns_of("key 1 version 1"));
    }
}

#[test]
fn a_planted_version_that_was_taken_away_again_does_not_keep_the_key_from_getting_one_of_its_own() {
    let setup = used();
    setup.plant("aws-kms-key.5.1", 51);
    setup.plant("aws-kms-key.5.2", 52);
    let store = setup.open().expect("open");
    fs::remove_file(setup.folder.path().join("aws-kms-key.5.1")).expect("remove");
    assert_eq!(store.latest_or_new(id(5)).expect("made"), version(3));
}

#[test]
fn a_planted_version_does_not_make_a_key_anew_whose_own_version_is_refused() {
    let setup = used();
    let store = setup.open().expect("open");
    store.latest_or_new(id(7)).expect("made");
    let own = key(&store, 7, 1).and_then(|key| key.last().copied()).expect("the key");
    setup.kms.refuse(own, Class::Disabled);
    setup.plant("aws-kms-key.7.2", !own);
    let (store, files) = (setup.open().expect("open"), setup.files());
    setup.kms.calls();
    for _ in 0..2 {
        store.forget_failures();
        let error = store.latest_or_new(id(7)).expect_err("its data needs version 1").to_string();
        assert!(error.contains("key 7 version 1: KMS Decrypt failed: the master key is disabled"), "{error}");
        assert!(!setup.kms.calls().contains(&Generate));
        assert_eq!((setup.files(), store.published.latest(id(7))), (files.clone(), None));
    }
}
