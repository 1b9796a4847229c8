//! A part of a message, whose input and output may be the same memory.

use std::ffi::c_uint;
use std::marker::PhantomData;

use zeroize::Zeroizing;

use super::super::export::Argument;
use super::buffers::{In, LONGEST, room};
use super::codes::Failure;
use crate::cipher::Context;

/// What goes in, and where to put what comes out.
pub(super) struct InOut<'a> {
    src: *const u8,
    len: c_uint,
    dst: *mut u8,
    lives: PhantomData<&'a mut [u8]>,
}

impl Argument for InOut<'_> {
    type Raw = (*const u8, c_uint, *mut u8);

    /// `src` is NULL or valid for reads of `slen` bytes; `dst` is NULL or valid for writes of the bytes that come out of the
    /// call's context, at most `slen` + 15. Nobody else uses them meanwhile. They may overlap.
    #[inline(always)]
    unsafe fn from_raw((src, len, dst): Self::Raw) -> Self {
        Self { src, len, dst, lives: PhantomData }
    }
}

impl InOut<'_> {
    /// Takes the input through the call's context, and answers how many bytes came out.
    #[inline(always)]
    pub(super) fn pass_through(self, context: &mut Context) -> Result<usize, Failure> {
        let output_len = context.update_len(self.len as usize);
        if overlap((self.src, self.len as usize), (self.dst, output_len)) {
            // In a place of its own: else each update would write the arguments to the stack.
            let Self { src, len, dst, lives } = self;
            return Self { src, len, dst, lives }.pass_in_pieces(context);
        }
        // SAFETY: the fields are what `from_raw` was promised, or a part of it; the output does not overlap the input.
        let input = unsafe { In::from_raw((self.src, self.len)) };
        // SAFETY: `dst` is NULL, or there is room for what comes out of the context, and nobody else uses it.
        let output = unsafe { room(self.dst, output_len) };
        let (Ok(input), Some(output)) = (input.bytes(), output) else { return Err(Failure::Misuse) };
        Ok(context.update(input, output)?)
    }

    /// In place, or with an output further to the front. The input goes through a buffer, so that no slice of it exists while
    /// the output is written. An output further to the back would overwrite input that is still to be read, and is refused,
    /// as by the server's functions. So is a GCM decryption of more than the buffer holds, which has to come in one piece;
    /// the server does not decrypt temporary files in place.
    ///
    /// Out of line, as its buffer is not to lie on the stack of every update.
    #[cold]
    #[inline(never)]
    fn pass_in_pieces(self, context: &mut Context) -> Result<usize, Failure> {
        let Self { src, len, dst, .. } = self;
        if src.is_null() || dst.is_null() || dst.addr() > src.addr() || len > LONGEST {
            return Err(Failure::Misuse);
        }
        let len = len as usize;
        if context.takes_one_piece() && len > BUFFER {
            return Err(Failure::Misuse);
        }
        // A multiple of the block, so that a full buffer gives out no more than it took in, whatever the context held before.
        let mut buffer = Zeroizing::new([0; BUFFER]);
        let (mut read, mut written) = (0, 0);
        while read < len {
            let part = BUFFER.min(len - read);
            let Some(chunk) = buffer.get_mut(..part) else { return Err(Failure::Misuse) };
            // SAFETY: `src` is valid for reads of `len` bytes, of which these are the next. They are still what they were: the
            // output so far starts no later than `src` and was made from full buffers, so it ends before `src + read`.
            unsafe { src.wrapping_add(read).copy_to_nonoverlapping(chunk.as_mut_ptr(), part) };
            let dst = dst.wrapping_add(written);
            let piece = Self { src: chunk.as_ptr(), len: part as c_uint, dst, lives: PhantomData };
            written += piece.pass_through(context)?;
            read += part;
        }
        Ok(written)
    }
}

/// Whether one of two pieces of memory, of so many bytes each, begins inside the other.
#[inline(always)]
fn overlap((a, a_len): (*const u8, usize), (b, b_len): (*mut u8, usize)) -> bool {
    b.addr().wrapping_sub(a.addr()) < a_len || a.addr().wrapping_sub(b.addr()) < b_len
}

/// Bytes of input that [`InOut::pass_in_pieces`] takes at a time.
const BUFFER: usize = 512;
