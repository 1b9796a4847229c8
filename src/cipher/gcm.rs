//! GCM as the server shapes it: the nonce is the first 12 bytes of the IV, the rest of the IV is authenticated with the
//! message, the tag comes after the ciphertext, and a ciphertext is decrypted in one piece.

use aes::Block;

use super::blocks::{xor, xor_blocks};
use super::ctr::{Combine, Ctr, Xor};
use super::ghash::Ghash;
use super::kernels::{Hashed, Path, RoundKeys};
use super::message_end::MessageEnd;
use super::schedule::{EncryptSchedule, bytes, bytes_mut};
use super::wiped::{Wipe, Wiped};
use super::{BLOCK_LEN, CipherError};

/// An encryption under way.
pub(super) struct GcmEncrypt {
    gcm: Gcm,
}

impl GcmEncrypt {
    #[inline(always)]
    pub(super) fn new(schedule: EncryptSchedule, iv: &GcmIv) -> Self {
        Self { gcm: Gcm::new(schedule, iv) }
    }

    /// Makes what there is only room for, of the key that the schedule is for.
    #[inline(always)]
    pub(super) fn complete(&mut self, path: Path, key: &[u8]) {
        self.gcm.complete(path, key);
    }

    #[inline(never)]
    pub(super) fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        let output = output.get_mut(..input.len()).ok_or(CipherError::OutputTooSmall)?;
        self.gcm.count(input.len())?;
        self.gcm.ctr.apply(input, output, &mut HashOutput(&mut self.gcm.hash));
        Ok(input.len())
    }

    #[inline(never)]
    pub(super) fn finish(&mut self) -> MessageEnd {
        MessageEnd::whole(self.gcm.tag())
    }
}

/// A decryption, which takes place in its only update.
pub(super) struct GcmDecrypt {
    gcm: Gcm,
    state: Decryption,
}

impl GcmDecrypt {
    #[inline(always)]
    pub(super) fn new(schedule: EncryptSchedule, iv: &GcmIv) -> Self {
        Self { gcm: Gcm::new(schedule, iv), state: Decryption::Waiting }
    }

    /// Makes what there is only room for, of the key that the schedule is for.
    #[inline(always)]
    pub(super) fn complete(&mut self, path: Path, key: &[u8]) {
        self.gcm.complete(path, key);
    }

    pub(super) fn update_len(&self, len: usize) -> usize {
        len.saturating_sub(BLOCK_LEN)
    }

    /// Nothing that was tampered with is handed out: the output is wiped again.
    #[inline(never)]
    pub(super) fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CipherError> {
        let output = output.get_mut(..self.update_len(input.len())).ok_or(CipherError::OutputTooSmall)?;
        if !matches!(self.state, Decryption::Waiting) {
            self.state = Decryption::Failed;
            return Err(CipherError::Split);
        }
        self.state = Decryption::Failed;
        let (input, tag) = input.split_last_chunk::<BLOCK_LEN>().ok_or(CipherError::Truncated)?;
        self.gcm.count(input.len())?;
        self.gcm.ctr.apply(input, output, &mut HashInput(&mut self.gcm.hash));
        // Whoever forged the message is not to find the right one in memory.
        let right = Wiped::new(self.gcm.tag());
        let difference = tag.iter().zip(right.iter()).fold(0, |difference, (a, b)| difference | (a ^ b));
        if difference != 0 {
            output.wipe();
            return Err(CipherError::Tampered);
        }
        self.state = Decryption::Done;
        Ok(output.len())
    }

    pub(super) fn finish(&mut self) -> Result<MessageEnd, CipherError> {
        match self.state {
            Decryption::Waiting => Err(CipherError::Truncated),
            Decryption::Done => Ok(MessageEnd::empty()),
            Decryption::Failed => Err(CipherError::Tampered),
        }
    }
}

enum Decryption {
    Waiting,
    Done,
    Failed,
}

/// An IV in its two parts.
pub(super) struct GcmIv<'a> {
    nonce: &'a [u8; NONCE_LEN],
    aad: &'a [u8],
}

impl<'a> GcmIv<'a> {
    /// The server's IV has 16 bytes; without the part that is authenticated it has 12.
    pub(super) fn parse(iv: &'a [u8]) -> Result<Self, CipherError> {
        let (nonce, aad) = iv.split_first_chunk().ok_or(CipherError::IvLength)?;
        if iv.len() > BLOCK_LEN {
            return Err(CipherError::IvLength);
        }
        Ok(Self { nonce, aad })
    }
}

/// What both directions have in common.
struct Gcm {
    ctr: Ctr,
    hash: Ghash,
    /// XORed with the hash this is the tag.
    mask: Wiped<Block>,
    aad_len: u64,
    text_len: u64,
}

impl Gcm {
    /// The key has to follow, with [`complete`](Self::complete).
    #[inline(always)]
    fn new(schedule: EncryptSchedule, iv: &GcmIv) -> Self {
        let mut mask = Block::default();
        mask[..NONCE_LEN].copy_from_slice(iv.nonce);
        mask[BLOCK_LEN - 1] = 1;
        let first_counter = u128::from_be_bytes(mask.0).wrapping_add(1);
        let mut hash = Ghash::new();
        // Not a whole block: it waits for the key.
        hash.bytes(iv.aad);
        Self {
            ctr: Ctr::new(schedule, first_counter),
            hash,
            mask: Wiped::new(mask),
            aad_len: iv.aad.len() as u64,
            text_len: 0,
        }
    }

    #[inline(always)]
    fn complete(&mut self, path: Path, key: &[u8]) {
        self.ctr.complete(key);
        let mut blocks = Wiped::new([Block::default(), *self.mask]);
        self.ctr.encrypt_blocks(&mut *blocks);
        self.hash.complete(path, &blocks[0]);
        *self.mask = blocks[1];
        self.hash.end_part();
    }

    /// Counts the text, which must end before the counter is back at its beginning.
    fn count(&mut self, len: usize) -> Result<(), CipherError> {
        let total = self.text_len.checked_add(len as u64).filter(|&total| total <= MAX_TEXT_LEN);
        self.text_len = total.ok_or(CipherError::TooLong)?;
        Ok(())
    }

    fn tag(&mut self) -> Block {
        self.hash.end_part();
        let lengths = u128::from(self.aad_len * 8) << 64 | u128::from(self.text_len * 8);
        self.hash.block(&Block::from(lengths.to_be_bytes()));
        xor(&self.hash.value(), &self.mask)
    }
}

/// Encrypts, and hashes the ciphertext.
pub(super) struct HashOutput<'a>(pub(super) &'a mut Ghash);

impl Combine for HashOutput<'_> {
    #[inline(always)]
    fn blocks(&mut self, input: &[Block], output: &mut [Block]) {
        // In one pass with the XOR, which is done while the hash waits for its multiplications.
        let (groups, rest) = input.as_chunks::<4>();
        let (groups_out, rest_out) = output.as_chunks_mut::<4>();
        for (input, output) in groups.iter().zip(groups_out) {
            let [a, b, c, d] = *output;
            let group = [xor(&a, &input[0]), xor(&b, &input[1]), xor(&c, &input[2]), xor(&d, &input[3])];
            *output = group;
            self.0.four_blocks(group);
        }
        for (input, output) in rest.iter().zip(rest_out) {
            *output = xor(input, output);
            self.0.block(output);
        }
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
        let next = next.map(|block| &mut block.0);
        keys.gcm(self.0.of_kernel(), counter, bytes(input), bytes_mut(output), next, Hashed::Output);
    }

    fn bytes(&mut self, input: &[u8], keystream: &[u8], output: &mut [u8]) {
        Xor.bytes(input, keystream, output);
        self.0.bytes(output);
    }
}

/// Decrypts, and hashes the ciphertext.
pub(super) struct HashInput<'a>(pub(super) &'a mut Ghash);

impl Combine for HashInput<'_> {
    #[inline(always)]
    fn blocks(&mut self, input: &[Block], output: &mut [Block]) {
        let (groups, rest) = input.as_chunks::<4>();
        let (groups_out, rest_out) = output.as_chunks_mut::<4>();
        for (input, output) in groups.iter().zip(groups_out) {
            xor_blocks(output, input);
            self.0.four_blocks(*input);
        }
        for (input, output) in rest.iter().zip(rest_out) {
            *output = xor(input, output);
            self.0.block(input);
        }
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
        let next = next.map(|block| &mut block.0);
        keys.gcm(self.0.of_kernel(), counter, bytes(input), bytes_mut(output), next, Hashed::Input);
    }

    fn bytes(&mut self, input: &[u8], keystream: &[u8], output: &mut [u8]) {
        Xor.bytes(input, keystream, output);
        self.0.bytes(input);
    }
}

/// Bytes of the IV that are the nonce.
const NONCE_LEN: usize = 12;

/// What a 32-bit counter can number that begins at 2 (NIST SP 800-38D, 5.2.1.1).
const MAX_TEXT_LEN: u64 = (1 << 36) - 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_before_the_counter_is_back_at_its_beginning() {
        let iv = GcmIv { nonce: &[0; NONCE_LEN], aad: &[] };
        let counted = EncryptSchedule::begin(Path::PORTABLE, &[0; 16], |schedule| {
            let mut gcm = Gcm::new(schedule, &iv);
            // 2^32 - 2 blocks.
            gcm.text_len = 68_719_476_704 - 16;
            [gcm.count(17), gcm.count(16), gcm.count(1), gcm.count(usize::MAX)]
        });
        assert_eq!(
            counted,
            Ok([Err(CipherError::TooLong), Ok(()), Err(CipherError::TooLong), Err(CipherError::TooLong)])
        );
    }
}
