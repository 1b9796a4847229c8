//! Memory for the callbacks.

use std::ffi::c_uint;

/// Bytes on the heap behind which the allocation ends. Those in front, which shift it from its alignment, must stay as
/// they are; [`check`](Self::check) tells.
pub struct Buffer {
    bytes: Box<[u8]>,
    offset: usize,
}

impl Buffer {
    /// `length` bytes of [`UNTOUCHED`].
    pub fn new(length: usize, offset: u8) -> Self {
        let offset = usize::from(offset % 16);
        Self { bytes: vec![UNTOUCHED; offset + length].into(), offset }
    }

    pub fn with(contents: &[u8], offset: u8) -> Self {
        let mut buffer = Self::new(contents.len(), offset);
        buffer.contents_mut().copy_from_slice(contents);
        buffer
    }

    pub fn contents(&self) -> &[u8] {
        &self.bytes[self.offset..]
    }

    pub fn contents_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.offset..]
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.contents_mut().as_mut_ptr()
    }

    pub fn check(&self) {
        assert!(is_untouched(&self.bytes[..self.offset]), "something was written in front of a buffer");
    }
}

pub fn is_untouched(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == UNTOUCHED)
}

/// Where a callback says how many bytes it wrote. On the heap too; begins with a value that no callback may use.
pub struct Length(Box<c_uint>);

impl Length {
    pub fn new() -> Self {
        Self(Box::new(0xdead_beef))
    }

    pub fn of(length: usize) -> Self {
        Self(Box::new(length as c_uint))
    }

    pub fn as_mut_ptr(&mut self) -> *mut c_uint {
        &raw mut *self.0
    }

    pub fn value(&self) -> usize {
        *self.0 as usize
    }
}

pub const UNTOUCHED: u8 = 0xa5;
