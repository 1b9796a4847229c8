//! The memory of the values. Numbers are the server's to write; strings are the plugin's, because what the server leaves
//! in a variable is freed when an INSTALL statement ends.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsString, c_char};
use std::os::unix::ffi::OsStringExt;
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
    adopt_path(variable).to_string_lossy().into_owned()
}

/// As [`adopt`], for a path, which need not be UTF-8.
pub(super) fn adopt_path(variable: &ServerWritable<*mut c_char>) -> OsString {
    let text = read(variable);
    // SAFETY: the server has put a string that ends in NUL there, or NULL, and in init nobody else writes it.
    OsString::from_vec(unsafe { replace(variable.as_ptr(), text) })
}

/// Lets `variable` point to a copy of `text`, and returns the text. The copy before is freed, but not while a thread may
/// still read it: init replaces only what the server itself has put there, or a copy of an init before, to which the
/// server has not pointed since it reset the variable.
///
/// # Safety
/// `text` is NULL or a string that ends in NUL. `variable` is the value of a string variable, and nobody else writes it:
/// in init, or under LOCK_global_system_variables, which its readers hold too.
pub(super) unsafe fn replace(variable: *mut *mut c_char, text: *const c_char) -> Vec<u8> {
    let copy = if text.is_null() {
        CString::default()
    } else {
        // SAFETY: ends in NUL, as the caller promises.
        unsafe { CStr::from_ptr(text) }.to_owned()
    };
    let bytes = copy.as_bytes().to_vec();
    // SAFETY: valid, and nobody else writes it, as the caller promises.
    unsafe { *variable = copy.as_ptr().cast_mut() };
    // Keeps the new copy and frees the one before. Moving a CString does not move its bytes.
    COPIES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(variable.addr(), copy);
    bytes
}

/// The strings that the variables point to, by the variable's address. They outlive the plugin's deinit: the server may
/// still read a variable then.
static COPIES: Mutex<Option<HashMap<usize, CString>>> = Mutex::new(None);
