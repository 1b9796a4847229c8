//! The callbacks that work on a context.

use std::ffi::{c_int, c_uint};

use crate::buffer::{Buffer, Length, UNTOUCHED, is_untouched};
use crate::message::{BAD_DATA, ERROR, Known, Message, Mode, Setup};
use crate::plugin::callbacks;
use crate::script::{Begin, Memory, Nulls, Part, Place};

/// A context's memory, in which init was called.
pub struct Context {
    memory: Buffer,
    /// `None` if init failed, and after finish.
    message: Option<Message>,
}

/// Begins a message in `place`.
pub fn init(place: &mut Option<Context>, memory: &Memory, begin: &Begin, nulls: &Nulls, known: &[Known]) {
    let message = match *begin {
        Begin::New { name, key, key_length, iv, iv_length, flags } => Message::new(Setup {
            name,
            key: key.bytes(length_like(key_length, [16, 24, 32])),
            iv: iv.bytes(length_like(iv_length, [16, 16, 12])),
            flags,
        }),
        Begin::Back { message, damage } => match known.get(usize::from(message) % known.len().max(1)) {
            Some(known) => known.decryption(damage),
            None => return,
        },
    };
    if nulls.has(0) {
        assert_eq!(call_init(std::ptr::null_mut(), &message.setup, nulls), ERROR);
        return;
    }
    let (id, version) = message.setup.name.parts();
    let memory = match (memory, place.take()) {
        (Memory::Same, Some(context)) => context.memory,
        (Memory::New { offset }, _) => Buffer::new(context_size(id, version), *offset),
        (Memory::Same, None) => Buffer::new(context_size(id, version), 0),
    };
    let is_clean = is_untouched(memory.contents());
    let context = Context::begin(memory, message, nulls);
    if is_clean && context.message.is_none() {
        context.check_wiped();
    }
    *place = Some(context);
}

impl Context {
    fn begin(mut memory: Buffer, message: Message, nulls: &Nulls) -> Self {
        let answer = call_init(memory.as_mut_ptr(), &message.setup, nulls);
        let Setup { key, iv, .. } = &message.setup;
        let no_key_or_iv = nulls.has(1) && !key.is_empty() || nulls.has(2) && !iv.is_empty();
        let expected = if no_key_or_iv { ERROR } else { message.setup.answer() };
        assert_eq!(answer, expected, "init with a key of {} and an IV of {} bytes", key.len(), iv.len());
        memory.check();
        Self { memory, message: (answer == 0).then_some(message) }
    }

    pub fn update(&mut self, part: &Part, place: &Place, nulls: &Nulls) {
        let input = match (part, &mut self.message) {
            (Part::Rest, Some(message)) if !message.feed.is_empty() => std::mem::take(&mut message.feed),
            (Part::Bytes { length, .. }, Some(message)) if !message.feed.is_empty() => {
                let length = Part::length(*length).min(message.feed.len());
                message.feed.drain(..length).collect()
            }
            (Part::Rest, _) => vec![7; 16],
            (Part::Bytes { length, pattern }, _) => pattern.bytes(Part::length(*length)),
        };
        match *place {
            Place::Apart { from, to } => self.update_apart(&input, from, to, nulls),
            Place::Together { from, to } => self.update_together(&input, from.into(), to.into(), nulls),
            Place::Same { at } => self.update_together(&input, at.into(), at.into(), nulls),
        }
        self.memory.check();
    }

    fn update_apart(&mut self, input: &[u8], from: u8, to: u8, nulls: &Nulls) {
        let room = self.message.as_ref().map_or(0, |message| message.update_length(input.len()));
        let (mut source, mut target) = (Buffer::with(input, from), Buffer::new(room, to));
        let (src, dst) = (nulls.or(1, source.as_mut_ptr()), nulls.or(2, target.as_mut_ptr()));
        let (answer, written) = self.call_update(src, input.len(), dst, nulls);
        let is_possible = self.message.is_some()
            && !nulls.has(0)
            && !nulls.has(3)
            && (!src.is_null() || input.is_empty())
            && (!dst.is_null() || room == 0);
        self.judge(input, (answer, written), target.contents(), is_possible);
        assert_eq!(source.contents(), input, "the input was changed");
        assert!(answer != ERROR || is_untouched(target.contents()), "a refused update has written");
        source.check();
        target.check();
    }

    /// Input and output in the same buffer, which is as long as both need.
    fn update_together(&mut self, input: &[u8], from: usize, to: usize, nulls: &Nulls) {
        let (from, to) = (from % MOST_SHIFT, to % MOST_SHIFT);
        let room = self.message.as_ref().map_or(0, |message| message.update_length(input.len()));
        let mut buffer = Buffer::new((from + input.len()).max(to + room), 0);
        buffer.contents_mut()[from..from + input.len()].copy_from_slice(input);
        let before = buffer.contents().to_vec();
        let start = buffer.as_mut_ptr();
        let (src, dst) = (nulls.or(1, start.wrapping_add(from)), nulls.or(2, start.wrapping_add(to)));
        let (answer, written) = self.call_update(src, input.len(), dst, nulls);
        let is_null = src.is_null() && !input.is_empty() || dst.is_null() && room > 0;
        let one_is_null = src.is_null() || dst.is_null();
        let would_overwrite_input = !one_is_null && from < to && to < from + input.len();
        let is_gcm_decryption = self.message.as_ref().is_some_and(|message| message.setup.mode() == Mode::GcmDecrypt);
        // It takes one piece.
        let is_too_long = is_gcm_decryption && !one_is_null && input.len() > BUFFER && to <= from && from < to + room;
        let is_possible = self.message.is_some()
            && !nulls.has(0)
            && !nulls.has(3)
            && !is_null
            && !would_overwrite_input
            && !is_too_long;
        self.judge(input, (answer, written), &buffer.contents()[to..][..room], is_possible);
        let after = buffer.contents();
        let end = if is_possible { to + room } else { to };
        assert_eq!(after[..to], before[..to], "something was written in front of the output");
        assert_eq!(after[end..], before[end..], "something was written behind the output");
    }

    /// Whether an update has answered what it must, and what that means for the message.
    fn judge(&mut self, input: &[u8], answer: (c_int, usize), output: &[u8], is_possible: bool) {
        let message = match &mut self.message {
            Some(message) if is_possible => message,
            _ => return assert_eq!(answer, (ERROR, 0), "an update that is not possible"),
        };
        if answer.0 == 0 {
            assert_eq!(answer.1, output.len(), "the length of the output of an update");
            assert!(!message.takes_no_more(), "a GCM ciphertext was taken in pieces");
            message.add(input, output);
            return;
        }
        assert_eq!(message.setup.mode(), Mode::GcmDecrypt, "an update fails: {answer:?}");
        assert_eq!(answer.1, 0, "a failed update has an output");
        if message.takes_no_more() {
            assert_eq!(answer.0, ERROR, "a GCM ciphertext is taken in pieces");
        } else {
            assert_eq!(answer.0, BAD_DATA, "a GCM ciphertext is damaged");
            assert!(output.iter().all(|&byte| byte == 0), "a plaintext that was tampered with is handed out");
            message.must_be_damaged(input);
        }
        message.spoiled = true;
    }

    /// Ends the message. Returns it if it ended well.
    pub fn finish(&mut self, offset: u8, nulls: &Nulls) -> Option<Message> {
        // The interface gives 16 bytes; where it is known how many come out, no more than those.
        let expected = self.message.as_ref().map_or(Some((ERROR, 0)), Message::finish_answer);
        let mut target = Buffer::new(expected.map_or(16, |(_, length)| length), offset);
        let (dst, mut length) = (nulls.or(1, target.as_mut_ptr()), Length::new());
        let (ctx, dlen) = (nulls.or(0, self.memory.as_mut_ptr()), nulls.or(2, length.as_mut_ptr()));
        // SAFETY: init was called with the memory; the output has room for what comes out; or NULL.
        let answer = unsafe { (callbacks().crypt.context_finish)(ctx.cast(), dst, dlen) };
        target.check();
        self.memory.check();
        if nulls.has(2) {
            assert_eq!(answer, ERROR, "finish without a place for the length");
        } else {
            assert!(answer == 0 || length.value() == 0, "a failed finish has an output");
        }
        if nulls.has(0) {
            assert_eq!(answer, ERROR, "finish without a context");
            return None;
        }
        let Some(mut message) = self.message.take() else {
            assert_eq!(answer, ERROR, "finish of what was not begun");
            return None;
        };
        self.check_wiped();
        if nulls.has(2) {
            return None;
        }
        let written = length.value();
        match expected {
            Some((0, 1..)) if nulls.has(1) => assert_eq!(answer, ERROR, "finish without an output"),
            Some(expected) => assert_eq!((answer, written), expected, "finish"),
            // A decryption with padding.
            None if nulls.has(1) => assert!(matches!((answer, written), (0, 0) | (BAD_DATA | ERROR, 0)), "{answer}"),
            None => assert!(matches!((answer, written), (0, 0..16) | (BAD_DATA, 0)), "{answer}, {written} bytes"),
        }
        if answer == BAD_DATA {
            message.must_be_damaged(&[]);
        }
        if answer != 0 {
            return None;
        }
        let (output, rest) = target.contents().split_at(written);
        assert!(is_untouched(rest), "something was written behind the output");
        message.add(&[], output);
        message.check_whole();
        Some(message)
    }

    /// A message in one part, which must succeed: what comes out.
    pub fn whole_message(setup: Setup, input: &[u8]) -> Vec<u8> {
        let none = Nulls::none();
        let (id, version) = setup.name.parts();
        let mut context = Self::begin(Buffer::new(context_size(id, version), 0), Message::new(setup), &none);
        context.update_apart(input, 0, 0, &none);
        let expected = context.message.as_ref().map_or(Some((ERROR, 0)), Message::finish_answer);
        let mut target = Buffer::new(expected.map_or(16, |(_, length)| length), 0);
        let mut length = Length::new();
        // SAFETY: init was called with the memory; the output has room for what comes out.
        let answer = unsafe {
            (callbacks().crypt.context_finish)(
                context.memory.as_mut_ptr().cast(),
                target.as_mut_ptr(),
                length.as_mut_ptr(),
            )
        };
        assert_eq!(answer, 0, "the way back fails");
        context.check_wiped();
        let mut output = context.message.take().expect("a message").given;
        output.extend(&target.contents()[..length.value()]);
        output
    }

    fn call_update(&mut self, src: *const u8, length: usize, dst: *mut u8, nulls: &Nulls) -> (c_int, usize) {
        let mut written = Length::new();
        let (ctx, dlen) = (nulls.or(0, self.memory.as_mut_ptr()), nulls.or(3, written.as_mut_ptr()));
        // SAFETY: init was called with the memory; the caller gives an input of this length, and room for what comes out.
        let answer = unsafe { (callbacks().crypt.context_update)(ctx.cast(), src, length as c_uint, dst, dlen) };
        (answer, if nulls.has(3) { 0 } else { written.value() })
    }

    /// Nothing is left in the memory of a context that has ended.
    fn check_wiped(&self) {
        let is_wiped = self.memory.contents().iter().all(|&byte| matches!(byte, 0 | UNTOUCHED));
        assert!(is_wiped, "something is left in the memory of a context that has ended");
    }
}

fn call_init(ctx: *mut u8, setup: &Setup, nulls: &Nulls) -> c_int {
    let (mut key, mut iv) = (Buffer::with(&setup.key, 0), Buffer::with(&setup.iv, 0));
    let (key_place, iv_place) = (nulls.or(1, key.as_mut_ptr()), nulls.or(2, iv.as_mut_ptr()));
    let (key_length, iv_length) = (setup.key.len() as c_uint, setup.iv.len() as c_uint);
    let (id, version) = setup.name.parts();
    // SAFETY: NULL or memory as long as `context_size` says; key and IV are NULL or have their lengths.
    unsafe {
        (callbacks().crypt.context_init)(
            ctx.cast(),
            key_place,
            key_length,
            iv_place,
            iv_length,
            setup.flags,
            id,
            version,
        )
    }
}

fn context_size(id: c_uint, version: c_uint) -> usize {
    // SAFETY: anything may be asked for.
    unsafe { (callbacks().crypt.context_size)(id, version) as usize }
}

/// Mostly one of `usual`.
fn length_like(n: u8, usual: [usize; 3]) -> usize {
    if n < 64 { n.into() } else { usual[usize::from(n) % 3] }
}

const MOST_SHIFT: usize = 600;

/// Bytes that an update with overlapping buffers puts through the cipher at a time.
const BUFFER: usize = 512;
