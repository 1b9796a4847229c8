//! Strings of C that belong to the server.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use super::system_variables::{InInit, SoleAccess};

/// A pointer that the server made: NULL, or to a string that ends in NUL and is not changed as long as the plugin may look
/// at it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct ServerText(*const c_char);

impl ServerText {
    /// A copy; NULL is no text.
    pub(super) fn to_owned(self) -> Option<CString> {
        // SAFETY: not NULL, so it is what the type says.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) }.to_owned())
    }
}

/// A variable that is such a pointer.
#[repr(transparent)]
pub(super) struct ServerTextVariable(AtomicPtr<c_char>);

impl ServerTextVariable {
    pub(super) fn read(&self) -> ServerText {
        ServerText(self.0.load(Ordering::Acquire))
    }
}

/// The value of a system variable that is text: the server's pointer, and the memory that it points to where that is the
/// plugin's.
pub(super) struct TextCell {
    pointer: ServerTextVariable,
    /// It outlives the plugin's deinit: the server may still read the variable then.
    copy: Mutex<Option<CString>>,
}

impl TextCell {
    pub(super) const fn new() -> Self {
        Self { pointer: ServerTextVariable(AtomicPtr::new(std::ptr::null_mut())), copy: Mutex::new(None) }
    }

    /// Where the server finds the pointer.
    pub(super) const fn as_ptr(&self) -> *mut *mut c_char {
        self.pointer.0.as_ptr()
    }

    /// The text that the server took from the command line, or the copy that was made of it.
    pub(super) fn read(&self, _: &InInit<'_>) -> CString {
        self.pointer.read().to_owned().unwrap_or_default()
    }

    /// Lets the variable point to `text`. The text before is freed, but not while a thread may still read it: the readers
    /// of a SET's time wait for the lock that an update holds; and init replaces only what the server itself has put there,
    /// or a copy of an init before, to which the variable has not pointed since the server reset it.
    pub(super) fn keep(&self, text: CString, _: &impl SoleAccess) {
        let mut copy = self.copy.lock().unwrap_or_else(PoisonError::into_inner);
        let before = copy.replace(text);
        if let Some(text) = &*copy {
            self.pointer.0.store(text.as_ptr().cast_mut(), Ordering::Release);
        }
        drop(before);
    }
}

/// A string of the plugin as an argument of a function of the server.
#[repr(transparent)]
pub(super) struct PluginText<'a>(*const c_char, PhantomData<&'a CStr>);

impl<'a> PluginText<'a> {
    pub(super) fn new(text: &'a CStr) -> Self {
        Self(text.as_ptr(), PhantomData)
    }
}
