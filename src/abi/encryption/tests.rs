//! The callbacks, called as the server calls them, and as it should not.

use std::mem::MaybeUninit;
use std::ptr;

use super::super::allocator::count;
use super::codes::{BAD_DATA, BAD_KEY_SIZE, TOO_SMALL};
use super::*;
use crate::keystore::test_keys::publish;

const KEY: [u8; 16] = *b"0123456789abcdef";
const IV: [u8; 16] = *b"fedcba9876543210";
const ENCRYPT: c_int = 1;
const DECRYPT: c_int = 0;
const NOPAD: c_int = 2;

/// Longer than any batch of blocks. Miri takes minutes for a page.
const LONG: usize = if cfg!(miri) { 544 } else { 4096 };

/// Calls a callback as the server does.
macro_rules! call {
    ($callback:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: a pointer is NULL, or to a local that lives through the call and is as long as the length beside it says,
        // or as what comes out; a context lies in memory of `SIZE` bytes.
        unsafe { $callback($($argument),*) }
    };
}

/// A context in memory that is as long as `crypt_ctx_size` says and not a byte longer, at any alignment.
struct Memory {
    bytes: Box<[u8]>,
    offset: usize,
}

impl Memory {
    fn new(offset: usize) -> Self {
        let length = call!(crypt_ctx_size(1, 1)) as usize + offset;
        Self { bytes: vec![0xaa; length].into(), offset }
    }

    fn ctx(&mut self) -> *mut c_void {
        self.bytes[self.offset..].as_mut_ptr().cast()
    }

    fn init(&mut self, key: &[u8], flags: c_int) -> c_int {
        let (klen, ivlen) = (key.len() as c_uint, IV.len() as c_uint);
        call!(crypt_ctx_init(self.ctx(), key.as_ptr(), klen, IV.as_ptr(), ivlen, flags, 1, 1))
    }

    /// Appends what comes out to `output`.
    fn update(&mut self, input: &[u8], output: &mut Vec<u8>) -> c_int {
        let mut part = vec![0; input.len() + 15];
        let mut length = Unset::new();
        let slen = input.len() as c_uint;
        let status = call!(crypt_ctx_update(self.ctx(), input.as_ptr(), slen, part.as_mut_ptr(), length.place()));
        output.extend(&part[..length.get() as usize]);
        status
    }

    fn finish(&mut self, output: &mut Vec<u8>) -> c_int {
        let mut part = [0; 16];
        let mut length = Unset::new();
        let status = call!(crypt_ctx_finish(self.ctx(), part.as_mut_ptr(), length.place()));
        output.extend(&part[..length.get() as usize]);
        status
    }
}

/// A length that was never set, as in the server's redo log. Miri notes if it is read.
struct Unset(MaybeUninit<c_uint>);

impl Unset {
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    fn place(&mut self) -> *mut c_uint {
        self.0.as_mut_ptr()
    }

    /// After a callback that has set it.
    fn get(&self) -> c_uint {
        // SAFETY: the callbacks set it whatever happens, unless they refuse the call before they look at a key.
        unsafe { self.0.assume_init() }
    }
}

fn run(flags: c_int, input: &[u8], split: usize, offset: usize) -> Vec<u8> {
    let mut memory = Memory::new(offset);
    let mut output = Vec::new();
    assert_eq!(memory.init(&KEY, flags), 0);
    for part in [&input[..split.min(input.len())], &[], &input[split.min(input.len())..]] {
        assert_eq!(memory.update(part, &mut output), 0);
    }
    assert_eq!(memory.finish(&mut output), 0);
    output
}

#[test]
fn what_was_encrypted_is_decrypted_whatever_the_length_the_split_and_the_alignment() {
    for length in [0, 1, 15, 16, 17, 33, 200, LONG] {
        let plain: Vec<u8> = (0..length).map(|n| n as u8).collect();
        for (split, offset, pad) in [(0, 0, NOPAD), (5, 1, NOPAD), (16, 8, 0), (3, 15, 0)] {
            let secret = run(ENCRYPT | pad, &plain, split, offset);
            let expected =
                if pad == NOPAD { length as c_uint } else { call!(encrypted_length(length as c_uint, 1, 1)) };
            assert_eq!(secret.len(), expected as usize);
            assert_eq!(run(DECRYPT | pad, &secret, split, offset), plain, "{length} {split} {offset} {pad}");
        }
    }
}

#[test]
fn a_message_is_encrypted_in_place_as_anywhere_else() {
    let plain: Vec<u8> = (0..2000).map(|n| n as u8).collect();
    let secret = run(ENCRYPT | NOPAD, &plain, 0, 0);
    let mut memory = Memory::new(0);
    assert_eq!(memory.init(&KEY, ENCRYPT | NOPAD), 0);
    let mut buffer = plain.clone();
    let mut length = 0;
    let start = buffer.as_mut_ptr();
    let status = call!(crypt_ctx_update(memory.ctx(), start, 2000, start, &raw mut length));
    assert_eq!((status, length as usize), (0, 2000 / 16 * 16));
    buffer.truncate(length as usize);
    assert_eq!(memory.finish(&mut buffer), 0);
    assert_eq!(buffer, secret);
    // An output that would overwrite input not yet read.
    let mut buffer = plain;
    let start = buffer.as_mut_ptr();
    assert_eq!(memory.init(&KEY, ENCRYPT | NOPAD), 0);
    let status = call!(crypt_ctx_update(memory.ctx(), start, 1000, start.wrapping_add(1), &raw mut length));
    assert_eq!((status, length), (ERROR, 0));
}

#[test]
fn bad_keys_and_damaged_data_are_errors_of_the_servers_own_numbers() {
    let mut output = Vec::new();
    for length in [0, 1, 15, 17, 31, 33, 64] {
        let mut memory = Memory::new(0);
        assert_eq!(memory.init(&vec![1; length], ENCRYPT), BAD_KEY_SIZE);
        // A context that was not made answers errors, and nothing else happens.
        assert_eq!(memory.finish(&mut output), ERROR);
    }
    let mut secret = run(ENCRYPT, b"a message of some length", 0, 0);
    let last = secret.len() - 1;
    secret[last] ^= 1;
    for damaged in [&secret[..], &secret[..20], &[]] {
        let mut memory = Memory::new(0);
        assert_eq!(memory.init(&KEY, DECRYPT), 0);
        memory.update(damaged, &mut output);
        assert_eq!(memory.finish(&mut output), BAD_DATA, "{} bytes", damaged.len());
    }
}

#[test]
fn a_context_is_wiped_in_finish_and_of_no_use_afterwards() {
    // Also if the message does not end as it must.
    for (flags, status) in [(ENCRYPT | NOPAD, 0), (DECRYPT, BAD_DATA)] {
        let mut memory = Memory::new(0);
        assert_eq!(memory.init(&KEY, flags), 0);
        let mut output = Vec::new();
        assert_eq!(memory.update(&[7; 21], &mut output), 0);
        assert_eq!(memory.finish(&mut output), status);
        let left = std::hint::black_box(&memory.bytes);
        assert!(!left.windows(8).any(|part| KEY.windows(8).any(|secret| secret == part)), "the key is still there");
        assert!(!left.windows(5).any(|part| part == [7; 5]), "the text is still there");
        assert_eq!(memory.update(&[7; 21], &mut output), ERROR);
        assert_eq!(memory.finish(&mut output), ERROR);
    }
}

#[test]
fn nulls_are_errors_and_no_more() {
    let mut length = 5;
    let mut memory = Memory::new(0);
    assert_eq!(memory.init(&KEY, ENCRYPT), 0);
    let ctx = memory.ctx();
    let null = ptr::null_mut();
    let (key, iv, place) = (KEY.as_ptr(), IV.as_ptr(), &raw mut length);
    assert_eq!(call!(crypt_ctx_init(ptr::null_mut(), key, 16, iv, 16, ENCRYPT, 1, 1)), ERROR);
    assert_eq!(call!(crypt_ctx_update(ptr::null_mut(), key, 16, null, place)), ERROR);
    assert_eq!(call!(crypt_ctx_update(ctx, ptr::null(), 16, null, place)), ERROR);
    assert_eq!(call!(crypt_ctx_update(ctx, key, 16, null, place)), ERROR);
    assert_eq!(call!(crypt_ctx_update(ctx, key, 16, null, ptr::null_mut())), ERROR);
    assert_eq!(call!(crypt_ctx_update(ctx, ptr::null(), 0, null, place)), 0);
    assert_eq!(call!(crypt_ctx_finish(ctx, null, place)), ERROR);
    assert_eq!(call!(crypt_ctx_finish(ptr::null_mut(), null, place)), ERROR);
    assert_eq!(call!(crypt_ctx_init(ctx, ptr::null(), 16, iv, 16, ENCRYPT, 1, 1)), ERROR);
    assert_eq!(call!(crypt_ctx_init(ctx, key, 16, ptr::null(), 16, ENCRYPT, 1, 1)), ERROR);
    assert_eq!(call!(get_key(1, 1, null, ptr::null_mut())), INVALID);
    assert_eq!(length, 0);
}

#[test]
fn a_context_is_wiped_also_if_its_last_bytes_cannot_be_given_out() {
    let mut length = 5;
    let mut memory = Memory::new(0);
    assert_eq!(memory.init(&KEY, ENCRYPT), 0);
    let ctx = memory.ctx();
    assert_eq!(call!(crypt_ctx_finish(ctx, ptr::null_mut(), &raw mut length)), ERROR);
    assert_eq!(memory.finish(&mut Vec::new()), ERROR, "the context is gone");
    assert_eq!(memory.init(&KEY, ENCRYPT), 0);
    let mut block = [0; 16];
    assert_eq!(call!(crypt_ctx_finish(ctx, block.as_mut_ptr(), ptr::null_mut())), ERROR);
    assert_eq!(memory.finish(&mut Vec::new()), ERROR, "the context is gone");
}

#[test]
fn a_key_is_copied_if_it_fits_and_its_length_is_told_if_not() {
    publish(&plugin::KEYS, 4_000_000_001, 3, &[9; 32], Algorithm::AesCbc);
    let mut unset = Unset::new();
    assert_eq!(call!(get_key(4_000_000_001, 3, ptr::null_mut(), unset.place())), TOO_SMALL);
    assert_eq!(unset.get(), 32);

    let mut buffer = [0_u8; 40];
    for room in [0, 16, 31] {
        let mut length = room;
        assert_eq!(call!(get_key(4_000_000_001, 3, buffer.as_mut_ptr(), &raw mut length)), TOO_SMALL);
        assert_eq!((length, buffer), (32, [0; 40]));
    }
    for room in [32, 40] {
        let mut length = room;
        assert_eq!(call!(get_key(4_000_000_001, 3, buffer.as_mut_ptr(), &raw mut length)), 0);
        assert_eq!((length, &buffer[..32], &buffer[32..]), (32, &[9; 32][..], &[0; 8][..]));
    }
    assert_eq!(call!(get_latest_key_version(4_000_000_001)), 3);
}

#[test]
fn ids_and_versions_that_cannot_be_and_a_plugin_that_does_not_run_are_invalid() {
    let mut length = 16;
    let mut buffer = [0_u8; 16];
    for (id, version) in [(0, 1), (1, 0), (1, u32::MAX), (4_000_000_002, 1)] {
        assert_eq!(call!(get_key(id, version, buffer.as_mut_ptr(), &raw mut length)), INVALID);
    }
    assert_eq!(call!(get_latest_key_version(0)), INVALID);
    assert_eq!(call!(get_latest_key_version(4_000_000_002)), INVALID);
    assert_eq!((length, buffer), (16, [0; 16]));
}

#[test]
fn no_callback_asks_for_memory_once_a_key_is_published() {
    use Algorithm::{AesCbc, AesCtr};
    for (id, algorithm) in [(4_000_000_003, AesCbc), (4_000_000_004, AesCtr)] {
        publish(&plugin::KEYS, id, 1, &KEY, algorithm);
        let (plain, mut secret, mut output) = ([7; LONG + 3], [0; LONG + 99], [0; LONG + 99]);
        let mut buffer = [0; 32];
        // Not counted: what the first look-up of a thread sets up.
        call!(get_latest_key_version(id));
        let allocations = count::of(|| {
            let mut length = 32;
            assert_eq!(call!(get_latest_key_version(id)), 1);
            assert_eq!(call!(get_key(id, 1, buffer.as_mut_ptr(), &raw mut length)), 0);
            for flags in [0, NOPAD] {
                let (status, written) = message(id, ENCRYPT | flags, &plain, &mut secret);
                assert_eq!(status, 0);
                let (status, read) = message(id, DECRYPT | flags, &secret[..written], &mut output);
                assert_eq!((status, &output[..read]), (0, &plain[..]));
                let other = call!(encrypted_length(LONG as c_uint + 3, id, 1)) as usize;
                assert!(written == if flags == 0 { other } else { LONG + 3 });
            }
        });
        assert_eq!(allocations, 0);
    }
}

/// One message in one update, with a context on the stack: its status, and how many bytes came out.
fn message(id: c_uint, flags: c_int, input: &[u8], output: &mut [u8]) -> (c_int, usize) {
    let mut memory = [MaybeUninit::<u8>::uninit(); 4096];
    assert!(call!(crypt_ctx_size(id, 1)) as usize <= memory.len());
    let ctx: *mut c_void = memory.as_mut_ptr().cast();
    let (mut first, mut last) = (0, 0);
    assert_eq!(call!(crypt_ctx_init(ctx, KEY.as_ptr(), 16, IV.as_ptr(), 16, flags, id, 1)), 0);
    let slen = input.len() as c_uint;
    let status = call!(crypt_ctx_update(ctx, input.as_ptr(), slen, output.as_mut_ptr(), &raw mut first));
    let rest = &mut output[first as usize..];
    let ended = call!(crypt_ctx_finish(ctx, rest.as_mut_ptr(), &raw mut last));
    (status | ended, (first + last) as usize)
}

/// One message in one update, for other tests: what comes out, or the first status that is no 0.
#[cfg(not(miri))] // as those tests
pub(super) fn begin_update_finish(
    id: c_uint,
    flags: c_int,
    key: &[u8],
    iv: &[u8],
    input: &[u8],
) -> Result<Vec<u8>, c_int> {
    let mut memory = Memory::new(0);
    let (klen, ivlen) = (key.len() as c_uint, iv.len() as c_uint);
    let begun = call!(crypt_ctx_init(memory.ctx(), key.as_ptr(), klen, iv.as_ptr(), ivlen, flags, id, 1));
    let mut output = Vec::new();
    let statuses = [begun, memory.update(input, &mut output), memory.finish(&mut output)];
    statuses.into_iter().find(|status| *status != 0).map_or(Ok(output), Err)
}
