//! What a check of many versions asks of KMS, and with what it compares the answers.

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::super::test_kms::OTHER_MASTER_KEY;
use super::super::verify as check;
use super::extra_master_keys::{ONE, TWO};
use super::verify::{DAY, MANY, decrypts, run, running};
use super::*;

#[test]
fn what_a_file_says_that_its_key_encrypts_with_is_compared_with_the_key_in_memory() {
    let (_setup, store, _, _) = running(1);
    let name = KeyName::new(1, 1).expect("a name");
    for algorithm in [Algorithm::AesCbc, Algorithm::AesCtr] {
        let key = published::hide(&[(&[1; 16], algorithm)]).expect("memory").keys.remove(0);
        let deadline = Instant::now() + Duration::from_secs(5);
        let verified = check::verify(&store.files, &*store.kms, &|_| Some(key.clone()), &[name], deadline, &|_| true);
        let is_good = matches!(verified[0].verdict, check::Verdict::Good);
        assert_eq!(is_good, algorithm == Algorithm::AesCbc);
        let is_other = matches!(verified[0].verdict, check::Verdict::Failed(KeyStoreError::OtherAlgorithm(..)));
        assert_eq!(is_other, !is_good);
    }
}

#[test]
fn a_file_that_kms_was_not_asked_about_does_not_keep_the_others_from_being_left_out() {
    let (setup, _store, mut job, begun) = running(MANY);
    remove(&setup, "aws-kms-key.3.1");
    setup.put("aws-kms-key.3.1", b"");
    (1..=MANY).for_each(|key| setup.kms.refuse(key, Class::Transient));
    run(&mut job, begun + DAY);
    assert_eq!(decrypts(&setup), 7, "the others of the first eight");
}

#[test]
fn copies_are_asked_of_an_extra_master_key_until_it_fails_and_not_only_a_copy_of_its() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    for number in 1..=u32::from(MANY) {
        store.latest_or_new(id(number)).expect("made");
    }
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    // Of key 1, the copy under TWO is another key's.
    let file = "aws-kms-key.1.1.extra";
    let of = |number: u32| -> serde_json::Value {
        serde_json::from_slice(&read(&setup, &format!("aws-kms-key.{number}.1.extra"))).expect("JSON")
    };
    let mut copies = of(1);
    copies["wraps"][1]["ciphertext"] = of(2)["wraps"][1]["ciphertext"].clone();
    remove(&setup, file);
    setup.put(file, copies.to_string().as_bytes());
    setup.kms.disable(ONE, true);
    let names = (1..=u32::from(MANY)).filter_map(|number| KeyName::new(number, 1)).collect();
    let mut round = check::Round::new(names);
    while round.step(&store.files, &*store.kms, &|_| None, Instant::now() + Duration::from_secs(5)) {}
    for verified in round.into_verified() {
        let copies = verified.copies.expect("checked");
        let of = |arn: &str| &copies.iter().find(|copy| copy.master_key == arn).expect("a copy").failed;
        let is_first = verified.name.id.value() <= 8;
        assert!(
            matches!(of(ONE), Some(check::CopyFailure::Kms(_)) if is_first)
                || matches!(of(ONE), Some(check::CopyFailure::NotAsked) if !is_first)
        );
        match verified.name.id.value() {
            1 => assert!(matches!(of(TWO), Some(check::CopyFailure::OtherKey))),
            _ => assert!(of(TWO).is_none()),
        }
    }
}

#[test]
fn a_master_key_that_gives_no_answer_is_asked_for_a_few_versions_only_and_the_others_are_checked() {
    let setup = Setup::new();
    (1..=MANY).for_each(|key| setup.put_key(&format!("aws-kms-key.{key}.1"), key));
    (31..=30 + MANY).for_each(|key| setup.put(&format!("aws-kms-key.{key}.1"), &[&b"other:"[..], &[key; 16]].concat()));
    let store = setup.open().expect("open");
    setup.kms.set_failing(OTHER_MASTER_KEY, Some(Class::Transient));
    setup.kms.calls();
    // One of each in turn, so that never all of a step give no answer.
    let names = (1..=u32::from(MANY)).flat_map(|key| [key, key + 30]).filter_map(|key| KeyName::new(key, 1)).collect();
    let mut round = check::Round::new(names);
    while round.step(&store.files, &*store.kms, &|_| None, Instant::now() + Duration::from_secs(5)) {}
    let verified = round.into_verified();
    assert_eq!(verified.len(), 2 * usize::from(MANY));
    for verified in &verified {
        let is_good = matches!(verified.verdict, check::Verdict::Good);
        assert_eq!(is_good, verified.name.id.value() <= 30, "{}", verified.name);
    }
    assert_eq!(decrypts(&setup), usize::from(MANY) + 4, "the four of the first step");
}

#[test]
fn one_call_without_an_answer_leaves_no_other_version_of_its_master_key_out() {
    let setup = Setup::new();
    (1..=MANY).for_each(|key| setup.put_key(&format!("aws-kms-key.{key}.1"), key));
    (31..=33).for_each(|key| setup.put(&format!("aws-kms-key.{key}.1"), &[&b"other:"[..], &[key; 16]].concat()));
    let store = setup.open().expect("open");
    setup.kms.refuse(31, Class::Transient);
    // The first of its three in one step, the others in the next.
    let names = [1, 2, 3, 4, 5, 6, 7, 31, 32, 33].into_iter().filter_map(|key| KeyName::new(key, 1)).collect();
    let mut round = check::Round::new(names);
    while round.step(&store.files, &*store.kms, &|_| None, Instant::now() + Duration::from_secs(5)) {}
    let verified = round.into_verified();
    let bad = verified.iter().filter(|verified| !matches!(verified.verdict, check::Verdict::Good));
    assert_eq!(bad.map(|verified| verified.name.id.value()).collect::<Vec<_>>(), [31]);
}
