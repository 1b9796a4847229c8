//! The seven functions of `st_mariadb_encryption`, under its names.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // the server's memory
mod buffers;
mod codes;
#[allow(unsafe_code)] // the server's memory
mod overlap;
#[allow(unsafe_code)] // the server's memory
mod slot;
#[cfg(test)]
#[allow(unsafe_code)]
mod tests;
#[cfg(all(test, not(miri)))] // minutes in Miri, which the other tests suffice for
mod vectors;

use std::ffi::{c_int, c_uint, c_void};

use self::buffers::{In, KeyBuffer, Out, OutLength};
use self::codes::{ERROR, Flags, INVALID, TOO_LONG};
use self::overlap::InOut;
use self::slot::{NewSlot, SIZE, UsedSlot};
use super::error_log::{self, ErrorLog};
use super::export::{Plain, exported};
use super::{plugin, recovery};
use crate::cipher::{Algorithm, encrypted_len};
use crate::keystore::{KeyId, KeyName, KeyStoreError, Reporter};

exported! {
    /// The latest version of a key, or [`INVALID`]. Called on every page write: a key that is published costs one look-up.
    pub(super) fn get_latest_key_version(id: Option<KeyId> = (key_id: c_uint)) -> c_uint, on panic INVALID {
        let Some(id) = id else { return INVALID };
        match plugin::KEYS.latest(id) {
            Some(version) => version.value(),
            None => load_or_make(id),
        }
    }

    /// Copies a key into the server's buffer: 0, `ENCRYPTION_KEY_BUFFER_TOO_SMALL` with the length needed, or [`INVALID`].
    pub(super) fn get_key(
        name: Option<KeyName> = (key_id: c_uint, version: c_uint),
        buffer: Option<KeyBuffer<'_>> = (key: *mut u8, key_length: *mut c_uint),
    ) -> c_uint, on panic INVALID {
        let (Some(name), Some(mut buffer)) = (name, buffer) else { return INVALID };
        if let Some(answer) = plugin::KEYS.with_key_bytes(name, |key| buffer.put(key)) {
            return answer;
        }
        if !load(name) {
            return INVALID;
        }
        plugin::KEYS.with_key_bytes(name, |key| buffer.put(key)).unwrap_or(INVALID)
    }

    /// Bytes that a context takes.
    pub(super) fn crypt_ctx_size(
        _name: Option<KeyName> = (key_id: c_uint, key_version: c_uint),
    ) -> c_uint, on panic SIZE {
        SIZE
    }

    /// Begins a message: 0, or an error code of the server's own AES functions.
    pub(super) fn crypt_ctx_init(
        slot: NewSlot<'_> = (ctx: *mut c_void),
        key: In<'_> = (key: *const u8, klen: c_uint),
        iv: In<'_> = (iv: *const u8, ivlen: c_uint),
        flags: Flags = (flags: c_int),
        algorithm: Algorithm = (key_id: c_uint, key_version: c_uint),
    ) -> c_int, on panic ERROR {
        let (Ok(key), Ok(iv)) = (key.bytes(), iv.bytes()) else { return ERROR };
        match slot.begin(algorithm, flags, key, iv) {
            Ok(()) => 0,
            Err(failure) => failure.code(),
        }
    }

    /// Takes a part of the message through the context: 0 and the number of bytes that came out, or an error code.
    pub(super) fn crypt_ctx_update(
        slot: UsedSlot<'_> = (ctx: *mut c_void),
        part: InOut<'_> = (src: *const u8, slen: c_uint, dst: *mut u8),
        written: OutLength<'_> = (dlen: *mut c_uint),
    ) -> c_int, on panic ERROR {
        written.answer(|| part.pass_through(slot.context()?))
    }

    /// Ends the message: writes what is left, and wipes the context in any case.
    pub(super) fn crypt_ctx_finish(
        slot: UsedSlot<'_> = (ctx: *mut c_void),
        output: Out<'_> = (dst: *mut u8),
        written: OutLength<'_> = (dlen: *mut c_uint),
    ) -> c_int, on panic ERROR {
        let result = slot.end(|context| output.write_tail_of(context));
        written.answer(|| result)
    }

    /// Bytes that `slen` bytes take when they are encrypted without NOPAD.
    pub(super) fn encrypted_length(
        len: c_uint = (slen: c_uint),
        algorithm: Algorithm = (key_id: c_uint, key_version: c_uint),
    ) -> c_uint, on panic TOO_LONG {
        c_uint::try_from(encrypted_len(algorithm, len.into())).unwrap_or(TOO_LONG)
    }
}

impl Plain for Option<KeyId> {
    type Raw = (c_uint,);

    #[inline(always)]
    fn from_plain((id,): (c_uint,)) -> Self {
        KeyId::new(id)
    }
}

impl Plain for Option<KeyName> {
    type Raw = (c_uint, c_uint);

    #[inline(always)]
    fn from_plain((id, version): (c_uint, c_uint)) -> Self {
        KeyName::new(id, version)
    }
}

/// The algorithm belongs to the key version. Wait-free.
impl Plain for Algorithm {
    type Raw = (c_uint, c_uint);

    #[inline(never)] // a call is cheaper than two copies of the search
    fn from_plain((id, version): (c_uint, c_uint)) -> Self {
        KeyName::new(id, version).map_or(Self::AesCbc, |name| plugin::KEYS.algorithm(name))
    }
}

/// The latest version of a key that is not published. One that was never used is made, which takes two calls of KMS.
#[cold]
#[inline(never)]
fn load_or_make(id: KeyId) -> c_uint {
    let Some(store) = plugin::store() else { return INVALID };
    match store.latest_or_new(id) {
        Ok(version) => version.value(),
        Err(error) => {
            recovery::end_if_nothing_is_here(&error);
            say_why(&error);
            INVALID
        }
    }
}

/// Sees to it that a version is published. `false` if that cannot be.
#[cold]
#[inline(never)]
fn load(name: KeyName) -> bool {
    plugin::store().is_some_and(|store| store.load(name).inspect_err(say_why).is_ok())
}

/// In the error log, unless that failed a moment ago and stands there already; and as a warning of the statement, which
/// fails with an error of the server that does not give the reason.
fn say_why(error: &KeyStoreError) {
    let text = error.to_string();
    if !matches!(error, KeyStoreError::NotYet { .. }) {
        ErrorLog.error(&text);
    }
    error_log::warn_statement(&text);
}
