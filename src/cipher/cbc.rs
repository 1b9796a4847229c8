//! CBC. The loops are our own so that the chaining value of an encryption stays in a register, and so that a decryption
//! reads and writes whole batches of blocks; the `cbc` crate does neither.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{
    Array, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherEncBackend, BlockCipherEncClosure, BlockSizeUser,
};
use zeroize::{Zeroize, Zeroizing};

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
    pub(super) fn new(padding: Padding, key: &[u8], iv: &[u8]) -> Result<Self, CipherError> {
        let schedule = EncryptSchedule::new(key)?;
        let iv = Block::try_from(iv).map_err(|_| CipherError::IvLength)?;
        Ok(Self { schedule, padding, iv, chain: iv, pending: Pending::new() })
    }

    pub(super) fn update_len(&self, len: usize) -> usize {
        self.pending.len().saturating_add(len) / BLOCK_LEN * BLOCK_LEN
    }

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

    pub(super) fn finish_len(&self) -> usize {
        match self.padding {
            Padding::Pkcs7 => BLOCK_LEN,
            Padding::None => self.pending.len(),
        }
    }

    pub(super) fn finish(&mut self, output: &mut [u8]) -> Result<usize, CipherError> {
        match self.padding {
            Padding::Pkcs7 => {
                let fill = BLOCK_LEN - self.pending.len();
                // 1 to 16, so the cast keeps the value.
                self.update(&[fill as u8; BLOCK_LEN][..fill], output)
            }
            Padding::None => {
                let output = output.get_mut(..self.pending.len()).ok_or(CipherError::OutputTooSmall)?;
                if !output.is_empty() {
                    xor_tail(&self.schedule, &self.iv, self.pending.as_slice(), output);
                }
                Ok(output.len())
            }
        }
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
    ending: Ending,
    iv: Block,
    chain: Block,
    pending: Pending,
}

impl CbcDecrypt {
    pub(super) fn new(padding: Padding, key: &[u8], iv: &[u8]) -> Result<Self, CipherError> {
        let schedule = DecryptSchedule::new(key)?;
        let iv = Block::try_from(iv).map_err(|_| CipherError::IvLength)?;
        let ending = match padding {
            Padding::Pkcs7 => Ending::Pkcs7,
            Padding::None => {
                let mut bytes = Zeroizing::new([0; MAX_KEY_LEN]);
                // The schedule has proven that the key is no longer than this.
                bytes[..key.len()].copy_from_slice(key);
                Ending::Tail { key: bytes, key_len: key.len() }
            }
        };
        Ok(Self { schedule, ending, iv, chain: iv, pending: Pending::new() })
    }

    /// With padding the last block waits for `finish`, as it may be the last of the message.
    pub(super) fn update_len(&self, len: usize) -> usize {
        let total = self.pending.len().saturating_add(len);
        let held_back = match self.ending {
            Ending::Pkcs7 => 1,
            Ending::Tail { .. } => 0,
        };
        total.saturating_sub(held_back) / BLOCK_LEN * BLOCK_LEN
    }

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

    pub(super) fn finish_len(&self) -> usize {
        match self.ending {
            Ending::Pkcs7 => self.last_block().map_or(0, |(_, len)| len),
            Ending::Tail { .. } => self.pending.len(),
        }
    }

    pub(super) fn finish(&mut self, output: &mut [u8]) -> Result<usize, CipherError> {
        match &self.ending {
            Ending::Pkcs7 => {
                let (last, len) = self.last_block()?;
                output.get_mut(..len).ok_or(CipherError::OutputTooSmall)?.copy_from_slice(&last[..len]);
                Ok(len)
            }
            Ending::Tail { key, key_len } => {
                let output = output.get_mut(..self.pending.len()).ok_or(CipherError::OutputTooSmall)?;
                if !output.is_empty() {
                    let schedule = EncryptSchedule::new(&key[..*key_len])?;
                    xor_tail(&schedule, &self.iv, self.pending.as_slice(), output);
                }
                Ok(output.len())
            }
        }
    }

    /// Decrypts the last block; returns it and how many of its bytes are not padding.
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

/// What comes at the end of a message that is decrypted.
enum Ending {
    Pkcs7,
    /// The tail is *encrypted* again: the key is kept, as most messages don't need the schedule for it.
    Tail {
        key: Zeroizing<[u8; MAX_KEY_LEN]>,
        key_len: usize,
    },
}

/// The server's way with a last partial block, in both directions: XOR with the encrypted IV of the message, not with
/// the chaining value.
fn xor_tail(schedule: &EncryptSchedule, iv: &Block, input: &[u8], output: &mut [u8]) {
    let mut mask = *iv;
    let no_chain = &mut Block::default();
    let (mask_out, _) = Block::slice_as_chunks_mut(mask.as_mut_slice());
    schedule.run(EncryptBlocks { chain: no_chain, head: None, body: &[*iv], output: mask_out });
    for ((out, byte), mask) in output.iter_mut().zip(input).zip(mask) {
        *out = byte ^ mask;
    }
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
        let mut step = |input: &Block, output: &mut Block| {
            xor(&mut chain, input);
            backend.encrypt_block_inplace(&mut chain);
            *output = chain;
        };
        let (first, output) = self.output.split_at_mut(usize::from(self.head.is_some()));
        if let (Some(head), [first]) = (self.head, first) {
            step(head, first);
        }
        for (input, output) in self.body.iter().zip(output) {
            step(input, output);
        }
        *self.chain = chain;
    }
}

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
        let mut chain = *self.chain;
        let (first, output) = self.output.split_at_mut(usize::from(self.head.is_some()));
        if let (Some(head), [first]) = (self.head, first) {
            backend.decrypt_block((head, &mut *first).into());
            xor(first, &chain);
            chain = *head;
        }
        let (batches, tail) = Array::<Block, B::ParBlocksSize>::slice_as_chunks(self.body);
        let (batches_out, tail_out) = Array::<Block, B::ParBlocksSize>::slice_as_chunks_mut(output);
        for (input, output) in batches.iter().zip(batches_out) {
            backend.decrypt_par_blocks((input, &mut *output).into());
            chain = unchain(&chain, input, output);
        }
        if tail.len() > B::ParBlocksSize::USIZE / 8 * 3 {
            let mut batch = Array::<Block, B::ParBlocksSize>::default();
            batch[..tail.len()].copy_from_slice(tail);
            backend.decrypt_par_blocks_inplace(&mut batch);
            tail_out.copy_from_slice(&batch[..tail.len()]);
            batch.as_flattened_mut().zeroize();
        } else {
            for (input, output) in tail.iter().zip(&mut *tail_out) {
                backend.decrypt_block((input, output).into());
            }
        }
        *self.chain = unchain(&chain, tail, tail_out);
    }
}

/// XORs each block with the ciphertext block before it and returns the last one.
#[inline(always)]
fn unchain(chain: &Block, input: &[Block], output: &mut [Block]) -> Block {
    let (Some((last, before)), Some((first, following))) = (input.split_last(), output.split_first_mut()) else {
        return *chain;
    };
    xor(first, chain);
    for (output, input) in following.iter_mut().zip(before) {
        xor(output, input);
    }
    *last
}

#[inline(always)]
fn xor(block: &mut Block, with: &Block) {
    for (byte, with) in block.iter_mut().zip(with) {
        *byte ^= with;
    }
}

/// Bytes in the longest AES key.
const MAX_KEY_LEN: usize = 32;
