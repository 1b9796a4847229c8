//! XOR of blocks, and how a message is cut into the batches that the `aes` crate works on.

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

/// The batches of a message.
///
/// If a rest is left that would take longer block by block, one more batch goes back over blocks that are done.
pub(super) struct Batches {
    len: usize,
    batch: usize,
    /// How many blocks the batches given out so far have done.
    pub(super) done: usize,
}

impl Batches {
    /// For `len` blocks, `batch` at a time.
    #[inline(always)]
    pub(super) fn of(len: usize, batch: usize) -> Self {
        Self { len, batch, done: 0 }
    }
}

impl Iterator for Batches {
    type Item = Batch;

    #[inline(always)]
    fn next(&mut self) -> Option<Batch> {
        if self.len < self.batch || self.len - self.done <= few_after(self.batch) {
            return None;
        }
        let at = self.done.min(self.len - self.batch);
        let again = self.done - at;
        self.done = at + self.batch;
        Some(Batch { at, again })
    }
}

/// Where a batch begins, and how many of its first blocks are done already.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) at: usize,
    pub(super) again: usize,
}

/// So many blocks after the last batch take as long one by one as one more batch that goes back.
const fn few_after(batch: usize) -> usize {
    batch / 8 * 3
}

/// So many blocks take as long one by one as a batch of which they are a part, copied there and wiped afterwards.
pub(super) const fn few_alone(batch: usize) -> usize {
    batch / 2
}

/// Bytes in the widest register, which is also the unit in which the `aes` crate stores its results: reading them back
/// in other units would have to wait for the stores.
pub(super) const WIDE: usize = 64;
