//! CBC. The loops are our own so that the chaining value of an encryption stays in a register, and so that a decryption
//! reads and writes whole batches of blocks; the `cbc` crate does neither.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{
    Array, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser,
    ParBlocks,
};
use zeroize::{Zeroize, Zeroizing};

use super::blocks::{Batch, Batches, few_alone, xor, xor_blocks};
use super::pending::Pending;
use super::schedule::{DecryptSchedule, EncryptSchedule};
use super::{BLOCK_LEN, CipherError, Padding};

/// An encryption under way.
pub(super) struct CbcEncrypt {
    schedule: EncryptSchedule,
    padding: Padding,
    iv: Block,
    chain: Block,
    pending: Pending,
}

impl CbcEncrypt {
    #[inline(always)]
    pub(super) fn new(schedule: EncryptSchedule, padding: Padding, iv: &Block) -> Self {
        Self { schedule, padding, iv: *iv, chain: *iv, pending: Pending::new() }
    }

    #[inline(always)]
    pub(super) fn update_len(&self, len: usize) -> usize {
        self.pending.len().saturating_add(len) / BLOCK_LEN * BLOCK_LEN
    }

    #[inline(always)]
    pub(super) fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        let written = self.update_len(input.len());
        let output = output.get_mut(..written).ok_or(CipherError::OutputTooSmall)?;
        let (fill, body, rest) = self.pending.cut(input, written / BLOCK_LEN);
        self.pending.push(fill);
        if written > 0 {
            let (output, _) = Block::slice_as_chunks_mut(output);
            self.schedule.run(EncryptBlocks { chain: &mut self.chain, head: self.pending.whole(), body, output });
            self.pending.replace(rest);
        }
        Ok(written)
    }

    #[inline(always)]
    pub(super) fn finish_len(&self) -> usize {
        match self.padding {
            Padding::Pkcs7 => BLOCK_LEN,
            Padding::None => self.pending.len(),
        }
    }

    #[inline(always)]
    pub(super) fn finish(&mut self, output: &mut [u8]) -> Result<usize, CipherError> {
        match self.padding {
            Padding::Pkcs7 => self.pad(output),
            Padding::None if self.pending.len() == 0 => Ok(0),
            Padding::None => self.encrypt_tail(output),
        }
    }

    #[inline(never)]
    fn pad(&mut self, output: &mut [u8]) -> Result<usize, CipherError> {
        let fill = BLOCK_LEN - self.pending.len();
        // 1 to 16, so the cast keeps the value.
        self.update(&[fill as u8; BLOCK_LEN][..fill], output)
    }

    #[inline(never)]
    fn encrypt_tail(&self, output: &mut [u8]) -> Result<usize, CipherError> {
        let output = output.get_mut(..self.pending.len()).ok_or(CipherError::OutputTooSmall)?;
        xor_tail(&self.schedule, &self.iv, self.pending.as_slice(), output);
        Ok(output.len())
    }
}

impl Drop for CbcEncrypt {
    fn drop(&mut self) {
        self.iv.as_mut_slice().zeroize();
        self.chain.as_mut_slice().zeroize();
    }
}

/// A decryption under way.
pub(super) struct CbcDecrypt {
    schedule: DecryptSchedule,
    padding: Padding,
    key: TailKey,
    iv: Block,
    chain: Block,
    pending: Pending,
}

impl CbcDecrypt {
    /// `key` is the one that `schedule` was made of.
    #[inline(always)]
    pub(super) fn new(schedule: DecryptSchedule, padding: Padding, key: &[u8], iv: &Block) -> Self {
        Self { schedule, padding, key: TailKey::new(key), iv: *iv, chain: *iv, pending: Pending::new() }
    }

    /// With padding the last block waits for `finish`, as it may be the last of the message.
    #[inline(always)]
    pub(super) fn update_len(&self, len: usize) -> usize {
        let total = self.pending.len().saturating_add(len);
        let held_back = match self.padding {
            Padding::Pkcs7 => 1,
            Padding::None => 0,
        };
        total.saturating_sub(held_back) / BLOCK_LEN * BLOCK_LEN
    }

    #[inline(always)]
    pub(super) fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        let written = self.update_len(input.len());
        let output = output.get_mut(..written).ok_or(CipherError::OutputTooSmall)?;
        let (fill, body, rest) = self.pending.cut(input, written / BLOCK_LEN);
        self.pending.push(fill);
        if written > 0 {
            let (output, _) = Block::slice_as_chunks_mut(output);
            self.schedule.run(DecryptBlocks { chain: &mut self.chain, head: self.pending.whole(), body, output });
            self.pending.replace(rest);
        }
        Ok(written)
    }

    #[inline(always)]
    pub(super) fn finish_len(&self) -> usize {
        match self.padding {
            Padding::Pkcs7 => self.last_block().map_or(0, |(_, len)| len),
            Padding::None => self.pending.len(),
        }
    }

    #[inline(always)]
    pub(super) fn finish(&mut self, output: &mut [u8]) -> Result<usize, CipherError> {
        match self.padding {
            Padding::Pkcs7 => self.unpad(output),
            Padding::None if self.pending.len() == 0 => Ok(0),
            Padding::None => self.decrypt_tail(output),
        }
    }

    #[inline(never)]
    fn unpad(&self, output: &mut [u8]) -> Result<usize, CipherError> {
        let (last, len) = self.last_block()?;
        output.get_mut(..len).ok_or(CipherError::OutputTooSmall)?.copy_from_slice(&last[..len]);
        Ok(len)
    }

    #[inline(never)]
    fn decrypt_tail(&self, output: &mut [u8]) -> Result<usize, CipherError> {
        let output = output.get_mut(..self.pending.len()).ok_or(CipherError::OutputTooSmall)?;
        let (iv, tail) = (&self.iv, self.pending.as_slice());
        EncryptSchedule::make(self.key.as_slice(), |schedule| xor_tail(&schedule, iv, tail, output))?;
        Ok(self.pending.len())
    }

    /// Decrypts the last block; returns it and how many of its bytes are not padding.
    #[inline(never)]
    fn last_block(&self) -> Result<(Zeroizing<[u8; BLOCK_LEN]>, usize), CipherError> {
        let last = self.pending.whole().ok_or(CipherError::Truncated)?;
        let mut plain = Zeroizing::new([0; BLOCK_LEN]);
        let (output, _) = Block::slice_as_chunks_mut(plain.as_mut_slice());
        self.schedule.run(DecryptBlocks { chain: &mut self.chain.clone(), head: Some(last), body: &[], output });
        let fill = usize::from(plain[BLOCK_LEN - 1]);
        let len = BLOCK_LEN.checked_sub(fill).ok_or(CipherError::BadPadding)?;
        if fill == 0 || plain[len..].iter().any(|&byte| usize::from(byte) != fill) {
            return Err(CipherError::BadPadding);
        }
        Ok((plain, len))
    }
}

impl Drop for CbcDecrypt {
    fn drop(&mut self) {
        self.iv.as_mut_slice().zeroize();
        self.chain.as_mut_slice().zeroize();
    }
}

/// The key of a decryption: its tail is *encrypted* again, and most messages don't need the schedule for that.
struct TailKey {
    bytes: [u8; MAX_KEY_LEN],
    len: usize,
}

impl TailKey {
    #[inline(always)]
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; MAX_KEY_LEN];
        let len = key.len().min(MAX_KEY_LEN);
        bytes[..len].copy_from_slice(&key[..len]);
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for TailKey {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

/// The server's way with a last partial block, in both directions: XOR with the encrypted IV of the message, not with
/// the chaining value.
fn xor_tail(schedule: &EncryptSchedule, iv: &Block, input: &[u8], output: &mut [u8]) {
    let mut mask = [*iv];
    schedule.run(EncryptBlocks { chain: &mut Block::default(), head: None, body: &[*iv], output: &mut mask });
    for ((output, input), mask) in output.iter_mut().zip(input).zip(&mask[0]) {
        *output = input ^ mask;
    }
    Array::slice_as_flattened_mut(&mut mask).zeroize();
}

/// Encrypts `head` and `body` into `output`, which has as many blocks as both.
struct EncryptBlocks<'a> {
    chain: &'a mut Block,
    head: Option<&'a Block>,
    body: &'a [Block],
    output: &'a mut [Block],
}

impl BlockSizeUser for EncryptBlocks<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for EncryptBlocks<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut chain = *self.chain;
        let mut step = |input: &Block| {
            chain = xor(&chain, input);
            backend.encrypt_block_inplace(&mut chain);
            chain
        };
        let (first, output) = self.output.split_at_mut(usize::from(self.head.is_some()));
        if let (Some(head), [first]) = (self.head, first) {
            *first = step(head);
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

/// Input blocks that an encryption reads one step ahead, in registers. That lets the compiler XOR them with the first
/// round key while the block before them is still being encrypted: one cycle less in the chain from block to block.
const GROUP: usize = 4;

/// Decrypts `head` and `body` into `output`, which has as many blocks as both.
struct DecryptBlocks<'a> {
    chain: &'a mut Block,
    head: Option<&'a Block>,
    body: &'a [Block],
    output: &'a mut [Block],
}

impl BlockSizeUser for DecryptBlocks<'_> {
    type BlockSize = U16;
}

impl BlockCipherDecClosure for DecryptBlocks<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        let (first, output) = self.output.split_at_mut(usize::from(self.head.is_some()));
        if let (Some(head), [first]) = (self.head, first) {
            decrypt_one(backend, self.chain, head, first);
            *self.chain = *head;
        }
        if let ([first, following @ ..], [first_out, following_out @ ..]) = (self.body, output) {
            decrypt_one(backend, self.chain, first, first_out);
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
    let batch = B::ParBlocksSize::USIZE;
    let mut batches = Batches::of(input.len(), batch);
    for Batch { at, .. } in &mut batches {
        let Ok(output) = <&mut ParBlocks<B>>::try_from(&mut output[at..at + batch]) else { return };
        let Ok(input) = <&ParBlocks<B>>::try_from(&input[at..at + batch]) else { return };
        backend.decrypt_par_blocks((input, &mut *output).into());
        xor_blocks(output, &before[at..at + batch]);
    }
    let (before, input, output) = (&before[batches.done..], &input[batches.done..], &mut output[batches.done..]);
    if input.len() > few_alone(batch) {
        // Less than one batch in all.
        let mut whole = ParBlocks::<B>::default();
        whole[..input.len()].copy_from_slice(input);
        backend.decrypt_par_blocks_inplace(&mut whole);
        output.copy_from_slice(&whole[..input.len()]);
        xor_blocks(output, &before[..input.len()]);
        whole.as_flattened_mut().zeroize();
    } else {
        for ((input, before), output) in input.iter().zip(before).zip(output) {
            decrypt_one(backend, before, input, output);
        }
    }
}

/// Bytes in the longest AES key.
const MAX_KEY_LEN: usize = 32;
