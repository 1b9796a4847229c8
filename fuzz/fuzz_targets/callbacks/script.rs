//! What the fuzzer makes of its bytes: a list of calls.

use std::ffi::{c_int, c_uint};

use libfuzzer_sys::arbitrary::{self, Arbitrary};

use crate::plugin::{Algorithm, KEYS};

#[derive(Arbitrary, Debug)]
pub struct Script {
    pub steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
pub enum Step {
    Latest {
        name: Name,
    },
    Key {
        name: Name,
        room: u8,
        buffer: bool,
        length: bool,
    },
    EncryptedLength {
        name: Name,
        length: c_uint,
    },
    Init {
        context: Index,
        memory: Memory,
        begin: Begin,
        nulls: Nulls,
    },
    Update {
        context: Index,
        part: Part,
        place: Place,
        nulls: Nulls,
    },
    Finish {
        context: Index,
        offset: u8,
        nulls: Nulls,
    },
    /// One message from beginning to end: by single calls the fuzzer gets there too seldom.
    Message {
        offset: u8,
        begin: Begin,
        parts: [Option<(Part, Place)>; 3],
    },
}

/// Contexts that are in use at the same time.
pub const CONTEXTS: usize = 4;

/// One of them.
#[derive(Arbitrary, Debug)]
pub struct Index(u8);

impl Index {
    pub fn index(&self) -> usize {
        usize::from(self.0) % CONTEXTS
    }
}

/// A key id and version: of a key that exists, or not.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Name(u8);

impl Name {
    pub fn parts(self) -> (c_uint, c_uint) {
        let n = usize::from(self.0) % (KEYS.len() + UNKNOWN.len());
        KEYS.get(n).map_or_else(|| UNKNOWN[n - KEYS.len()], |key| (key.id, key.version))
    }

    /// CBC for what does not exist.
    pub fn algorithm(self) -> Algorithm {
        let key = KEYS.iter().find(|key| (key.id, key.version) == self.parts());
        key.map_or(Algorithm::Cbc, |key| key.algorithm)
    }
}

const UNKNOWN: [(c_uint, c_uint); 6] = [(0, 0), (0, 1), (1, 0), (1, 3), (2, c_uint::MAX), (3, 1)];

/// The memory of a context.
#[derive(Arbitrary, Debug)]
pub enum Memory {
    New {
        offset: u8,
    },
    /// What is there, with whatever is in it.
    Same,
}

#[derive(Arbitrary, Debug)]
pub enum Begin {
    New {
        name: Name,
        key: Pattern,
        key_length: u8,
        iv: Pattern,
        iv_length: u8,
        flags: c_int,
    },
    /// Decrypt what was encrypted before, whole or damaged.
    Back {
        message: u8,
        damage: Option<(u16, u8)>,
    },
}

/// Which pointers of a call are NULL: mostly none.
#[derive(Arbitrary, Debug)]
pub struct Nulls(u8);

impl Nulls {
    pub fn none() -> Self {
        Self(1)
    }

    /// Bit `n` stands for the `n`th pointer.
    pub fn has(&self, n: u32) -> bool {
        self.0.is_multiple_of(4) && (self.0 / 4) >> n & 1 != 0
    }

    pub fn or<T>(&self, n: u32, pointer: *mut T) -> *mut T {
        if self.has(n) { std::ptr::null_mut() } else { pointer }
    }
}

/// The next part of a message.
#[derive(Arbitrary, Debug)]
pub enum Part {
    /// For a decryption that goes [`Begin::Back`], all that is left of the ciphertext; else 16 bytes.
    Rest,
    Bytes {
        length: u16,
        pattern: Pattern,
    },
}

impl Part {
    /// Mostly short, sometimes as long as what goes through the cipher in several pieces.
    pub fn length(length: u16) -> usize {
        let most = if length.is_multiple_of(4) { 3000 } else { 70 };
        usize::from(length / 4) % most
    }
}

/// Where input and output lie.
#[derive(Arbitrary, Debug)]
pub enum Place {
    Apart {
        from: u8,
        to: u8,
    },
    /// In one buffer, at these places.
    Together {
        from: u16,
        to: u16,
    },
    /// In place.
    Same {
        at: u8,
    },
}

/// Bytes without cost to the fuzzer.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Pattern(u8);

impl Pattern {
    pub fn bytes(self, length: usize) -> Vec<u8> {
        match self.0 {
            uniform @ (0 | 0xff) => vec![uniform; length],
            seed => (0..length).map(|n| (n as u8).wrapping_mul(seed | 1).wrapping_add((n >> 8) as u8) ^ seed).collect(),
        }
    }
}
