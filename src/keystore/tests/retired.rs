//! Key versions that the tool retires while a server runs that knows them.

use super::super::background::Job;
use super::super::offline::{OpenFolder, retire};
use super::super::retry::Retry;
use super::super::rotation_period::RotateByAge;
use super::*;

fn name(id: u32, version: u32) -> KeyName {
    KeyName::new(id, version).expect("a name")
}

fn retire_in(setup: &Setup, names: &[KeyName]) {
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    retire(&folder, names).expect("retired");
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
    // Whoever asks for it is told, and that changes nothing for a restart.
    assert!(matches!(store.load(name(7, 1)), Err(KeyStoreError::Gone(..))));
    assert!(is_ready());
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

#[test]
fn a_key_that_is_retired_as_a_whole_is_not_rotated_with_all_others_nor_for_its_age() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    remove(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.2");
    retire_in(&setup, &[name(7, 1), name(7, 2)]);
    store.verify(None).result.expect("good");
    assert_eq!(store.rotate_all().expect("rotated"), 1);
    store.set_rotation_period(1);
    let start = SystemTime::now();
    let begun = Instant::now();
    let now = Arc::new(Mutex::new(begun));
    let of_job = now.clone();
    let wall = move || start + Duration::from_secs(864_000) + (*of_job.lock().expect("now") - begun);
    let mut job = RotateByAge::new(store.clone(), Box::new(wall));
    let before = store.figures().rotations();
    for minutes in 0..300 {
        *now.lock().expect("now") = begun + Duration::from_secs(60 * minutes);
        job.run(begun + Duration::from_secs(60 * minutes));
    }
    assert_eq!(store.figures().rotations() - before, 1, "key 1");
    assert!(!setup.files().iter().any(|file| file.starts_with("aws-kms-key.7.")), "{:?}", setup.files());
}
