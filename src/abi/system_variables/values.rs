//! The memory of the values. Numbers are the server's to write; strings are the plugin's, because what the server leaves
//! in a variable is freed when an INSTALL statement ends.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, PoisonError};

use super::super::boundary::ServerWritable;

/// The number that the server has put into a variable. In init only.
pub(super) fn read<T: Copy>(variable: &ServerWritable<T>) -> T {
    // SAFETY: valid, and in init nobody else uses it: see `ServerWritable`.
    unsafe { *variable.as_ptr() }
}

/// As [`read`], and puts `instead` into the variable.
pub(super) fn take<T: Copy>(variable: &ServerWritable<T>, instead: T) -> T {
    let value = read(variable);
    // SAFETY: as in `read`.
    unsafe { *variable.as_ptr() = instead };
    value
}

/// The string that the server has put into a variable, which from now on is a copy of the plugin's. In init only.
pub(super) fn adopt(variable: &ServerWritable<*mut c_char>) -> String {
    let text = read(variable);
    // SAFETY: the server has put a string that ends in NUL there, or NULL, and in init nobody else uses it.
    unsafe { replace(variable.as_ptr(), text) }
}

/// Lets `variable` point to a copy of `text`, and returns the text. The memory of the copy before is freed.
///
/// # Safety
/// `text` is NULL or a string that ends in NUL. `variable` is the value of a string variable, and nobody else uses it or
/// the string that it points to: in init, or under LOCK_global_system_variables, which its readers hold too.
pub(super) unsafe fn replace(variable: *mut *mut c_char, text: *const c_char) -> String {
    let copy = if text.is_null() {
        CString::default()
    } else {
        // SAFETY: ends in NUL, as the caller promises.
        unsafe { CStr::from_ptr(text) }.to_owned()
    };
    let name = copy.to_string_lossy().into_owned();
    let pointer = copy.as_ptr().cast_mut();
    // SAFETY: valid, and nobody else uses it, as the caller promises.
    unsafe { *variable = pointer };
    // Keeps the new copy, and frees the one before, which nothing points to any more. Moving a CString does not move
    // its bytes.
    COPIES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(variable.addr(), copy);
    name
}

/// The strings that the variables point to, by the variable's address. They outlive the plugin's deinit: the server may
/// still read a variable then.
static COPIES: Mutex<Option<HashMap<usize, CString>>> = Mutex::new(None);
