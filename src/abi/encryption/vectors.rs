//! The published results of NIST and RFC 3686, through the callbacks. What else is made of these files, the tests of the
//! cipher show.

#![allow(clippy::panic)] // clippy sees no tests in the helpers

use std::collections::HashMap;

use super::tests::begin_update_finish;
use super::*;
use crate::keystore::test_keys::publish;

const CBC: c_uint = 4_000_000_010;
const CTR: c_uint = 4_000_000_011;
const ENCRYPT: c_int = 1;
const NOPAD: c_int = 2;

#[test]
fn the_callbacks_give_the_results_of_nist_and_of_rfc_3686() {
    publish(&plugin::KEYS, CBC, 1, &[1; 16], Algorithm::AesCbc);
    publish(&plugin::KEYS, CTR, 1, &[1; 16], Algorithm::AesCtr);
    for (id, text, count) in [
        (CBC, include_str!("../../../tests/vectors/cbc.rsp"), 142),
        (CTR, include_str!("../../../tests/vectors/ctr.rsp"), 12),
    ] {
        let mut checked = 0;
        for case in cases(text) {
            let (plain, secret) = (&case["PLAINTEXT"], &case["CIPHERTEXT"]);
            assert_eq!(run(id, ENCRYPT | NOPAD, &case, plain).as_ref(), Ok(secret));
            assert_eq!(run(id, NOPAD, &case, secret).as_ref(), Ok(plain));
            checked += 1;
        }
        assert_eq!(checked, count);
    }
    let (mut good, mut bad) = (0, 0);
    for case in cases(include_str!("../../../tests/vectors/gcm.rsp")) {
        let sealed = [&case["CIPHERTEXT"][..], &case["TAG"]].concat();
        let opened = run(CTR, 0, &case, &sealed);
        if case.contains_key("FAIL") {
            assert_eq!(opened, Err(BAD_DATA));
            bad += 1;
        } else {
            assert_eq!(opened.as_ref(), Ok(&case["PLAINTEXT"]));
            assert_eq!(run(CTR, ENCRYPT, &case, &case["PLAINTEXT"]), Ok(sealed));
            good += 1;
        }
    }
    assert_eq!((good, bad), (341, 109));
}

fn run(id: c_uint, flags: c_int, case: &HashMap<String, Vec<u8>>, input: &[u8]) -> Result<Vec<u8>, c_int> {
    begin_update_finish(id, flags, &case["KEY"], &case["IV"], input)
}

/// Cases are blocks of lines `NAME = hexadecimal digits`; a line without a value is a flag.
fn cases(text: &str) -> impl Iterator<Item = HashMap<String, Vec<u8>>> {
    let blocks = text.split("\n\n").map(|block| {
        let lines = block.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let fields = lines.map(|line| {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            (name.trim().to_owned(), bytes_of(value.trim()))
        });
        fields.collect::<HashMap<_, _>>()
    });
    blocks.filter(|case| case.contains_key("KEY"))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16);
    (0..hex.len()).step_by(2).map(|at| digit(at).unwrap_or_else(|_| panic!("{hex}"))).collect()
}
