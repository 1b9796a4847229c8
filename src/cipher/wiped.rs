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
