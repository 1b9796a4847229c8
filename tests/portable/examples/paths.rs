//! Nanoseconds that a message takes on each path that this CPU has: context made, updated, finished and wiped.
//!
//! `cargo run --release -p portable_cipher --example paths`; `-- GCM` after that measures only modes whose names begin so.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Instant;

use portable_cipher::cipher::{Algorithm, CipherError, Context, Direction, Padding, Path};

fn main() -> Result<(), CipherError> {
    let paths: Vec<Path> = Path::all().collect();
    let begins = std::env::args().nth(1).unwrap_or_default();
    print!("{:30}", "");
    paths.iter().for_each(|path| print!("{path:>12}"));
    println!("  (ns)");
    for key_len in [16, 32] {
        for mode in MODES.into_iter().filter(|mode| mode.0.starts_with(&begins)) {
            for shape in SHAPES {
                print!("{:12}AES-{:<4}{:10}", mode.0, key_len * 8, shape.0);
                for time in times(&paths, mode, shape, &vec![7; key_len])? {
                    print!("{time:12.1}");
                }
                println!();
            }
        }
    }
    Ok(())
}

/// Name, algorithm, direction, padding.
type Mode = (&'static str, Algorithm, Direction, Padding);

/// Name, bytes, offset from a multiple of 4096, updates.
type Shape = (&'static str, usize, usize, usize);

/// The least of many rounds, in which the paths take turns: what comes on top of it is other work.
fn times(paths: &[Path], mode: Mode, shape: Shape, key: &[u8]) -> Result<Vec<f64>, CipherError> {
    let (.., direction, padding) = mode;
    let (_, len, offset, mut updates) = shape;
    let mut text = vec![3; len];
    if (direction, padding) == (Direction::Decrypt, Padding::Pkcs7) {
        // What is authenticated has to be right, and to come in one piece.
        text = sealed(mode, key, &text)?;
        updates = 1;
    }
    let (mut input, mut output) = (vec![0; len + 3 * 4096], vec![0; len + 3 * 4096]);
    let at = |buffer: &[u8]| buffer.as_ptr().align_offset(4096) + offset;
    let (start, start_out) = (at(&input), at(&output));
    input[start..][..text.len()].copy_from_slice(&text);
    let (input, output) = (&input[start..][..text.len()], &mut output[start_out..][..text.len()]);
    let mut least = vec![f64::MAX; paths.len()];
    let messages = 200_000 / (len + 100) + 1;
    for _ in 0..ROUNDS {
        for (least, &path) in least.iter_mut().zip(paths) {
            let started = Instant::now();
            for _ in 0..messages {
                message(path, mode, key, black_box(input), updates, output)?;
            }
            *least = least.min(started.elapsed().as_nanos() as f64 / messages as f64);
        }
    }
    Ok(least)
}

fn message(
    path: Path,
    (_, algorithm, direction, padding): Mode,
    key: &[u8],
    input: &[u8],
    updates: usize,
    output: &mut [u8],
) -> Result<(), CipherError> {
    let mut place = MaybeUninit::uninit();
    let context = Context::new_in_on(path, &mut place, algorithm, direction, padding, black_box(key), &[9; 16])?;
    let mut written = 0;
    for part in input.chunks(input.len().div_ceil(updates)) {
        written += context.update(part, &mut output[written..])?;
    }
    black_box((context.finish()?.len(), output));
    // As the plugin does it, in the memory that the server lends it.
    place = MaybeUninit::zeroed();
    black_box(&place);
    Ok(())
}

fn sealed((_, algorithm, _, padding): Mode, key: &[u8], text: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut context = Context::new(algorithm, Direction::Encrypt, padding, key, &[9; 16])?;
    let mut sealed = vec![0; text.len()];
    context.update(text, &mut sealed)?;
    sealed.extend_from_slice(&context.finish()?);
    Ok(sealed)
}

const MODES: [Mode; 5] = [
    ("CBC encrypt", Algorithm::AesCbc, Direction::Encrypt, Padding::None),
    ("CBC decrypt", Algorithm::AesCbc, Direction::Decrypt, Padding::None),
    ("CTR", Algorithm::AesCtr, Direction::Encrypt, Padding::None),
    ("GCM encrypt", Algorithm::AesCtr, Direction::Encrypt, Padding::Pkcs7),
    ("GCM decrypt", Algorithm::AesCtr, Direction::Decrypt, Padding::Pkcs7),
];

const SHAPES: [Shape; 5] = [
    ("64 B", 64, 0, 1),
    ("200 B", 200, 0, 4),
    ("4 KiB", 4096, 0, 1),
    ("page", 16_354, 26, 1),
    ("64 KiB", 65_536, 0, 1),
];

const ROUNDS: usize = 150;
