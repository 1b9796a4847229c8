//! What the server passes when a variable is SET.

use std::ffi::{CStr, c_char, c_int, c_longlong, c_void};
use std::marker::PhantomData;

use super::super::bindings as c;
use super::super::export::Argument;

/// The value of a SET statement.
pub(super) struct Value<'a>(*mut c::st_mysql_value, PhantomData<&'a mut c::st_mysql_value>);

impl Argument for Value<'_> {
    type Raw = (*mut c::st_mysql_value,);

    /// The pointer is to a value of the server, with its functions.
    unsafe fn from_raw((value,): (*mut c::st_mysql_value,)) -> Self {
        Self(value, PhantomData)
    }
}

impl<'a> Value<'a> {
    /// A string, which lives until the statement ends; `None` for NULL. Fails if it is no text in UTF-8: the server passes the
    /// bytes in whatever character set the expression has, and does not say in which.
    pub(super) fn text(self) -> Result<Option<&'a CStr>, NotUtf8> {
        let Some(val_str) = self.functions().val_str else { return Ok(None) };
        // A buffer without room makes the server put the string into the statement's memory, unless it is empty.
        let mut buffer: [c_char; 1] = [0];
        let mut length: c_int = 0;
        // SAFETY: the value's own function; the buffer is valid for the length that is passed, and the server may write one
        // NUL into it.
        let text = unsafe { val_str(self.0, buffer.as_mut_ptr(), &raw mut length) };
        if text.is_null() {
            return Ok(None);
        }
        if length == 0 || std::ptr::eq(text, buffer.as_ptr()) {
            return Ok(Some(c""));
        }
        let length = usize::try_from(length).map_err(|_| NotUtf8)?;
        // SAFETY: not in the buffer, so the server keeps the bytes for the statement, with a NUL behind them.
        let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length + 1) };
        match CStr::from_bytes_with_nul(bytes) {
            Ok(text) if text.to_str().is_ok() => Ok(Some(text)),
            _ => Err(NotUtf8),
        }
    }

    /// A number, signed or not; `None` for NULL.
    pub(super) fn number(self) -> Option<i128> {
        let functions = self.functions();
        let val_int = functions.val_int?;
        let mut number: c_longlong = 0;
        // SAFETY: the value's own function, and `number` is a live local.
        if unsafe { val_int(self.0, &raw mut number) } != 0 {
            return None;
        }
        // SAFETY: the value's own function.
        let unsigned = functions.is_unsigned.is_some_and(|is_unsigned| unsafe { is_unsigned(self.0) } != 0);
        Some(if unsigned { i128::from(number.cast_unsigned()) } else { i128::from(number) })
    }

    fn functions(&self) -> c::st_mysql_value {
        // SAFETY: a value of the server, as `from_raw` was promised; nobody writes its pointers to functions.
        unsafe { *self.0 }
    }
}

/// A string with a NUL in it, as almost every text in UTF-16 and UTF-32 has, or not in UTF-8.
#[derive(Debug, PartialEq)]
pub(super) struct NotUtf8;

/// The value that an update function is called with: what the check function, the server's check or the default left.
pub(super) struct New<T>(pub(super) T);

impl<T: Copy> Argument for New<T> {
    type Raw = (*const c_void,);

    /// The pointer is to a `T`.
    unsafe fn from_raw((save,): (*const c_void,)) -> Self {
        // SAFETY: a `T` lies there, as the caller promises.
        Self(unsafe { *save.cast() })
    }
}
