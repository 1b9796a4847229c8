//! New versions of all keys, in groups.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::lossy_disk::{Faults, LossyDisk};
use super::two_servers::Meanwhile;
use super::*;

impl Setup {
    pub(super) fn open_on(&self, disk: &LossyDisk) -> KeyStore {
        let (folder, datadir) = (Path::new("/keys"), Path::new("/data"));
        let opening = Opening { folder, datadir, ..self.opening(Role::Server, self.kms.clone()) };
        KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open")
    }
}

/// Files of keys 1 to `keys`, each of version 1.
fn with_keys(keys: u32) -> Setup {
    let setup = Setup::new();
    (1..=keys).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), 1));
    setup
}

fn latest(store: &KeyStore, keys: u32) -> Vec<u32> {
    (1..=keys).map(|number| store.published.latest(id(number)).map_or(0, KeyVersion::value)).collect()
}

#[test]
fn how_often_the_folder_and_the_manifest_are_looked_at_does_not_depend_on_the_number_of_keys() {
    let looks = [64, 640].map(|keys| {
        let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data"]));
        for number in 1..=keys {
            disk.copy_in(&format!("/keys/aws-kms-key.{number}.1"), wrap(&[1; 16]).as_bytes());
        }
        let store = setup.open_on(&disk);
        disk.set_faults(Faults::default());
        assert_eq!(store.rotate_all().expect("all"), keys as usize);
        let looks = disk.looks();
        assert_eq!(latest(&store, keys), vec![2; keys as usize]);
        looks
    });
    // On a slow machine the lock is given up a few times, after `LONGEST_HOLD`, and then there is one more look.
    assert!(looks[0] < 100 && looks[1] < 2 * looks[0], "{looks:?}");
}

#[test]
fn the_lock_of_the_folder_is_not_held_for_long_and_after_it_the_folder_is_looked_at_again() {
    let looks = [Duration::from_secs(60), Duration::ZERO].map(|longest_hold| {
        let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data"]));
        let ids: Vec<KeyId> = (1..=64).map(id).collect();
        for id in &ids {
            disk.copy_in(&format!("/keys/aws-kms-key.{id}.1"), wrap(&[1; 16]).as_bytes());
        }
        let store = setup.open_on(&disk);
        disk.set_faults(Faults::default());
        let maker = store.maker(|| store.highest(id(1))).expect("a server");
        let rotation =
            super::super::rotate_all::Rotation::new(maker, store.published, &|_| ()).with_longest_hold(longest_hold);
        assert_eq!(rotation.run(&ids, |id| store.new_keys.recipe_for(id)).0.len(), 64);
        disk.looks()
    });
    // For each key instead of each group: once in the folder, and once in the manifest.
    assert_eq!(looks[1] - looks[0], 2 * (64 - 16));
}

#[test]
fn two_servers_that_rotate_all_keys_at_the_same_time_use_no_number_twice() {
    const KEYS: u32 = 40;
    for longest_hold in [Duration::ZERO, Duration::from_secs(2)] {
        let setup = with_keys(KEYS);
        let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
        let rotate = |store: &KeyStore| {
            let mut names = Vec::new();
            for _ in 0..3 {
                let ids: Vec<KeyId> = (1..=KEYS).map(id).collect();
                let maker = store.maker(|| store.highest(id(1))).expect("a server");
                let rotation = super::super::rotate_all::Rotation::new(maker, store.published, &|_| ())
                    .with_longest_hold(longest_hold);
                let (made, rotated) = rotation.run(&ids, |id| store.new_keys.recipe_for(id));
                rotated.expect("all");
                names.extend(made.iter().map(|new| new.name));
                store.record(&made);
                store.publish_all_new(&made);
            }
            names
        };
        let mut names = std::thread::scope(|scope| {
            let other = scope.spawn(|| rotate(&two));
            [rotate(&one), other.join().expect("no panic")].concat()
        });
        names.sort_unstable();
        let all = (1..=KEYS).flat_map(|id| (2..=7).filter_map(move |version| KeyName::new(id, version)));
        assert_eq!(names, all.collect::<Vec<_>>());
        setup.log.0.lock().expect("log").clear();
        assert_eq!(latest(&setup.open().expect("open"), KEYS), vec![7; KEYS as usize]);
        assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
    }
}

#[test]
fn a_number_that_somebody_has_used_while_kms_was_asked_is_not_used_again() {
    let setup = with_keys(20);
    let folder = setup.folder.path().to_owned();
    // With the files of groups in the making.
    let copy_in = move || {
        for number in 1..=20 {
            let path = folder.join(format!("aws-kms-key.{number}.9"));
            if !path.exists() {
                fs::write(path, wrap(&[9; 16]).as_bytes()).expect("write");
            }
        }
    };
    let store = setup.open().expect("open");
    let store = KeyStore { kms: Arc::new(Meanwhile(TestKms::default(), copy_in)), ..store };
    assert_eq!(store.rotate_all().expect("all"), 20);
    assert_eq!(latest(&store, 20), [10; 20]);
    assert!(setup.log.has("note: rotated 20 keys, asked for by dba@localhost"), "{:?}", setup.log.0);
    let made = |number: u32| {
        let file = setup.folder.path().join(format!("aws-kms-key.{number}.10"));
        format!(
            "note: made key {number} version 10 (AES_128, AES_CBC), wrapped by master key alias/test, in file {}",
            file.display()
        )
    };
    assert!((1..=20).all(|number| setup.log.has(&made(number))), "{:?}", setup.log.0);
    assert!((1..=20).all(|number| read(&setup, &format!("aws-kms-key.{number}.9")) == wrap(&[9; 16]).as_bytes()));
}

#[test]
fn a_number_whose_entry_another_server_has_written_while_kms_was_asked_is_not_used_again() {
    let setup = with_keys(3);
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    // The other server has made version 2 of key 3, whose file is lost.
    let lost = setup.folder.path().join("aws-kms-key.3.2");
    let is_made = AtomicUsize::new(0);
    let meanwhile = move || {
        if is_made.fetch_add(1, Ordering::Relaxed) == 2 {
            assert_eq!(two.rotate(id(3)).expect("rotate"), version(2));
            fs::remove_file(&lost).expect("remove");
        }
    };
    let one = KeyStore { kms: Arc::new(Meanwhile(TestKms::default(), meanwhile)), ..one };
    one.rotate_all().expect("all");
    assert_eq!(latest(&one, 3), [2, 2, 3]);
}

#[test]
fn a_rotation_that_is_killed_ends_before_the_next_key() {
    // In groups of one key, and of three: the fifth and sixth are generated, and not stored.
    for (keys, killed_at, rotated) in [(5, 2, 2), (40, 6, 4)] {
        let setup = with_keys(keys);
        let calls = AtomicUsize::new(0);
        let kill = move || {
            if calls.fetch_add(1, Ordering::Relaxed) + 1 == killed_at {
                waits::tests::MUST_END.set(true);
            }
        };
        let store = setup.open().expect("open");
        let store = KeyStore { kms: Arc::new(Meanwhile(TestKms::default(), kill)), ..store };
        let error = store.rotate_all().expect_err("killed");
        waits::tests::MUST_END.set(false);
        let KeyStoreError::Several { failed: 1, of, skipped, first } = error else { panic!("{error}") };
        assert_eq!((of, skipped), (keys as usize, keys as usize - rotated - 1));
        assert!(matches!(*first, KeyStoreError::GivenUp(_)), "{first}");
        let expected: Vec<u32> = (0..keys as usize).map(|place| if place < rotated { 2 } else { 1 }).collect();
        assert_eq!(latest(&store, keys), expected);
        assert_eq!(latest(&setup.open().expect("open"), keys), expected);
    }
}

#[test]
fn a_folder_that_cannot_be_locked_ends_a_rotation_of_all_keys_at_once_and_kms_is_asked_nothing() {
    let setup = with_keys(40);
    let store = setup.open().expect("open");
    setup.kms.calls();
    fs::remove_file(setup.folder.path().join(LOCK)).expect("remove");
    fs::create_dir(setup.folder.path().join(LOCK)).expect("in the way");
    let error = store.rotate_all().expect_err("no lock").to_string();
    assert!(error.starts_with("1 of 40 keys could not be rotated") && error.contains("39 were not tried"), "{error}");
    assert_eq!((setup.kms.calls(), latest(&store, 40)), (vec![], vec![1; 40]));
    assert!(setup.log.has("error: rotation failed: ") && !setup.log.has("note: rotated"), "{:?}", setup.log.0);
}

#[test]
fn what_was_generated_before_an_error_that_is_the_same_for_all_is_stored() {
    let setup = with_keys(40);
    let store = setup.open().expect("open");
    // The second key of a group of three; the third is not tried.
    setup.kms.fail_after(4, Generate, Class::NoCredentials);
    let error = store.rotate_all().expect_err("no credentials").to_string();
    assert!(error.starts_with("1 of 40 keys could not be rotated") && error.contains("35 were not tried"), "{error}");
    let expected: Vec<u32> = (1..=40).map(|number| if number <= 4 { 2 } else { 1 }).collect();
    assert_eq!(latest(&store, 40), expected);
}
