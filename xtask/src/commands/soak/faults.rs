//! Faults of KMS, and the errors that they excuse.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use fastrand::Rng;

use crate::kms_emulator::Emulator;

/// The faults of one server's life.
pub struct Faults<'a> {
    kms: &'a Emulator,
    /// What a message about one of them contains.
    words: Mutex<BTreeSet<&'static str>>,
}

impl<'a> Faults<'a> {
    /// None yet.
    pub fn new(kms: &'a Emulator) -> Self {
        Self { kms, words: Mutex::default() }
    }

    /// From now on KMS fails in one of the ways.
    pub fn inject(&self, rng: &mut Rng) -> Result<()> {
        let (kind, words) = FAULTS[rng.usize(..FAULTS.len())];
        self.expect(words);
        self.kms.refuse("*", kind, None)
    }

    /// KMS fails for a start that comes next, which waits until it works.
    pub fn hold_up_start(&self, rng: &mut Rng) -> Result<()> {
        let (kind, words) = PASSING[rng.usize(..PASSING.len())];
        self.expect(words);
        self.kms.refuse("Decrypt", kind, Some(rng.u32(1..8)))
    }

    /// KMS works again.
    pub fn clear(&self) -> Result<()> {
        self.kms.clear_faults()
    }

    /// A new life begins: the faults so far are no excuse any more.
    pub fn forget(&mut self) {
        self.words.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether `message`, of the error log or for a client, is about a fault.
    pub fn excuse(&self, message: &str) -> bool {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        // The client that needs a new key hears of it in the server's own words; the log has ours.
        let of_a_table = message.contains("errno: 140 \"Wrong create options\"");
        words.iter().any(|words| message.contains(words)) || (of_a_table && !words.is_empty())
    }

    /// The server is stopped, in order: it gives up what it is doing for a statement.
    pub fn stop(&self) {
        self.expect("given up, since the server stops");
    }

    fn expect(&self, words: &'static str) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).insert(words);
    }
}

/// A kind of fault, and words of the plugin's message about it.
const FAULTS: [(&str, &str); 10] = [
    PASSING[0],
    PASSING[1],
    PASSING[2],
    ("access_denied", "AccessDeniedException"),
    ("expired_token", "ExpiredTokenException"),
    ("hang", "no answer in time"),
    ("cut", UNREADABLE),
    ("garbage", UNREADABLE),
    ("garbage_with_plaintext", UNREADABLE),
    ("wrong_length", "KMS made a key of 15 bytes"),
];

/// Those that a start waits for.
const PASSING: [(&str, &str); 3] = [
    ("throttle", "ThrottlingException"),
    ("error500", "KMSInternalException"),
    ("unavailable503", "ServiceUnavailableException"),
];

const UNREADABLE: &str = "KMS could not be reached or did not answer properly";
