//! CTR, with the whole IV as a big-endian counter. The loops are our own so that the counters of a batch are made at
//! once and whole batches are read and written; the `ctr` crate does neither.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser, ParBlocks};
use zeroize::Zeroize;

use super::blocks::{Batch, Batches, WIDE, few_alone, xor_blocks};
use super::schedule::EncryptSchedule;
use super::{BLOCK_LEN, CipherError};

/// A message under way. Encryption and decryption are the same.
pub(super) struct Ctr {
    schedule: EncryptSchedule,
    /// The next counter.
    counter: u128,
    /// The key stream of a block that is not complete yet, of which `used` bytes are spent.
    keystream: Block,
    used: usize,
}

impl Ctr {
    #[inline(always)]
    pub(super) fn new(schedule: EncryptSchedule, first_counter: u128) -> Self {
        Self { schedule, counter: first_counter, keystream: Block::default(), used: BLOCK_LEN }
    }

    #[inline(always)]
    pub(super) fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        let output = output.get_mut(..input.len()).ok_or(CipherError::OutputTooSmall)?;
        self.apply(input, output, &mut Xor);
        Ok(input.len())
    }

    /// Combines `input` and the key stream into `output`, which has the same length.
    #[inline(always)]
    pub(super) fn apply(&mut self, input: &[u8], output: &mut [u8], combine: &mut impl Combine) {
        let fill = input.len().min(BLOCK_LEN - self.used);
        let (head, input) = input.split_at(fill);
        let (head_out, output) = output.split_at_mut(fill);
        combine.bytes(head, &self.keystream[self.used..], head_out);
        self.used += fill;
        if input.is_empty() {
            return;
        }
        let (body, tail) = Block::slice_as_chunks(input);
        let (body_out, tail_out) = Block::slice_as_chunks_mut(output);
        let next = if tail.is_empty() { None } else { Some(&mut self.keystream) };
        self.schedule.run(ApplyBlocks { counter: &mut self.counter, body, output: body_out, next, combine });
        if !tail.is_empty() {
            combine.bytes(tail, &self.keystream, tail_out);
            self.used = tail.len();
        }
    }
}

impl Drop for Ctr {
    fn drop(&mut self) {
        self.counter.zeroize();
        self.keystream.as_mut_slice().zeroize();
    }
}

/// What is done with the key stream.
pub(super) trait Combine {
    /// Combines `input` with the key stream that lies in `output`; both have the same length.
    fn blocks(&mut self, input: &[Block], output: &mut [Block]);

    /// Combines `input` with the beginning of `keystream` into `output`. The bytes are part of one block.
    fn bytes(&mut self, input: &[u8], keystream: &[u8], output: &mut [u8]);
}

/// Plain CTR.
pub(super) struct Xor;

impl Combine for Xor {
    #[inline(always)]
    fn blocks(&mut self, input: &[Block], output: &mut [Block]) {
        xor_blocks(output, input);
    }

    fn bytes(&mut self, input: &[u8], keystream: &[u8], output: &mut [u8]) {
        for ((output, input), keystream) in output.iter_mut().zip(input).zip(keystream) {
            *output = input ^ keystream;
        }
    }
}

/// Combines `body` and the key stream into `output`, which has as many blocks, and puts the key stream that follows
/// into `next`.
struct ApplyBlocks<'a, C: Combine> {
    counter: &'a mut u128,
    body: &'a [Block],
    output: &'a mut [Block],
    next: Option<&'a mut Block>,
    combine: &'a mut C,
}

impl<C: Combine> BlockSizeUser for ApplyBlocks<'_, C> {
    type BlockSize = U16;
}

impl<C: Combine> BlockCipherEncClosure for ApplyBlocks<'_, C> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let (first, batch) = (*self.counter, B::ParBlocksSize::USIZE);
        let counter_at = |index: usize| first.wrapping_add(index as u128);
        let mut batches = Batches::of(self.body.len(), batch);
        let mut next = batches.next();
        if next.is_some() {
            let mut counters = ParBlocks::<B>::default();
            fill(&mut counters, first);
            while let Some(Batch { at, again }) = next {
                let Ok(output) = <&mut ParBlocks<B>>::try_from(&mut self.output[at..at + batch]) else { return };
                backend.encrypt_par_blocks((&counters, &mut *output).into());
                // Before the rest of the work: reading back what was written last would have to wait.
                next = batches.next();
                if let Some(next) = next {
                    fill(&mut counters, counter_at(next.at));
                }
                let (done, new) = self.body[at..at + batch].split_at(again);
                let (done_out, new_out) = output.split_at_mut(again);
                xor_blocks(done_out, done);
                self.combine.blocks(new, new_out);
            }
        }
        let (body, output) = (&self.body[batches.done..], &mut self.output[batches.done..]);
        if body.len() > few_alone(batch) {
            let mut whole = ParBlocks::<B>::default();
            fill(&mut whole, first);
            backend.encrypt_par_blocks_inplace(&mut whole);
            output.copy_from_slice(&whole[..body.len()]);
            whole.as_flattened_mut().zeroize();
        } else {
            for (index, output) in output.iter_mut().enumerate() {
                let mut block = Block::from(counter_at(batches.done + index).to_be_bytes());
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
