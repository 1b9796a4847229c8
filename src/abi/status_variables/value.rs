//! What the server passes when it asks for the value of a status variable, and how it gets the answer.

use std::ffi::{c_char, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::time::SystemTime;

use super::super::bindings as c;
use super::super::date::date;

/// `st_mysql_show_var` as a function of a status variable gets it: the server reads type and value from it afterwards. The
/// name is left alone: performance_schema reads that too, from where it has copied it to.
#[repr(C)]
pub(super) struct Answer {
    _name: MaybeUninit<*const c_char>,
    value: MaybeUninit<*mut c_void>,
    kind: MaybeUninit<c::enum_mysql_show_type>,
}

const _: () = assert!(size_of::<Answer>() == size_of::<c::st_mysql_show_var>());
const _: () = assert!(offset_of!(Answer, value) == offset_of!(c::st_mysql_show_var, value));
const _: () = assert!(offset_of!(Answer, kind) == offset_of!(c::st_mysql_show_var, type_));

/// The server's memory for a value: `SHOW_VAR_FUNC_BUFF_SIZE` bytes, `256 * sizeof(void*)`.
pub(super) type Buffer = [MaybeUninit<u8>; 2048];

const _: () = assert!(size_of::<Buffer>() == 256 * size_of::<*mut c_void>());

impl Answer {
    /// Puts the value into the buffer, and says what it is.
    pub(super) fn give(&mut self, value: &impl Value, buffer: &mut Buffer) {
        self.kind.write(value.put(buffer));
        self.value.write(buffer.as_mut_ptr().cast());
    }
}

/// What a status variable shows. The default is what it shows while the plugin is not initialised.
pub(super) trait Value: Default {
    /// Puts it into the buffer. Answers its type.
    fn put(&self, buffer: &mut Buffer) -> c::enum_mysql_show_type;
}

impl Value for u64 {
    fn put(&self, buffer: &mut Buffer) -> c::enum_mysql_show_type {
        copy(&self.to_ne_bytes(), buffer);
        c::enum_mysql_show_type_SHOW_ULONGLONG
    }
}

/// Shown as ON or OFF.
impl Value for bool {
    fn put(&self, buffer: &mut Buffer) -> c::enum_mysql_show_type {
        copy(&[u8::from(*self)], buffer);
        c::enum_mysql_show_type_SHOW_BOOL
    }
}

/// What does not fit is cut.
impl Value for String {
    fn put(&self, buffer: &mut Buffer) -> c::enum_mysql_show_type {
        let text = &self[..self.floor_char_boundary(buffer.len() - 1)];
        // A NUL would be its end.
        let text: Vec<u8> = text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }).chain([0]).collect();
        copy(&text, buffer);
        c::enum_mysql_show_type_SHOW_CHAR
    }
}

/// Shown as `2026-11-24 03:30:00`, in UTC; nothing if it is `None`.
impl Value for Option<SystemTime> {
    fn put(&self, buffer: &mut Buffer) -> c::enum_mysql_show_type {
        self.map_or_else(String::new, date).put(buffer)
    }
}

fn copy(bytes: &[u8], buffer: &mut Buffer) {
    for (place, byte) in buffer.iter_mut().zip(bytes) {
        place.write(*byte);
    }
}
