//! Two servers that were given the same folder.

use super::*;

#[test]
fn a_key_that_the_other_server_has_made_meanwhile_is_used_and_not_made_again() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(1)).expect("made");
    setup.kms.calls();
    two.latest_or_new(id(1)).expect("loaded");
    assert_eq!(setup.kms.calls(), [Decrypt]);
    assert_eq!(key(&one, 1, 1), key(&two, 1, 1));
}

#[test]
fn rotations_at_the_same_time_give_different_numbers_and_both_are_in_the_manifest() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(1)).expect("made");
    two.latest_or_new(id(1)).expect("loaded");
    let rotate =
        |store: &KeyStore| -> Vec<u32> { (0..10).map(|_| store.rotate(id(1)).expect("rotate").value()).collect() };
    let mut versions = std::thread::scope(|scope| {
        let other = scope.spawn(|| rotate(&two));
        [rotate(&one), other.join().expect("no panic")].concat()
    });
    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<u32>>());
    setup.log.0.lock().expect("log").clear();
    let again = setup.open().expect("open");
    assert!((1..=21).all(|version| key(&again, 1, version).is_some()));
    assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

#[test]
fn a_first_key_that_both_make_at_the_same_time_is_the_same_for_both() {
    for _ in 0..20 {
        let setup = Setup::new();
        let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| two.latest_or_new(id(1)).expect("made or loaded"));
            one.latest_or_new(id(1)).expect("made or loaded");
            other.join().expect("no panic");
        });
        assert_eq!(key(&one, 1, 1), key(&two, 1, 1));
    }
}

#[test]
fn a_key_file_that_the_other_server_may_have_read_is_not_taken_back_when_the_manifest_cannot_be_written() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    // A folder that is not empty cannot be replaced by a file.
    fs::create_dir_all(setup.folder.path().join(MANIFEST).join("in the way")).expect("mkdir");
    fs::create_dir_all(setup.folder.path().join("aws-kms-key.manifest.damaged")).expect("mkdir");
    fs::write(setup.folder.path().join("aws-kms-key.manifest.damaged/in the way"), "").expect("write");
    assert_eq!(one.latest_or_new(id(1)).expect("made"), version(1));
    assert!(setup.log.has("warning: key 1 version 1 is not in the manifest of the key files yet"), "{:?}", setup.log.0);
    assert_eq!(two.latest_or_new(id(1)).expect("loaded"), version(1));
    assert_eq!(key(&one, 1, 1), key(&two, 1, 1));
    // Later, it is recorded with the next one.
    fs::remove_dir_all(setup.folder.path().join(MANIFEST)).expect("remove");
    one.rotate(id(1)).expect("rotate");
    setup.log.0.lock().expect("log").clear();
    setup.open().expect("open");
    assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

#[test]
fn a_manifest_that_another_server_of_a_later_version_writes_meanwhile_is_left_alone() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    fs::remove_file(setup.folder.path().join(MANIFEST)).expect("remove");
    setup.put(MANIFEST, b"{\"format\": 2, \"news\": true}");
    for refused in [store.rotate(id(1)), store.latest_or_new(id(5))] {
        let error = refused.expect_err("no new keys").to_string();
        assert!(error.contains("format 2"), "{error}");
    }
    assert_eq!(read(&setup, MANIFEST), b"{\"format\": 2, \"news\": true}");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
}
