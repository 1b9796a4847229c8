//! What is known of a message, and what the interface says of it.

use std::ffi::{c_int, c_uint};

use crate::context::Context;
use crate::lookups::encrypted_length_of;
use crate::plugin::Algorithm;
use crate::script::Name;

/// A message under way.
pub struct Message {
    pub setup: Setup,
    /// All input so far, and all output.
    pub taken: Vec<u8>,
    pub given: Vec<u8>,
    /// A part was refused that counts: the message can't end well any more.
    pub spoiled: bool,
    /// What remains to be fed to it.
    pub feed: Vec<u8>,
    /// With this input, it decrypts to this output.
    pub known: Option<(Vec<u8>, Vec<u8>)>,
    parts: usize,
}

#[derive(Clone)]
pub struct Setup {
    pub name: Name,
    pub key: Vec<u8>,
    pub iv: Vec<u8>,
    pub flags: c_int,
}

/// A message that was encrypted.
pub struct Known {
    pub setup: Setup,
    pub plain: Vec<u8>,
    pub secret: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    CbcEncrypt,
    CbcDecrypt,
    CbcEncryptNoPad,
    CbcDecryptNoPad,
    Ctr,
    GcmEncrypt,
    GcmDecrypt,
}

impl Setup {
    pub fn encrypts(&self) -> bool {
        self.flags & ENCRYPT != 0
    }

    pub fn pads(&self) -> bool {
        self.flags & NOPAD == 0
    }

    pub fn mode(&self) -> Mode {
        match (self.name.algorithm(), self.pads(), self.encrypts()) {
            (Algorithm::Cbc, true, true) => Mode::CbcEncrypt,
            (Algorithm::Cbc, true, false) => Mode::CbcDecrypt,
            (Algorithm::Cbc, false, true) => Mode::CbcEncryptNoPad,
            (Algorithm::Cbc, false, false) => Mode::CbcDecryptNoPad,
            (Algorithm::Ctr, false, _) => Mode::Ctr,
            (Algorithm::Ctr, true, true) => Mode::GcmEncrypt,
            (Algorithm::Ctr, true, false) => Mode::GcmDecrypt,
        }
    }

    /// What init answers.
    pub fn answer(&self) -> c_int {
        let iv_fits = match self.name.algorithm() {
            Algorithm::Ctr if self.pads() => (12..=16).contains(&self.iv.len()),
            _ => self.iv.len() == 16,
        };
        match self.key.len() {
            _ if !iv_fits => ERROR,
            16 | 24 | 32 => 0,
            _ => BAD_KEY_SIZE,
        }
    }
}

impl Message {
    pub fn new(setup: Setup) -> Self {
        let (taken, given, feed) = (Vec::new(), Vec::new(), Vec::new());
        Self { setup, taken, given, spoiled: false, feed, known: None, parts: 0 }
    }

    /// How many bytes come out when `length` more go in, if all is well.
    pub fn update_length(&self, length: usize) -> usize {
        let total = self.taken.len() + length;
        let whole = match self.setup.mode() {
            Mode::CbcEncrypt | Mode::CbcEncryptNoPad | Mode::CbcDecryptNoPad => total / 16 * 16,
            Mode::CbcDecrypt => total.saturating_sub(1) / 16 * 16,
            Mode::Ctr | Mode::GcmEncrypt => total,
            // In one part only.
            Mode::GcmDecrypt => return length.saturating_sub(16),
        };
        whole - self.given.len()
    }

    /// What finish answers and how many bytes come out, if all is well; `None` where that depends on the data.
    pub fn finish_answer(&self) -> Option<(c_int, usize)> {
        match self.setup.mode() {
            Mode::CbcEncrypt | Mode::GcmEncrypt => Some((0, 16)),
            Mode::CbcEncryptNoPad | Mode::CbcDecryptNoPad => Some((0, self.taken.len() - self.given.len())),
            Mode::Ctr => Some((0, 0)),
            Mode::GcmDecrypt if self.spoiled || self.parts == 0 => Some((BAD_DATA, 0)),
            Mode::GcmDecrypt => Some((0, 0)),
            Mode::CbcDecrypt if self.taken.is_empty() || !self.taken.len().is_multiple_of(16) => Some((BAD_DATA, 0)),
            Mode::CbcDecrypt => None,
        }
    }

    /// A part went through.
    pub fn add(&mut self, input: &[u8], output: &[u8]) {
        self.taken.extend(input);
        self.given.extend(output);
        self.parts += 1;
    }

    /// A GCM decryption takes one part.
    pub fn takes_no_more(&self) -> bool {
        self.setup.mode() == Mode::GcmDecrypt && (self.spoiled || self.parts > 0)
    }

    /// Damaged data was found, which is fair only if the data was damaged. `input` is the part that was refused.
    pub fn must_be_damaged(&self, input: &[u8]) {
        let Some((secret, _)) = &self.known else { return };
        let whole = [&self.taken, input].concat();
        assert!(self.spoiled || whole != *secret, "a ciphertext as it was encrypted is said to be damaged");
    }

    /// The message has ended well: its lengths are right, and the way back leads to what went in.
    pub fn check_whole(&self) {
        let (plain, secret) =
            if self.setup.encrypts() { (&self.taken, &self.given) } else { (&self.given, &self.taken) };
        let (id, version) = self.setup.name.parts();
        let expected = if self.setup.pads() {
            encrypted_length_of(id, version, plain.len() as c_uint) as usize
        } else {
            plain.len()
        };
        assert_eq!(secret.len(), expected, "the length of a ciphertext");
        if let Some((secret, plain)) = &self.known {
            assert!(self.taken != *secret || self.given == *plain, "the plaintext is another one");
        }
        let back = Setup { flags: self.setup.flags ^ ENCRYPT, ..self.setup.clone() };
        assert_eq!(Context::whole_message(back, &self.given), self.taken, "the way back leads elsewhere");
    }

    /// For what follows, if it was an encryption.
    pub fn into_known(self) -> Option<Known> {
        self.setup.encrypts().then_some(Known { setup: self.setup, plain: self.taken, secret: self.given })
    }
}

impl Known {
    /// The way back. `damage` changes the ciphertext in one place.
    pub fn decryption(&self, damage: Option<(u16, u8)>) -> Message {
        let mut message = Message::new(Setup { flags: self.setup.flags ^ ENCRYPT, ..self.setup.clone() });
        message.feed = self.secret.clone();
        if let Some((place, change)) = damage
            && !self.secret.is_empty()
        {
            message.feed[usize::from(place) % self.secret.len()] ^= change;
        }
        message.known = Some((self.secret.clone(), self.plain.clone()));
        message
    }
}

// Flags of the server's crypt_ctx_init.
pub const ENCRYPT: c_int = 1;
pub const NOPAD: c_int = 2;

// What the server's own functions answer.
pub const BAD_DATA: c_int = -100;
pub const ERROR: c_int = -101;
pub const BAD_KEY_SIZE: c_int = -102;
