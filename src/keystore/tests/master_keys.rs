//! Tenants who bring their own master keys.

use super::super::test_kms::TEST_MASTER_KEY;
use super::retired::rotate_by_age_in_ten_days;
use super::*;

const TENANT: &str = "arn:aws:kms:eu-west-1:7:key/tenant";

impl Setup {
    fn open_with_tenant(&self) -> KeyStore {
        let opening = self.opening(Role::Server, self.kms.clone());
        opening.new_keys.change(|settings| {
            settings.master_keys = MasterKeysOfIds::parse(&format!("10-19={TENANT}")).expect("a list");
        });
        KeyStore::open(opening).expect("open")
    }
}

#[test]
fn a_key_is_wrapped_by_the_master_key_of_its_id_and_the_others_by_that_of_all() {
    let setup = Setup::new();
    let store = setup.open_with_tenant();
    for (number, master_key) in [(9, TEST_MASTER_KEY), (10, TENANT), (19, TENANT), (20, TEST_MASTER_KEY)] {
        store.latest_or_new(id(number)).expect("made");
        store.rotate(id(number)).expect("rotated");
        for version in [1, 2] {
            let name = KeyName::new(number, version).expect("a name");
            assert_eq!(store.files.master_key(name).as_deref(), Some(master_key), "{name}");
        }
    }
}

#[test]
fn a_tenants_master_key_that_is_disabled_costs_his_keys_and_no_others() {
    let setup = Setup::new();
    let store = setup.open_with_tenant();
    for number in [1, 2, 10] {
        store.latest_or_new(id(number)).expect("made");
    }
    setup.kms.disable(TENANT, true);
    let store = setup.open_with_tenant();
    assert_eq!([1, 2, 10].map(|number| store.published.latest(id(number)).is_some()), [true, true, false]);
    assert!(setup.log.has("loaded 2 of 3 key versions"), "{:?}", setup.log.0);
    let error = store.rotate_all().expect_err("one is disabled").to_string();
    assert!(error.starts_with("1 of 3 keys could not be rotated") && error.contains("key 10 version 2"), "{error}");
    assert_eq!([1, 2].map(|number| store.published.latest(id(number))), [Some(version(2)); 2]);
    // A new one of his is not made under another master key.
    let error = store.latest_or_new(id(11)).expect_err("disabled").to_string();
    assert!(error.contains("the master key is disabled"), "{error}");
    setup.kms.disable(TENANT, false);
    assert_eq!(setup.open_with_tenant().published.latest(id(10)), Some(version(1)));
}

#[test]
fn a_tenants_file_that_turns_up_is_trusted_for_his_ids_only() {
    let setup = Setup::new();
    setup.open().expect("open").latest_or_new(id(1)).expect("made");
    let elsewhere = Setup::new();
    elsewhere.open_with_tenant().latest_or_new(id(10)).expect("made");
    let file = read(&elsewhere, "aws-kms-key.10.1");
    setup.put("aws-kms-key.10.1", &file);
    setup.put("aws-kms-key.1.2", &file);
    // At the second start, the manifest knows the tenant's master key.
    for _ in 0..2 {
        let store = setup.open_with_tenant();
        assert_eq!([10, 1].map(|number| store.published.latest(id(number))), [Some(version(1)); 2]);
        assert!(key(&store, 1, 2).is_some(), "it can be read");
    }
}

#[test]
fn a_rotation_of_all_keys_leaves_out_the_keys_of_a_disabled_master_key_and_rotates_the_others() {
    let setup = Setup::new();
    let store = setup.open_with_tenant();
    let ids = [1, 10, 11, 12, 20];
    for number in ids {
        store.latest_or_new(id(number)).expect("made");
    }
    setup.kms.disable(TENANT, true);
    setup.kms.calls();
    let error = store.rotate_all().expect_err("one is disabled").to_string();
    assert!(error.starts_with("1 of 5 keys could not be rotated") && error.contains("2 were not tried"), "{error}");
    assert_eq!(ids.map(|number| store.published.latest(id(number)).map(KeyVersion::value)), {
        [Some(2), Some(1), Some(1), Some(1), Some(2)]
    });
    assert_eq!(setup.kms.calls().iter().filter(|call| **call == Generate).count(), 3, "one of his, and the others");
    // One that all would meet ends it.
    setup.kms.fail_next(&[(Generate, Class::NoCredentials)]);
    let error = store.rotate_all().expect_err("the same for all").to_string();
    assert!(error.starts_with("1 of 5 keys could not be rotated") && error.contains("4 were not tried"), "{error}");
}

#[test]
fn a_key_whose_own_master_key_has_no_entry_any_more_gets_no_version_under_that_of_all_others() {
    let setup = Setup::new();
    let store = setup.open_with_tenant();
    for number in [1, 10] {
        store.latest_or_new(id(number)).expect("made");
    }
    drop(store);
    let store = Arc::new(setup.open().expect("open"));
    setup.kms.calls();
    let error = store.rotate(id(10)).expect_err("its entry is gone").to_string();
    assert!(error.contains(TENANT) && error.contains("rewrap_key = 10"), "{error}");
    assert_eq!(setup.kms.calls(), []);
    let error = store.rotate_all().expect_err("one is kept apart").to_string();
    assert!(
        error.starts_with("1 of 2 keys could not be rotated") && error.contains("key 10 is not rotated"),
        "{error}"
    );
    let latest = |store: &KeyStore| [1, 10].map(|number| store.published.latest(id(number)).map(KeyVersion::value));
    assert_eq!(latest(&store), [Some(2), Some(1)]);
    assert!(store.figures().readiness().can_make_keys());
    // Nor for its age, without a word each day.
    store.set_rotation_period(1);
    setup.log.0.lock().expect("log").clear();
    rotate_by_age_in_ten_days(&store);
    assert_eq!(latest(&store), [Some(3), Some(1)]);
    assert!(!setup.log.has("error"), "{:?}", setup.log.0);
    // With the entry, and as one like all others.
    store.new_keys().change(|settings| {
        settings.master_keys = MasterKeysOfIds::parse(&format!("10={TENANT}")).expect("a list");
    });
    store.rotate(id(10)).expect("rotated");
    store.new_keys().change(|settings| settings.master_keys = MasterKeysOfIds::default());
    store.rewrap(Some(id(10))).expect("re-wrapped");
    store.rotate(id(10)).expect("rotated");
    assert_eq!(latest(&store), [Some(3), Some(3)]);
}

#[test]
fn the_error_about_a_tenants_master_key_says_that_it_is_his_alone() {
    let setup = Setup::new();
    let store = setup.open_with_tenant();
    for number in [1, 10, 12] {
        store.latest_or_new(id(number)).expect("made");
    }
    setup.kms.disable(TENANT, true);
    store.verify(None).result.expect_err("disabled");
    assert!(setup.log.has("It is the master key of key id 10, 12 alone"), "{:?}", setup.log.0);
    setup.kms.disable(TENANT, false);
    setup.kms.disable(TEST_MASTER_KEY, true);
    setup.log.0.lock().expect("log").clear();
    store.verify(None).result.expect_err("disabled");
    assert!(setup.log.has("a restart would not find") && !setup.log.has(" alone"), "{:?}", setup.log.0);
}
