//! The cipher against the server's own code: same bytes, same failures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/cipher_cases.rs"]
mod cipher_cases;
#[path = "support/oracle_checks.rs"]
mod oracle_checks;
#[path = "support/server_oracle.rs"]
mod server_oracle;

use aws_key_management::cipher::{Algorithm, CipherError, encrypted_len};
use cipher_cases::{Setup, bytes, iv, seeded, split, update};
use plugin_host::server_aes::{Mode, SLACK, ServerAes};
use server_oracle::{flags, mode};

#[test]
fn every_length_up_to_2200_gives_the_servers_bytes() {
    let lengths: Vec<usize> = (0..=2200).collect();
    oracle_checks::every_length(ServerAes::load(), &lengths);
}

#[test]
fn any_split_writes_at_each_update_what_the_server_writes() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all().filter(|setup| setup.takes_parts()) {
        for round in 0..2000 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let len = rng.usize(0..=5000);
            let input = setup.input(server, &mut rng, &key, &iv, len);
            let mut theirs = server.begin(mode(setup), flags(setup), &key, &iv).unwrap();
            let mut ours = setup.begin(&key, &iv).unwrap();
            let mut expected = vec![0; input.len() + SLACK];
            for part in split(&mut rng, &input) {
                let written = theirs.update(part, &mut expected).unwrap();
                let output = update(&mut ours, part).unwrap();
                assert_eq!(output, expected[..written], "{setup:?}, round {round}, update of {} bytes", part.len());
            }
            let written = theirs.finish(&mut expected).unwrap();
            assert_eq!(ours.finish().unwrap()[..], expected[..written], "{setup:?}, round {round}, finish");
        }
    }
}

#[test]
fn truncated_ciphertext_fails_where_the_server_fails() {
    let lengths: Vec<usize> = (0..=200).collect();
    oracle_checks::truncated(ServerAes::load(), &lengths);
}

#[test]
fn damaged_ciphertext_fails_where_the_server_fails() {
    oracle_checks::damaged(ServerAes::load(), 3000);
}

#[test]
fn every_padding_is_judged_as_the_server_judges_it() {
    oracle_checks::every_padding(ServerAes::load());
}

#[test]
fn an_authenticated_ciphertext_in_two_pieces_is_refused_as_by_the_server() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::decrypting().filter(|setup| !setup.takes_parts()) {
        for len in [0, 1, 16, 40, 1000] {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let input = setup.input(server, &mut rng, &key, &iv, len);
            for cut in 0..=input.len() {
                let (first, second) = input.split_at(cut);
                let mut output = vec![0; input.len() + SLACK];
                let theirs = server.message(mode(setup), flags(setup), &key, &iv, &[first, second], &mut output);
                assert!(theirs.is_err(), "{setup:?}: the server takes {cut} of {} bytes", input.len());
                assert!(setup.in_parts(&key, &iv, &[first, second]).is_err(), "{setup:?}, {cut} of {}", input.len());
            }
            assert_eq!(setup.in_parts(&key, &iv, &[&input, b""]), Err(CipherError::Split));
            assert_eq!(setup.in_parts(&key, &iv, &[]), Err(CipherError::Truncated));
        }
    }
}

#[test]
fn a_key_of_any_other_length_is_refused_as_by_the_server() {
    let server = ServerAes::load();
    for setup in Setup::all() {
        for len in (0..=64).filter(|len| ![16, 24, 32].contains(len)) {
            let (key, iv) = (vec![7; len], [9; 16]);
            // In this one mode the server does not look, and crashes.
            if !setup.is_gcm() {
                assert!(server.begin(mode(setup), flags(setup), &key, &iv).is_err(), "{setup:?}, {len} bytes of key");
            }
            assert_eq!(setup.begin(&key, &iv).err(), Some(CipherError::KeyLength), "{setup:?}, {len} bytes of key");
        }
    }
}

#[test]
fn the_encrypted_length_is_the_servers() {
    let server = ServerAes::load();
    for (algorithm, mode) in [(Algorithm::AesCbc, Mode::Cbc), (Algorithm::AesCtr, Mode::Gcm)] {
        for len in (0..5000).chain([1 << 20, (1 << 31) - 1]) {
            let expected = server.encrypted_len(mode, len);
            assert_eq!(encrypted_len(algorithm, len.into()), u64::from(expected), "{algorithm:?}, {len} bytes");
        }
    }
}

#[test]
fn any_thread_may_use_the_cipher_at_any_time() {
    let server = ServerAes::load();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut rng = seeded();
                for setup in std::iter::repeat_with(Setup::all).take(100).flatten() {
                    let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
                    let len = rng.usize(0..3000);
                    let input = setup.input(server, &mut rng, &key, &iv, len);
                    assert!(setup.same_outcome(server, &key, &iv, &input).is_ok(), "{setup:?}, {len} bytes");
                }
            });
        }
    });
}
