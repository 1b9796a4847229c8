//! The rules for panics and for pointers from the server.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error_log::ErrorLog;
use crate::keystore::Reporter;

/// Runs `body`; a panic in it ends here, with a line in the error log, and becomes `on_panic`. Every function that the
/// server calls has its body in one of these: a panic that left an `extern "C"` function would end the server.
#[inline]
pub(super) fn guard<T>(function: &'static str, on_panic: T, body: impl FnOnce() -> T) -> T {
    // Unwind safety: what is shared with other threads is behind locks and atomics that cope with a panic.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => {
            report(function, panic);
            on_panic
        }
    }
}

/// Out of line: else each of the functions makes room on the stack for it, in every call.
#[cold]
#[inline(never)]
fn report(function: &'static str, panic: Box<dyn Any + Send>) {
    // The message may not panic again.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        ErrorLog.error(&format!("internal error in {function}: {}. Please report this", message_of(&*panic)));
    }));
    // The payload's own drop may panic too; it is small, and leaking it is safe.
    std::mem::forget(panic);
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A static that the server writes into, such as the description of a variable.
#[repr(transparent)]
pub(super) struct ServerWritable<T>(UnsafeCell<T>);

// SAFETY: the plugin's own code touches the contents in init, of which the server runs one at a time, and in the update
// callbacks, which it runs under LOCK_global_system_variables and only after a successful init. Other threads of the server
// may read a value meanwhile (SHOW VARIABLES, also during an INSTALL): numbers and pointers are written whole, and the
// string that a pointer pointed to before stays where it is: see `system_variables/values.rs`. All other accesses are the
// server's own.
unsafe impl<T> Sync for ServerWritable<T> {}

impl<T> ServerWritable<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Where the server finds it.
    pub(super) const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

/// The server's buffer, as a slice. NULL with a length of 0 is an empty buffer; NULL with any other length is `None`.
///
/// # Safety
/// `pointer` is NULL, or valid for reads of `length` bytes, which nobody writes while the slice lives.
pub(super) unsafe fn bytes<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    if length == 0 {
        Some(&[])
    } else if pointer.is_null() {
        None
    } else {
        // SAFETY: not NULL, and valid for reads of `length` bytes for as long as the slice lives, as the caller promises.
        Some(unsafe { std::slice::from_raw_parts(pointer, length) })
    }
}

/// The server's buffer, as a slice to write to. NULL as in [`bytes`].
///
/// # Safety
/// `pointer` is NULL, or valid for reads and writes of `length` bytes, which nobody else uses while the slice lives. The
/// memory is the server's: what it holds, the compiler cannot know to be uninitialised, and nothing here reads it before
/// it is written.
pub(super) unsafe fn bytes_mut<'a>(pointer: *mut u8, length: usize) -> Option<&'a mut [u8]> {
    if length == 0 {
        Some(&mut [])
    } else if pointer.is_null() {
        None
    } else {
        // SAFETY: not NULL, valid for reads and writes of `length` bytes and not aliased, as the caller promises.
        Some(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_error_value_of_the_function() {
        assert_eq!(guard("test", 7, || 1), 1);
        assert_eq!(guard("test", 7, || panic!("with a message")), 7);
        assert_eq!(guard("test", 7, || std::panic::panic_any(3.5_f32)), 7);
    }
}
