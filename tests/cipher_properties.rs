//! What must hold for every message.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/whole_message.rs"]
mod whole_message;

use aws_key_management::cipher::{Algorithm, CipherError, Context, Direction, Padding, encrypted_len};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use whole_message::run;

proptest! {
    // A failing case is printed; a file beside the source would be written by every experiment.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_updates_gives_the_one_shot_result(
        (algorithm, padding) in mode(), key in key(), iv: [u8; 16],
        parts in vec(vec(any::<u8>(), 0..1500), 0..6),
    ) {
        let whole = parts.concat();
        let expected = run(algorithm, Direction::Encrypt, padding, &key, &iv, &[&whole]);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(run(algorithm, Direction::Encrypt, padding, &key, &iv, &parts), expected);
        if (algorithm, padding) != GCM {
            let expected = run(algorithm, Direction::Decrypt, padding, &key, &iv, &[&whole]);
            prop_assert_eq!(run(algorithm, Direction::Decrypt, padding, &key, &iv, &parts), expected);
        }
    }

    #[test]
    fn decrypting_gives_back_what_was_encrypted(
        (algorithm, padding) in mode(), key in key(), iv: [u8; 16], plain in vec(any::<u8>(), 0..5000),
    ) {
        let ciphertext = run(algorithm, Direction::Encrypt, padding, &key, &iv, &[&plain]).unwrap();
        prop_assert_eq!(run(algorithm, Direction::Decrypt, padding, &key, &iv, &[&ciphertext]), Ok(plain.clone()));
        let len = match padding {
            Padding::None => plain.len() as u64,
            Padding::Pkcs7 => encrypted_len(algorithm, plain.len() as u64),
        };
        prop_assert_eq!(ciphertext.len() as u64, len);
    }

    #[test]
    fn no_input_makes_a_decryption_panic(
        (algorithm, padding) in mode(), key in vec(any::<u8>(), 0..40), iv in vec(any::<u8>(), 0..20),
        parts in vec(vec(any::<u8>(), 0..100), 0..4),
    ) {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let _ = run(algorithm, Direction::Decrypt, padding, &key, &iv, &parts);
    }

    #[test]
    fn an_output_that_is_too_small_is_refused_and_changes_nothing(
        (algorithm, padding) in mode(), key in key(), iv: [u8; 16], plain in vec(any::<u8>(), 1..100),
    ) {
        let mut context = Context::new(algorithm, Direction::Encrypt, padding, &key, &iv).unwrap();
        let mut output = Vec::new();
        for part in plain.chunks(23) {
            let start = output.len();
            output.resize(start + context.update_len(part.len()), 0);
            if let Some((_, short)) = output[start..].split_last_mut() {
                prop_assert_eq!(context.update(part, short), Err(CipherError::OutputTooSmall));
            }
            context.update(part, &mut output[start..]).unwrap();
        }
        output.extend_from_slice(&context.finish().unwrap());
        prop_assert_eq!(Ok(output), run(algorithm, Direction::Encrypt, padding, &key, &iv, &[&plain]));
    }
}

#[test]
fn a_forged_message_leaves_nothing_of_its_text_in_the_output_and_stays_refused() {
    let (key, iv, plain) = ([1; 16], [2; 16], [3; 100]);
    let mut sealed = run(Algorithm::AesCtr, Direction::Encrypt, Padding::Pkcs7, &key, &iv, &[&plain]).unwrap();
    sealed[0] ^= 1;
    let mut context = Context::new(Algorithm::AesCtr, Direction::Decrypt, Padding::Pkcs7, &key, &iv).unwrap();
    let mut output = [0xa5; 100];
    assert_eq!(context.update(&sealed, &mut output), Err(CipherError::Tampered));
    assert_eq!(output, [0; 100]);
    // Nor is the right message taken after it, or the end.
    sealed[0] ^= 1;
    assert_eq!(context.update(&sealed, &mut output), Err(CipherError::Split));
    assert_eq!(output, [0; 100]);
    assert_eq!(context.finish().err(), Some(CipherError::Tampered));
}

#[test]
fn only_an_authenticated_ciphertext_has_to_come_in_one_piece() {
    for (algorithm, padding) in MODES {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            let context = Context::new(algorithm, direction, padding, &[0; 16], &[0; 16]).unwrap();
            let expected = (algorithm, padding) == GCM && direction == Direction::Decrypt;
            assert_eq!(context.takes_one_piece(), expected, "{algorithm} {padding:?} {direction:?}");
        }
    }
}

#[test]
fn an_algorithm_has_the_name_that_the_servers_variables_give_it() {
    assert_eq!([Algorithm::AesCbc, Algorithm::AesCtr].map(|algorithm| algorithm.to_string()), ["AES_CBC", "AES_CTR"]);
}

#[test]
fn only_an_iv_of_16_bytes_is_taken_where_the_server_reads_16() {
    for len in (0..40).filter(|&len| len != 16) {
        let iv = vec![0; len];
        for (algorithm, padding) in MODES {
            let begun = Context::new(algorithm, Direction::Encrypt, padding, &[0; 16], &iv);
            if (algorithm, padding) == GCM && (12..16).contains(&len) {
                assert!(begun.is_ok(), "GCM, {len} bytes of IV");
            } else {
                assert_eq!(begun.err(), Some(CipherError::IvLength), "{algorithm:?} {padding:?}, {len} bytes of IV");
            }
        }
    }
}

const GCM: (Algorithm, Padding) = (Algorithm::AesCtr, Padding::Pkcs7);

const MODES: [(Algorithm, Padding); 4] =
    [(Algorithm::AesCbc, Padding::None), (Algorithm::AesCbc, Padding::Pkcs7), (Algorithm::AesCtr, Padding::None), GCM];

fn mode() -> impl Strategy<Value = (Algorithm, Padding)> {
    select(MODES.to_vec())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    select(vec![16_usize, 24, 32]).prop_flat_map(|len| vec(any::<u8>(), len))
}
