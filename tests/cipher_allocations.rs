//! The cipher asks the allocator for nothing: the server stops if the encryption of a page fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use allocation_counter::measure;
use aws_key_management::cipher::{Algorithm, Context, Direction, Padding};

#[test]
fn no_message_takes_memory_from_the_allocator() {
    let input = vec![3; 70_000];
    let mut output = vec![0; 70_032];
    for algorithm in [Algorithm::AesCbc, Algorithm::AesCtr] {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            for padding in [Padding::None, Padding::Pkcs7] {
                for len in [0, 1, 16, 200, 1024, 16_354, 70_000] {
                    let allocations = measure(|| {
                        let mut context = Context::new(algorithm, direction, padding, &[1; 32], &[2; 16]).unwrap();
                        let written = context.update(&input[..len], &mut output).unwrap_or(0);
                        let _ = context.finish(&mut output[written..]);
                    });
                    let what = format!("{algorithm} {direction:?} {padding:?}, {len} bytes");
                    assert_eq!(allocations.count_total, 0, "{what}");
                }
            }
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(vec![1_u8; 100]))).count_total, 1);
}
