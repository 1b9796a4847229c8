//! What the list of key versions says of each of them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::super::background::Job;
use super::super::retry::Retry;
use super::super::test_kms::OTHER_MASTER_KEY;
use super::super::version_list::{ListedVersion, VersionState};
use super::*;

fn list(store: &KeyStore) -> BTreeMap<(u32, u32), ListedVersion> {
    let list = store.figures().version_list();
    assert!(list.is_sorted_by_key(|listed| listed.name));
    list.into_iter().map(|listed| ((listed.name.id.value(), listed.name.version.value()), listed)).collect()
}

fn states(store: &KeyStore) -> Vec<((u32, u32), VersionState)> {
    list(store).into_iter().map(|(name, listed)| (name, listed.state)).collect()
}

#[test]
fn a_version_says_how_and_for_whom_it_was_made_and_still_does_after_a_restart() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    assert_eq!(states(&store), []);
    let before = SystemTime::now() - Duration::from_secs(1);
    store.latest_or_new(id(7)).expect("new");
    store.new_keys().change(|settings| {
        settings.spec = KeySpec::Aes256;
        settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY);
        settings.algorithm = Algorithm::AesCtr;
        settings.encryption_context = EncryptionContext::parse("server=db1").expect("a context");
    });
    store.rotate(id(7)).expect("rotate");
    let again = setup.open().expect("open");
    for store in [&store, &again] {
        let list = list(store);
        let [first, second] = [1, 2].map(|version| &list[&(7, version)]);
        assert_eq!((list.len(), first.is_latest, second.is_latest), (2, false, true));
        assert_eq!((first.algorithm, second.algorithm), (Some(Algorithm::AesCbc), Some(Algorithm::AesCtr)));
        assert_eq!((first.key_bits, second.key_bits), (Some(128), Some(256)));
        assert_eq!(second.master_key.as_deref(), Some(OTHER_MASTER_KEY));
        assert_ne!(first.master_key, second.master_key);
        let bound = second.encryption_context.clone().expect("a context");
        assert_eq!(first.encryption_context, Some(EncryptionContext::default()));
        assert_eq!(bound, EncryptionContext::parse("server=db1").expect("a context").with_key_id(7));
        for version in [first, second] {
            assert_eq!((version.state, version.wraps, &version.error), (VersionState::Ok, 1, &None));
            assert_eq!(version.created_by, "dba@localhost");
            assert!(version.created.is_some_and(|created| created >= before), "{version:?}");
            assert!(version.last_verified.is_some_and(|verified| verified >= before), "{version:?}");
        }
    }
    let verified = list(&again)[&(7, 1)].last_verified.expect("at start");
    assert!(verified > list(&store)[&(7, 1)].last_verified.expect("when it was made"), "the start was one");
    again.published.clear();
    assert_eq!(list(&again)[&(7, 1)].key_bits, None);
}

#[test]
fn who_had_a_version_made_is_not_changed_by_a_rewrap_nor_by_another_server() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    let other = Opening { who: || "other@host".to_owned(), ..setup.opening(Role::Server, setup.kms.clone()) };
    let other = KeyStore::open(other).expect("open");
    other.rewrap(None).expect("rewrapped");
    other.rotate(id(1)).expect("rotate");
    let by = |store: &KeyStore| list(store).into_values().map(|listed| listed.created_by).collect::<Vec<_>>();
    assert_eq!(by(&other), ["dba@localhost", "other@host"]);
    assert_eq!(by(&setup.open().expect("open")), ["dba@localhost", "other@host"]);
    let manifest = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    assert_eq!(manifest.matches("\"created_by\"").count(), 2, "{manifest}");
}

#[test]
fn an_older_manifest_and_a_key_that_was_found_do_not_say_for_whom() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.4.1", 4);
    let store = setup.open().expect("open");
    assert_eq!((list(&store)[&(4, 1)].created_by.as_str(), list(&store)[&(4, 1)].state), ("", VersionState::Ok));
    assert!(!String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8").contains("created_by"));
}

#[test]
fn a_rewrapped_version_has_a_second_wrap_until_a_start_has_proven_the_first() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(2)).expect("new");
    setup.kms.has_other_master_key.store(true, std::sync::atomic::Ordering::Relaxed);
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    store.rewrap(Some(id(1))).expect("rewrapped");
    let wraps = |store: &KeyStore| [1, 2].map(|id| list(store)[&(id, 1)].wraps);
    assert_eq!(wraps(&store), [2, 1]);
    assert_eq!(list(&store)[&(1, 1)].master_key.as_deref(), Some(OTHER_MASTER_KEY));
    // From the copy: the file itself was not unwrapped.
    setup.kms.disable(OTHER_MASTER_KEY, true);
    let from_copy = setup.open().expect("open");
    assert_eq!((wraps(&from_copy), list(&from_copy)[&(1, 1)].last_verified), ([2, 1], None));
    setup.kms.disable(OTHER_MASTER_KEY, false);
    assert_eq!(wraps(&setup.open().expect("open")), [1, 1]);
}

#[test]
fn a_version_that_failed_or_is_missing_says_why_until_it_works() {
    let setup = Setup::new();
    (1..=3).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
    drop(setup.open().expect("open"));
    let file = read(&setup, "aws-kms-key.2.1");
    fs::remove_file(setup.folder.path().join("aws-kms-key.2.1")).expect("remove");
    setup.kms.refuse(3, Class::Denied);
    // Was never loaded, so the manifest does not know it.
    setup.put("aws-kms-key.5.1", b"garbage");
    let store = Arc::new(setup.open().expect("open"));
    let (ok, failed, missing) = (VersionState::Ok, VersionState::Failed, VersionState::Missing);
    assert_eq!(states(&store), [((1, 1), ok), ((2, 1), missing), ((3, 1), failed), ((5, 1), failed)]);
    let rows = list(&store);
    let error = |id| rows[&(id, 1)].error.as_deref().unwrap_or_default();
    assert!(error(2).contains("aws-kms-key.2.1 is gone. Restore the file from a backup"), "{}", error(2));
    assert!(error(3).contains("access denied"), "{}", error(3));
    assert_eq!((rows[&(2, 1)].wraps, rows[&(3, 1)].wraps), (0, 1));
    assert_eq!((rows[&(3, 1)].key_bits, rows[&(3, 1)].last_verified, rows[&(3, 1)].is_latest), (None, None, false));
    assert!(rows[&(3, 1)].created.is_some() && rows[&(5, 1)].created.is_none());
    // A number that nobody has ever made is no version.
    store.load(KeyName::new(1, 9).expect("a name")).expect_err("never made");
    assert_eq!(list(&store).len(), 4);
    setup.put("aws-kms-key.2.1", &file);
    setup.kms.allow(3);
    store.forget_failures();
    Retry::new(store.clone()).run(Instant::now());
    assert_eq!(states(&store)[..3], [((1, 1), ok), ((2, 1), ok), ((3, 1), ok)]);
    assert!(list(&store)[&(3, 1)].last_verified.is_some() && list(&store)[&(3, 1)].error.is_none());
}

#[test]
fn a_version_that_may_only_be_read_is_not_trusted_and_never_the_latest() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    // The same key file, under the ARN of a master key that nobody has named here.
    let foreign = Setup::new();
    let foreign_store = foreign.open().expect("open");
    foreign.kms.has_other_master_key.store(true, std::sync::atomic::Ordering::Relaxed);
    foreign_store.latest_or_new(id(1)).expect("new");
    setup.put("aws-kms-key.1.9", &read(&foreign, "aws-kms-key.1.1"));
    let store = setup.open().expect("open");
    assert_eq!(states(&store), [((1, 1), VersionState::Ok), ((1, 9), VersionState::NotTrusted)]);
    assert_eq!([1, 9].map(|version| list(&store)[&(1, version)].is_latest), [true, false]);
    // Nor when there is a later one.
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(10));
    let expected = [((1, 1), VersionState::Ok), ((1, 9), VersionState::NotTrusted), ((1, 10), VersionState::Ok)];
    assert_eq!(states(&store), expected);
}

#[test]
fn a_version_that_was_left_behind_when_the_folder_was_copied_is_not_missing() {
    let setup = Setup::new();
    let open = |setup: &Setup| {
        let opening = Opening { datadir: setup.folder.path(), ..setup.opening(Role::Server, setup.kms.clone()) };
        KeyStore::open(opening).expect("open")
    };
    let store = open(&setup);
    store.latest_or_new(id(1)).expect("new");
    store.rotate(id(1)).expect("rotate");
    let copy = Setup::new();
    for file in setup.files().iter().filter(|file| *file != "aws-kms-key.1.2") {
        fs::copy(setup.folder.path().join(file), copy.folder.path().join(file)).expect("copy");
    }
    let store = open(&copy);
    assert_eq!(states(&store), [((1, 1), VersionState::Ok), ((1, 2), VersionState::LeftBehind)]);
    assert_eq!((list(&store)[&(1, 2)].wraps, list(&store)[&(1, 1)].is_latest), (0, true));
}

#[test]
fn a_version_of_another_server_is_not_loaded_until_it_is_asked_for() {
    let setup = Setup::new();
    let [one, other] = [(); 2].map(|()| setup.open().expect("open"));
    other.latest_or_new(id(5)).expect("new");
    one.latest_or_new(id(6)).expect("new");
    assert_eq!(states(&one), [((5, 1), VersionState::NotLoaded), ((6, 1), VersionState::Ok)]);
    one.latest_or_new(id(5)).expect("loaded");
    assert_eq!(states(&one), [((5, 1), VersionState::Ok), ((6, 1), VersionState::Ok)]);
}

#[test]
fn a_job_can_say_when_it_has_proven_a_version() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    let before = list(&store)[&(1, 1)].last_verified.expect("when it was made");
    let context = EncryptionContext::parse("server=db2").expect("a context");
    let proven = |was_unwrapped| {
        store.figures().known_versions().checked(KeyName::new(1, 1).expect("a name"), was_unwrapped, Some(&context));
        (list(&store)[&(1, 1)].last_verified.expect("when"), list(&store)[&(1, 1)].encryption_context.clone())
    };
    assert_eq!(proven(false), (before, Some(context.clone())));
    assert!(proven(true).0 > before);
}

#[test]
fn the_list_is_read_from_memory() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    setup.kms.calls();
    fs::remove_dir_all(setup.folder.path()).expect("removed");
    assert_eq!(states(&store), [((1, 1), VersionState::Ok)]);
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_key_file_that_is_put_back_counts_as_soon_as_it_is_loaded() {
    let setup = used();
    let kept = read(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.1");
    let store = setup.open().expect("open");
    assert_eq!(list(&store)[&(7, 1)].wraps, 0);
    setup.put("aws-kms-key.7.1", &kept);
    store.forget_failures();
    store.load(KeyName::new(7, 1).expect("a name")).expect("loaded");
    assert_eq!(list(&store)[&(7, 1)].wraps, 1);
}
