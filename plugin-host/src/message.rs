//! A message from its beginning to its end, through functions that encrypt it part by part.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::MaybeUninit;

use crate::declaration::{CtxFinish, CtxUpdate};

/// Memory for a context.
pub(crate) type Memory = [u128; 128];

/// How much longer than its input an output must be, so that nobody writes beyond its end: two blocks.
pub const SLACK: usize = 32;

/// The whole message, with the context on the stack as the server has it. Returns how much was written to `output`, which
/// must be at least [`SLACK`] bytes longer than the input.
///
/// # Safety
/// `begin` initialises a context that takes no more than a [`Memory`], and returns 0, or another number if there is nothing
/// to finish. `update` and `finish` work on such contexts. Altogether they write no more than two blocks more than they are
/// given.
#[inline]
pub(crate) unsafe fn through(
    begin: impl FnOnce(*mut c_void) -> c_int,
    update: CtxUpdate,
    finish: CtxFinish,
    parts: &[&[u8]],
    output: &mut [u8],
) -> Result<usize, c_int> {
    assert!(output.len() >= parts.iter().map(|part| part.len()).sum::<usize>() + SLACK);
    let mut memory = MaybeUninit::<Memory>::uninit();
    let context: *mut c_void = memory.as_mut_ptr().cast();
    check(begin(context))?;
    let mut total = 0;
    let mut result = Ok(());
    for part in parts {
        let mut written: c_uint = 0;
        let place = output[total..].as_mut_ptr();
        // SAFETY: the context is initialised, not finished, and stays where it is; behind `place` there is room for all
        // parts that follow and two blocks.
        result = check(unsafe { update(context, part.as_ptr(), part.len() as c_uint, place, &raw mut written) });
        total += written as usize;
        if result.is_err() {
            break;
        }
    }
    let mut written: c_uint = 0;
    // SAFETY: the context is initialised and finished once, here; what is left of the two blocks is behind the output.
    let finished = check(unsafe { finish(context, output[total..].as_mut_ptr(), &raw mut written) });
    result.and(finished)?;
    Ok(total + written as usize)
}

/// 0 is success for each of these functions.
pub(crate) fn check(result: c_int) -> Result<(), c_int> {
    if result == 0 { Ok(()) } else { Err(result) }
}
