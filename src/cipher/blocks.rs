//! XOR of blocks.

use aes::Block;
use aes::cipher::Array;

/// XOR of two blocks. Both are read before anything is written: else the compiler, which cannot tell whether they
/// overlap, goes byte by byte.
#[inline(always)]
pub(super) fn xor(a: &Block, b: &Block) -> Block {
    let (a, b) = (*a, *b);
    Array::from_fn(|index| a[index] ^ b[index])
}

/// XORs `with` into `blocks`, which has as many.
#[inline(always)]
pub(super) fn xor_blocks(blocks: &mut [Block], with: &[Block]) {
    assert!(blocks.len() == with.len(), "as many blocks on both sides");
    let (wide, narrow) = Array::slice_as_flattened_mut(blocks).as_chunks_mut::<WIDE>();
    let (wide_with, narrow_with) = Array::slice_as_flattened(with).as_chunks::<WIDE>();
    for (bytes, with) in wide.iter_mut().zip(wide_with) {
        let (a, b) = (*bytes, *with);
        *bytes = std::array::from_fn(|index| a[index] ^ b[index]);
    }
    let (narrow, _) = Block::slice_as_chunks_mut(narrow);
    let (narrow_with, _) = Block::slice_as_chunks(narrow_with);
    for (block, with) in narrow.iter_mut().zip(narrow_with) {
        *block = xor(block, with);
    }
}

/// Bytes in the widest register, which is also the unit in which the `aes` crate stores its results: reading them back
/// in other units would have to wait for the stores.
pub(super) const WIDE: usize = 64;
