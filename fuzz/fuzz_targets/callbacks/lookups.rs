//! The callbacks that look something up.

use std::ffi::c_uint;

use crate::buffer::{Buffer, Length, is_untouched};
use crate::plugin::{Algorithm, KEYS, callbacks};
use crate::script::Name;

pub fn latest(name: &Name) {
    let (id, _) = name.parts();
    let expected = KEYS.iter().filter(|key| key.id == id).map(|key| key.version).max().unwrap_or(INVALID);
    // SAFETY: any id may be asked for.
    assert_eq!(unsafe { (callbacks().keys.latest_key_version)(id) }, expected, "the latest version of key {id}");
}

pub fn key(name: &Name, room: u8, has_buffer: bool, has_length: bool) {
    let (id, version) = name.parts();
    let room = usize::from(room % 48);
    let mut buffer = Buffer::new(room, room as u8);
    let mut length = Length::of(room);
    let place = if has_buffer { buffer.as_mut_ptr() } else { std::ptr::null_mut() };
    let length_place = if has_length { length.as_mut_ptr() } else { std::ptr::null_mut() };
    // SAFETY: NULL, or a buffer of as many bytes as the length says.
    let answer = unsafe { (callbacks().keys.key)(id, version, place, length_place) };
    let key = KEYS.iter().find(|key| has_length && (key.id, key.version) == (id, version));
    let (expected, told) = match key {
        None => (INVALID, room),
        Some(key) if has_buffer && room >= key.length => (0, key.length),
        Some(key) => (TOO_SMALL, key.length),
    };
    assert_eq!((answer, length.value()), (expected, told), "key {id} version {version}, room for {room} bytes");
    let copied = if expected == 0 { key.map(|key| key.bytes()).unwrap_or_default() } else { Vec::new() };
    let (found, rest) = buffer.contents().split_at(copied.len());
    assert_eq!(found, copied, "the bytes of key {id} version {version}");
    assert!(is_untouched(rest), "something was written behind a key");
    buffer.check();
}

pub fn encrypted_length(name: &Name, length: c_uint) {
    let (id, version) = name.parts();
    let expected = match name.algorithm() {
        Algorithm::Cbc => (u64::from(length) / 16 + 1) * 16,
        Algorithm::Ctr => u64::from(length) + 16,
    };
    let expected = expected.min(c_uint::MAX.into());
    assert_eq!(encrypted_length_of(id, version, length), expected as c_uint, "the encrypted length of {length} bytes");
}

pub fn encrypted_length_of(id: c_uint, version: c_uint, length: c_uint) -> c_uint {
    // SAFETY: anything may be asked for.
    unsafe { (callbacks().crypt.encrypted_length)(length, id, version) }
}

/// `ENCRYPTION_KEY_VERSION_INVALID`.
const INVALID: c_uint = c_uint::MAX;
/// `ENCRYPTION_KEY_BUFFER_TOO_SMALL`.
const TOO_SMALL: c_uint = 100;
