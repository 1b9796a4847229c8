//! The published keys under a model checker: readers against publish, unload and the next init, over many interleavings.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers

use std::sync::Arc;

use shuttle::thread;

use super::{DataKey, Epoch, PublishedKeys, hide};
use crate::cipher::Algorithm;
use crate::keystore::KeyName;

#[test]
fn a_reader_sees_versions_only_rise_each_with_its_key_and_its_algorithm() {
    check(|| {
        let keys = Arc::new(PublishedKeys::new());
        keys.publish(Epoch::default(), vec![(name(1), key(1))]);
        let publisher = {
            let keys = keys.clone();
            thread::spawn(move || {
                keys.publish(Epoch::default(), vec![(name(2), key(2))]);
                keys.publish(Epoch::default(), vec![(name(3), key(3))]);
            })
        };
        let reader = {
            let keys = keys.clone();
            thread::spawn(move || {
                let mut before = 1;
                for _ in 0..3 {
                    let latest = keys.latest(name(1).id).expect("it answered once, so it always does").value();
                    assert!(latest >= before);
                    before = latest;
                    assert_eq!(keys.with_key_bytes(name(latest), |key| key[0]), Some(latest as u8));
                    assert_eq!(keys.algorithm(name(latest)), algorithm(latest));
                }
            })
        };
        publisher.join().expect("no panic");
        reader.join().expect("no panic");
        assert_eq!(keys.latest(name(1).id), Some(name(3).version));
    });
}

#[test]
fn publishers_of_different_keys_lose_nothing_of_each_other() {
    check(|| {
        let keys = Arc::new(PublishedKeys::new());
        let publishers: Vec<_> = [1, 2, 3]
            .map(|version| {
                let keys = keys.clone();
                thread::spawn(move || keys.publish(Epoch::default(), vec![(name(version), key(version))]))
            })
            .into();
        for publisher in publishers {
            publisher.join().expect("no panic");
        }
        for version in [1, 2, 3] {
            assert_eq!(keys.with_key(name(version), |key| key.as_bytes()[0]), Some(version as u8));
            assert_eq!(keys.algorithm(name(version)), algorithm(version));
        }
    });
}

#[test]
fn a_reader_during_an_unload_has_the_whole_key_or_none_and_still_the_right_algorithm() {
    check(|| {
        let keys = Arc::new(PublishedKeys::new());
        keys.publish(Epoch::default(), vec![(name(1), key(1)), (name(2), key(2))]);
        let unloader = {
            let keys = keys.clone();
            thread::spawn(move || keys.clear())
        };
        let reader = {
            let keys = keys.clone();
            thread::spawn(move || {
                let mut gone = false;
                for version in [1, 2, 1] {
                    let found = keys.with_key_bytes(name(version), <[u8]>::to_vec);
                    assert!(
                        found.is_none() || found == Some(vec![version as u8; 16]),
                        "wiped under the reader's hands"
                    );
                    assert!(!gone || found.is_none(), "it came back");
                    gone = found.is_none();
                    assert_eq!(keys.algorithm(name(version)), algorithm(version));
                }
            })
        };
        unloader.join().expect("no panic");
        reader.join().expect("no panic");
        assert_eq!(keys.latest(name(1).id), None);
        // The next init, with another folder.
        keys.begin();
        assert_eq!(keys.algorithm(name(2)), Algorithm::AesCbc);
    });
}

#[test]
fn a_call_that_outlives_its_init_publishes_nothing_into_the_next_one() {
    check(|| {
        let keys = Arc::new(PublishedKeys::new());
        let first = keys.begin();
        let late = {
            let keys = keys.clone();
            thread::spawn(move || keys.publish(first, vec![(name(2), key(2))]))
        };
        keys.clear();
        let second = keys.begin();
        keys.publish(second, vec![(name(1), key(1))]);
        late.join().expect("no panic");
        assert_eq!(keys.latest(name(1).id), Some(name(1).version));
        assert_eq!(keys.with_key(name(2), |_| ()), None);
        assert_eq!(keys.algorithm(name(2)), Algorithm::AesCbc);
    });
}

/// Even versions encrypt with AES_CTR.
fn algorithm(version: u32) -> Algorithm {
    if version.is_multiple_of(2) { Algorithm::AesCtr } else { Algorithm::AesCbc }
}

fn name(version: u32) -> KeyName {
    KeyName::new(1, version).expect("a name")
}

fn key(version: u32) -> DataKey {
    hide(&[(&[version as u8; 16], algorithm(version))]).expect("memory").keys.remove(0)
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(model, 5_000);
}
