//! The loops of a path for GCM: the blocks of a step are encrypted while those of the step before are hashed. The two are
//! done by different units of the CPU, and neither waits for the other.
//!
//! A hash is a sum of products in the field of POLYVAL, of blocks whose bytes are reversed: that is GHASH (RFC 8452,
//! appendix A). Products are added up before they are reduced, one reduction for 8 registers.

/// The functions of a path, in a module that has what `loops` needs and makes, and the primitives of a product.
macro_rules! gcm_loops {
    ($features:literal) => {
        use super::super::super::wiped::Wiped;
        use super::one_block::OneBlock;
        use super::{Hash, Hashed, narrow};

        /// Blocks that are hashed with one reduction.
        const TURN: usize = 8 * LANES;

        /// The powers of the hash key, so many as there are blocks in a turn, the highest first in each register: the
        /// register at `n` has the powers from `n * LANES + 1` to `(n + 1) * LANES`.
        type Powers = [Bytes; TURN];

        /// As `ctr`, and hashes the ciphertext. The lower 32 bits of the counter must not overflow.
        #[target_feature(enable = $features)]
        pub(in super::super) fn gcm(
            keys: &RoundKeys,
            hash: &mut Hash,
            counter: &mut u128,
            input: &[Bytes],
            output: &mut [Bytes],
            next: Option<&mut Bytes>,
            hashed: Hashed,
        ) {
            by_rounds!(keys.rounds, gcm_rounds, (&keys.keys, hash, counter, input, output, next, hashed));
        }

        #[target_feature(enable = $features)]
        fn gcm_rounds<const ROUNDS: usize>(
            keys: &Schedule,
            hash: &mut Hash,
            counter: &mut u128,
            input: &[Bytes],
            output: &mut [Bytes],
            next: Option<&mut Bytes>,
            hashed: Hashed,
        ) {
            assert!(input.len() == output.len(), "as many blocks come out as go in");
            let len = input.len();
            let first = count_on::<ROUNDS>(keys, counter, len, next);
            let counters = count_up(spread(one_block::halves(first)), one_apart());
            let mut powers = Wiped::new([[0; 16]; TURN]);
            make_powers(&mut powers, one_block::load(&hash.key), len);
            let mut value = one_block::load(&hash.value);
            let mut done = 0;
            for step in Steps::<LANES>::of(len) {
                let keys = hidden(keys);
                match step {
                    Step::Eight { at } if at - done >= TURN => {
                        let (before, output) = output.split_at_mut(at);
                        let text = if hashed == Hashed::Input { input } else { before };
                        let mut turn = Turn::of(value, &powers, &text[done..]);
                        ctr_step::<ROUNDS, 8>(keys, counters, at, input, output, |round| turn.register(round));
                        value = turn.hash();
                        done += TURN;
                    }
                    _ => ctr_step!(ROUNDS, step, keys, first, counters, input, output),
                }
            }
            let mut text = if hashed == Hashed::Input { &input[done..] } else { &output[done..] };
            while !text.is_empty() {
                let (now, later) = text.split_at(text.len().min(TURN));
                value = hash_rest(value, &powers, now);
                text = later;
            }
            *hash.value = one_block::bytes(value);
        }

        /// Hashes a block.
        #[target_feature(enable = $features)]
        pub(in super::super) fn hash_block(hash: &mut Hash, block: &Bytes) {
            let block = one_block::reverse(one_block::load(block));
            let value = one_block::xor(one_block::load(&hash.value), block);
            *hash.value = one_block::bytes(narrow::times(value, one_block::load(&hash.key)));
        }

        /// Makes the powers for so many blocks, or all if there are more.
        #[inline]
        #[target_feature(enable = $features)]
        fn make_powers(powers: &mut Powers, key: OneBlock, blocks: usize) {
            let mut power = key;
            for lane in (0..LANES).rev() {
                powers[lane] = one_block::bytes(power);
                power = if lane > 0 { narrow::times(power, key) } else { power };
            }
            let mut made = LANES;
            while made < blocks.min(TURN) {
                let highest = spread(one_block::load(&powers[made - LANES]));
                let (low, high) = powers.split_at_mut(made);
                for (high, low) in high.as_chunks_mut::<LANES>().0.iter_mut().zip(low.as_chunks::<LANES>().0) {
                    *high = zerocopy::transmute!(times(zerocopy::transmute!(*low), highest));
                }
                made *= 2;
            }
        }

        /// Blocks of a turn on their way into the hash, a register at a time.
        struct Turn<'a> {
            value: OneBlock,
            powers: &'a [[Bytes; LANES]],
            registers: &'a [[Bytes; LANES]],
            order: Vector,
            sum: Sum,
        }

        impl<'a> Turn<'a> {
            /// The hash `value`, and the first blocks of `blocks`.
            #[inline]
            #[target_feature(enable = $features)]
            fn of(value: OneBlock, powers: &'a Powers, blocks: &'a [Bytes]) -> Self {
                let (powers, registers) = (powers.as_chunks::<LANES>().0, blocks[..TURN].as_chunks::<LANES>().0);
                Self { value, powers, registers, order: spread(one_block::reversed()), sum: nothing() }
            }

            /// The first of 8 calls takes the last register, and the last one the first: the others need not wait for the
            /// hash of the turn before. Later calls do nothing.
            #[inline]
            #[target_feature(enable = $features)]
            fn register(&mut self, number: usize) {
                let (Some(index), Some(power)) = (8usize.checked_sub(number), self.powers.get(number - 1)) else {
                    return;
                };
                let register = reverse(zerocopy::transmute!(self.registers[index]), self.order);
                let register = if index == 0 { xor(register, first_lane(self.value)) } else { register };
                self.sum = plus_product(self.sum, register, zerocopy::transmute!(*power));
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn hash(self) -> OneBlock {
                added_lanes(reduced(self.sum))
            }
        }

        /// The hash `value` and all blocks of `blocks`, which are no more than a turn, and not none.
        #[inline]
        #[target_feature(enable = $features)]
        fn hash_rest(value: OneBlock, powers: &Powers, blocks: &[Bytes]) -> OneBlock {
            let order = spread(one_block::reversed());
            let power = |number: usize| {
                let register = (number - 1) / LANES * LANES;
                one_block::load(&powers[register + LANES - (number - register)])
            };
            let (first, registers) = blocks.as_rchunks::<LANES>();
            let mut sum = nothing();
            for (power, register) in powers.as_chunks::<LANES>().0.iter().zip(registers.iter().rev()) {
                let register = reverse(zerocopy::transmute!(*register), order);
                sum = plus_product(sum, register, zerocopy::transmute!(*power));
            }
            let mut single = narrow::plus_product(narrow::nothing(), value, power(blocks.len()));
            for (index, block) in first.iter().enumerate() {
                let block = one_block::reverse(one_block::load(block));
                single = narrow::plus_product(single, block, power(blocks.len() - index));
            }
            one_block::xor(added_lanes(reduced(sum)), narrow::reduced(single))
        }

        /// Products that are added up, in three parts of which each weighs 64 bits more than the one before.
        #[derive(Clone, Copy)]
        pub(super) struct Sum {
            low: Vector,
            middle: Vector,
            high: Vector,
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn nothing() -> Sum {
            let zero = spread(one_block::halves(0));
            Sum { low: zero, middle: zero, high: zero }
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn plus_product(sum: Sum, a: Vector, b: Vector) -> Sum {
            Sum {
                low: xor(sum.low, low_by_low(a, b)),
                middle: xor(sum.middle, xor(low_by_high(a, b), high_by_low(a, b))),
                high: xor(sum.high, high_by_high(a, b)),
            }
        }

        /// The sum, divided by x^128 in the field.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn reduced(sum: Sum) -> Vector {
            let middle = xor(sum.middle, folded(sum.low));
            xor(sum.high, folded(middle))
        }

        /// `part`, divided by x^64 in the field.
        #[inline]
        #[target_feature(enable = $features)]
        fn folded(part: Vector) -> Vector {
            // x^128 + x^127 + x^126 + x^121 + 1, without its ends and divided by x^64.
            let polynomial = spread(one_block::halves(0xc2 << 56));
            xor(halves_swapped(part), low_by_low(part, polynomial))
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn times(a: Vector, b: Vector) -> Vector {
            reduced(plus_product(nothing(), a, b))
        }
    };
}
