//! The cipher against the crates `cbc` and `ctr`. Needs no server, so that it runs in Miri and on any backend of the
//! `aes` crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/cipher_cases.rs"]
mod cipher_cases;
#[path = "support/crate_oracle.rs"]
mod crate_oracle;
#[path = "support/oracle_checks.rs"]
mod oracle_checks;

use crate_oracle::Crates;

#[test]
fn every_length_gives_the_bytes_of_the_crates() {
    let lengths: Vec<usize> = if cfg!(miri) { vec![1, 16, 70] } else { (0..=2200).collect() };
    oracle_checks::every_length(&Crates, &lengths);
}

#[test]
fn any_split_gives_the_bytes_of_the_crates() {
    let (rounds, longest) = if cfg!(miri) { (1, 100) } else { (300, 5000) };
    oracle_checks::any_split(&Crates, rounds, longest);
}

#[test]
fn truncated_ciphertext_is_refused() {
    let lengths: Vec<usize> = if cfg!(miri) { vec![0] } else { (0..=100).collect() };
    oracle_checks::truncated(&Crates, &lengths);
}

#[test]
fn damaged_ciphertext_is_refused() {
    oracle_checks::damaged(&Crates, if cfg!(miri) { 1 } else { 1000 });
}

#[test]
#[cfg(not(miri))] // 12288 messages
fn every_padding_is_judged_as_it_must_be() {
    oracle_checks::every_padding(&Crates);
}

#[test]
#[cfg(not(miri))] // finds nothing there that it does not find elsewhere
fn a_key_of_any_other_length_is_refused() {
    oracle_checks::other_key_lengths(&Crates);
}
