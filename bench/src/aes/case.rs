//! What is measured: modes, key lengths, messages, threads.

use std::fmt;

/// A kind of message and the number of threads that work on such messages.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is done with the message.
    pub mode: Mode,
    /// 128 or 256.
    pub key_bits: usize,
    /// Size and pieces.
    pub shape: Shape,
    /// Threads, each with messages of its own.
    pub threads: usize,
}

impl Case {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        KEY_BITS.into_iter().flat_map(|key_bits| {
            let shapes = |mode| SHAPES.into_iter().map(move |shape| (mode, shape));
            Mode::ALL.into_iter().flat_map(shapes).flat_map(move |(mode, shape)| {
                THREADS.into_iter().map(move |threads| Self { mode, key_bits, shape, threads })
            })
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, key_bits, shape, threads } = self;
        let threads = if *threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        write!(f, "{mode}, AES-{key_bits}, {shape}, {threads}")
    }
}

/// A mode and a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// AES_CBC without padding, as pages and logs have it.
    CbcEncrypt,
    /// The same, back.
    CbcDecrypt,
    /// AES_CTR without padding, as pages and logs have it. Both directions are the same.
    Ctr,
    /// AES_CTR with a tag, as temporary files and binary logs have it.
    GcmEncrypt,
    /// The same, back.
    GcmDecrypt,
}

impl Mode {
    /// In the order of the tables.
    pub const ALL: [Self; 5] = [Self::CbcEncrypt, Self::CbcDecrypt, Self::Ctr, Self::GcmEncrypt, Self::GcmDecrypt];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CbcEncrypt => "CBC encrypt",
            Self::CbcDecrypt => "CBC decrypt",
            Self::Ctr => "CTR",
            Self::GcmEncrypt => "GCM encrypt",
            Self::GcmDecrypt => "GCM decrypt",
        })
    }
}

/// Size and pieces of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// For a person.
    pub name: &'static str,
    /// Bytes of plaintext.
    pub len: usize,
    /// Bytes between an address that is a multiple of 4096 and the message.
    pub offset: usize,
    /// Pieces of equal length that the message comes in. A GCM decryption comes in one whatever this says: the server
    /// cannot do it otherwise.
    pub updates: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// The smallest message.
pub const SMALL: Shape = Shape { name: "64 B", len: 64, offset: 0, updates: 1 };

/// What InnoDB encrypts of a page of 16 KiB: all but header and trailer.
pub const PAGE: Shape = Shape { name: "InnoDB page", len: 16_354, offset: 26, updates: 1 };

/// The largest message.
pub const LARGE: Shape = Shape { name: "64 KiB", len: 65_536, offset: 0, updates: 1 };

/// In the order of the tables.
pub const SHAPES: [Shape; 7] = [
    SMALL,
    // A record of the redo log.
    Shape { name: "200 B in 4 updates", len: 200, offset: 0, updates: 4 },
    Shape { name: "512 B", len: 512, offset: 0, updates: 1 },
    Shape { name: "4 KiB", len: 4096, offset: 0, updates: 1 },
    PAGE,
    Shape { name: "16 KiB", len: 16_384, offset: 0, updates: 1 },
    LARGE,
];

/// In the order of the tables.
pub const KEY_BITS: [usize; 2] = [128, 256];

/// In the order of the tables.
pub const THREADS: [usize; 2] = [1, 2];
