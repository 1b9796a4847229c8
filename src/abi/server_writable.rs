//! Statics that the server writes into.

use std::cell::UnsafeCell;

/// A static that the server alone reads and writes, such as the description of a variable.
#[repr(transparent)]
pub(super) struct ServerWritable<T>(UnsafeCell<T>);

// SAFETY: the plugin never looks at the contents: all that it can get is a pointer, which it hands to the server.
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
