//! CBC from block to block. The loops are our own so that the chaining value of an encryption stays in a register, and
//! so that a decryption reads and writes whole batches of blocks; the `cbc` crate does neither.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser,
    ParBlocks,
};

use super::batches::Batches;
use super::blocks::{xor, xor_blocks};
use super::kernels::{Bytes, RoundKeys};
use super::schedule::{DecryptWork, EncryptWork, bytes, bytes_mut};
use super::wiped::Wiped;

/// Blocks that follow one another, to be encrypted or decrypted.
pub(super) struct ChainedBlocks<'a> {
    chain: &'a mut Block,
    head: Option<&'a Block>,
    body: &'a [Block],
    output: &'a mut [Block],
}

impl<'a> ChainedBlocks<'a> {
    /// `head` and then `body` go in, and come out in `output`, which has as many blocks as both. `chain` is the
    /// ciphertext block before the first of them, and becomes the last one.
    #[inline(always)]
    pub(super) fn new(
        chain: &'a mut Block,
        head: Option<&'a Block>,
        body: &'a [Block],
        output: &'a mut [Block],
    ) -> Self {
        assert!(output.len() == usize::from(head.is_some()) + body.len(), "as many blocks come out as go in");
        Self { chain, head, body, output }
    }

    /// Gives `run` the blocks that lie behind one another.
    #[inline(always)]
    fn in_runs(self, run: impl Fn(&mut Bytes, &[Bytes], &mut [Bytes])) {
        let (first, output) = bytes_mut(self.output).split_at_mut(usize::from(self.head.is_some()));
        if let Some(head) = self.head {
            run(&mut self.chain.0, &[head.0], first);
        }
        if !self.body.is_empty() {
            run(&mut self.chain.0, bytes(self.body), output);
        }
    }
}

impl BlockSizeUser for ChainedBlocks<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for ChainedBlocks<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut chain = *self.chain;
        let mut step = |input: &Block| {
            chain = xor(&chain, input);
            backend.encrypt_block_inplace(&mut chain);
            chain
        };
        let (first, output) = self.output.split_at_mut(usize::from(self.head.is_some()));
        if let Some(head) = self.head {
            first[0] = step(head);
        }
        let (groups, rest) = self.body.as_chunks::<GROUP>();
        let (groups_out, rest_out) = output.as_chunks_mut::<GROUP>();
        let mut groups = groups.iter().copied();
        let mut ahead = groups.next().unwrap_or_default();
        for output in groups_out {
            let group = ahead.map(|input| step(&input));
            ahead = groups.next().unwrap_or_default();
            *output = group;
        }
        for (input, output) in rest.iter().zip(rest_out) {
            *output = step(input);
        }
        *self.chain = chain;
    }
}

impl EncryptWork for ChainedBlocks<'_> {
    #[inline(always)]
    fn encrypt_with_kernel(self, keys: &RoundKeys) {
        self.in_runs(|chain, input, output| keys.cbc_encrypt(chain, input, output));
    }
}

impl DecryptWork for ChainedBlocks<'_> {
    #[inline(always)]
    fn decrypt_with_kernel(self, keys: &RoundKeys) {
        self.in_runs(|chain, input, output| keys.cbc_decrypt(chain, input, output));
    }
}

/// Input blocks that an encryption reads one step ahead, in registers. That lets the compiler XOR them with the first
/// round key while the block before them is still being encrypted: one cycle less in the chain from block to block.
const GROUP: usize = 4;

impl BlockCipherDecClosure for ChainedBlocks<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let (first, output) = self.output.split_at_mut(usize::from(self.head.is_some()));
        if let Some(head) = self.head {
            decrypt_one(backend, self.chain, head, &mut first[0]);
            *self.chain = *head;
        }
        if let [first, following @ ..] = self.body {
            let (first_out, following_out) = output.split_at_mut(1);
            decrypt_one(backend, self.chain, first, &mut first_out[0]);
            decrypt_following(backend, self.body, following, following_out);
        }
        if let Some(last) = self.body.last() {
            *self.chain = *last;
        }
    }
}

#[inline(always)]
fn decrypt_one<B: BlockCipherDecBackend<BlockSize = U16>>(
    backend: &B,
    before: &Block,
    input: &Block,
    output: &mut Block,
) {
    let mut block = *input;
    backend.decrypt_block_inplace(&mut block);
    *output = xor(&block, before);
}

/// Decrypts `input` into `output`, which has the same length. `before` begins with the block before the first of
/// `input` and goes on as `input` does, so that each block finds the one before it at its own index.
#[inline(always)]
fn decrypt_following<B: BlockCipherDecBackend<BlockSize = U16>>(
    backend: &B,
    before: &[Block],
    input: &[Block],
    output: &mut [Block],
) {
    let mut batches = Batches::<B::ParBlocksSize>::of(input.len());
    for batch in &mut batches {
        let output = batch.of_mut(output);
        backend.decrypt_par_blocks((batch.of(input), &mut *output).into());
        xor_blocks(output, batch.of(before));
    }
    let done = batches.done();
    let (before, input, output) = (&before[done..], &input[done..], &mut output[done..]);
    if Batches::<B::ParBlocksSize>::worth_copying(input.len()) {
        let mut whole = Wiped::<ParBlocks<B>>::default();
        whole[..input.len()].copy_from_slice(input);
        backend.decrypt_par_blocks_inplace(&mut whole);
        output.copy_from_slice(&whole[..input.len()]);
        xor_blocks(output, &before[..input.len()]);
    } else {
        for ((input, before), output) in input.iter().zip(before).zip(output) {
            decrypt_one(backend, before, input, output);
        }
    }
}
