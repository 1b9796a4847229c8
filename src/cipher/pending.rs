//! Input that waits for the rest of its block.

use aes::Block;

use super::BLOCK_LEN;
use super::blocks::xor;
use super::wiped::Wiped;

/// Up to one block of input that no update has processed yet. Wiped when dropped.
pub(super) struct Pending {
    bytes: Wiped<Block>,
    len: usize,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self { bytes: Wiped::default(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The block, if it is a whole one.
    pub(super) fn whole(&self) -> Option<&Block> {
        (self.len == BLOCK_LEN).then_some(&*self.bytes)
    }

    /// The first [`len`](Self::len) bytes of `mask` XORed with the bytes that wait, and the rest of a block, which
    /// means nothing.
    pub(super) fn xor(&self, mask: &Block) -> Block {
        xor(&self.bytes, mask)
    }

    /// The block, filled up in the way of PKCS#7: with the number of bytes that are missing, in each of them.
    pub(super) fn padded(&self) -> Block {
        // 1 to 16, so the cast keeps the value.
        let mut block = Block::from([(BLOCK_LEN - self.len) as u8; BLOCK_LEN]);
        if self.len > 0 {
            block[..self.len].copy_from_slice(&self.bytes[..self.len]);
        }
        block
    }

    /// Cuts `input` so that it and what waits here make `blocks` whole blocks: the bytes that complete the block here,
    /// the blocks that follow it, and what is to wait next.
    ///
    /// What waits and `input` together must have that many blocks, and no more than one block beyond them.
    #[inline(always)]
    pub(super) fn cut<'a>(&self, input: &'a [u8], blocks: usize) -> (&'a [u8], &'a [Block], &'a [u8]) {
        if blocks == 0 {
            return (input, &[], &[]);
        }
        let (fill, body) = match self.len {
            0 => (0, blocks),
            len => (BLOCK_LEN - len, blocks - 1),
        };
        let (fill, input) = input.split_at(fill);
        let (body, rest) = input.split_at(body * BLOCK_LEN);
        (fill, Block::slice_as_chunks(body).0, rest)
    }

    /// Adds bytes to the block; they must fit.
    #[inline(always)]
    pub(super) fn push(&mut self, input: &[u8]) {
        if input.is_empty() {
            // Most messages are whole blocks: no call of memcpy.
            return;
        }
        self.bytes[self.len..][..input.len()].copy_from_slice(input);
        self.len += input.len();
    }

    /// Starts the next block.
    #[inline(always)]
    pub(super) fn replace(&mut self, input: &[u8]) {
        self.len = 0;
        self.push(input);
    }
}
