//! The one place of the cipher that wipes memory.

use std::ops::{Deref, DerefMut};

use aes::Block;
use aes::cipher::Array;
use aes::cipher::array::ArraySize;
use zeroize::Zeroize;

/// A value that is overwritten with zeros when it is dropped. Has no Debug: it is a secret.
#[derive(Default)]
pub(super) struct Wiped<T: Wipe>(T);

impl<T: Wipe> Wiped<T> {
    #[inline(always)]
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T: Wipe> Deref for Wiped<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe> DerefMut for Wiped<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Wipe> Drop for Wiped<T> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(test)]
        count::add(size_of::<T>());
        self.0.wipe();
    }
}

/// What can be overwritten with zeros, in a way that the compiler may not leave out.
pub(super) trait Wipe {
    fn wipe(&mut self);
}

impl Wipe for [u8] {
    #[inline(always)]
    fn wipe(&mut self) {
        self.zeroize();
    }
}

// Arrays as slices: `zeroize` clears a slice with one memset, and an array byte by byte.
impl<const N: usize> Wipe for [u8; N] {
    #[inline(always)]
    fn wipe(&mut self) {
        self.as_mut_slice().wipe();
    }
}

impl<const M: usize, const N: usize> Wipe for [[u8; M]; N] {
    #[inline(always)]
    fn wipe(&mut self) {
        self.as_flattened_mut().wipe();
    }
}

impl<const N: usize> Wipe for [Block; N] {
    #[inline(always)]
    fn wipe(&mut self) {
        Array::slice_as_flattened_mut(self).wipe();
    }
}

impl Wipe for Block {
    #[inline(always)]
    fn wipe(&mut self) {
        self.as_mut_slice().wipe();
    }
}

impl<N: ArraySize> Wipe for Array<Block, N> {
    #[inline(always)]
    fn wipe(&mut self) {
        Array::slice_as_flattened_mut(self).wipe();
    }
}

impl Wipe for u128 {
    #[inline(always)]
    fn wipe(&mut self) {
        self.zeroize();
    }
}

/// Counts what is wiped, for the tests: the memory itself cannot be looked at after a drop.
#[cfg(test)]
pub(super) mod count {
    use std::cell::Cell;

    thread_local! {
        static BYTES: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn add(bytes: usize) {
        BYTES.with(|count| count.set(count.get() + bytes));
    }

    /// How many bytes the calling thread has wiped while `work` ran.
    pub(in crate::cipher) fn of<T>(work: impl FnOnce() -> T) -> (usize, T) {
        let before = BYTES.with(Cell::get);
        let result = work();
        (BYTES.with(Cell::get) - before, result)
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::consts::U4;
    use polyval::hazmat::FieldElement;
    use zeroize::ZeroizeOnDrop;

    use super::*;
    use crate::cipher::{Algorithm, Context, Direction, MessageEnd, Padding, Path};

    #[test]
    fn what_is_dropped_is_wiped() {
        struct Probe<'a>(&'a mut bool);
        impl Wipe for Probe<'_> {
            fn wipe(&mut self) {
                *self.0 = true;
            }
        }
        let mut wiped = false;
        drop(Wiped::new(Probe(&mut wiped)));
        assert!(wiped);
    }

    #[test]
    fn nothing_is_left_of_what_is_wiped() {
        fn after<T: Wipe>(mut value: T) -> T {
            value.wipe();
            value
        }
        let block = Block::from([5; 16]);
        let mut bytes = [5; 40];
        bytes[..39].wipe();
        assert_eq!((&bytes[..39], bytes[39]), (&[0; 39][..], 5));
        assert_eq!(after([5; 33]), [0; 33]);
        assert_eq!(after([[5; 16]; 15]), [[0; 16]; 15]);
        assert_eq!(after(block), Block::default());
        assert_eq!(after([block; 3]), [Block::default(); 3]);
        assert_eq!(after(Array::<Block, U4>([block; 4])), Array([Block::default(); 4]));
        assert_eq!(after(u128::MAX), 0);
    }

    #[test]
    fn the_iv_counters_buffered_text_and_keys_of_a_context_are_wiped_with_it() {
        const BLOCK: usize = 16;
        for (algorithm, padding, direction, expected) in [
            // The IV, the chaining value, what waits; for a tail, the key.
            (Algorithm::AesCbc, Padding::None, Direction::Encrypt, 3 * BLOCK),
            (Algorithm::AesCbc, Padding::Pkcs7, Direction::Encrypt, 3 * BLOCK),
            (Algorithm::AesCbc, Padding::None, Direction::Decrypt, 3 * BLOCK + 32),
            (Algorithm::AesCbc, Padding::Pkcs7, Direction::Decrypt, 3 * BLOCK + 32),
            // The counter and the key stream; the mask of the tag, and what waits to be hashed.
            (Algorithm::AesCtr, Padding::None, Direction::Encrypt, 2 * BLOCK),
            (Algorithm::AesCtr, Padding::None, Direction::Decrypt, 2 * BLOCK),
            (Algorithm::AesCtr, Padding::Pkcs7, Direction::Encrypt, 4 * BLOCK),
            (Algorithm::AesCtr, Padding::Pkcs7, Direction::Decrypt, 4 * BLOCK),
        ] {
            // The hash key, and with it the mask of the tag.
            let is_gcm = (algorithm, padding) == (Algorithm::AesCtr, Padding::Pkcs7);
            let expected_made = if is_gcm { 3 * BLOCK } else { 0 };
            for path in Path::all() {
                let what = format!("{path} {algorithm} {padding:?} {direction:?}");
                let new = || Context::new_on(path, algorithm, direction, padding, &[1; 32], &[2; 16]);
                let (made, context) = count::of(new);
                assert_eq!(made, expected_made, "{what}, made");
                let (dropped, ()) = count::of(|| drop(context));
                // The key and the value of a kernel's hash.
                let hash = if is_gcm && path != Path::PORTABLE { 2 * BLOCK } else { 0 };
                assert_eq!(dropped, expected + hash + round_keys(path), "{what}, dropped");
            }
        }
    }

    /// Bytes of a key schedule that the cipher itself wipes. The crates wipe theirs.
    fn round_keys(path: Path) -> usize {
        if path == Path::PORTABLE { 0 } else { 15 * 16 }
    }

    #[test]
    fn what_the_end_of_a_message_is_made_of_is_wiped_and_so_is_the_end() {
        for path in Path::all() {
            for padding in [Padding::None, Padding::Pkcs7] {
                ends_are_wiped(path, padding, Direction::Encrypt);
                ends_are_wiped(path, padding, Direction::Decrypt);
            }
        }
        assert_eq!(count::of(|| drop(MessageEnd::whole(Block::default()))).0, 16);
    }

    fn ends_are_wiped(path: Path, padding: Padding, direction: Direction) {
        let mut context = Context::new_on(path, Algorithm::AesCbc, direction, padding, &[1; 32], &[2; 16]).unwrap();
        let mut output = [0; 32];
        context.update(&[3; 21], &mut output).unwrap();
        let end = (padding, direction);
        // The encrypted IV, the padded block, or the block with its padding, whether it is right or not.
        if end == (Padding::Pkcs7, Direction::Decrypt) {
            context.update(&[3; 11], &mut output).unwrap();
        }
        let (wiped, tail) = count::of(|| context.finish());
        assert_eq!(wiped, 16, "{path} {padding:?} {direction:?}");
        let expected = if tail.is_ok() { 16 } else { 0 };
        assert_eq!(count::of(|| drop(tail)), (expected, ()), "{path} {padding:?} {direction:?}");
    }

    #[test]
    fn the_crates_wipe_key_schedules_and_the_hash_key() {
        fn wiped_when_dropped<T: ZeroizeOnDrop>() {}
        wiped_when_dropped::<aes::Aes128Enc>();
        wiped_when_dropped::<aes::Aes128Dec>();
        wiped_when_dropped::<aes::Aes192Enc>();
        wiped_when_dropped::<aes::Aes192Dec>();
        wiped_when_dropped::<aes::Aes256Enc>();
        wiped_when_dropped::<aes::Aes256Dec>();
        // `Polyval` is, with the feature by which this is.
        fn wiped_by_its_crate<T: Zeroize>() {}
        wiped_by_its_crate::<FieldElement>();
    }
}
