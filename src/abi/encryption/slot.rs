//! Where the context of a message lies: in memory of the caller, mostly on its stack.

use std::ffi::{c_uint, c_void};
use std::mem::MaybeUninit;

use super::super::export::Argument;
use super::codes::{Failure, Flags};
use crate::cipher::{Algorithm, Context};

/// Bytes that the server reserves for a context, with room to align it.
pub(super) const SIZE: c_uint = (size_of::<Slot>() + align_of::<Slot>()) as c_uint;

/// What lies in the caller's memory.
#[repr(C, align(16))]
struct Slot {
    /// [`READY`], or [`EMPTY`]: when making a context failed, and after finish.
    state: u64,
    /// Initialised where the state is [`READY`].
    context: MaybeUninit<Context>,
}

const EMPTY: u64 = 0;
const READY: u64 = 1;

/// The slot at the beginning of a message.
pub(super) struct NewSlot<'a>(Option<&'a mut Slot>);

impl NewSlot<'_> {
    /// Makes the context.
    #[inline(always)]
    pub(super) fn begin(self, algorithm: Algorithm, flags: Flags, key: &[u8], iv: &[u8]) -> Result<(), Failure> {
        let slot = self.0.ok_or(Failure::Misuse)?;
        Context::new_in(&mut slot.context, algorithm, flags.direction, flags.padding, key, iv)?;
        slot.state = READY;
        Ok(())
    }
}

impl Argument for NewSlot<'_> {
    type Raw = (*mut c_void,);

    /// The pointer is NULL, or valid for writes of [`SIZE`] bytes, which nobody else uses until the message ends.
    #[inline(always)]
    unsafe fn from_raw((memory,): (*mut c_void,)) -> Self {
        // SAFETY: NULL, or inside the bytes that the caller promises, which need not be initialised.
        let memory = unsafe { aligned(memory).cast::<MaybeUninit<Slot>>().as_mut() };
        // What was there before needs no drop: a state is a plain number.
        Self(memory.map(|memory| memory.write(Slot { state: EMPTY, context: MaybeUninit::uninit() })))
    }
}

/// The slot in the middle and at the end of a message.
pub(super) struct UsedSlot<'a>(Option<&'a mut Slot>);

impl<'a> UsedSlot<'a> {
    /// The context, if one was made.
    #[inline(always)]
    pub(super) fn context(self) -> Result<&'a mut Context, Failure> {
        self.0.and_then(Slot::context).ok_or(Failure::Misuse)
    }

    /// Ends the message by `finish`, if a context was made. The slot is wiped, whatever the end is.
    #[inline(always)]
    pub(super) fn end<T>(self, finish: impl FnOnce(&mut Context) -> Result<T, Failure>) -> Result<T, Failure> {
        let wiped = WipedOnDrop(self.0.ok_or(Failure::Misuse)?);
        finish(wiped.0.context().ok_or(Failure::Misuse)?)
    }
}

impl Argument for UsedSlot<'_> {
    type Raw = (*mut c_void,);

    /// The pointer is NULL, or was given to crypt_ctx_init, and nobody else uses the memory meanwhile.
    #[inline(always)]
    unsafe fn from_raw((memory,): (*mut c_void,)) -> Self {
        // SAFETY: NULL, or crypt_ctx_init has put a slot there, as the caller promises.
        Self(unsafe { aligned(memory).as_mut() })
    }
}

impl Slot {
    #[inline(always)]
    fn context(&mut self) -> Option<&mut Context> {
        // SAFETY: the state is READY only behind a context.
        (self.state == READY).then(|| unsafe { self.context.assume_init_mut() })
    }
}

/// Leaves an empty slot: all its bytes are overwritten, also those between its fields. The context's own drop would do no
/// more than overwrite the fields, since it owns nothing.
struct WipedOnDrop<'a>(&'a mut Slot);

impl Drop for WipedOnDrop<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // The memory is the caller's, who could look at it: so the compiler has to write it.
        // SAFETY: a slot that is not borrowed any more; zeros are a slot, with the state EMPTY.
        unsafe { std::ptr::from_mut::<Slot>(self.0).write_bytes(0, 1) };
    }
}

/// The first place in the caller's memory that is aligned for a slot; the memory has room for that (see [`SIZE`]). NULL stays
/// NULL.
#[inline(always)]
fn aligned(memory: *mut c_void) -> *mut Slot {
    const MASK: usize = align_of::<Slot>() - 1;
    memory.map_addr(|address| address.wrapping_add(MASK) & !MASK).cast()
}
