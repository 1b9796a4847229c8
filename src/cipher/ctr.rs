//! CTR, with the whole IV as a big-endian counter, and messages in parts.

use aes::Block;

use super::blocks::xor_blocks;
use super::ctr_blocks::CountedBlocks;
use super::kernels::RoundKeys;
use super::schedule::{EncryptSchedule, bytes, bytes_mut};
use super::wiped::Wiped;
use super::{BLOCK_LEN, CipherError};

/// A message under way. Encryption and decryption are the same.
pub(super) struct Ctr {
    schedule: EncryptSchedule,
    /// The next counter.
    counter: Wiped<u128>,
    /// The key stream of a block that is not complete yet, of which `used` bytes are spent.
    keystream: Wiped<Block>,
    used: usize,
}

impl Ctr {
    #[inline(always)]
    pub(super) fn new(schedule: EncryptSchedule, first_counter: u128) -> Self {
        Self { schedule, counter: Wiped::new(first_counter), keystream: Wiped::default(), used: BLOCK_LEN }
    }

    /// Makes what there is only room for.
    #[inline(always)]
    pub(super) fn complete(&mut self, key: &[u8]) {
        self.schedule.complete(key);
    }

    /// Encrypts each block for itself.
    #[inline(always)]
    pub(super) fn encrypt_blocks(&self, blocks: &mut [Block]) {
        self.schedule.encrypt_blocks(blocks);
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
        assert!(input.len() == output.len(), "as many bytes come out as go in");
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
        let next = if tail.is_empty() { None } else { Some(&mut *self.keystream) };
        self.schedule.run(CountedBlocks::new(&mut self.counter, body, body_out, next, combine));
        if !tail.is_empty() {
            combine.bytes(tail, &self.keystream, tail_out);
            self.used = tail.len();
        }
    }
}

/// What is done with the key stream.
pub(super) trait Combine {
    /// Combines `input` with the key stream that lies in `output`; both have the same length.
    fn blocks(&mut self, input: &[Block], output: &mut [Block]);

    /// Combines `input` with the key stream from `counter` on into `output`, as [`CountedBlocks::new`] says.
    fn with_kernel(
        &mut self,
        keys: &RoundKeys,
        counter: &mut u128,
        input: &[Block],
        output: &mut [Block],
        next: Option<&mut Block>,
    );

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

    #[inline(always)]
    fn with_kernel(
        &mut self,
        keys: &RoundKeys,
        counter: &mut u128,
        input: &[Block],
        output: &mut [Block],
        next: Option<&mut Block>,
    ) {
        keys.ctr(counter, bytes(input), bytes_mut(output), next.map(|block| &mut block.0));
    }

    fn bytes(&mut self, input: &[u8], keystream: &[u8], output: &mut [u8]) {
        for ((output, input), keystream) in output.iter_mut().zip(input).zip(keystream) {
            *output = input ^ keystream;
        }
    }
}
