//! The seven functions of `st_mariadb_encryption`.

#[cfg(test)]
mod tests;
#[cfg(all(test, not(miri)))] // minutes in Miri, which the other tests suffice for
mod vectors;

use std::ffi::{c_int, c_uint, c_void};
use std::mem::MaybeUninit;

use zeroize::Zeroizing;

use super::bindings as c;
use super::boundary::{bytes, bytes_mut, guard};
use super::error_log::{self, ErrorLog};
use super::plugin;
use crate::cipher::{Algorithm, CipherError, Context, Direction, Padding, encrypted_len};
use crate::keystore::{DataKey, KeyId, KeyName, KeyStoreError, Reporter};

/// The latest version of a key, or [`INVALID`]. Called on every page write: a key that is published costs one look-up.
/// A key that was never used is made here, which takes two calls of KMS.
pub(super) extern "C" fn latest_key_version(key_id: c_uint) -> c_uint {
    guard("get_latest_key_version", INVALID, || {
        let Some(id) = KeyId::new(key_id) else { return INVALID };
        if let Some(version) = plugin::KEYS.latest(id) {
            return version.value();
        }
        let Some(store) = plugin::store() else { return INVALID };
        match store.latest_or_new(id) {
            Ok(version) => version.value(),
            Err(error) => {
                report(&error);
                INVALID
            }
        }
    })
}

/// Copies a key into the server's buffer: 0, [`TOO_SMALL`] with the length needed, or [`INVALID`].
///
/// # Safety
/// `key` is NULL, or valid for writes of `*key_length` bytes; `key_length` is NULL or valid for writes, and for reads
/// if `key` is not NULL.
pub(super) unsafe extern "C" fn key(key_id: c_uint, version: c_uint, key: *mut u8, key_length: *mut c_uint) -> c_uint {
    guard("get_key", INVALID, || {
        let Some(name) = KeyName::new(key_id, version) else { return INVALID };
        if key_length.is_null() {
            return INVALID;
        }
        let copy = |data_key: &DataKey| {
            // SAFETY: the pointers are as the caller of the function promises, and `key_length` is not NULL.
            unsafe { copy_key(data_key.as_bytes(), key, key_length) }
        };
        if let Some(result) = plugin::KEYS.with_key(name, copy) {
            return result;
        }
        let Some(store) = plugin::store() else { return INVALID };
        if let Err(error) = store.load(name) {
            report(&error);
            return INVALID;
        }
        plugin::KEYS.with_key(name, copy).unwrap_or(INVALID)
    })
}

/// Bytes that a context takes, with room to align it.
pub(super) extern "C" fn context_size(_key_id: c_uint, _key_version: c_uint) -> c_uint {
    (size_of::<Slot>() + align_of::<Slot>()) as c_uint
}

/// Begins a message: 0, or an error code of the server's own AES functions.
///
/// # Safety
/// `ctx` is valid for writes of [`context_size`] bytes, which nobody else uses until [`context_finish`]; `key` and `iv`
/// are valid for reads of `klen` and `ivlen` bytes.
pub(super) unsafe extern "C" fn context_init(
    ctx: *mut c_void,
    key: *const u8,
    klen: c_uint,
    iv: *const u8,
    ivlen: c_uint,
    flags: c_int,
    key_id: c_uint,
    key_version: c_uint,
) -> c_int {
    guard("crypt_ctx_init", ERROR, || {
        let Some(slot) = slot_in(ctx) else { return ERROR };
        // A state is a plain number, so what was there before needs no drop.
        // SAFETY: the slot lies inside the `context_size` bytes that the caller gives for writing, aligned.
        unsafe { (*slot).state = EMPTY };
        // SAFETY: valid for reads of `klen` bytes, as the caller promises.
        let key = unsafe { bytes(key, klen as usize) };
        // SAFETY: valid for reads of `ivlen` bytes, as the caller promises.
        let iv = unsafe { bytes(iv, ivlen as usize) };
        let (Some(key), Some(iv)) = (key, iv) else { return ERROR };
        let flags = flags as c_uint;
        let direction = if flags & c::ENCRYPTION_FLAG_ENCRYPT != 0 { Direction::Encrypt } else { Direction::Decrypt };
        let padding = if flags & c::ENCRYPTION_FLAG_NOPAD != 0 { Padding::None } else { Padding::Pkcs7 };
        // SAFETY: as above; a context may lie there uninitialised, and nobody else uses the memory.
        let place = unsafe { &mut (*slot).context };
        match Context::new_in(place, algorithm_of(key_id, key_version), direction, padding, key, iv) {
            Ok(_) => {
                // SAFETY: as above.
                unsafe { (*slot).state = READY };
                0
            }
            Err(error) => code(error),
        }
    })
}

/// Processes a part of the message, and sets `*dlen` to the number of bytes written, which it does not read.
///
/// # Safety
/// `ctx` was given to [`context_init`], and is not in use elsewhere; `src` is valid for reads of `slen` bytes; `dst` is
/// valid for writes of the bytes that come out, at most `slen` + 15; `dlen` is valid for writes.
pub(super) unsafe extern "C" fn context_update(
    ctx: *mut c_void,
    src: *const u8,
    slen: c_uint,
    dst: *mut u8,
    dlen: *mut c_uint,
) -> c_int {
    guard("crypt_ctx_update", ERROR, || {
        // SAFETY: NULL, or valid for writes, as the caller promises.
        if !unsafe { nothing_written(dlen) } {
            return ERROR;
        }
        let Some(slot) = slot_in(ctx) else { return ERROR };
        // SAFETY: `context_init` was called, and nobody else uses the slot.
        let Some(context) = (unsafe { context_in(slot) }) else { return ERROR };
        let (input_len, output_len) = (slen as usize, context.update_len(slen as usize));
        let result = if overlap((src, input_len), (dst, output_len)) {
            if src.is_null() || dst.is_null() {
                return ERROR;
            }
            // SAFETY: not NULL, and valid as the caller promises.
            unsafe { update_overlapping(context, src, input_len, dst) }
        } else {
            // SAFETY: NULL, or valid for reads of `slen` bytes, as the caller promises.
            let input = unsafe { bytes(src, input_len) };
            // SAFETY: NULL, or valid for writes of `output_len` bytes, as the caller promises, and does not overlap `src`.
            let output = unsafe { bytes_mut(dst, output_len) };
            let (Some(input), Some(output)) = (input, output) else { return ERROR };
            context.update(input, output)
        };
        // SAFETY: not NULL, and valid for writes, as the caller promises.
        unsafe { finish_call(result, dlen) }
    })
}

/// Ends the message: writes what is left, sets `*dlen`, which it does not read, and wipes the context, also on failure.
///
/// # Safety
/// As for [`context_update`]; `dst` is valid for writes of 16 bytes.
pub(super) unsafe extern "C" fn context_finish(ctx: *mut c_void, dst: *mut u8, dlen: *mut c_uint) -> c_int {
    guard("crypt_ctx_finish", ERROR, || {
        // SAFETY: NULL, or valid for writes, as the caller promises.
        let has_length = unsafe { nothing_written(dlen) };
        let Some(slot) = slot_in(ctx) else { return ERROR };
        // SAFETY: `context_init` was called, and nobody else uses the slot.
        let Some(context) = (unsafe { context_in(slot) }) else { return ERROR };
        let tail = context.finish();
        // SAFETY: valid for writes, as the caller promises; the borrow of the context has ended.
        unsafe { wipe(slot) };
        // By reference: a tail that moves leaves a copy behind.
        let result = match &tail {
            Ok(tail) if !tail.is_empty() => {
                // SAFETY: `dst` is NULL, or valid for writes of 16 bytes, as the caller promises; a tail has no more.
                let Some(output) = (unsafe { bytes_mut(dst, tail.len()) }) else { return ERROR };
                output.copy_from_slice(tail);
                Ok(tail.len())
            }
            Ok(_) => Ok(0),
            Err(error) => Err(*error),
        };
        if !has_length {
            return ERROR;
        }
        // SAFETY: not NULL, and valid for writes, as the caller promises.
        unsafe { finish_call(result, dlen) }
    })
}

/// Bytes that `slen` bytes take when they are encrypted without NOPAD.
pub(super) extern "C" fn encrypted_length(slen: c_uint, key_id: c_uint, key_version: c_uint) -> c_uint {
    // A message of nearly 4 GiB would overflow the server's type; no caller has one.
    c_uint::try_from(encrypted_len(algorithm_of(key_id, key_version), slen.into())).unwrap_or(c_uint::MAX)
}

/// The algorithm belongs to the key version. Wait-free.
fn algorithm_of(key_id: c_uint, key_version: c_uint) -> Algorithm {
    KeyName::new(key_id, key_version).map_or(Algorithm::AesCbc, |name| plugin::KEYS.algorithm(name))
}

/// What lies in the caller's memory.
#[repr(C, align(16))]
struct Slot {
    /// [`READY`], or [`EMPTY`]: when making a context failed, and after finish.
    state: u64,
    /// Initialised where the state is [`READY`].
    context: MaybeUninit<Context>,
}

const EMPTY: u64 = 0;
const READY: u64 = 1;

/// The aligned place for a slot in the caller's memory; `None` for NULL.
fn slot_in(ctx: *mut c_void) -> Option<*mut Slot> {
    let padding = ctx.align_offset(align_of::<Slot>());
    // Inside the caller's memory, which has room for a slot behind any padding: see `context_size`.
    (!ctx.is_null() && padding < align_of::<Slot>()).then(|| ctx.wrapping_byte_add(padding).cast())
}

/// The context in a slot, if one was made.
///
/// # Safety
/// `context_init` was called with the slot's memory, and nobody else uses it for as long as the reference lives.
unsafe fn context_in<'a>(slot: *mut Slot) -> Option<&'a mut Context> {
    // SAFETY: `context_init` has written the state, as the caller promises.
    if unsafe { (*slot).state } != READY {
        return None;
    }
    // SAFETY: nobody else uses the slot, as the caller promises.
    let context = unsafe { &mut (*slot).context };
    // SAFETY: a context was made, so it is initialised.
    Some(unsafe { context.assume_init_mut() })
}

/// Ends a context and leaves an empty slot: all its bytes are overwritten, also those between its fields. The context's own
/// drop would do no more than overwrite the fields, since it owns nothing.
///
/// # Safety
/// `slot` is valid for writes, and is not borrowed.
unsafe fn wipe(slot: *mut Slot) {
    // The memory is the caller's, who could look at it: so the compiler has to write it. Zero is EMPTY.
    // SAFETY: valid for writes, as the caller promises; zeros are a valid slot.
    unsafe { slot.write_bytes(0, 1) };
}

/// Sets the length of the output to 0, for all ways out of a function but the good one. `false` for NULL.
///
/// # Safety
/// `dlen` is NULL or valid for writes.
unsafe fn nothing_written(dlen: *mut c_uint) -> bool {
    if dlen.is_null() {
        return false;
    }
    // SAFETY: not NULL, and valid for writes, as the caller promises.
    unsafe { dlen.write(0) };
    true
}

/// The result of update and finish, as the server wants it.
///
/// # Safety
/// `dlen` is valid for writes.
unsafe fn finish_call(result: Result<usize, CipherError>, dlen: *mut c_uint) -> c_int {
    let (written, status) = match result {
        Ok(written) => (written as c_uint, 0),
        Err(error) => (0, code(error)),
    };
    // SAFETY: valid for writes, as the caller promises.
    unsafe { dlen.write(written) };
    status
}

/// Update with an output that overlaps the input: in place, or further to the front. The input goes through a buffer, so
/// that no slice of it exists while the output is written. An output further to the back would overwrite input that
/// is still to be read, and is refused, as by the server's functions. So is a GCM decryption of more than the buffer holds,
/// which has to come in one piece; the server does not decrypt temporary files in place.
///
/// Out of line, as its buffer is not to lie on the stack of every update.
///
/// # Safety
/// `src` is valid for reads of `len` bytes, `dst` for writes of what comes out.
#[cold]
#[inline(never)]
unsafe fn update_overlapping(
    context: &mut Context,
    src: *const u8,
    len: usize,
    dst: *mut u8,
) -> Result<usize, CipherError> {
    if dst.addr() > src.addr() || (context.takes_one_piece() && len > BUFFER) {
        return Err(CipherError::OutputTooSmall);
    }
    // A multiple of the block, so that a full buffer gives out no more than it took in, whatever the context held before.
    let mut buffer = Zeroizing::new([0; BUFFER]);
    let (mut read, mut written) = (0, 0);
    while read < len {
        let part = buffer.len().min(len - read);
        let Some(chunk) = buffer.get_mut(..part) else { break };
        // SAFETY: `read + part` is at most `len`, and `src` is valid for reads of `len` bytes. The output written so far
        // ends before `src + read`: it starts no later than `src`, and was made from full buffers.
        unsafe { std::ptr::copy_nonoverlapping(src.wrapping_add(read), chunk.as_mut_ptr(), part) };
        // SAFETY: `dst` is valid for writes of all that comes out, of which this is the next part; no other slice of
        // that memory is alive.
        let output = unsafe { bytes_mut(dst.wrapping_add(written), context.update_len(part)) };
        written += context.update(chunk, output.ok_or(CipherError::OutputTooSmall)?)?;
        read += part;
    }
    Ok(written)
}

/// # Safety
/// `key_length` is valid for writes; if `buffer` is not NULL, `key_length` is valid for reads and `buffer` for writes of
/// `*key_length` bytes.
unsafe fn copy_key(key: &[u8], buffer: *mut u8, key_length: *mut c_uint) -> c_uint {
    // A caller that passes no buffer may not have set the length.
    let room = if buffer.is_null() {
        0
    } else {
        // SAFETY: valid for reads, as the caller promises.
        unsafe { *key_length as usize }
    };
    // SAFETY: valid for writes, as the caller promises.
    unsafe { *key_length = key.len() as c_uint };
    if room < key.len() {
        return TOO_SMALL;
    }
    // SAFETY: the buffer is valid for writes of `room` bytes, which is enough, and the key is the plugin's own memory.
    unsafe { std::ptr::copy_nonoverlapping(key.as_ptr(), buffer, key.len()) };
    0
}

/// Bytes of input that [`update_overlapping`] takes at a time.
const BUFFER: usize = 512;

/// Whether one of two pieces of memory, of so many bytes each, begins inside the other.
fn overlap((a, a_len): (*const u8, usize), (b, b_len): (*const u8, usize)) -> bool {
    b.addr().wrapping_sub(a.addr()) < a_len || a.addr().wrapping_sub(b.addr()) < b_len
}

/// What failed a moment ago is not logged again, but a statement that fails because of it says why.
fn report(error: &KeyStoreError) {
    let text = error.to_string();
    if !matches!(error, KeyStoreError::NotYet { .. }) {
        ErrorLog.error(&text);
    }
    error_log::warn_statement(&text);
}

fn code(error: CipherError) -> c_int {
    match error {
        CipherError::BadPadding | CipherError::Truncated | CipherError::Tampered => BAD_DATA,
        CipherError::KeyLength => BAD_KEY_SIZE,
        _ => ERROR,
    }
}

/// `ENCRYPTION_KEY_VERSION_INVALID`: (~(unsigned int)0).
const INVALID: c_uint = c_uint::MAX;
const TOO_SMALL: c_uint = c::ENCRYPTION_KEY_BUFFER_TOO_SMALL;

// What the server's own functions answer: MY_AES_BAD_DATA, MY_AES_OPENSSL_ERROR, MY_AES_BAD_KEYSIZE (mysql/service_my_crypt.h).
const BAD_DATA: c_int = -100;
const ERROR: c_int = -101;
const BAD_KEY_SIZE: c_int = -102;
