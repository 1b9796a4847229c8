//! The cipher against the server's own code: same bytes, same failures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/cipher_cases.rs"]
mod cipher_cases;

use aws_key_management::cipher::{Algorithm, CipherError, Padding, encrypted_len};
use cipher_cases::{Setup, bytes, finish, iv, seeded, split, update};
use plugin_host::server_aes::{ENCRYPT, Mode, NOPAD, SLACK, ServerAes};

#[test]
fn every_length_up_to_2200_gives_the_servers_bytes() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all() {
        for len in 0..=2200 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let input = setup.input(server, &mut rng, &key, &iv, len);
            assert!(setup.same_outcome(server, &key, &iv, &input).is_ok(), "{setup:?}, {len} bytes");
        }
    }
}

#[test]
fn any_split_writes_at_each_update_what_the_server_writes() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all().filter(|setup| setup.takes_parts()) {
        for round in 0..2000 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let len = rng.usize(0..=5000);
            let input = setup.input(server, &mut rng, &key, &iv, len);
            let mut theirs = server.begin(setup.mode, setup.flags(), &key, &iv).unwrap();
            let mut ours = setup.begin(&key, &iv).unwrap();
            let mut expected = vec![0; input.len() + SLACK];
            for part in split(&mut rng, &input) {
                let written = theirs.update(part, &mut expected).unwrap();
                let output = update(&mut ours, part).unwrap();
                assert_eq!(output, expected[..written], "{setup:?}, round {round}, update of {} bytes", part.len());
            }
            let written = theirs.finish(&mut expected).unwrap();
            assert_eq!(finish(&mut ours).unwrap(), expected[..written], "{setup:?}, round {round}, finish");
        }
    }
}

#[test]
fn truncated_ciphertext_fails_where_the_server_fails() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::decrypting() {
        for len in 0..=200 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let whole = setup.input(server, &mut rng, &key, &iv, len);
            for cut in 0..whole.len() {
                let outcome = setup.same_outcome(server, &key, &iv, &whole[..cut]);
                assert!(outcome.is_err() || setup.mode != Mode::Gcm, "{setup:?}, {cut} of {} bytes", whole.len());
            }
        }
    }
}

#[test]
fn damaged_ciphertext_fails_where_the_server_fails() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::decrypting() {
        for _ in 0..3000 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let len = rng.usize(0..=100);
            let mut input = setup.input(server, &mut rng, &key, &iv, len);
            if input.is_empty() {
                continue;
            }
            // Mostly in the last two blocks, where it hits the padding or the tag.
            let from = input.len().saturating_sub(if rng.u8(0..4) == 0 { usize::MAX } else { 32 });
            let at = rng.usize(from..input.len());
            input[at] ^= 1 << rng.u8(0..8);
            let outcome = setup.same_outcome(server, &key, &iv, &input);
            assert!(outcome.is_err() || setup.mode != Mode::Gcm, "{setup:?}: a flipped bit was not noticed");
        }
    }
}

#[test]
fn every_padding_is_judged_as_the_server_judges_it() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::decrypting().filter(|setup| setup.mode == Mode::Cbc && setup.padding == Padding::Pkcs7) {
        let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
        let mut refused = 0;
        for fill in 0..=255 {
            for wrong_at in 0..16 {
                let mut plain = [fill; 32];
                plain[16 + wrong_at] ^= rng.u8(..);
                let input = server.crypt(setup.mode, ENCRYPT | NOPAD, &key, &iv, &plain).unwrap();
                refused += usize::from(setup.same_outcome(server, &key, &iv, &input).is_err());
            }
        }
        assert!(refused > 3800, "only {refused} of 4096 were refused");
    }
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
                let theirs = server.message(setup.mode, setup.flags(), &key, &iv, &[first, second], &mut output);
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
            if setup.mode != Mode::Gcm {
                assert!(server.begin(setup.mode, setup.flags(), &key, &iv).is_err(), "{setup:?}, {len} bytes of key");
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
