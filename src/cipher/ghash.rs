//! GHASH, the hash of GCM, made of POLYVAL: the same with the bytes of each block reversed.
//!
//! The `ghash` crate does this too, but reverses the bytes where the compiler may not use vectors.

use aes::Block;
use aes::cipher::Array;
use polyval::Polyval;
use polyval::universal_hash::{UhfBackend, UniversalHash};

use super::BLOCK_LEN;
use super::kernels::{Hash, Path};
use super::pending::Pending;
use super::wiped::Wiped;

/// A hash under way.
pub(super) struct Ghash {
    by: By,
    pending: Pending,
}

enum By {
    /// The key has to follow.
    Nothing,
    Crate(Polyval),
    Kernel(Hash),
}

impl Ghash {
    /// Its key has to follow, with [`complete`](Self::complete), when it lies where it is going to stay.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { by: By::Nothing, pending: Pending::new() }
    }

    #[inline(always)]
    pub(super) fn complete(&mut self, path: Path, key: &Block) {
        let key: Wiped<Block> = Wiped::new(times_x(u128::from_be_bytes(key.0)).to_le_bytes().into());
        self.by = match path.kernel() {
            Some(kernel) => By::Kernel(Hash::new(kernel)),
            None => By::Crate(Polyval::new(&key)),
        };
        if let By::Kernel(hash) = &mut self.by {
            hash.set_key(&key.0);
        }
    }

    /// The hash of the kernel, where it is a kernel that encrypts.
    #[inline(always)]
    pub(super) fn of_kernel(&mut self) -> &mut Hash {
        match &mut self.by {
            By::Kernel(hash) => hash,
            By::Crate(_) | By::Nothing => unreachable!("both were chosen by the same path"),
        }
    }

    #[inline(always)]
    pub(super) fn four_blocks(&mut self, blocks: [Block; 4]) {
        match &mut self.by {
            By::Crate(polyval) => polyval.proc_par_blocks((&blocks.map(reverse)).into()),
            By::Kernel(_) | By::Nothing => blocks.iter().for_each(|block| self.block(block)),
        }
    }

    #[inline(always)]
    pub(super) fn block(&mut self, block: &Block) {
        match &mut self.by {
            By::Crate(polyval) => polyval.proc_block(&reverse(*block)),
            By::Kernel(hash) => hash.block(&block.0),
            By::Nothing => {}
        }
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

    pub(super) fn value(&self) -> Wiped<Block> {
        Wiped::new(match &self.by {
            By::Crate(polyval) => reverse(polyval.clone().finalize()),
            By::Kernel(hash) => reverse(Array(*hash.value())),
            By::Nothing => Block::default(),
        })
    }
}

/// The key of POLYVAL that is made of one of GHASH, read with its bytes reversed: the product with x in the field of POLYVAL
/// (RFC 8452, appendix A). The crate `polyval` does it too, and leaves copies on the stack.
#[inline(always)]
fn times_x(key: u128) -> u128 {
    // x^128 + x^127 + x^126 + x^121 + 1, without x^128.
    const POLYNOMIAL: u128 = 0xc2 << 120 | 1;
    (key << 1) ^ ((key >> 127) * POLYNOMIAL)
}

#[inline(always)]
fn reverse(block: Block) -> Block {
    Array::from_fn(|index| block[BLOCK_LEN - 1 - index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_multiplied_as_in_rfc_8452() {
        // Appendix A, with its erratum 7453; and a product that is too long for the field.
        let key = u128::from_be_bytes(0x9c98_c04d_f938_7ded_8281_75a9_2ba6_52d8_u128.to_le_bytes());
        let expected = u128::from_be_bytes(0x3931_819b_f271_fada_0503_eb52_574c_a572_u128.to_le_bytes());
        assert_eq!(times_x(key), expected);
        assert_eq!(times_x(1 << 127), 0xc200_0000_0000_0000_0000_0000_0000_0001);
    }
}
