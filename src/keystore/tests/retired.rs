//! Key versions that the tool retires while a server runs that knows them.

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::super::offline::{InnoDb, OpenFolder, retire};
use super::super::retry::Retry;
use super::super::rotation_period::RotateByAge;
use super::super::test_kms::OTHER_MASTER_KEY;
use super::extra_master_keys::list;
use super::*;

fn name(id: u32, version: u32) -> KeyName {
    KeyName::new(id, version).expect("a name")
}

fn retire_in(setup: &Setup, names: &[KeyName]) {
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    retire(&folder, names, &InnoDb::None).expect("retired");
}

fn listed(store: &KeyStore) -> Vec<(KeyName, VersionState)> {
    store.figures().version_list().iter().map(|version| (version.name, version.state)).collect()
}

#[test]
fn a_version_that_a_start_has_missed_is_not_missed_any_more_after_the_next_check() {
    let setup = used();
    let kept = read(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.1");
    let store = Arc::new(setup.open().expect("open"));
    let is_ready = || store.figures().readiness().restart_is_ready();
    assert_eq!((store.figures().key_versions_missing(), is_ready()), (1, false));
    retire_in(&setup, &[name(7, 1)]);
    store.verify(None).result.expect("good");
    assert_eq!((store.figures().key_versions_missing(), store.figures().keys_failed(), is_ready()), (0, 0, true));
    assert_eq!(listed(&store), [(name(1, 1), VersionState::Ok), (name(7, 2), VersionState::Ok)]);
    // If data asks for it, it is needed all the same.
    assert!(matches!(store.load(name(7, 1)), Err(KeyStoreError::Retired(..))));
    assert_eq!((store.figures().key_versions_missing(), store.figures().keys_failed(), is_ready()), (1, 1, false));
    for _ in 0..2 {
        let told = store.verify(None);
        assert!(told.result.is_err() && told.lines[0].contains("key 7 version 1: it was retired"), "{:?}", told.lines);
        assert_eq!((store.figures().key_versions_missing(), is_ready()), (1, false));
    }
    // If its file is back, and KMS does not unwrap it now, it is tried again.
    setup.put("aws-kms-key.7.1", &kept);
    setup.kms.fail_next(&[(Decrypt, Class::Transient)]);
    store.forget_failures();
    assert!(store.load(name(7, 1)).is_err());
    assert!(!is_ready());
    store.note_versions();
    let mut retry = Retry::new(store.clone());
    retry.run(Instant::now() + Duration::from_secs(60));
    assert!(key(&store, 7, 1).is_some() && is_ready());
}

/// Runs the job that rotates keys for five hours, ten days from now.
pub(super) fn rotate_by_age_in_ten_days(store: &Arc<KeyStore>) {
    let (start, begun) = (SystemTime::now(), Instant::now());
    let now = Arc::new(Mutex::new(begun));
    let of_job = now.clone();
    let wall = move || start + Duration::from_secs(864_000) + (*of_job.lock().expect("now") - begun);
    let mut job = RotateByAge::new(store.clone(), Box::new(wall));
    for minutes in 0..300 {
        *now.lock().expect("now") = begun + Duration::from_secs(60 * minutes);
        job.run(begun + Duration::from_secs(60 * minutes));
    }
}

#[test]
fn a_key_that_is_retired_as_a_whole_is_not_rotated_with_all_others_nor_for_its_age() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    remove(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.2");
    retire_in(&setup, &[name(7, 1), name(7, 2)]);
    assert!(store.verify(None).result.is_err(), "new data is encrypted with it");
    assert_eq!(store.rotate_all().expect("rotated"), 1);
    store.set_rotation_period(1);
    let before = store.figures().rotations();
    rotate_by_age_in_ten_days(&store);
    assert_eq!(store.figures().rotations() - before, 1, "key 1");
    assert!(!setup.files().iter().any(|file| file.starts_with("aws-kms-key.7.")), "{:?}", setup.files());
}

#[test]
fn a_retired_version_that_is_in_memory_is_told_of_and_who_names_its_key_gets_its_file_back() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    let before = [1, 2].map(|version| key(&store, 7, version));
    remove(&setup, "aws-kms-key.7.1");
    retire_in(&setup, &[name(7, 1)]);
    store.verify(None).result.expect("good");
    let list = listed(&store);
    assert_eq!(list[1], (name(7, 1), VersionState::Retired), "{list:?}");
    assert_eq!(store.figures().version_list()[1].wraps, 0);
    // A re-wrap of all leaves it, and says so.
    let all = store.rewrap(None).expect("re-wrapped");
    assert_eq!((all.count, &all.retired[..], &all.taken_back[..]), (2, &[name(7, 1)][..], &[][..]));
    assert!(!setup.files().contains(&"aws-kms-key.7.1".to_owned()));
    // Nor does one of another key bring it back.
    assert_eq!(store.rewrap(Some(id(1))).expect("re-wrapped").taken_back, []);
    assert!(store.files.is_retired(name(7, 1)));
    let of_key = store.rewrap(Some(id(7))).expect("re-wrapped");
    assert_eq!((of_key.count, &of_key.retired[..], &of_key.taken_back[..]), (2, &[][..], &[name(7, 1)][..]));
    let store = setup.open().expect("open");
    assert_eq!([1, 2].map(|version| key(&store, 7, version)), before);
    assert!(store.files.retired().is_empty() && store.figures().readiness().restart_is_ready());
    // After a restart without it, nobody can.
    remove(&setup, "aws-kms-key.7.1");
    retire_in(&setup, &[name(7, 1)]);
    let store = setup.open().expect("open");
    assert_eq!(store.rewrap(Some(id(7))).expect("re-wrapped").count, 1);
    let error = store.load(name(7, 1)).expect_err("retired").to_string();
    assert!(error.starts_with("key 7 version 1: it was retired, and somebody asks for it"), "{error}");
    let error = store.load(name(7, 1)).expect_err("retired").to_string();
    assert!(error.contains("it was retired") && !error.contains("is gone"), "{error}");
}

#[test]
fn a_key_that_is_retired_as_a_whole_beside_a_server_is_an_error_there_and_comes_back_for_who_names_it() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    for version in [1, 2] {
        remove(&setup, &format!("aws-kms-key.7.{version}"));
    }
    retire_in(&setup, &[name(7, 1), name(7, 2)]);
    let is_ready = || store.figures().readiness().restart_is_ready();
    for only in [None, Some(id(7)), None] {
        let told = store.verify(only);
        assert!(told.result.is_err() && told.lines[0].contains("it is the latest of its key and was retired"));
        assert!(!is_ready());
    }
    let log = std::mem::take(&mut *setup.log.0.lock().expect("log"));
    let told = log.iter().filter(|line| line.contains("key 7 version 2: it is the latest of its key and was retired"));
    assert_eq!(told.count(), 1, "{log:?}");
    assert_eq!(store.rewrap(Some(id(7))).expect("re-wrapped").count, 2);
    store.verify(None).result.expect("good");
    assert!(is_ready() && !setup.log.has("was retired"), "{:?}", setup.log.0);
    // It is told once more if it happens once more.
    for version in [1, 2] {
        remove(&setup, &format!("aws-kms-key.7.{version}"));
        let _ = fs::remove_file(setup.folder.path().join(format!("aws-kms-key.7.{version}.before-rewrap")));
    }
    retire_in(&setup, &[name(7, 1), name(7, 2)]);
    assert!(store.verify(None).result.is_err());
    assert!(setup.log.has("key 7 version 2: it is the latest of its key and was retired"), "{:?}", setup.log.0);
    assert_eq!(store.rewrap(Some(id(7))).expect("re-wrapped").count, 2);
    assert!(matches!(store.rewrap(Some(id(9))), Err(KeyStoreError::NoSuchKey(_))));
    drop(store);
    assert_eq!(setup.open().expect("open").published.latest(id(7)), Some(version(2)));
}

#[test]
fn a_retired_version_whose_file_is_put_back_is_needed_again_after_the_next_check() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    store.new_keys().change(|settings| settings.extra_master_keys = list(&[OTHER_MASTER_KEY]));
    let kept = read(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.1");
    retire_in(&setup, &[name(7, 1)]);
    let mut job = MakeExtraCopies::new(store.clone());
    store.verify(None).result.expect("good");
    job.run(Instant::now());
    let has_copies = || setup.files().contains(&"aws-kms-key.7.1.extra".to_owned());
    assert!(!has_copies());
    setup.put("aws-kms-key.7.1", &kept);
    store.verify(None).result.expect("good");
    assert!(store.files.retired().is_empty());
    assert_eq!(listed(&store)[1], (name(7, 1), VersionState::Ok));
    job.run(Instant::now());
    assert!(has_copies());
    remove(&setup, "aws-kms-key.7.1");
    assert!(store.verify(None).result.is_err(), "it is missed again");
}

#[test]
fn a_file_that_is_put_back_and_was_wrapped_anew_meanwhile_is_left_to_the_next_start() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    let kept = read(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.1");
    retire_in(&setup, &[name(7, 1)]);
    setup.put("aws-kms-key.7.1", &[b"again:", &kept[b"wrapped:".len()..]].concat());
    store.verify(None).result.expect("good");
    assert!(store.files.is_retired(name(7, 1)));
    // What is put back is re-wrapped, whatever the manifest says, and is not left out.
    let all = store.rewrap(None).expect("re-wrapped");
    assert_eq!((all.count, all.retired), (3, vec![]));
    assert!(!store.files.is_retired(name(7, 1)));
}
