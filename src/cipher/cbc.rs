//! CBC as the server does it, with messages in parts: what waits between two updates, and how a message ends.

use aes::Block;

use super::cbc_blocks::ChainedBlocks;
use super::kernels::Path;
use super::message_end::MessageEnd;
use super::pending::Pending;
use super::schedule::{DecryptSchedule, EncryptSchedule};
use super::wiped::Wiped;
use super::{BLOCK_LEN, CipherError, Padding};

/// A message under way, in the direction `D`.
pub(super) struct Cbc<D> {
    direction: D,
    padding: Padding,
    /// As it is, or encrypted, as the direction has left it.
    iv: Wiped<Block>,
    /// The ciphertext block before the next one.
    chain: Wiped<Block>,
    pending: Pending,
}

impl<D: Direction> Cbc<D> {
    #[inline(always)]
    pub(super) fn new(direction: D, padding: Padding, iv: &Block) -> Self {
        Self { direction, padding, iv: Wiped::new(*iv), chain: Wiped::new(*iv), pending: Pending::new() }
    }

    /// Makes what there is only room for, of the key that the schedule is for.
    #[inline(always)]
    pub(super) fn complete(&mut self, key: &[u8]) {
        self.direction.complete(key, &mut self.iv);
    }

    #[inline(always)]
    pub(super) fn update_len(&self, len: usize) -> usize {
        let total = self.pending.len().saturating_add(len);
        let held_back = match self.padding {
            Padding::Pkcs7 => D::HELD_BACK,
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
            self.direction.run(ChainedBlocks::new(&mut self.chain, self.pending.whole(), body, output));
            self.pending.replace(rest);
        }
        Ok(written)
    }

    #[inline(always)]
    pub(super) fn finish(&mut self) -> Result<MessageEnd, CipherError> {
        match self.padding {
            Padding::Pkcs7 => D::last_block(self),
            Padding::None if self.pending.len() == 0 => Ok(MessageEnd::empty()),
            Padding::None => self.masked_tail(),
        }
    }

    /// The server's way with a last partial block, in both directions: XOR with the encrypted IV of the message, not
    /// with the chaining value.
    #[inline(never)]
    fn masked_tail(&self) -> Result<MessageEnd, CipherError> {
        let mut mask = Wiped::new(*self.iv);
        self.direction.encrypt_iv(&mut mask)?;
        Ok(MessageEnd::first(self.pending.xor(&mask), self.pending.len()))
    }

    /// The next block of the chain.
    #[inline(always)]
    fn one_block(&mut self, input: &Block, output: &mut Block) {
        let (input, output) = (std::slice::from_ref(input), std::slice::from_mut(output));
        self.direction.run(ChainedBlocks::new(&mut self.chain, None, input, output));
    }
}

/// What the two directions do not have in common.
pub(super) trait Direction: Sized {
    /// With padding, so many bytes of a message are not taken in before the next ones come: they may be the last.
    const HELD_BACK: usize;

    /// Makes what there is only room for, of the key that the schedule is for. May encrypt the IV, too.
    fn complete(&mut self, key: &[u8], iv: &mut Block);

    /// Encrypts, or decrypts.
    fn run(&self, blocks: ChainedBlocks<'_>);

    /// Ends a message with padding.
    fn last_block(cbc: &mut Cbc<Self>) -> Result<MessageEnd, CipherError>;

    /// Encrypts the IV, in both directions, if [`complete`](Self::complete) has not done it.
    fn encrypt_iv(&self, iv: &mut Block) -> Result<(), CipherError>;
}

/// Plaintext to ciphertext.
pub(super) struct Encryption {
    schedule: EncryptSchedule,
}

impl Encryption {
    #[inline(always)]
    pub(super) fn new(schedule: EncryptSchedule) -> Self {
        Self { schedule }
    }
}

impl Direction for Encryption {
    const HELD_BACK: usize = 0;

    #[inline(always)]
    fn complete(&mut self, key: &[u8], _: &mut Block) {
        self.schedule.complete(key);
    }

    #[inline(always)]
    fn run(&self, blocks: ChainedBlocks<'_>) {
        self.schedule.run(blocks);
    }

    #[inline(never)]
    fn last_block(cbc: &mut Cbc<Self>) -> Result<MessageEnd, CipherError> {
        let last = Wiped::new(cbc.pending.padded());
        let mut output = Block::default();
        cbc.one_block(&last, &mut output);
        Ok(MessageEnd::whole(output))
    }

    #[inline(always)]
    fn encrypt_iv(&self, iv: &mut Block) -> Result<(), CipherError> {
        self.schedule.encrypt_blocks(std::slice::from_mut(iv));
        Ok(())
    }
}

/// Ciphertext to plaintext.
pub(super) struct Decryption {
    schedule: DecryptSchedule,
    /// For a tail the IV is *encrypted*. If the making of the schedule did not do it, as a kernel's does, it takes another
    /// schedule, which most messages do not need. Else empty.
    key: Wiped<[u8; MAX_KEY_LEN]>,
    key_len: usize,
}

impl Decryption {
    /// The key has to follow, with [`complete`](Direction::complete).
    #[inline(always)]
    pub(super) fn new(schedule: DecryptSchedule) -> Self {
        Self { schedule, key: Wiped::new([0; MAX_KEY_LEN]), key_len: 0 }
    }
}

impl Direction for Decryption {
    const HELD_BACK: usize = 1;

    #[inline(always)]
    fn complete(&mut self, key: &[u8], iv: &mut Block) {
        if !self.schedule.complete(key, iv) {
            self.key[..key.len()].copy_from_slice(key);
            self.key_len = key.len();
        }
    }

    #[inline(always)]
    fn run(&self, blocks: ChainedBlocks<'_>) {
        self.schedule.run(blocks);
    }

    #[inline(never)]
    fn last_block(cbc: &mut Cbc<Self>) -> Result<MessageEnd, CipherError> {
        let last = *cbc.pending.whole().ok_or(CipherError::Truncated)?;
        let mut plain = Wiped::<Block>::default();
        cbc.one_block(&last, &mut plain);
        let fill = usize::from(plain[BLOCK_LEN - 1]);
        let len = BLOCK_LEN.checked_sub(fill).ok_or(CipherError::BadPadding)?;
        if fill == 0 || plain[len..].iter().any(|&byte| usize::from(byte) != fill) {
            return Err(CipherError::BadPadding);
        }
        Ok(MessageEnd::first(*plain, len))
    }

    #[inline(always)]
    fn encrypt_iv(&self, iv: &mut Block) -> Result<(), CipherError> {
        match &self.key[..self.key_len] {
            [] => Ok(()),
            key => {
                let iv = std::slice::from_mut(iv);
                EncryptSchedule::make(Path::PORTABLE, key, |schedule| schedule.encrypt_blocks(iv))
            }
        }
    }
}

/// Bytes in the longest AES key.
const MAX_KEY_LEN: usize = 32;
