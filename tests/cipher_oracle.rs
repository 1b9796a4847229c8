//! The cipher against the server's own code: same bytes, same failures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/server_aes.rs"]
mod server_aes;

use aws_key_management::cipher::{Algorithm, CipherError, Context, Direction, Padding, encrypted_len};
use fastrand::Rng;
use server_aes::{DECRYPT, ENCRYPT, Mode, NOPAD, SLACK, ServerAes};

#[test]
fn every_length_up_to_2200_gives_the_servers_bytes() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all() {
        for len in 0..=2200 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), bytes(&mut rng, 16));
            let input = setup.input(server, &mut rng, &key, &iv, len);
            let expected = server.crypt(setup.mode, setup.flags(), &key, &iv, &input);
            assert!(expected.is_ok(), "{setup:?}, {len} bytes: the server refuses it itself");
            let ours = one_shot(setup, &key, &iv, &input);
            assert_eq!(ours.ok(), expected.ok(), "{setup:?}, {len} bytes");
        }
    }
}

#[test]
fn any_split_of_the_updates_writes_what_the_servers_updates_write() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all() {
        for round in 0..2000 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), bytes(&mut rng, 16));
            let len = rng.usize(0..=2200);
            let input = setup.input(server, &mut rng, &key, &iv, len);
            let mut theirs = server.begin(setup.mode, setup.flags(), &key, &iv).unwrap();
            let mut ours = setup.begin(&key, &iv).unwrap();
            let mut expected = vec![0; input.len() + SLACK];
            for part in split(&mut rng, &input) {
                let what = || format!("{setup:?}, round {round}, an update of {} bytes", part.len());
                let written = theirs.update(part, &mut expected).unwrap();
                let output = update(&mut ours, part).unwrap();
                assert_eq!(output, expected[..written], "{}", what());
            }
            let written = theirs.finish(&mut expected).unwrap();
            assert_eq!(finish(&mut ours).unwrap(), expected[..written], "{setup:?}, round {round}, finish");
        }
    }
}

#[test]
fn truncated_ciphertext_fails_where_the_server_fails() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all().filter(|setup| setup.direction == Direction::Decrypt) {
        for len in 0..=200 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), bytes(&mut rng, 16));
            let whole = setup.input(server, &mut rng, &key, &iv, len);
            for cut in 0..whole.len() {
                let _ = same_outcome(server, setup, &key, &iv, &whole[..cut]);
            }
        }
    }
}

#[test]
fn damaged_ciphertext_fails_where_the_server_fails() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all().filter(|setup| setup.direction == Direction::Decrypt) {
        for _ in 0..3000 {
            let (key, iv) = (bytes(&mut rng, setup.key_len), bytes(&mut rng, 16));
            let len = rng.usize(0..=100);
            let mut input = setup.input(server, &mut rng, &key, &iv, len);
            if input.is_empty() {
                continue;
            }
            // Mostly in the last two blocks, where it hits the padding.
            let from = input.len().saturating_sub(if rng.u8(0..4) == 0 { usize::MAX } else { 32 });
            let at = rng.usize(from..input.len());
            input[at] ^= 1 << rng.u8(0..8);
            let _ = same_outcome(server, setup, &key, &iv, &input);
        }
    }
}

#[test]
fn every_last_byte_of_padding_is_judged_as_the_server_judges_it() {
    let (server, mut rng) = (ServerAes::load(), seeded());
    for setup in Setup::all().filter(|setup| setup.padding == Padding::Pkcs7) {
        if setup.direction == Direction::Encrypt || setup.mode != Mode::Cbc {
            continue;
        }
        let (key, iv) = (bytes(&mut rng, setup.key_len), bytes(&mut rng, 16));
        let mut refused = 0;
        for fill in 0..=255 {
            for wrong_at in 0..16 {
                let mut plain = [fill; 32];
                plain[16 + wrong_at] ^= rng.u8(..);
                let input = server.crypt(setup.mode, ENCRYPT | NOPAD, &key, &iv, &plain).unwrap();
                refused += usize::from(same_outcome(server, setup, &key, &iv, &input).is_err());
            }
        }
        assert!(refused > 3800, "only {refused} of 4096 were refused");
    }
}

#[test]
fn a_key_of_any_other_length_is_refused_as_by_the_server() {
    let server = ServerAes::load();
    for setup in Setup::all() {
        for len in (0..=64).filter(|len| ![16, 24, 32].contains(len)) {
            let (key, iv) = (vec![7; len], [9; 16]);
            assert!(server.begin(setup.mode, setup.flags(), &key, &iv).is_err(), "{setup:?}, {len} bytes of key");
            assert_eq!(setup.begin(&key, &iv).err(), Some(CipherError::KeyLength), "{setup:?}, {len} bytes of key");
        }
    }
}

#[test]
fn the_encrypted_length_is_the_servers() {
    let server = ServerAes::load();
    for len in (0..5000).chain([1 << 20, (1 << 31) - 1]) {
        let expected = server.encrypted_len(Mode::Cbc, len);
        assert_eq!(encrypted_len(Algorithm::AesCbc, len.into()), u64::from(expected), "{len} bytes");
    }
}

/// One way of calling the cipher.
#[derive(Clone, Copy, Debug)]
struct Setup {
    mode: Mode,
    algorithm: Algorithm,
    direction: Direction,
    padding: Padding,
    key_len: usize,
}

impl Setup {
    fn all() -> impl Iterator<Item = Self> {
        let modes = [(Mode::Cbc, Algorithm::AesCbc, Padding::None), (Mode::Cbc, Algorithm::AesCbc, Padding::Pkcs7)];
        modes.into_iter().flat_map(|(mode, algorithm, padding)| {
            [Direction::Encrypt, Direction::Decrypt].into_iter().flat_map(move |direction| {
                [16, 24, 32].map(|key_len| Self { mode, algorithm, direction, padding, key_len })
            })
        })
    }

    fn begin(self, key: &[u8], iv: &[u8]) -> Result<Context, CipherError> {
        Context::new(self.algorithm, self.direction, self.padding, key, iv)
    }

    /// The server's flags.
    fn flags(self) -> i32 {
        let direction = match self.direction {
            Direction::Encrypt => ENCRYPT,
            Direction::Decrypt => DECRYPT,
        };
        match self.mode {
            Mode::Cbc if self.padding == Padding::None => direction | NOPAD,
            _ => direction,
        }
    }

    /// A message of `len` bytes of plaintext, as this setup takes it in: encrypted by the server where it is to be
    /// decrypted.
    fn input(self, server: &ServerAes, rng: &mut Rng, key: &[u8], iv: &[u8], len: usize) -> Vec<u8> {
        let plain = bytes(rng, len);
        match self.direction {
            Direction::Encrypt => plain,
            Direction::Decrypt => server.crypt(self.mode, self.flags() | ENCRYPT, key, iv, &plain).unwrap(),
        }
    }
}

/// Both give the same bytes, or both fail.
fn same_outcome(server: &ServerAes, setup: Setup, key: &[u8], iv: &[u8], input: &[u8]) -> Result<Vec<u8>, CipherError> {
    let expected = server.crypt(setup.mode, setup.flags(), key, iv, input);
    let ours = one_shot(setup, key, iv, input);
    assert_eq!(
        ours.clone().ok(),
        expected.clone().ok(),
        "{setup:?}, {} bytes: {ours:?}, the server {expected:?}",
        input.len()
    );
    ours
}

fn one_shot(setup: Setup, key: &[u8], iv: &[u8], input: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut context = setup.begin(key, iv)?;
    let mut output = update(&mut context, input)?;
    output.extend(finish(&mut context)?);
    Ok(output)
}

/// One update into an output of exactly the promised length.
fn update(context: &mut Context, input: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut output = vec![0; context.update_len(input.len())];
    let written = context.update(input, &mut output)?;
    assert_eq!(written, output.len(), "update_len is exact");
    Ok(output)
}

/// The end of a message into an output of exactly the promised length.
fn finish(context: &mut Context) -> Result<Vec<u8>, CipherError> {
    let mut output = vec![0; context.finish_len()];
    let written = context.finish(&mut output)?;
    assert_eq!(written, output.len(), "finish_len is exact");
    Ok(output)
}

/// Cuts a message into parts of random lengths, empty ones among them.
fn split<'a>(rng: &mut Rng, mut rest: &'a [u8]) -> Vec<&'a [u8]> {
    let longest = [1, 5, 16, 17, 100, 1000][rng.usize(0..6)];
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rng.usize(0..=longest.min(rest.len())));
        parts.push(part);
        rest = after;
    }
    if rng.bool() {
        parts.push(&[]);
    }
    parts
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

/// New numbers each run; a failing test prints the seed, and `CIPHER_SEED` runs it again with that.
fn seeded() -> Rng {
    let seed = std::env::var("CIPHER_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("random numbers from CIPHER_SEED={seed}");
    Rng::with_seed(seed)
}
