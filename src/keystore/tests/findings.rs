//! What becomes of what the checks find, round after round: what is told, when, and what stays open.

use super::super::findings::{Findings, News, Problem, Scope};
use super::super::test_kms::TEST_MASTER_KEY;
use super::super::verify::{CheckedCopy, CopyFailure, Verdict, Verified};
use super::extra_master_keys::{ONE, TWO};
use super::*;
use crate::kms::KmsError;

const ALL: Scope = Scope { is_all: true, was_asked_for: false };
const SOME: Scope = Scope { is_all: false, was_asked_for: false };
const ASKED: Scope = Scope { is_all: true, was_asked_for: true };

fn name(id: u32) -> KeyName {
    KeyName::new(id, 1).expect("a name")
}

fn kms(class: Class) -> KmsError {
    KmsError::new(Decrypt, class, "as planned")
}

fn verified(id: u32, verdict: Verdict) -> Verified {
    Verified::new(name(id), Some(TEST_MASTER_KEY.to_owned()), verdict)
}

fn good(id: u32) -> Verified {
    verified(id, Verdict::Good)
}

fn failed(id: u32, class: Class) -> Verified {
    verified(id, Verdict::Failed(KeyStoreError::Kms(name(id), kms(class))))
}

fn gone(id: u32) -> Verified {
    verified(id, Verdict::Failed(KeyStoreError::Gone(name(id), "aws-kms-key".into())))
}

/// Good, but for these copies.
fn copies(id: u32, copies: &[(&str, Option<Class>)]) -> Verified {
    let copy = |(arn, class): &(&str, Option<Class>)| CheckedCopy {
        master_key: (*arn).to_owned(),
        failed: class.map(|class| CopyFailure::Kms(kms(class))),
    };
    Verified { copies: Some(copies.iter().map(copy).collect()), ..good(id) }
}

impl Findings {
    fn take(&self, verified: Vec<Verified>, scope: Scope) -> Vec<News> {
        self.verified(verified, scope, |_| false)
    }
}

/// What begins, without the details, or is over.
fn problems(news: Vec<News>) -> (Vec<Problem>, Vec<Problem>) {
    let (mut begins, mut over) = (Vec::new(), Vec::new());
    for news in news {
        match news {
            News::Begins(problem, _) => begins.push(problem),
            News::IsOver(problem) => over.push(problem),
        }
    }
    (begins, over)
}

fn begins(problem: Problem) -> (Vec<Problem>, Vec<Problem>) {
    (vec![problem], vec![])
}

fn is_over(problem: Problem) -> (Vec<Problem>, Vec<Problem>) {
    (vec![], vec![problem])
}

fn nothing() -> (Vec<Problem>, Vec<Problem>) {
    (vec![], vec![])
}

fn of_test_key() -> Option<String> {
    Some(TEST_MASTER_KEY.to_owned())
}

#[test]
fn whoever_asks_counts_no_round_without_an_answer() {
    let findings = Findings::default();
    for scope in [ALL, ASKED, ALL, ASKED, ASKED] {
        assert_eq!(problems(findings.take(vec![failed(1, Class::Transient)], scope)), nothing());
    }
    let third = findings.take(vec![failed(1, Class::Transient)], ALL);
    assert_eq!(problems(third), begins(Problem::Asking));
}

#[test]
fn an_answer_for_one_version_does_not_end_the_count_while_nothing_is_known_of_another() {
    let findings = Findings::default();
    for _ in 0..2 {
        findings.take(vec![failed(1, Class::Transient), failed(2, Class::Transient)], ALL);
    }
    assert_eq!(problems(findings.take(vec![good(1)], SOME)), nothing());
    assert_eq!(problems(findings.take(vec![failed(2, Class::Transient)], SOME)), begins(Problem::Asking));
    assert_eq!(problems(findings.take(vec![good(2)], SOME)), is_over(Problem::Asking));
}

#[test]
fn that_no_key_could_be_made_for_want_of_an_answer_is_told_after_three_rounds_in_a_row() {
    let findings = Findings::default();
    let ask = |answer| problems(findings.making(vec![(ONE.to_owned(), answer)]));
    assert!(!findings.is_open());
    for answer in [Err(Class::Transient), Err(Class::Throttled), Ok(()), Err(Class::Transient), Err(Class::Transient)] {
        assert_eq!(ask(answer.map_err(kms)), nothing());
        assert_eq!((findings.is_open(), findings.summary().can_make_keys), (answer.is_err(), true), "{answer:?}");
    }
    assert_eq!(ask(Err(kms(Class::Transient))), begins(Problem::NewKeys(ONE.to_owned())));
    assert!(findings.is_open() && !findings.summary().can_make_keys);
    assert_eq!(ask(Err(kms(Class::Transient))), nothing(), "it is told");
    assert_eq!(ask(Ok(())), is_over(Problem::NewKeys(ONE.to_owned())));
    assert!(!findings.is_open());
}

#[test]
fn what_nothing_needs_any_more_is_open_no_longer_and_what_was_wrong_with_it_is_over() {
    // Somebody has retired it; or a check of all does not find it any more.
    for is_told in [true, false] {
        let findings = Findings::default();
        let checked = vec![
            gone(1),
            failed(2, Class::Transient),
            verified(3, Verdict::FromCopy(kms(Class::Disabled))),
            copies(4, &[(ONE, Some(Class::Disabled))]),
            good(5),
        ];
        findings.take(checked, ALL);
        assert_eq!((findings.open(), findings.is_open()), (vec![name(1), name(2)], true));
        assert!(findings.has_from_copies() && !findings.summary().would_start);
        let (_, over) = match is_told {
            true => {
                findings.keep_only(&[name(5)]);
                assert!(!findings.is_open() && !findings.has_from_copies());
                problems(findings.take(vec![], SOME))
            }
            false => problems(findings.take(vec![good(5)], ALL)),
        };
        // That nobody needs a file any more does not make it good again.
        let of_file = [Problem::File(name(1))];
        let expected = [Problem::Copies(of_test_key()), Problem::Extra(ONE.to_owned())];
        let of_file = if is_told { &[][..] } else { &of_file };
        assert_eq!(over, [of_file, &expected].concat());
        assert_eq!((findings.open(), findings.is_open()), (vec![], false));
        assert!(findings.summary().would_start);
    }
    let findings = Findings::default();
    findings.take(vec![gone(1), gone(2)], ALL);
    findings.keep_only(&[name(2)]);
    assert_eq!(findings.open(), [name(2)], "the other is as it was");
}

#[test]
fn a_copy_that_was_of_no_use_stays_so_while_kms_does_not_answer_for_it() {
    let findings = Findings::default();
    let extra = || Problem::Extra(ONE.to_owned());
    let disabled = copies(1, &[(ONE, Some(Class::Disabled)), (TWO, None)]);
    assert_eq!(problems(findings.take(vec![disabled], ALL)), begins(extra()));
    let silent = copies(1, &[(ONE, Some(Class::Transient)), (TWO, None)]);
    assert_eq!(problems(findings.take(vec![silent], ALL)), nothing());
    assert_eq!(findings.summary().is_fully_wrapped, Some(false));
    // That it does not answer for another one says nothing of this one.
    let good = copies(1, &[(ONE, None), (TWO, Some(Class::Transient))]);
    assert_eq!(problems(findings.take(vec![good], ALL)), is_over(extra()));
}

#[test]
fn a_good_copy_of_one_version_says_nothing_of_the_copies_of_another() {
    let findings = Findings::default();
    let bad = |id| copies(id, &[(ONE, Some(Class::Corrupt))]);
    let good = |id| copies(id, &[(ONE, None)]);
    assert_eq!(problems(findings.take(vec![bad(1), bad(2)], ALL)), begins(Problem::Extra(ONE.to_owned())));
    assert_eq!(problems(findings.take(vec![good(1)], SOME)), nothing());
    assert_eq!(problems(findings.take(vec![good(2)], SOME)), is_over(Problem::Extra(ONE.to_owned())));
}

#[test]
fn rounds_in_which_an_extra_master_key_does_not_answer_are_counted_in_a_row() {
    let extra = || begins(Problem::Extra(ONE.to_owned()));
    let silent = |id| copies(id, &[(ONE, Some(Class::Transient))]);
    let answers = |id| copies(id, &[(ONE, None)]);
    let rounds = |rounds: Vec<(Vec<Verified>, Scope)>| {
        let findings = Findings::default();
        let news = rounds.into_iter().map(|(verified, scope)| problems(findings.take(verified, scope)));
        news.collect::<Vec<_>>()
    };
    // A check of others in between does not count, and ends nothing.
    let told =
        rounds(vec![(vec![silent(1)], ALL), (vec![silent(1)], ALL), (vec![good(2)], SOME), (vec![silent(1)], SOME)]);
    assert_eq!(told, [nothing(), nothing(), nothing(), extra()]);
    // An answer for another copy under the same master key does, in the same round or in one between.
    let told = rounds((0..4).map(|_| (vec![answers(1), silent(2)], ALL)).collect());
    assert_eq!(told, vec![nothing(); 4]);
    let told =
        rounds(vec![(vec![silent(1)], ALL), (vec![silent(1)], ALL), (vec![answers(2)], SOME), (vec![silent(1)], ALL)]);
    assert_eq!(told, vec![nothing(); 4]);
    // So does a check of all in which it wraps nothing.
    let told = rounds(vec![
        (vec![silent(1)], ALL),
        (vec![silent(1)], ALL),
        (vec![copies(1, &[])], ALL),
        (vec![silent(1)], ALL),
    ]);
    assert_eq!(told, vec![nothing(); 4]);
}

#[test]
fn what_gets_worse_is_not_over() {
    let findings = Findings::default();
    let (copy, file) = (Problem::Copies(of_test_key()), Problem::MasterKey(of_test_key()));
    let from_copy = || verified(1, Verdict::FromCopy(kms(Class::Disabled)));
    assert_eq!(problems(findings.take(vec![from_copy()], ALL)), begins(copy.clone()));
    assert_eq!(problems(findings.take(vec![failed(1, Class::Disabled)], ALL)), begins(file.clone()));
    assert_eq!(problems(findings.take(vec![from_copy()], ALL)), (vec![copy.clone()], vec![file]));
    assert_eq!(problems(findings.take(vec![good(1)], ALL)), is_over(copy));
    let only_copy = KeyStoreError::OnlyCopy { name: name(1), reason: "damaged".to_owned() };
    let told = findings.take(vec![verified(1, Verdict::Failed(only_copy))], ALL);
    assert_eq!(problems(told), begins(Problem::CopiedFile(name(1))));
    assert_eq!(problems(findings.take(vec![gone(1)], ALL)), begins(Problem::File(name(1))));
    assert_eq!(problems(findings.take(vec![good(1)], ALL)), is_over(Problem::File(name(1))));
}
