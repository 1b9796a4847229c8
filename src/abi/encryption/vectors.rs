//! The published results of NIST and RFC 3686, through the callbacks. What else is made of these files, the tests of the
//! cipher show.

#[path = "../../../tests/support/vector_file.rs"]
#[allow(clippy::unwrap_used)] // only tests use it
mod vector_file;

use std::collections::HashMap;

use vector_file::cases;

use super::codes::BAD_DATA;
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

fn run(id: c_uint, flags: c_int, case: &HashMap<&str, Vec<u8>>, input: &[u8]) -> Result<Vec<u8>, c_int> {
    begin_update_finish(id, flags, &case["KEY"], &case["IV"], input)
}
