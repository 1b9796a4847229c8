//! The loops over blocks with batches of every length that a backend of the `aes` crate has, or may have one day: this
//! CPU's is only one of them.

use std::marker::PhantomData;

use aes::cipher::array::ArraySize;
use aes::cipher::consts::{U1, U4, U8, U16, U30, U64, U128};
use aes::cipher::inout::InOut;
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure,
    BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser, KeyInit, KeyIvInit, ParBlocksSizeUser,
    StreamCipher,
};
use aes::{Aes128, Block};
use fastrand::Rng;

use super::cbc_blocks::ChainedBlocks;
use super::ctr::{Combine, Xor};
use super::ctr_blocks::CountedBlocks;
use super::gcm::{HashInput, HashOutput};
use super::ghash::Ghash;
use super::wiped::count;
use super::{BLOCK_LEN, Path};

#[test]
fn cbc_chains_blocks_in_batches_of_any_length() {
    for_each_backend(Chained);
}

#[test]
fn ctr_counts_blocks_in_batches_of_any_length() {
    for_each_backend(Counted);
}

#[test]
fn gcm_hashes_each_ciphertext_block_once_in_batches_of_any_length() {
    for_each_backend(Hashed);
}

#[test]
fn a_batch_that_blocks_are_copied_to_is_wiped() {
    let (mut output, mut chain) = (junk(40), Block::default());
    // More than half a batch, behind the first block.
    let case = Case::random(&mut Rng::with_seed(8), 40);
    let backend = MadeUp::<U64>::new(&case);
    let work = ChainedBlocks::new(&mut chain, None, &case.blocks, &mut output);
    assert_eq!(count::of(|| BlockCipherDecClosure::call(work, &backend)), (64 * BLOCK_LEN, ()));
    let (mut counter, mut combine) = (0, Xor);
    let work = CountedBlocks::new(&mut counter, &case.blocks, &mut output, None, &mut combine);
    assert_eq!(count::of(|| work.call(&backend)), (64 * BLOCK_LEN, ()));
}

#[test]
#[should_panic = "as many blocks come out as go in"]
fn a_block_that_would_not_come_out_of_cbc_is_no_success() {
    ChainedBlocks::new(&mut Block::default(), Some(&Block::default()), &[Block::default()], &mut [Block::default()]);
}

#[test]
#[should_panic = "as many blocks come out as go in"]
fn a_block_that_would_not_come_out_of_ctr_is_no_success() {
    CountedBlocks::new(&mut 0, &[Block::default()], &mut [], None, &mut Xor);
}

/// Decrypts and encrypts with and without a block that waited.
struct Chained;

impl Check for Chained {
    fn check<N: ArraySize>(&self, backend: &MadeUp<N>, case: &Case) {
        for head in [None, Some(&case.extra)] {
            let blocks = [head.map_or(&[][..], std::slice::from_ref), &case.blocks].concat();
            let last = |blocks: &[Block]| *blocks.last().unwrap_or(&case.iv);

            let mut expected = blocks.clone();
            cbc::Encryptor::<Aes128>::new(&case.key.into(), &case.iv).encrypt_blocks(&mut expected);
            let (mut output, mut chain) = (junk(blocks.len()), case.iv);
            let work = ChainedBlocks::new(&mut chain, head, &case.blocks, &mut output);
            BlockCipherEncClosure::call(work, backend);
            assert_eq!((&output, chain), (&expected, last(&expected)), "encrypted: {case:?}");

            let mut expected = blocks.clone();
            cbc::Decryptor::<Aes128>::new(&case.key.into(), &case.iv).decrypt_blocks(&mut expected);
            let (mut output, mut chain) = (junk(blocks.len()), case.iv);
            let work = ChainedBlocks::new(&mut chain, head, &case.blocks, &mut output);
            BlockCipherDecClosure::call(work, backend);
            assert_eq!((&output, chain), (&expected, last(&blocks)), "decrypted: {case:?}");
        }
    }
}

/// With and without a partial block that follows.
struct Counted;

impl Check for Counted {
    fn check<N: ArraySize>(&self, backend: &MadeUp<N>, case: &Case) {
        for with_next in [false, true] {
            let (mut expected, keystream) = case.counted();
            let (mut output, mut counter, mut next) = (junk(case.blocks.len()), case.counter(), case.extra);
            let place = with_next.then_some(&mut next);
            CountedBlocks::new(&mut counter, &case.blocks, &mut output, place, &mut Xor).call(backend);
            output.push(next);
            expected.push(if with_next { keystream } else { case.extra });
            assert_eq!(output, expected, "{case:?}");
            let used = case.blocks.len() + usize::from(with_next);
            assert_eq!(counter, case.counter().wrapping_add(used as u128), "{case:?}");
        }
    }
}

/// In both directions, where the ciphertext is what comes out, and what goes in.
struct Hashed;

impl Check for Hashed {
    fn check<N: ArraySize>(&self, backend: &MadeUp<N>, case: &Case) {
        let (expected, _) = case.counted();
        let hash_of = |blocks: &[Block]| {
            let mut hash = hash_by_crate(&case.extra);
            blocks.iter().for_each(|block| hash.block(block));
            *hash.value()
        };
        let mut hash = hash_by_crate(&case.extra);
        assert_eq!(combined(backend, case, &mut HashOutput(&mut hash)), expected, "encrypted: {case:?}");
        assert_eq!(*hash.value(), hash_of(&expected), "encrypted: {case:?}");
        let mut hash = hash_by_crate(&case.extra);
        assert_eq!(combined(backend, case, &mut HashInput(&mut hash)), expected, "decrypted: {case:?}");
        assert_eq!(*hash.value(), hash_of(&case.blocks), "decrypted: {case:?}");
    }
}

fn hash_by_crate(key: &Block) -> Ghash {
    let mut hash = Ghash::new();
    hash.complete(Path::PORTABLE, key);
    hash
}

fn combined<N: ArraySize>(backend: &MadeUp<N>, case: &Case, combine: &mut impl Combine) -> Vec<Block> {
    let mut output = junk(case.blocks.len());
    CountedBlocks::new(&mut case.counter(), &case.blocks, &mut output, None, combine).call(backend);
    output
}

/// Something that holds for every message on every backend.
trait Check {
    fn check<N: ArraySize>(&self, backend: &MadeUp<N>, case: &Case);
}

/// Messages of up to two of the longest batches and more, on backends of all lengths.
fn for_each_backend(check: impl Check) {
    let mut rng = Rng::with_seed(8);
    for len in 0..=150 {
        let case = Case::random(&mut rng, len);
        check.check(&MadeUp::<U1>::new(&case), &case);
        check.check(&MadeUp::<U4>::new(&case), &case);
        check.check(&MadeUp::<U8>::new(&case), &case);
        check.check(&MadeUp::<U30>::new(&case), &case);
        check.check(&MadeUp::<U64>::new(&case), &case);
        check.check(&MadeUp::<U128>::new(&case), &case);
    }
}

#[derive(Debug)]
struct Case {
    key: [u8; BLOCK_LEN],
    iv: Block,
    /// A block that comes before or after the others.
    extra: Block,
    blocks: Vec<Block>,
}

impl Case {
    fn random(rng: &mut Rng, len: usize) -> Self {
        let mut block = || Block::from(rng.u128(..).to_be_bytes());
        let (key, mut iv, extra) = (block().into(), block(), block());
        let blocks = std::iter::repeat_with(block).take(len).collect();
        // Counters that overflow soon, in their last byte or in several.
        let all_ones = rng.usize(0..BLOCK_LEN);
        iv[all_ones..BLOCK_LEN - 1].fill(0xff);
        Self { key, iv, extra, blocks }
    }

    fn counter(&self) -> u128 {
        u128::from_be_bytes(self.iv.into())
    }

    /// The blocks XORed with the key stream, and the block of key stream that follows.
    fn counted(&self) -> (Vec<Block>, Block) {
        let mut blocks = [&self.blocks[..], &[Block::default()]].concat();
        let bytes = Block::slice_as_flattened_mut(&mut blocks);
        ctr::Ctr128BE::<Aes128>::new(&self.key.into(), &self.iv).apply_keystream(bytes);
        let next = blocks.pop().unwrap_or_default();
        (blocks, next)
    }
}

/// What lies in an output before it is written.
fn junk(len: usize) -> Vec<Block> {
    vec![Block::from([0xa5; BLOCK_LEN]); len]
}

/// A backend that works on `N` blocks at a time.
struct MadeUp<N> {
    aes: Aes128,
    batch: PhantomData<N>,
}

impl<N> MadeUp<N> {
    fn new(case: &Case) -> Self {
        Self { aes: Aes128::new(&case.key.into()), batch: PhantomData }
    }
}

impl<N> BlockSizeUser for MadeUp<N> {
    type BlockSize = U16;
}

impl<N: ArraySize> ParBlocksSizeUser for MadeUp<N> {
    type ParBlocksSize = N;
}

impl<N: ArraySize> BlockCipherEncBackend for MadeUp<N> {
    fn encrypt_block(&self, block: InOut<'_, '_, Block>) {
        self.aes.encrypt_block_inout(block);
    }
}

impl<N: ArraySize> BlockCipherDecBackend for MadeUp<N> {
    fn decrypt_block(&self, block: InOut<'_, '_, Block>) {
        self.aes.decrypt_block_inout(block);
    }
}
