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

        /// Blocks in a [`Factor`].
        const FACTOR: usize = 2 * LANES;

        /// The powers of the hash key as factors, so many as there are blocks in a turn, the highest first.
        type Powers = [Bytes; 2 * TURN];

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
            let counters = Counters::of(first);
            let mut powers = Wiped::new([[0; 16]; 2 * TURN]);
            make_powers(&mut powers, one_block::load(&hash.key), len);
            let mut turns = input.as_chunks::<TURN>().0.iter().zip(output.as_chunks_mut::<TURN>().0);
            let (mut at, mut hashed_to) = (0, 0);
            if let Some((input, output)) = turns.next() {
                ctr_step::<ROUNDS, 8>(hidden(keys), counters, 0, input, output);
                at = TURN;
                let mut text: &[Bytes; TURN] = if hashed == Hashed::Input { input } else { output };
                for (input, output) in turns {
                    let (keys, value) = (hidden(keys), hidden(&mut *hash.value));
                    let states = counters.states(keys, at);
                    gcm_step::<ROUNDS>(keys, states, input, output, value, &powers, text);
                    text = if hashed == Hashed::Input { input } else { output };
                    at += TURN;
                }
                hashed_to = at - TURN;
            }
            for step in Steps::<LANES>::rest_of(len, at) {
                {
                    let keys = hidden(keys);
                    ctr_step!(ROUNDS, step, keys, counters, input, output);
                }
            }
            let mut text = if hashed == Hashed::Input { &input[hashed_to..] } else { &output[hashed_to..] };
            let mut value = one_block::load(&hash.value);
            while !text.is_empty() {
                let (now, later) = text.split_at(text.len().min(TURN));
                value = hash_rest(value, hidden(&powers), now);
                text = later;
            }
            *hash.value = one_block::bytes(value);
        }

        /// Hashes a block.
        #[target_feature(enable = $features)]
        pub(in super::super) fn hash_block(hash: &mut Hash, block: &Bytes) {
            let block = one_block::reverse(one_block::load(block));
            let value = one_block::xor(one_block::load(&hash.value), block);
            *hash.value = one_block::bytes(narrow::times(value, narrow::factor(one_block::load(&hash.key))));
        }

        /// Encrypts `input` from `states` on into `output`, and hashes `text`: a register after each of the last rounds. In the
        /// first, the blocks of the turn before, if that is the text, are still on their way.
        #[inline]
        #[target_feature(enable = $features)]
        fn gcm_step<const ROUNDS: usize>(
            keys: &Schedule,
            mut states: [Vector; 8],
            input: &[Bytes; TURN],
            output: &mut [Bytes; TURN],
            value: &mut Bytes,
            powers: &Powers,
            text: &[Bytes; TURN],
        ) {
            let (registers, factors) = (text.as_chunks::<LANES>().0, powers.as_chunks::<FACTOR>().0);
            let order = spread(one_block::reversed());
            let mut sum = nothing();
            for key in &keys[1..ROUNDS - 8] {
                encrypt_rounds(&mut states, key);
            }
            // All registers but the first, which waits for the hash of the turn before.
            let rounds = &keys[ROUNDS - 8..hidden_if(REGISTERS < 32, ROUNDS - 1)];
            for (key, (register, factor)) in rounds.iter().zip(registers[1..].iter().zip(&factors[1..])) {
                encrypt_rounds(&mut states, key);
                sum = plus_product(sum, reverse(zerocopy::transmute!(*register), order), factor_at(factor));
            }
            encrypt_rounds(&mut states, &keys[ROUNDS - 1]);
            let first = xor(reverse(zerocopy::transmute!(registers[0]), order), first_lane(one_block::load(value)));
            sum = plus_product(sum, first, factor_at(&factors[0]));
            xor_last(states, of_round(keys, ROUNDS), input, output);
            *value = one_block::bytes(added_lanes(reduced(sum)));
        }

        /// Makes the powers for so many blocks, or all if there are more.
        #[inline]
        #[target_feature(enable = $features)]
        fn make_powers(powers: &mut Powers, key: OneBlock, blocks: usize) {
            let by_key = narrow::factor(key);
            let (mut power, mut lanes) = (key, first_lane(key));
            for _ in (0..LANES).skip(1) {
                power = narrow::times(power, by_key);
                lanes = shifted_in(power, lanes);
            }
            let factors = powers.as_chunks_mut::<FACTOR>().0;
            put_factor(&mut factors[7], factor(lanes));
            let mut made = 1;
            while made * LANES < blocks.min(TURN) {
                let (high, low) = factors.split_at_mut(8 - made);
                let highest = &low[0];
                let highest = Factor {
                    low: spread(one_block::load(&highest[0])),
                    high: spread(one_block::load(&highest[LANES])),
                };
                for (high, low) in high.iter_mut().rev().zip(low.iter().rev()) {
                    put_factor(high, factor(times(power_of(factor_at(low)), highest)));
                }
                made *= 2;
            }
        }

        /// The hash `value` and all blocks of `blocks`, which are no more than a turn, and not none.
        #[inline]
        #[target_feature(enable = $features)]
        fn hash_rest(value: OneBlock, powers: &Powers, blocks: &[Bytes]) -> OneBlock {
            let order = spread(one_block::reversed());
            let factors = powers.as_chunks::<FACTOR>().0;
            let power = |number: usize| {
                let register = (TURN - number) / LANES;
                let (factor, lane) = (&factors[register], TURN - number - register * LANES);
                narrow::Factor { low: one_block::load(&factor[lane]), high: one_block::load(&factor[LANES + lane]) }
            };
            let (first, registers) = blocks.as_rchunks::<LANES>();
            let mut sum = nothing();
            for (factor, register) in factors.iter().rev().zip(registers.iter().rev()) {
                sum = plus_product(sum, reverse(zerocopy::transmute!(*register), order), factor_at(factor));
            }
            let mut single = narrow::plus_product(narrow::nothing(), value, power(blocks.len()));
            for (index, block) in first.iter().enumerate() {
                let block = one_block::reverse(one_block::load(block));
                single = narrow::plus_product(single, block, power(blocks.len() - index));
            }
            one_block::xor(added_lanes(reduced(sum)), narrow::reduced(single))
        }

        /// What is multiplied by: the lower halves of `b`, divided by x^64 in the field, and of `b` itself, and the upper
        /// halves. A product divided by x^64 is the sum of the half below of the other factor times the one, and the half
        /// above times the other: two parts are added up, not three.
        #[derive(Clone, Copy)]
        pub(super) struct Factor {
            pub(super) low: Vector,
            pub(super) high: Vector,
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn factor(b: Vector) -> Factor {
            let below = folded(b);
            Factor { low: low_halves(below, b), high: high_halves(below, b) }
        }

        /// What the factor was made of.
        #[inline]
        #[target_feature(enable = $features)]
        fn power_of(factor: Factor) -> Vector {
            high_halves(factor.low, factor.high)
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn factor_at(place: &[Bytes; FACTOR]) -> Factor {
            Factor { low: load(&place[..LANES]), high: load(&place[LANES..]) }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn put_factor(place: &mut [Bytes; FACTOR], factor: Factor) {
            *place = zerocopy::transmute!([factor.low, factor.high]);
        }

        /// Products divided by x^64 that are added up, in two parts of which one weighs 64 bits more.
        #[derive(Clone, Copy)]
        pub(super) struct Sum {
            low: Vector,
            high: Vector,
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn nothing() -> Sum {
            let zero = spread(one_block::halves(0));
            Sum { low: zero, high: zero }
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn plus_product(sum: Sum, a: Vector, b: Factor) -> Sum {
            Sum {
                low: xor(sum.low, xor(low_by_low(a, b.low), high_by_high(a, b.low))),
                high: xor(sum.high, xor(low_by_low(a, b.high), high_by_high(a, b.high))),
            }
        }

        /// The sum, divided by x^64 once more.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn reduced(sum: Sum) -> Vector {
            xor(sum.high, folded(sum.low))
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
        pub(super) fn times(a: Vector, b: Factor) -> Vector {
            reduced(plus_product(nothing(), a, b))
        }
    };
}
