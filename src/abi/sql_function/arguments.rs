//! What the server passes when a statement calls the function.

use std::ffi::{c_char, c_uint, c_ulong, c_void};
use std::mem::{MaybeUninit, offset_of};

use super::super::bindings as c;
use super::super::export::Argument;

/// `UDF_INIT`: what the server keeps of a call in a statement. It reads `max_length` and `maybe_null` after the first
/// function, and leaves `memory` alone.
#[repr(C)]
pub(super) struct State {
    maybe_null: MaybeUninit<c_char>,
    _decimals: MaybeUninit<c_uint>,
    max_length: MaybeUninit<c_ulong>,
    memory: MaybeUninit<Option<Box<Text>>>,
    _const_item: MaybeUninit<c_char>,
    _extension: MaybeUninit<*mut c_void>,
}

/// A [`State`] after [`State::begin`], as far as it is used then.
#[repr(C)]
struct Prepared {
    _before: MaybeUninit<[u8; offset_of!(State, memory)]>,
    memory: Option<Box<Text>>,
}

/// In a box of its own, so that the server's pointer is a thin one.
type Text = Vec<u8>;

const _: () = assert!(size_of::<State>() == size_of::<c::UDF_INIT>());
const _: () = assert!(align_of::<State>() == align_of::<c::UDF_INIT>());
const _: () = assert!(offset_of!(State, maybe_null) == offset_of!(c::UDF_INIT, maybe_null));
const _: () = assert!(offset_of!(State, max_length) == offset_of!(c::UDF_INIT, max_length));
const _: () = assert!(offset_of!(State, memory) == offset_of!(c::UDF_INIT, ptr));
const _: () = assert!(offset_of!(Prepared, memory) == offset_of!(c::UDF_INIT, ptr));
const _: () = assert!(size_of::<Option<Box<Text>>>() == size_of::<*mut c_char>());

impl State {
    /// There is no text yet. It may be NULL, and of any length: what is longer than `max_length`, the server cuts.
    pub(super) fn begin(&mut self) {
        self.memory.write(None);
        self.maybe_null.write(1);
        self.max_length.write(LONGEST);
    }
}

/// The server's own limit, and that of a LONGBLOB: in bytes.
const LONGEST: c_ulong = u32::MAX as c_ulong;

/// How many arguments a statement passes: a member of the server's `UDF_ARGS`.
pub(super) struct ArgumentCount(pub(super) c_uint);

impl Argument for ArgumentCount {
    type Raw = (*mut c::UDF_ARGS,);

    /// It points to a `UDF_ARGS` whose number is set.
    unsafe fn from_raw((args,): Self::Raw) -> Self {
        // SAFETY: the server has set it, as the caller promises.
        Self(unsafe { (*args).arg_count })
    }
}

/// The server's memory for the reason of a failure: `MYSQL_ERRMSG_SIZE` bytes.
pub(super) type Message = [MaybeUninit<u8>; 512];

/// Puts a text there, which is cut if it is too long, and ends in NUL.
pub(super) fn say(text: &str, message: &mut Message) {
    let text = &text[..text.floor_char_boundary(message.len() - 1)];
    for (place, byte) in message.iter_mut().zip(text.bytes().chain([0])) {
        place.write(byte);
    }
}

/// The memory of a call that was prepared, and is not over.
pub(super) struct Memory<'a>(&'a mut Option<Box<Text>>);

impl Argument for Memory<'_> {
    type Raw = (*mut c::UDF_INIT,);

    /// It points to a `UDF_INIT` that the first function got, and of which the server has left the pointer `ptr` alone since;
    /// nobody else uses it during the call.
    unsafe fn from_raw((init,): Self::Raw) -> Self {
        // SAFETY: a `State` lies there, in whose `memory` the first function has written such a value, and only the two that
        // get a `Memory` since.
        Self(unsafe { &mut (*init.cast::<Prepared>()).memory })
    }
}

impl<'a> Memory<'a> {
    /// Keeps a text, in place of the one before.
    pub(super) fn keep(self, text: String) -> &'a [u8] {
        self.0.insert(Box::new(text.into_bytes()))
    }

    /// Nothing is kept any more.
    pub(super) fn free(self) {
        *self.0 = None;
    }
}
