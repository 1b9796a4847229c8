//! A million random messages, whole and cut up, intact and damaged, through the cipher and through the server's code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/cipher_cases.rs"]
mod cipher_cases;
#[path = "support/server_oracle.rs"]
mod server_oracle;

use cipher_cases::{Setup, bytes, iv, seeded, split};
use fastrand::Rng;
use plugin_host::server_aes::{SLACK, ServerAes};
use server_oracle::{flags, mode};

#[test]
fn a_million_random_messages_come_out_as_from_the_server() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    let setups: Vec<Setup> = Setup::all().collect();
    let mut failures = 0;
    for round in 0..ROUNDS {
        let setup = setups[rng.usize(0..setups.len())];
        let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
        let len = random_len(&mut rng);
        let mut input = setup.input(server, &mut rng, &key, &iv, len);
        if rng.u8(0..4) == 0 {
            damage(&mut rng, &mut input);
        }
        let parts = if setup.takes_parts() { split(&mut rng, &input) } else { vec![input.as_slice()] };
        let mut expected = vec![0; input.len() + SLACK];
        let written = server.message(mode(setup), flags(setup), &key, &iv, &[&input], &mut expected);
        let ours = setup.in_parts(&key, &iv, &parts);
        let expected = written.map(|written| &expected[..written]);
        failures += usize::from(expected.is_err());
        assert_eq!(ours.as_deref().ok(), expected.ok(), "round {round}: {setup:?}, {} bytes", input.len());
    }
    assert!(failures > ROUNDS / 50, "only {failures} messages were refused: the damage does not reach the checks");
}

/// Mostly short, so that all the seams are met; now and then several pages.
fn random_len(rng: &mut Rng) -> usize {
    match rng.u8(0..100) {
        0 => rng.usize(0..70_000),
        1..10 => rng.usize(0..5000),
        10..40 => rng.usize(0..1200),
        _ => rng.usize(0..100),
    }
}

/// A flipped bit, a cut or something more at the end.
fn damage(rng: &mut Rng, input: &mut Vec<u8>) {
    match rng.u8(0..4) {
        0 => input.truncate(rng.usize(0..=input.len())),
        1 => input.extend(bytes(rng, 20)),
        _ if input.is_empty() => {}
        _ => {
            let at = rng.usize(0..input.len());
            input[at] ^= 1 << rng.u8(0..8);
        }
    }
}

/// A build without optimisation would take minutes for the million.
const ROUNDS: usize = if cfg!(debug_assertions) { 20_000 } else { 1_200_000 };
