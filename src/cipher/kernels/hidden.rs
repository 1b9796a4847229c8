//! What the compiler is not to know.
//!
//! A round key that it reads ahead, or keeps from one step to the next, goes to the stack where the registers run out, and
//! nobody wipes it there. It reads nothing ahead from a place that it does not know, and a loop of which it does not know how
//! often it goes round stays one, with the key of one round at a time.

pub(super) use std::hint::black_box as hidden;

/// `value`, which the compiler is not to know if `hide`.
#[inline(always)]
pub(super) fn hidden_if<T>(hide: bool, value: T) -> T {
    if hide { hidden(value) } else { value }
}
