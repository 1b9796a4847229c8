//! How the blocks of a message are cut into the batches that the `aes` crate works on. Their length depends on the CPU,
//! and is a type: a batch that is cut wrongly does not compile, or panics.

use std::marker::PhantomData;

use aes::Block;
use aes::cipher::Array;
use aes::cipher::array::ArraySize;

/// The batches of a message, of `N` blocks each.
///
/// If a rest is left that would take longer block by block, one more batch goes back over blocks that are done.
pub(super) struct Batches<N> {
    len: usize,
    done: usize,
    size: PhantomData<N>,
}

impl<N: ArraySize> Batches<N> {
    /// For `len` blocks.
    #[inline(always)]
    pub(super) fn of(len: usize) -> Self {
        Self { len, done: 0, size: PhantomData }
    }

    /// How many blocks the batches given out so far have done.
    #[inline(always)]
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Whether so many blocks take longer one by one than a batch of which they are a part, copied there and wiped
    /// afterwards. What the batches of a longer message leave over never does.
    #[inline(always)]
    pub(super) fn worth_copying(len: usize) -> bool {
        len > N::USIZE / 2
    }

    /// So many blocks after the last batch take as long one by one as one more batch that goes back.
    const FEW: usize = N::USIZE / 8 * 3;
}

impl<N: ArraySize> Iterator for Batches<N> {
    type Item = Batch<N>;

    #[inline(always)]
    fn next(&mut self) -> Option<Batch<N>> {
        if self.len < N::USIZE || self.len - self.done <= Self::FEW {
            return None;
        }
        let at = self.done.min(self.len - N::USIZE);
        let again = self.done - at;
        self.done = at + N::USIZE;
        Some(Batch { at, again, size: PhantomData })
    }
}

/// Where a batch of `N` blocks lies in a message.
pub(super) struct Batch<N> {
    at: usize,
    again: usize,
    size: PhantomData<N>,
}

impl<N: ArraySize> Batch<N> {
    /// Index of the first block.
    #[inline(always)]
    pub(super) fn start(&self) -> usize {
        self.at
    }

    /// How many of the first blocks an earlier batch has done already.
    #[inline(always)]
    pub(super) fn done_before(&self) -> usize {
        self.again
    }

    /// This batch of the message's blocks.
    #[inline(always)]
    pub(super) fn of<'a>(&self, blocks: &'a [Block]) -> &'a Array<Block, N> {
        &Array::slice_as_chunks(&blocks[self.at..]).0[0]
    }

    /// As [`of`](Self::of), for writing.
    #[inline(always)]
    pub(super) fn of_mut<'a>(&self, blocks: &'a mut [Block]) -> &'a mut Array<Block, N> {
        &mut Array::slice_as_chunks_mut(&mut blocks[self.at..]).0[0]
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::consts::U64;

    use super::*;

    #[test]
    fn a_long_rest_is_done_by_one_more_batch_that_goes_back() {
        let plan = |len| {
            let mut batches = Batches::<U64>::of(len);
            let plan: Vec<_> = (&mut batches).map(|batch| (batch.start(), batch.done_before())).take(9).collect();
            (plan, batches.done())
        };
        assert_eq!(plan(0), (vec![], 0));
        assert_eq!(plan(63), (vec![], 0));
        assert_eq!(plan(64), (vec![(0, 0)], 64));
        assert_eq!(plan(64 + 24), (vec![(0, 0)], 64));
        assert_eq!(plan(64 + 25), (vec![(0, 0), (25, 39)], 64 + 25));
        assert_eq!(plan(128 + 24), (vec![(0, 0), (64, 0)], 128));
        assert_eq!(plan(128 + 63), (vec![(0, 0), (64, 0), (127, 1)], 128 + 63));
    }

    #[test]
    fn more_than_half_a_batch_is_worth_copying() {
        assert_eq!([0, 1, 32].map(Batches::<U64>::worth_copying), [false; 3]);
        assert_eq!([33, 63].map(Batches::<U64>::worth_copying), [true; 2]);
    }
}
