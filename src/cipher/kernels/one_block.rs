//! The loops of a block at a time, which are the same on every path of a CPU.

/// The functions, made of the primitives of the path whose registers have one block.
macro_rules! one_block_loops {
    ($features:literal) => {
        use super::hidden::hidden_if;
        use super::{Bytes, RoundKeys, Rounds, Schedule, narrow};

        /// A register with a block.
        pub(super) type OneBlock = narrow::Vector;

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn load(block: &Bytes) -> OneBlock {
            zerocopy::transmute!(*block)
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn bytes(block: OneBlock) -> Bytes {
            zerocopy::transmute!(block)
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn xor(a: OneBlock, b: OneBlock) -> OneBlock {
            narrow::xor(a, b)
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn reverse(block: OneBlock) -> OneBlock {
            narrow::reverse(block, reversed())
        }

        /// A counter as it is added to: with its lower half first.
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn halves(counter: u128) -> OneBlock {
            zerocopy::transmute!(counter.to_le_bytes())
        }

        /// The order of bytes that makes a counter of [`halves`].
        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn reversed() -> OneBlock {
            halves(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f)
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn encrypt_counter<const ROUNDS: usize>(keys: &Schedule, counter: u128) -> OneBlock {
            let state = xor(reverse(halves(counter)), load(&keys[0]));
            narrow::encrypt_last(middle_rounds::<ROUNDS>(keys, state), load(&keys[ROUNDS]))
        }

        #[inline]
        #[target_feature(enable = $features)]
        pub(super) fn decrypt<const ROUNDS: usize>(keys: &Schedule, block: OneBlock) -> OneBlock {
            let mut state = xor(block, load(&keys[0]));
            for key in &keys[1..ROUNDS] {
                state = narrow::decrypt_round(state, load(key));
            }
            narrow::decrypt_last(state, load(&keys[ROUNDS]))
        }

        /// All rounds of an encryption but the last.
        #[inline]
        #[target_feature(enable = $features)]
        fn middle_rounds<const ROUNDS: usize>(keys: &Schedule, mut state: OneBlock) -> OneBlock {
            for key in &keys[1..ROUNDS] {
                state = narrow::encrypt_round(state, load(key));
            }
            state
        }

        /// Encrypts a block for itself.
        #[target_feature(enable = $features)]
        pub(in super::super) fn encrypt(keys: &RoundKeys, block: &mut Bytes) {
            by_rounds!(keys.rounds, encrypt_rounds, (&keys.keys, block));
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn encrypt_rounds<const ROUNDS: usize>(keys: &Schedule, block: &mut Bytes) {
            let state = middle_rounds::<ROUNDS>(keys, xor(load(block), load(&keys[0])));
            *block = bytes(narrow::encrypt_last(state, load(&keys[ROUNDS])));
        }

        /// CBC encryption.
        #[target_feature(enable = $features)]
        pub(in super::super) fn cbc_encrypt(
            keys: &RoundKeys,
            chain: &mut Bytes,
            input: &[Bytes],
            output: &mut [Bytes],
        ) {
            by_rounds!(keys.rounds, cbc_encrypt_rounds, (&keys.keys, chain, input, output));
        }

        /// The XOR with the next block of text is no step of the chain: it is done to the last round key before, and the
        /// ciphertext comes from a second last round, beside the chain.
        #[inline]
        #[target_feature(enable = $features)]
        fn cbc_encrypt_rounds<const ROUNDS: usize>(
            keys: &Schedule,
            chain: &mut Bytes,
            input: &[Bytes],
            output: &mut [Bytes],
        ) {
            assert!(input.len() == output.len(), "as many blocks come out as go in");
            let [text, following @ ..] = input else { return };
            let (first, last) = (load(&keys[0]), load(&keys[ROUNDS]));
            let mut state = xor(xor(load(text), first), load(chain));
            let turn = xor(first, last);
            let (output, end) = output.split_at_mut(following.len());
            for (text, output) in following.iter().zip(output) {
                let turn = xor(turn, load(text));
                let keys = hidden_if(ROUNDS > 10, keys);
                let before_last = middle_rounds::<ROUNDS>(keys, state);
                *output = bytes(narrow::encrypt_last(before_last, last));
                state = narrow::encrypt_last(before_last, turn);
            }
            *chain = bytes(narrow::encrypt_last(middle_rounds::<ROUNDS>(keys, state), last));
            end[0] = *chain;
        }
    };
}
