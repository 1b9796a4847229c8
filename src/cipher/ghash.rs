//! GHASH, the hash of GCM, made of POLYVAL: the same with the bytes of each block reversed.
//!
//! The `ghash` crate does this too, but reverses the bytes where the compiler may not use vectors.

use aes::Block;
use aes::cipher::Array;
use polyval::Polyval;
use polyval::hazmat::FieldElement;
use polyval::universal_hash::{UhfBackend, UniversalHash};

use super::BLOCK_LEN;
use super::pending::Pending;
use super::wiped::Wiped;

/// A hash under way.
pub(super) struct Ghash {
    polyval: Polyval,
    pending: Pending,
}

impl Ghash {
    #[inline(always)]
    pub(super) fn new(key: &Block) -> Self {
        let key: Wiped<Block> = Wiped::new(FieldElement::from(*key).reverse().mulx().into());
        Self { polyval: Polyval::new(&key), pending: Pending::new() }
    }

    #[inline(always)]
    pub(super) fn four_blocks(&mut self, blocks: [Block; 4]) {
        self.polyval.proc_par_blocks((&blocks.map(reverse)).into());
    }

    #[inline(always)]
    pub(super) fn block(&mut self, block: &Block) {
        self.polyval.proc_block(&reverse(*block));
    }

    pub(super) fn blocks(&mut self, blocks: &[Block]) {
        let (groups, rest) = blocks.as_chunks();
        groups.iter().for_each(|group| self.four_blocks(*group));
        rest.iter().for_each(|block| self.block(block));
    }

    /// Bytes of one block, of which the others have come or are still to come.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.pending.push(bytes);
        if let Some(&block) = self.pending.whole() {
            self.block(&block);
            self.pending.replace(&[]);
        }
    }

    /// Fills the last block of the text, or of what is authenticated with it, with zeros.
    pub(super) fn end_part(&mut self) {
        if self.pending.len() > 0 {
            self.bytes(&[0; BLOCK_LEN][self.pending.len()..]);
        }
    }

    pub(super) fn value(&self) -> Block {
        reverse(self.polyval.clone().finalize())
    }
}

#[inline(always)]
fn reverse(block: Block) -> Block {
    Array::from_fn(|index| block[BLOCK_LEN - 1 - index])
}
