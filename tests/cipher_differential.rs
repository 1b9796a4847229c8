//! A million random messages, whole and cut up, intact and damaged, through the cipher and through the server's code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/cipher_cases.rs"]
mod cipher_cases;
#[path = "support/server_oracle.rs"]
mod server_oracle;

use std::io::Write;
use std::time::Instant;

use cipher_cases::{Setup, bytes, iv, seeded, split};
use fastrand::Rng;
use plugin_host::server_aes::{SLACK, ServerAes};
use server_oracle::{flags, mode};

#[test]
fn a_million_random_messages_come_out_as_from_the_server() {
    let (started, mut rng) = (Instant::now(), seeded());
    let mut count = Count::default();
    std::thread::scope(|scope| {
        let strands: Vec<_> = (0..STRANDS).map(|_| rng.fork()).map(|rng| scope.spawn(|| compare(rng))).collect();
        for strand in strands {
            count.add(&strand.join().unwrap());
        }
    });
    let Count { messages, damaged, refused } = count;
    assert!(messages >= 1_000_000, "only {messages} messages");
    assert!(refused > messages / 50, "only {refused} messages were refused: the damage does not reach the checks");
    // Not by println, which a test that passes does not get out.
    let seconds = started.elapsed().as_secs_f64();
    let told = format!("{messages} messages, {damaged} damaged, {refused} refused by both sides, in {seconds:.1} s\n");
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

#[derive(Default)]
struct Count {
    messages: usize,
    damaged: usize,
    refused: usize,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.damaged += other.damaged;
        self.refused += other.refused;
    }
}

/// One strand of messages. What it does depends on `rng` alone.
fn compare(mut rng: Rng) -> Count {
    let (server, setups) = (ServerAes::load(), Setup::all().collect::<Vec<Setup>>());
    let mut count = Count::default();
    while count.messages < 1_000_000 / STRANDS {
        let setup = setups[rng.usize(0..setups.len())];
        let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
        let len = random_len(&mut rng);
        let mut input = setup.input(server, &mut rng, &key, &iv, len);
        if rng.u8(0..4) == 0 {
            damage(&mut rng, &mut input);
            count.damaged += 1;
        }
        let parts = if setup.takes_parts() { split(&mut rng, &input) } else { vec![input.as_slice()] };
        let mut expected = vec![0; input.len() + SLACK];
        let written = server.message(mode(setup), flags(setup), &key, &iv, &[&input], &mut expected);
        let ours = setup.in_parts(&key, &iv, &parts);
        let expected = written.map(|written| &expected[..written]);
        count.refused += usize::from(expected.is_err());
        assert_eq!(ours.as_deref().ok(), expected.ok(), "{setup:?}, {} bytes", input.len());
        count.messages += 1;
    }
    count
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

/// Threads, of which each has messages of its own: always as many, so that a seed gives the same messages everywhere.
const STRANDS: usize = 8;
