//! Messages that end where memory ends, and begin where it begins: a byte read or written outside ends the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/cipher_cases.rs"]
mod cipher_cases;

use aws_key_management::cipher::Direction;
use cipher_cases::{Setup, bytes, iv, seeded};
use memmap2::MmapMut;

#[test]
fn nothing_outside_a_message_is_read_or_written() {
    let (mut rng, mut source, mut target) = (seeded(), Island::new(), Island::new());
    for setup in Setup::all() {
        for len in lengths() {
            let (key, iv) = (bytes(&mut rng, setup.key_len), iv(&mut rng));
            let mut input = bytes(&mut rng, len);
            if setup.direction == Direction::Decrypt {
                input = setup.reversed().one_shot(&key, &iv, &input).unwrap();
            }
            let expected = setup.one_shot(&key, &iv, &input).unwrap();
            for (from, to) in [(Shore::First, Shore::First), (Shore::First, Shore::Last), (Shore::Last, Shore::Last)] {
                let input_there = source.bytes(from, input.len());
                input_there.copy_from_slice(&input);
                let mut context = setup.begin(&key, &iv).unwrap();
                let output = target.bytes(to, context.update_len(input.len()));
                context.update(input_there, output).unwrap();
                let output = [&*output, &context.finish().unwrap()].concat();
                assert_eq!(output, expected, "{setup:?}, {len} bytes from {from:?} to {to:?}");
            }
        }
    }
}

/// Steps of all sizes, with and without a part of a block, up to several of the largest.
fn lengths() -> impl Iterator<Item = usize> {
    let short = 0..=66;
    let blocks = (5..=70).chain([127, 128, 129, 250, 255, 256]);
    short.chain(blocks.flat_map(|blocks| [16 * blocks - 1, 16 * blocks, 16 * blocks + 2]))
}

/// Pages with none before and none behind them.
struct Island {
    pages: MmapMut,
}

#[derive(Clone, Copy, Debug)]
enum Shore {
    First,
    Last,
}

impl Island {
    fn new() -> Self {
        let mut pages = MmapMut::map_anon(LAND + 2 * SEA).unwrap();
        for sea in [0, SEA + LAND] {
            // SAFETY: the pages are a part of `pages`, whose other users leave them alone.
            let refused = unsafe { libc::mprotect(pages[sea..].as_mut_ptr().cast(), SEA, libc::PROT_NONE) };
            assert_eq!(refused, 0);
        }
        Self { pages }
    }

    /// So many bytes that begin with the first, or end with the last.
    fn bytes(&mut self, shore: Shore, len: usize) -> &mut [u8] {
        let start = match shore {
            Shore::First => 0,
            Shore::Last => LAND - len,
        };
        &mut self.pages[SEA + start..][..len]
    }
}

/// In bytes: whole pages, also where they are as large as 64 KiB.
const LAND: usize = 65_536;
const SEA: usize = 65_536;
