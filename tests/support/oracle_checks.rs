//! What is checked against every oracle.
#![allow(dead_code, reason = "each test uses its part")]

use aws_key_management::cipher::{Algorithm, CipherError, Padding};

use super::cipher_cases::{Oracle, Setup, bytes, iv, seeded, split};

/// The same bytes for messages of these lengths.
pub fn every_length(oracle: &impl Oracle, lengths: &[usize]) {
    let mut rng = seeded();
    for setup in Setup::all() {
        for &len in lengths {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let input = setup.input(oracle, &mut rng, &key, &iv, len);
            assert!(setup.same_outcome(oracle, &key, &iv, &input).is_ok(), "{setup:?}, {len} bytes");
        }
    }
}

/// The same bytes however a message is cut into parts, of up to `longest` bytes in all.
pub fn any_split(oracle: &impl Oracle, rounds: usize, longest: usize) {
    let mut rng = seeded();
    for setup in Setup::all().filter(|setup| setup.takes_parts()) {
        for round in 0..rounds {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let len = rng.usize(0..=longest);
            let input = setup.input(oracle, &mut rng, &key, &iv, len);
            let ours = setup.in_parts(&key, &iv, &split(&mut rng, &input));
            assert_eq!(ours.ok(), oracle.message(setup, &key, &iv, &input), "{setup:?}, round {round}");
        }
    }
}

/// A ciphertext that ends early is refused if the oracle refuses it.
pub fn truncated(oracle: &impl Oracle, lengths: &[usize]) {
    let mut rng = seeded();
    for setup in Setup::decrypting() {
        for &len in lengths {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let whole = setup.input(oracle, &mut rng, &key, &iv, len);
            for cut in 0..whole.len() {
                let outcome = setup.same_outcome(oracle, &key, &iv, &whole[..cut]);
                assert!(outcome.is_err() || !setup.is_gcm(), "{setup:?}, {cut} of {} bytes", whole.len());
            }
        }
    }
}

/// A ciphertext with one bit flipped is refused if the oracle refuses it.
pub fn damaged(oracle: &impl Oracle, rounds: usize) {
    let mut rng = seeded();
    for setup in Setup::decrypting() {
        for _ in 0..rounds {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let len = rng.usize(0..=100);
            let mut input = setup.input(oracle, &mut rng, &key, &iv, len);
            if input.is_empty() {
                continue;
            }
            // Mostly in the last two blocks, where it hits the padding or the tag.
            let from = input.len().saturating_sub(if rng.u8(0..4) == 0 { usize::MAX } else { 32 });
            let at = rng.usize(from..input.len());
            input[at] ^= 1 << rng.u8(0..8);
            let outcome = setup.same_outcome(oracle, &key, &iv, &input);
            assert!(outcome.is_err() || !setup.is_gcm(), "{setup:?}: a flipped bit was not noticed");
        }
    }
}

/// Every byte that can be the length of a padding, right and with one byte of it wrong.
pub fn every_padding(oracle: &impl Oracle) {
    let mut rng = seeded();
    for setup in Setup::decrypting().filter(|setup| setup.algorithm == Algorithm::AesCbc) {
        if setup.padding == Padding::None {
            continue;
        }
        let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
        let unpadded = Setup { padding: Padding::None, ..setup.reversed() };
        let mut refused = 0;
        for fill in 0..=255 {
            for wrong_at in 0..16 {
                let mut plain = [fill; 32];
                plain[16 + wrong_at] ^= rng.u8(..);
                let input = oracle.message(unpadded, &key, &iv, &plain).unwrap();
                refused += usize::from(setup.same_outcome(oracle, &key, &iv, &input).is_err());
            }
        }
        assert!(refused > 3800, "only {refused} of 4096 were refused");
    }
}

/// A key that is not as long as a key of AES is refused.
pub fn other_key_lengths(oracle: &impl Oracle) {
    for setup in Setup::all() {
        for len in (0..=64).filter(|len| ![16, 24, 32].contains(len)) {
            let (key, iv) = (vec![7; len], [9; 16]);
            assert_eq!(oracle.message(setup, &key, &iv, b"text"), None, "{setup:?}, {len} bytes of key");
            assert_eq!(setup.begin(&key, &iv).err(), Some(CipherError::KeyLength), "{setup:?}, {len} bytes of key");
        }
    }
}
