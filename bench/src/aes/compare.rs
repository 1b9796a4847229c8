//! The same message through the plugin and through the server.

use std::ffi::c_int;
use std::hint::black_box;

use anyhow::{Result, anyhow, ensure};
use plugin_host::server_aes::{self, DECRYPT, ENCRYPT, NOPAD, ServerAes};
use plugin_host::{Cipher, SLACK};

use super::case::{Case, Mode};

/// Both sides.
pub struct Sides<'plugin> {
    /// The server's own functions.
    pub server: &'static ServerAes,
    /// The plugin's functions with a key version whose algorithm is AES_CBC. The key itself is another one: as in the
    /// server, which passes one that it has derived.
    pub cbc: Cipher<'plugin>,
    /// The same with AES_CTR.
    pub ctr: Cipher<'plugin>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Server,
    Plugin,
}

impl<'plugin> Sides<'plugin> {
    /// Fails unless both sides make the same of the message, and the right thing.
    pub fn compare(&self, message: &Message<'_>) -> Result<()> {
        let case = message.case;
        let mut outputs = Vec::new();
        for side in [Side::Server, Side::Plugin] {
            let mut output = message.output();
            let written = self.run(side, message, &message.pieces(), output.bytes_mut());
            let written = written.map_err(|error| anyhow!("{case}: the {side:?} refuses the message ({error})"))?;
            outputs.push(output.bytes()[..written].to_vec());
        }
        ensure!(outputs[0] == outputs[1], "{case}: the plugin's output is not the server's");
        ensure!(outputs[1] == message.expected, "{case}: the output is wrong");
        Ok(())
    }

    /// A function that processes the message once, with an output of its own.
    pub fn work<'a>(&'a self, message: &'a Message<'plugin>, side: Side) -> impl FnMut() + 'a {
        let pieces = message.pieces();
        let mut output = message.output();
        move || {
            let result = self.run(side, black_box(message), &pieces, output.bytes_mut());
            assert!(black_box(result).is_ok(), "{}", message.case);
        }
    }

    /// Random key, IV and text.
    pub fn message(&self, case: Case) -> Result<Message<'plugin>> {
        let mut random = fastrand::Rng::with_seed(case.shape.len as u64);
        let mut bytes = |len| -> Vec<u8> { std::iter::repeat_with(|| random.u8(..)).take(len).collect() };
        let (key, iv, plaintext) = (bytes(case.key_bits / 8), bytes(16), bytes(case.shape.len));
        let (mode, cipher, encrypt) = match case.mode {
            Mode::CbcEncrypt => (server_aes::Mode::Cbc, self.cbc, true),
            Mode::CbcDecrypt => (server_aes::Mode::Cbc, self.cbc, false),
            Mode::Ctr => (server_aes::Mode::Ctr, self.ctr, true),
            Mode::GcmEncrypt => (server_aes::Mode::Gcm, self.ctr, true),
            Mode::GcmDecrypt => (server_aes::Mode::Gcm, self.ctr, false),
        };
        let padding = if mode == server_aes::Mode::Gcm { 0 } else { NOPAD };
        let ciphertext = self.server.crypt(mode, ENCRYPT | padding, &key, &iv, &plaintext);
        let ciphertext = ciphertext.map_err(|error| anyhow!("{case}: the server cannot encrypt ({error})"))?;
        let (input, expected) = if encrypt { (plaintext, ciphertext) } else { (ciphertext, plaintext) };
        let mut text = Buffer::new(input.len(), case.shape.offset);
        text.bytes_mut().copy_from_slice(&input);
        let flags = padding | if encrypt { ENCRYPT } else { DECRYPT };
        Ok(Message { case, mode, cipher, flags, key, iv, text, expected })
    }

    fn run(&self, side: Side, message: &Message<'_>, pieces: &[&[u8]], output: &mut [u8]) -> Result<usize, c_int> {
        let Message { mode, cipher, flags, key, iv, .. } = message;
        match side {
            Side::Server => self.server.message(*mode, *flags, key, iv, pieces, output),
            Side::Plugin => cipher.message(*flags, key, iv, pieces, output),
        }
    }
}

/// A message, and what both sides need for it.
pub struct Message<'plugin> {
    case: Case,
    mode: server_aes::Mode,
    cipher: Cipher<'plugin>,
    flags: c_int,
    key: Vec<u8>,
    iv: Vec<u8>,
    text: Buffer,
    expected: Vec<u8>,
}

impl Message<'_> {
    fn pieces(&self) -> Vec<&[u8]> {
        let updates = if self.case.mode == Mode::GcmDecrypt { 1 } else { self.case.shape.updates };
        let text = self.text.bytes();
        text.chunks(text.len().div_ceil(updates)).collect()
    }

    fn output(&self) -> Buffer {
        Buffer::new(self.text.len + SLACK, self.case.shape.offset)
    }
}

/// Memory like that of a page: at an offset from a multiple of 4096.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    fn new(len: usize, offset: usize) -> Self {
        let memory = vec![0; len + offset + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN) + offset;
        Self { memory, start, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}

const ALIGN: usize = 4096;
