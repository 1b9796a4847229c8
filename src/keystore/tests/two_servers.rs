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
    assert_eq!(again.published.count(), 21);
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
