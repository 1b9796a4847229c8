//! The loops of a path, made for its registers.

/// Calls a function made for the number of rounds.
macro_rules! by_rounds {
    ($rounds:expr, $function:ident, ($($argument:expr),+)) => {
        match $rounds {
            Rounds::Ten => $function::<10>($($argument),+),
            Rounds::Twelve => $function::<12>($($argument),+),
            Rounds::Fourteen => $function::<14>($($argument),+),
        }
    };
}

/// A step of a message with these counters. As a function it would be one that is called.
macro_rules! ctr_step {
    ($rounds:ident, $step:expr, $keys:expr, $counters:expr, $input:expr, $output:expr) => {
        match $step {
            Step::Sixteen { .. } => unreachable!("no step of counters has so many registers"),
            Step::Eight { at } => ctr_step::<$rounds, 8>($keys, $counters, at, $input, $output),
            Step::Four { at } => ctr_step::<$rounds, 4>($keys, $counters, at, $input, $output),
            Step::Two { at } => ctr_step::<$rounds, 2>($keys, $counters, at, $input, $output),
            Step::One { at } => ctr_step::<$rounds, 1>($keys, $counters, at, $input, $output),
            Step::Block { at } => {
                let stream = one_block::encrypt_counter::<$rounds>($keys, $counters.first + at as u128);
                $output[at] = one_block::bytes(one_block::xor(stream, one_block::load(&$input[at])));
            }
        }
    };
}

/// The functions of a path, in a module that has `Vector`, `LANES` and the primitives.
macro_rules! loops {
    ($features:literal) => {
        pub(in super::super) use super::expand::{make_decrypting, make_encrypting};
        pub(in super::super) use super::one_block::{cbc_encrypt, encrypt};

        use super::hidden::{hidden, hidden_if};
        use super::one_block;
        use super::steps::{Step, Steps};
        use super::{RoundKeys, Rounds, Schedule};

        /// The keys of so many rounds do not fit in the registers.
        const fn too_many(rounds: usize) -> bool {
            REGISTERS < 32 && rounds > 10
        }

        #[target_feature(enable = $features)]
        pub(in super::super) fn cbc_decrypt(
            keys: &RoundKeys,
            chain: &mut Bytes,
            input: &[Bytes],
            output: &mut [Bytes],
        ) {
            by_rounds!(keys.rounds, cbc_decrypt_rounds, (&keys.keys, chain, input, output));
        }

        #[target_feature(enable = $features)]
        fn cbc_decrypt_rounds<const ROUNDS: usize>(
            keys: &Schedule,
            chain: &mut Bytes,
            input: &[Bytes],
            output: &mut [Bytes],
        ) {
            assert!(input.len() == output.len(), "as many blocks come out as go in");
            let Some(&last) = input.last() else { return };
            // Where two instructions of AES begin in a cycle, and each takes four, 8 registers are just enough for one step, and
            // too few for its end and the beginning of the next.
            for step in Steps::<LANES, { if REGISTERS == 32 && LANES > 1 { 16 } else { 8 } }>::of(input.len()) {
                let keys = hidden(keys);
                match step {
                    Step::Sixteen { at } => cbc_decrypt_step::<ROUNDS, 16>(keys, chain, at, input, output),
                    Step::Eight { at } => cbc_decrypt_step::<ROUNDS, 8>(keys, chain, at, input, output),
                    Step::Four { at } => cbc_decrypt_step::<ROUNDS, 4>(keys, chain, at, input, output),
                    Step::Two { at } => cbc_decrypt_step::<ROUNDS, 2>(keys, chain, at, input, output),
                    Step::One { at } => cbc_decrypt_step::<ROUNDS, 1>(keys, chain, at, input, output),
                    Step::Block { at } => {
                        let before = if at == 0 { &*chain } else { &input[at - 1] };
                        let block = one_block::decrypt::<ROUNDS>(keys, one_block::load(&input[at]));
                        output[at] = one_block::bytes(one_block::xor(block, one_block::load(before)));
                    }
                }
            }
            *chain = last;
        }

        /// So many registers of blocks from `at` on.
        #[inline]
        #[target_feature(enable = $features)]
        fn cbc_decrypt_step<const ROUNDS: usize, const WIDTH: usize>(
            keys: &Schedule,
            chain: &Bytes,
            at: usize,
            input: &[Bytes],
            output: &mut [Bytes],
        ) {
            let (all, input) = (input, &input[at..][..WIDTH * LANES]);
            let output = &mut output[at..][..WIDTH * LANES];
            let mut states = [of_round(keys, 0); WIDTH];
            for (state, input) in states.iter_mut().zip(input.as_chunks::<LANES>().0) {
                *state = xor(*state, zerocopy::transmute!(*input));
            }
            for key in &keys[1..hidden_if(too_many(ROUNDS), ROUNDS)] {
                for state in &mut states {
                    *state = decrypt_round(*state, spread(one_block::load(key)));
                }
            }
            let last = of_round(keys, ROUNDS);
            let mut before =
                if at == 0 { shifted_in(one_block::load(chain), load(input)) } else { load(&all[at - 1..]) };
            for (index, output) in output.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                if index > 0 {
                    before = load(&input[index * LANES - 1..]);
                }
                // The XOR with the block before is none of the chain.
                *output = zerocopy::transmute!(decrypt_last(states[index], xor(last, before)));
            }
        }

        #[target_feature(enable = $features)]
        pub(in super::super) fn ctr(
            keys: &RoundKeys,
            counter: &mut u128,
            input: &[Bytes],
            output: &mut [Bytes],
            next: Option<&mut Bytes>,
        ) {
            by_rounds!(keys.rounds, ctr_rounds, (&keys.keys, counter, input, output, next));
        }

        #[target_feature(enable = $features)]
        fn ctr_rounds<const ROUNDS: usize>(
            keys: &Schedule,
            counter: &mut u128,
            mut input: &[Bytes],
            mut output: &mut [Bytes],
            next: Option<&mut Bytes>,
        ) {
            assert!(input.len() == output.len(), "as many blocks come out as go in");
            let mut first = count_on::<ROUNDS>(keys, counter, input.len(), next);
            while !input.is_empty() {
                // The lower half of the counter does not overflow within a turn: there are two turns at most.
                let turn = usize::try_from(u64::MAX - first as u64).map_or(usize::MAX, |more| more.saturating_add(1));
                let turn = turn.min(input.len());
                let (now, later) = input.split_at(turn);
                let (now_out, later_out) = output.split_at_mut(turn);
                let counters = Counters::of(first);
                for step in Steps::<LANES>::of(turn) {
                    let keys = hidden(keys);
                    ctr_step!(ROUNDS, step, keys, counters, now, now_out);
                }
                (input, output) = (later, later_out);
                first = first.wrapping_add(turn as u128);
            }
        }

        /// The counter of the first of so many blocks. `counter` becomes the one after them, or, with the key stream of
        /// that one in `next`, the one after that.
        #[inline]
        #[target_feature(enable = $features)]
        fn count_on<const ROUNDS: usize>(
            keys: &Schedule,
            counter: &mut u128,
            blocks: usize,
            next: Option<&mut Bytes>,
        ) -> u128 {
            let first = *counter;
            let end = first.wrapping_add(blocks as u128);
            *counter = end;
            if let Some(next) = next {
                *next = one_block::bytes(one_block::encrypt_counter::<ROUNDS>(keys, end));
                *counter = end.wrapping_add(1);
            }
            first
        }

        /// The counters of a message.
        #[derive(Clone, Copy)]
        struct Counters {
            first: u128,
            /// Those of the first register, with the lower half of each first.
            lanes: Vector,
        }

        impl Counters {
            #[inline]
            #[target_feature(enable = $features)]
            fn of(first: u128) -> Self {
                Self { first, lanes: count_up(spread(one_block::halves(first)), one_apart()) }
            }

            /// So many registers of counters from `at` on, XORed with the first round key.
            #[inline]
            #[target_feature(enable = $features)]
            fn states<const WIDTH: usize>(self, keys: &Schedule, at: usize) -> [Vector; WIDTH] {
                let order = spread(one_block::reversed());
                let mut lanes = count_up(self.lanes, spread(one_block::halves(at as u128)));
                let mut states = [of_round(keys, 0); WIDTH];
                let last_byte = (self.first as u8).wrapping_add(at as u8);
                if REGISTERS < 32 && usize::from(last_byte) + WIDTH * LANES <= 256 {
                    // No last byte overflows: they are added to where they are, and their bytes reversed once.
                    let register = spread(one_block::halves((LANES as u128) << 120));
                    lanes = reverse(lanes, order);
                    for state in &mut states {
                        *state = xor(*state, lanes);
                        lanes = count_up(lanes, register);
                    }
                } else {
                    let register = spread(one_block::halves(LANES as u128));
                    for state in &mut states {
                        *state = xor(*state, reverse(lanes, order));
                        lanes = count_up(lanes, register);
                    }
                }
                states
            }
        }

        /// So many registers of blocks from `at` on.
        #[inline]
        #[target_feature(enable = $features)]
        fn ctr_step<const ROUNDS: usize, const WIDTH: usize>(
            keys: &Schedule,
            counters: Counters,
            at: usize,
            input: &[Bytes],
            output: &mut [Bytes],
        ) {
            let (input, output) = (&input[at..][..WIDTH * LANES], &mut output[at..][..WIDTH * LANES]);
            let mut states: [Vector; WIDTH] = counters.states(keys, at);
            for key in &keys[1..hidden_if(too_many(ROUNDS) || REGISTERS < 32 && WIDTH == 8, ROUNDS)] {
                encrypt_rounds(&mut states, key);
            }
            xor_last(states, of_round(keys, ROUNDS), input, output);
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt_rounds(states: &mut [Vector], key: &Bytes) {
            for state in states {
                *state = encrypt_round(*state, spread(one_block::load(key)));
            }
        }

        /// The last round, and the XOR of the key stream with the text.
        #[inline]
        #[target_feature(enable = $features)]
        fn xor_last<const WIDTH: usize>(states: [Vector; WIDTH], key: Vector, input: &[Bytes], output: &mut [Bytes]) {
            let texts = input.as_chunks::<LANES>().0.iter().zip(output.as_chunks_mut::<LANES>().0);
            for (state, (input, output)) in states.into_iter().zip(texts) {
                *output = zerocopy::transmute!(encrypt_last(state, xor(key, zerocopy::transmute!(*input))));
            }
        }

        /// A round key, in all lanes: as fast as it is read.
        #[inline]
        #[target_feature(enable = $features)]
        fn of_round(keys: &Schedule, round: usize) -> Vector {
            spread(one_block::load(&keys[round]))
        }

        /// The first blocks of `blocks`.
        #[inline]
        #[target_feature(enable = $features)]
        fn load(blocks: &[Bytes]) -> Vector {
            let blocks: [Bytes; LANES] = *blocks.as_chunks::<LANES>().0.first().expect("as many blocks as lanes");
            zerocopy::transmute!(blocks)
        }
    };
}

/// Functions that may use the instructions named first.
macro_rules! primitives {
    ($features:literal; $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty $body:block)+) => {
        $(
            #[inline]
            #[target_feature(enable = $features)]
            pub(super) fn $name($($argument: $type),*) -> $result $body
        )+
    };
}
