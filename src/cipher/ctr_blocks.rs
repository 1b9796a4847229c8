//! CTR from block to block. The loops are our own so that the counters of a batch are made at once and whole batches
//! are read and written; the `ctr` crate does neither.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser, ParBlocks};

use super::BLOCK_LEN;
use super::batches::Batches;
use super::blocks::{WIDE, xor_blocks};
use super::ctr::Combine;
use super::kernels::RoundKeys;
use super::schedule::EncryptWork;
use super::wiped::Wiped;

/// Blocks to be combined with the key stream.
pub(super) struct CountedBlocks<'a, C: Combine> {
    counter: &'a mut u128,
    body: &'a [Block],
    output: &'a mut [Block],
    next: Option<&'a mut Block>,
    combine: &'a mut C,
}

impl<'a, C: Combine> CountedBlocks<'a, C> {
    /// `body` and the key stream from `counter` on are combined into `output`, which has as many blocks. The key stream
    /// of the block after them goes into `next`, and `counter` becomes the next one that was not used.
    #[inline(always)]
    pub(super) fn new(
        counter: &'a mut u128,
        body: &'a [Block],
        output: &'a mut [Block],
        next: Option<&'a mut Block>,
        combine: &'a mut C,
    ) -> Self {
        assert!(output.len() == body.len(), "as many blocks come out as go in");
        Self { counter, body, output, next, combine }
    }
}

impl<C: Combine> BlockSizeUser for CountedBlocks<'_, C> {
    type BlockSize = U16;
}

impl<C: Combine> BlockCipherEncClosure for CountedBlocks<'_, C> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let first = *self.counter;
        let counter_at = |index: usize| first.wrapping_add(index as u128);
        let mut batches = Batches::<B::ParBlocksSize>::of(self.body.len());
        let mut next = batches.next();
        if next.is_some() {
            let mut counters = ParBlocks::<B>::default();
            fill(&mut counters, first);
            while let Some(batch) = next {
                let output = batch.of_mut(self.output);
                backend.encrypt_par_blocks((&counters, &mut *output).into());
                // Before the rest of the work: reading back what was written last would have to wait.
                next = batches.next();
                if let Some(next) = &next {
                    fill(&mut counters, counter_at(next.start()));
                }
                let (done, new) = batch.of(self.body).split_at(batch.done_before());
                let (done_out, new_out) = output.split_at_mut(batch.done_before());
                xor_blocks(done_out, done);
                self.combine.blocks(new, new_out);
            }
        }
        let done = batches.done();
        let (body, output) = (&self.body[done..], &mut self.output[done..]);
        if Batches::<B::ParBlocksSize>::worth_copying(body.len()) {
            let mut whole = Wiped::<ParBlocks<B>>::default();
            fill(&mut whole, first);
            backend.encrypt_par_blocks_inplace(&mut whole);
            output.copy_from_slice(&whole[..body.len()]);
        } else {
            for (index, output) in output.iter_mut().enumerate() {
                let mut block = Block::from(counter_at(done + index).to_be_bytes());
                backend.encrypt_block_inplace(&mut block);
                *output = block;
            }
        }
        self.combine.blocks(body, output);
        let mut counter = counter_at(self.body.len());
        if let Some(keystream) = self.next {
            *keystream = Block::from(counter.to_be_bytes());
            backend.encrypt_block_inplace(keystream);
            counter = counter.wrapping_add(1);
        }
        *self.counter = counter;
    }
}

impl<C: Combine> EncryptWork for CountedBlocks<'_, C> {
    #[inline(always)]
    fn encrypt_with_kernel(self, keys: &RoundKeys) {
        self.combine.with_kernel(keys, self.counter, self.body, self.output, self.next);
    }
}

/// Fills `blocks` with counters.
#[inline(always)]
fn fill(blocks: &mut [Block], first: u128) {
    let counter_at = |index: usize| first.wrapping_add(index as u128).to_be_bytes();
    let mut done = 0;
    if usize::from(first as u8) + blocks.len() <= 256 {
        // Without a carry only the last byte changes, and several blocks fit one instruction.
        let several = [counter_at(0); GROUP];
        let (groups, _) = Array::slice_as_flattened_mut(blocks).as_chunks_mut::<WIDE>();
        for (group, offsets) in groups.iter_mut().zip(&OFFSETS) {
            let (several, offsets) = (several.as_flattened(), *offsets);
            *group = std::array::from_fn(|index| several[index].wrapping_add(offsets[index]));
            done += GROUP;
        }
    }
    for (index, block) in blocks.iter_mut().enumerate().skip(done) {
        *block = Block::from(counter_at(index));
    }
}

/// Blocks in the widest register.
const GROUP: usize = WIDE / BLOCK_LEN;

/// What is added to a counter to get those after it, for the blocks of a whole batch.
static OFFSETS: [[u8; WIDE]; 16] = {
    let mut offsets = [[0; WIDE]; 16];
    let mut index = 0;
    while index < 16 * GROUP {
        offsets[index / GROUP][index % GROUP * BLOCK_LEN + BLOCK_LEN - 1] = index as u8;
        index += 1;
    }
    offsets
};
