//! The end of a message.

use std::ops::Deref;

use aes::Block;

use super::wiped::Wiped;

/// What is written at the end of a message: at most 16 bytes, which are wiped when this is dropped.
pub struct MessageEnd {
    block: Wiped<Block>,
    len: usize,
}

impl MessageEnd {
    #[inline(always)]
    pub(super) fn empty() -> Self {
        Self::first(Block::default(), 0)
    }

    pub(super) fn whole(block: Block) -> Self {
        Self::first(block, block.len())
    }

    /// The first `len` bytes of a block.
    #[inline(always)]
    pub(super) fn first(block: Block, len: usize) -> Self {
        Self { block: Wiped::new(block), len }
    }

    /// The bytes.
    #[inline(always)]
    pub fn as_slice(&self) -> &[u8] {
        &self.block[..self.len]
    }
}

impl Deref for MessageEnd {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}
