//! What a check says of versions that this server has not loaded, and of those of which it does not know all.

use super::super::test_kms::TEST_MASTER_KEY;
use super::verify::{DAY, is_ready, lines, only_line, run, running};
use super::*;

#[test]
fn a_version_of_another_server_that_is_lost_before_anybody_has_asked_for_it_is_told_by_the_check() {
    let (setup, store, mut job, begun) = running(1);
    let other = setup.open().expect("open");
    other.latest_or_new(id(5)).expect("made");
    remove(&setup, "aws-kms-key.5.1");
    lines(&setup);
    run(&mut job, begun + DAY);
    assert!(only_line(&setup).starts_with("error: a restart would not find key 5 version 1. "));
    assert!(!is_ready(&store));
}

#[test]
fn of_a_master_key_that_fails_it_is_told_how_many_versions_it_wraps() {
    let (setup, store, _, _) = running(3);
    setup.put("aws-kms-key.30.1", &[&b"other:"[..], &[30; 16]].concat());
    store.load(KeyName::new(30, 1).expect("a name")).expect("loaded");
    // Of one of them it is not known which master key wraps it.
    let mut manifest: serde_json::Value = serde_json::from_slice(&read(&setup, MANIFEST)).expect("JSON");
    let entry = manifest["keys"][0].as_object_mut().expect("an entry");
    assert_eq!(entry.remove("master_key"), Some(TEST_MASTER_KEY.into()));
    setup.put(MANIFEST, manifest.to_string().as_bytes());
    setup.kms.disable(TEST_MASTER_KEY, true);
    lines(&setup);
    store.verify(None).result.expect_err("three fail");
    let told = lines(&setup);
    for expected in [
        format!("error: a restart would not find 2 key version(s): master key {TEST_MASTER_KEY} does not"),
        "error: a restart would not find 1 key version(s): a master key that is not known does not".to_owned(),
    ] {
        assert_eq!(told.iter().filter(|line| line.starts_with(&expected)).count(), 1, "{told:?}");
    }
}
