//! The server's memory: what is read, what is written, and how much was written.

use std::ffi::{c_int, c_uint};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::super::export::Argument;
use super::codes::{ERROR, Failure, TOO_SMALL};
use crate::cipher::Context;

/// Bytes to read: a pointer and a length.
#[derive(Clone, Copy)]
pub(super) struct In<'a>(Option<&'a [u8]>);

impl<'a> In<'a> {
    /// NULL with a length of 0 is an empty buffer; NULL with any other length is misuse, as is a length above [`LONGEST`].
    #[inline(always)]
    pub(super) fn bytes(self) -> Result<&'a [u8], Failure> {
        self.0.ok_or(Failure::Misuse)
    }
}

impl Argument for In<'_> {
    type Raw = (*const u8, c_uint);

    /// The pointer is NULL, or valid for reads of as many bytes as the length says, which nobody writes meanwhile.
    #[inline(always)]
    unsafe fn from_raw((pointer, length): (*const u8, c_uint)) -> Self {
        if length == 0 {
            return Self(Some(&[]));
        }
        let is_usable = !pointer.is_null() && length <= LONGEST;
        // SAFETY: not NULL, so the caller promises the bytes.
        Self(is_usable.then(|| unsafe { std::slice::from_raw_parts(pointer, length as usize) }))
    }
}

/// A place for the last bytes of a message.
pub(super) struct Out<'a>(*mut u8, PhantomData<&'a mut [MaybeUninit<u8>]>);

impl Out<'_> {
    /// Ends the message of the call's context, writes the bytes that it has left, and answers how many they are. Without
    /// any, NULL is as good.
    #[inline(always)]
    pub(super) fn write_tail_of(self, context: &mut Context) -> Result<usize, Failure> {
        let tail = context.finish();
        // By reference: a tail that moves leaves a copy behind.
        let tail = tail.as_ref().map_err(|error| *error)?;
        // SAFETY: the pointer is NULL, or valid for writes of all that the context gives out.
        let place = unsafe { room(self.0, tail.len()) }.ok_or(Failure::Misuse)?;
        place.copy_from_slice(tail);
        Ok(tail.len())
    }
}

impl Argument for Out<'_> {
    type Raw = (*mut u8,);

    /// The pointer is NULL, or valid for writes of the bytes that come out of the call's context, which nobody else uses
    /// meanwhile. They need not be initialised.
    #[inline(always)]
    unsafe fn from_raw((pointer,): (*mut u8,)) -> Self {
        Self(pointer, PhantomData)
    }
}

/// Where the server wants to be told how many bytes were written. It is not read: the redo log's code passes a length that
/// was never set.
pub(super) struct OutLength<'a>(Option<&'a mut MaybeUninit<c_uint>>);

impl OutLength<'_> {
    /// Tells how many bytes `write` wrote, 0 if it failed, and gives the function's answer. Without a place for the length
    /// the output is of no use to anybody, and nothing is written.
    #[inline(always)]
    pub(super) fn answer(self, write: impl FnOnce() -> Result<usize, Failure>) -> c_int {
        let Some(place) = self.0 else { return ERROR };
        match write() {
            Ok(written) => {
                place.write(written as c_uint);
                0
            }
            Err(failure) => failure.code(),
        }
    }
}

impl Argument for OutLength<'_> {
    type Raw = (*mut c_uint,);

    /// The pointer is NULL, or valid for writes, and nobody else uses the length meanwhile.
    #[inline(always)]
    unsafe fn from_raw((pointer,): (*mut c_uint,)) -> Self {
        // SAFETY: the caller promises that it is valid, unless NULL; it need not be initialised.
        let mut place = unsafe { pointer.cast::<MaybeUninit<c_uint>>().as_mut() };
        // For all ways out of the function but the good one, a panic among them.
        if let Some(place) = &mut place {
            place.write(0);
        }
        Self(place)
    }
}

/// Where the server wants a key to be put, and be told its length.
pub(super) struct KeyBuffer<'a> {
    /// Empty if there is no buffer.
    bytes: &'a mut [MaybeUninit<u8>],
    length: &'a mut MaybeUninit<c_uint>,
}

impl KeyBuffer<'_> {
    /// Tells the key's length, and copies the key if it fits.
    pub(super) fn put(&mut self, key: &[u8]) -> c_uint {
        self.length.write(key.len() as c_uint);
        match self.bytes.get_mut(..key.len()) {
            Some(place) => {
                place.write_copy_of_slice(key);
                0
            }
            None => TOO_SMALL,
        }
    }
}

/// `None` if there is no place for the length, or if it is above [`LONGEST`].
impl Argument for Option<KeyBuffer<'_>> {
    type Raw = (*mut u8, *mut c_uint);

    /// The pointer to the length is NULL, or valid for writes. If the pointer to the buffer is not NULL, the length is set,
    /// and the buffer is valid for writes of so many bytes. Nobody else uses either meanwhile.
    unsafe fn from_raw((buffer, length): (*mut u8, *mut c_uint)) -> Self {
        // SAFETY: the caller promises that it is valid, unless NULL; it need not be initialised.
        let length = unsafe { length.cast::<MaybeUninit<c_uint>>().as_mut() }?;
        // A caller that passes no buffer may not have set the length.
        if buffer.is_null() {
            return Some(KeyBuffer { bytes: &mut [], length });
        }
        // SAFETY: the caller promises that the length is set where there is a buffer.
        let room = unsafe { length.assume_init_read() };
        if room > LONGEST {
            return None;
        }
        // SAFETY: not NULL, and the caller promises so many bytes; they need not be initialised.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast(), room as usize) };
        Some(KeyBuffer { bytes, length })
    }
}

/// The longest buffer, in bytes. What is longer was a negative number before it became an `unsigned int`.
pub(super) const LONGEST: c_uint = i32::MAX.cast_unsigned();

/// Memory of the server as a slice to write to, `None` for NULL unless the length is 0. What it holds, the compiler cannot
/// know to be uninitialised, and the cipher reads nothing of it before it is written.
///
/// # Safety
/// `place` is NULL, or valid for writes of `length` bytes, which nobody else uses while the slice lives.
#[inline(always)]
pub(super) unsafe fn room<'a>(place: *mut u8, length: usize) -> Option<&'a mut [u8]> {
    if length == 0 {
        Some(&mut [])
    } else if place.is_null() {
        None
    } else {
        // SAFETY: not NULL, so the caller promises the bytes.
        Some(unsafe { std::slice::from_raw_parts_mut(place, length) })
    }
}
