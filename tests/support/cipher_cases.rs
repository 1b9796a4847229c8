//! Ways of calling the cipher, and random messages for them.
#![allow(dead_code, reason = "each test uses its part")]

use aws_key_management::cipher::{Algorithm, CipherError, Context, Direction, Padding, Path};
use fastrand::Rng;

/// Somebody else's AES, which says what must come out.
pub trait Oracle {
    /// A whole message. `None` if it is refused.
    fn message(&self, setup: Setup, key: &[u8], iv: &[u8; 16], input: &[u8]) -> Option<Vec<u8>>;
}

/// One way of calling the cipher.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub path: Path,
    pub algorithm: Algorithm,
    pub padding: Padding,
    pub direction: Direction,
    pub key_len: usize,
}

impl Setup {
    /// Of every path that this CPU has.
    pub fn all() -> impl Iterator<Item = Self> {
        Path::all().flat_map(Self::all_on)
    }

    fn all_on(path: Path) -> impl Iterator<Item = Self> {
        let modes = [Algorithm::AesCbc, Algorithm::AesCtr].into_iter();
        let modes = modes.flat_map(|algorithm| [Padding::None, Padding::Pkcs7].map(|padding| (algorithm, padding)));
        modes.flat_map(move |(algorithm, padding)| {
            [Direction::Encrypt, Direction::Decrypt].into_iter().flat_map(move |direction| {
                KEY_LENGTHS.iter().map(move |&key_len| Self { path, algorithm, padding, direction, key_len })
            })
        })
    }

    pub fn decrypting() -> impl Iterator<Item = Self> {
        Self::all().filter(|setup| setup.direction == Direction::Decrypt)
    }

    /// CTR with padding.
    pub fn is_gcm(self) -> bool {
        (self.algorithm, self.padding) == (Algorithm::AesCtr, Padding::Pkcs7)
    }

    /// Whether a message can come in parts: not where it is authenticated before it is decrypted.
    pub fn takes_parts(self) -> bool {
        !self.is_gcm() || self.direction == Direction::Encrypt
    }

    pub fn begin(self, key: &[u8], iv: &[u8]) -> Result<Context, CipherError> {
        Context::new_on(self.path, self.algorithm, self.direction, self.padding, key, iv)
    }

    /// A message of `len` bytes of plaintext, as this setup takes it in: encrypted by the oracle where it is to be
    /// decrypted.
    pub fn input(self, oracle: &impl Oracle, rng: &mut Rng, key: &[u8], iv: &[u8; 16], len: usize) -> Vec<u8> {
        let plain = bytes(rng, len);
        match self.direction {
            Direction::Encrypt => plain,
            Direction::Decrypt => oracle.message(self.reversed(), key, iv, &plain).unwrap(),
        }
    }

    /// The other direction.
    pub fn reversed(self) -> Self {
        let direction = match self.direction {
            Direction::Encrypt => Direction::Decrypt,
            Direction::Decrypt => Direction::Encrypt,
        };
        Self { direction, ..self }
    }

    pub fn one_shot(self, key: &[u8], iv: &[u8], input: &[u8]) -> Result<Vec<u8>, CipherError> {
        self.in_parts(key, iv, &[input])
    }

    pub fn in_parts(self, key: &[u8], iv: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, CipherError> {
        let mut context = self.begin(key, iv)?;
        let mut output = Vec::new();
        for part in parts {
            output.extend(update(&mut context, part)?);
        }
        output.extend_from_slice(&context.finish()?);
        Ok(output)
    }

    /// Both give the same bytes, or both fail.
    pub fn same_outcome(
        self,
        oracle: &impl Oracle,
        key: &[u8],
        iv: &[u8; 16],
        input: &[u8],
    ) -> Result<Vec<u8>, CipherError> {
        let (expected, ours) = (oracle.message(self, key, iv, input), self.one_shot(key, iv, input));
        assert_eq!(ours.as_ref().ok(), expected.as_ref(), "{self:?}, {} bytes: {:?}", input.len(), ours.as_ref().err());
        ours
    }
}

/// One update into an output of exactly the promised length.
pub fn update(context: &mut Context, input: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut output = vec![0; context.update_len(input.len())];
    let written = context.update(input, &mut output)?;
    assert_eq!(written, output.len(), "update_len is exact");
    Ok(output)
}

/// Cuts a message into parts of random lengths, empty ones among them. At least one part: in GCM the server takes in
/// what is authenticated besides the message with the first update, and its callers always make one.
pub fn split<'a>(rng: &mut Rng, mut rest: &'a [u8]) -> Vec<&'a [u8]> {
    let longest = [1, 5, 16, 17, 100, 1100, 5000][rng.usize(0..7)];
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rng.usize(0..=longest.min(rest.len())));
        parts.push(part);
        rest = after;
    }
    if parts.is_empty() || rng.bool() {
        parts.push(&[]);
    }
    parts
}

pub fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// An IV. Half of them are counters that overflow soon, in their last byte or in all of them.
pub fn iv(rng: &mut Rng) -> [u8; 16] {
    let mut iv = [0xff; 16];
    let random = if rng.bool() { 16 } else { rng.usize(0..16) };
    rng.fill(&mut iv[..random]);
    iv[15] ^= rng.u8(..) >> rng.u8(0..8);
    iv
}

/// New numbers each run; a failing test prints the seed, and `CIPHER_SEED` runs it again with that.
pub fn seeded() -> Rng {
    let seed = std::env::var("CIPHER_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("random numbers from CIPHER_SEED={seed}");
    Rng::with_seed(seed)
}

/// In bytes. One of them is enough for Miri, which takes seconds for what is microseconds elsewhere.
const KEY_LENGTHS: &[usize] = if cfg!(miri) { &[32] } else { &[16, 24, 32] };
