//! What each kind of mutant is woven into.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers

use super::*;

/// The woven text of a function with mutants: of what each begins with in the text, with this length and replacement.
fn woven(text: &str, mutants: &[(&str, usize, Genre, &str)]) -> Woven {
    let mutant = |(what, length, genre, replacement): &(&str, usize, Genre, &str)| {
        let at = text.find(what).expect("it is in the text");
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').map_or(0, |line| line + 1) + 1;
        let span = [(line, column), (line, column + length)];
        Mutant { name: String::new(), file: String::new(), genre: *genre, span, replacement: (*replacement).into() }
    };
    let mutants: Vec<Mutant> = mutants.iter().map(mutant).collect();
    let woven = weave(text, &(0..).zip(&mutants).collect::<Vec<_>>()).expect("woven");
    syn::parse_file(&woven.text).expect("it is Rust");
    woven
}

/// Without the marks, and with a short name of the switch.
fn plain(woven: &Woven) -> String {
    let mut text = woven.text.replace(ON, "on");
    while let Some((start, end)) =
        text.find("/*m").and_then(|start| Some((start, start + text[start..].find("*/")? + 2)))
    {
        text.replace_range(start..end, "");
    }
    text
}

#[test]
fn a_function_returns_before_it_begins() {
    let woven =
        woven("fn f() -> u8 { let a = 1; a }", &[("let", 1, Genre::FnValue, "0"), ("let", 1, Genre::FnValue, "1")]);
    assert_eq!(plain(&woven), "fn f() -> u8 { if on(0) { return 0; } if on(1) { return 1; } let a = 1; a }");
    assert_eq!(woven.numbers, [0, 1]);
}

#[test]
fn operators_that_are_nested_have_a_switch_each_and_their_operands_stand_there_once() {
    use Genre::BinaryOperator;
    let text = "fn f(a: u8, b: u8) -> bool { a + 1 == b && a < b }";
    let mutants = [
        ("+", 1, BinaryOperator, "-"),
        ("==", 2, BinaryOperator, "!="),
        ("&&", 2, BinaryOperator, "||"),
        ("<", 1, BinaryOperator, ">"),
    ];
    assert_eq!(
        plain(&woven(text, &mutants)),
        "fn f(a: u8, b: u8) -> bool { ({ let l: bool = ((((match ((a), (1)) { (l, r) => if on(0) { l - r } else { l + r } })) == (b)) != (on(1))); \
         if on(2) { l || ((match (&(a), &(b)) { (l, r) => if on(3) { l > r } else { l < r } })) } else { l && ((match (&(a), &(b)) { (l, r) => \
         if on(3) { l > r } else { l < r } })) } }) }"
    );
}

#[test]
fn assignments_arms_guards_and_denials_have_switches() {
    let text = "fn f(mut a: u8) { a += 1; match a { 1 => {} x if x > 3 => {} 2 if !true => {} _ => {} } }";
    let mutants = [
        ("+=", 2, Genre::BinaryOperator, "-="),
        ("1 =>", 7, Genre::MatchArm, ""),
        ("x > 3", 5, Genre::MatchArmGuard, "true"),
        ("x > 3", 5, Genre::MatchArmGuard, "false"),
        ("x if", 1, Genre::MatchArm, ""),
        ("!true", 1, Genre::UnaryOperator, ""),
    ];
    assert_eq!(
        plain(&woven(text, &mutants)),
        "fn f(mut a: u8) { if on(0) { a -= 1 } else { a += 1 }; match a { 1 if !on(1) => {} x if (!on(4) && (on(2) || (!on(3) && (x > 3)))) \
         => {} 2 if ((!(true)) != (on(5))) => {} _ => {} } }"
    );
}

#[test]
fn constants_and_conditions_that_bind_something_are_left_out() {
    let text =
        "const A: u8 = 1 + 2; const fn g() -> u8 { 3 * 4 } fn f(a: Option<u8>, b: bool) { if b && let Some(_) = a {} }";
    let mutants = [
        ("+", 1, Genre::BinaryOperator, "-"),
        ("3 *", 1, Genre::FnValue, "0"),
        ("*", 1, Genre::BinaryOperator, "+"),
        ("&&", 2, Genre::BinaryOperator, "||"),
    ];
    let woven = woven(text, &mutants);
    assert_eq!((woven.text.as_str(), woven.numbers.len()), (text, 0));
}

#[test]
fn an_arm_of_a_match_in_which_no_other_takes_the_rest_is_left_out() {
    let text = "fn f(a: Option<u8>, b: bool) { match a { _ if b => {} Some(_) => {} None => {} } }";
    let woven = woven(text, &[("Some(_)", 13, Genre::MatchArm, ""), ("b =>", 1, Genre::MatchArmGuard, "false")]);
    assert_eq!(woven.numbers, [1]);
    assert!(plain(&woven).contains("_ if (((!on(1) && (b)))) => {} Some(_) => {} None"), "{}", woven.text);
}

#[test]
fn an_error_of_the_compiler_is_that_of_the_innermost_mutant_around_it() {
    let woven = woven(
        "fn f(a: u8) -> bool { a < 2 }",
        &[("a < 2", 1, Genre::FnValue, "wrong"), ("<", 1, Genre::BinaryOperator, ">")],
    );
    let found = |what: &str| at(&woven.text, woven.text.find(what).expect("there"));
    assert_eq!((found("wrong"), found("l > r"), found("(&(a)"), found("fn f")), (vec![0], vec![1], vec![1], vec![]));
}
