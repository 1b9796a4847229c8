//! How the blocks of a message are cut into steps of some registers.

/// The steps of a message, of 16 registers, if `WIDEST` is so many, of 8, 4, 2 or 1, or of one block.
///
/// A rest that would take longer in smaller steps is done by one that goes back over blocks that are done.
pub(super) struct Steps<const LANES: usize, const WIDEST: usize = 8> {
    len: usize,
    done: usize,
}

/// Blocks from `at` on, in so many registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Sixteen { at: usize },
    Eight { at: usize },
    Four { at: usize },
    Two { at: usize },
    One { at: usize },
    Block { at: usize },
}

impl<const LANES: usize, const WIDEST: usize> Steps<LANES, WIDEST> {
    /// For `len` blocks.
    #[inline(always)]
    pub(super) fn of(len: usize) -> Self {
        Self::rest_of(len, 0)
    }

    /// For what follows the first `done` of `len` blocks.
    #[inline(always)]
    pub(super) fn rest_of(len: usize, done: usize) -> Self {
        Self { len, done }
    }

    /// Where a step of so many blocks begins, if it is worth one.
    #[inline(always)]
    fn step(&mut self, blocks: usize) -> Option<usize> {
        let left = self.len - self.done;
        if self.len < blocks || left <= blocks / 2 {
            return None;
        }
        let at = self.done.min(self.len - blocks);
        self.done = at + blocks;
        Some(at)
    }
}

impl<const LANES: usize, const WIDEST: usize> Iterator for Steps<LANES, WIDEST> {
    type Item = Step;

    #[inline(always)]
    fn next(&mut self) -> Option<Step> {
        if self.done == self.len {
            None
        } else if WIDEST == 16
            // A rest of 8 registers and a few blocks is done sooner in smaller steps.
            && self.len - self.done >= 14 * LANES
            && let Some(at) = self.step(16 * LANES)
        {
            Some(Step::Sixteen { at })
        } else if let Some(at) = self.step(8 * LANES) {
            Some(Step::Eight { at })
        } else if let Some(at) = self.step(4 * LANES) {
            Some(Step::Four { at })
        } else if let Some(at) = self.step(2 * LANES) {
            Some(Step::Two { at })
        } else if let Some(at) = self.step(LANES) {
            Some(Step::One { at })
        } else {
            self.step(1).map(|at| Step::Block { at })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_in_a_step_and_none_of_a_step_is_outside() {
        for len in 0..200 {
            every_block_once_or_more::<1, 8>(len);
            every_block_once_or_more::<2, 8>(len);
            every_block_once_or_more::<4, 8>(len);
            every_block_once_or_more::<4, 16>(len);
        }
    }

    fn every_block_once_or_more<const LANES: usize, const WIDEST: usize>(len: usize) {
        let mut done = 0;
        for step in Steps::<LANES, WIDEST>::of(len) {
            let (at, blocks) = match step {
                Step::Sixteen { at } => (at, 16 * LANES),
                Step::Eight { at } => (at, 8 * LANES),
                Step::Four { at } => (at, 4 * LANES),
                Step::Two { at } => (at, 2 * LANES),
                Step::One { at } => (at, LANES),
                Step::Block { at } => (at, 1),
            };
            assert!(at <= done && done < at + blocks, "{step:?} after {done} of {len}");
            done = at + blocks;
        }
        assert_eq!(done, len);
    }

    #[test]
    fn a_page_is_done_in_as_few_steps_as_if_its_last_blocks_filled_one() {
        assert_eq!(Steps::<4>::of(1022).last(), Some(Step::Eight { at: 990 }));
        assert_eq!(Steps::<4>::of(1022).count(), 32);
        assert_eq!(Steps::<4, 16>::of(1022).last(), Some(Step::Sixteen { at: 958 }));
        assert_eq!(Steps::<4, 16>::of(1022).count(), 16);
        assert!(Steps::<4>::of(1022).all(|step| matches!(step, Step::Eight { .. })));
    }
}
