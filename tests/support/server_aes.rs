//! The server's own AES, as the oracle: `my_aes_crypt_*` of the library that holds the whole server.
#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::{c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use libloading::Library;

/// The functions, looked up once.
pub struct ServerAes {
    crypt: CryptFn,
    init: InitFn,
    update: UpdateFn,
    finish: FinishFn,
    size: SizeFn,
}

impl ServerAes {
    /// # Panics
    /// If the library is not installed: a test that needs the oracle must fail without it.
    pub fn load() -> &'static Self {
        static SERVER: OnceLock<ServerAes> = OnceLock::new();
        SERVER.get_or_init(Self::look_up)
    }

    fn look_up() -> Self {
        // SAFETY: the library's initialisers are those of a MariaDB server, which any program may load.
        let library = unsafe { Library::new(LIBRARY) }.unwrap_or_else(|error| {
            panic!("{LIBRARY} cannot be loaded ({error}); `cargo xtask setup` installs it (package libmariadbd19)")
        });
        // Never unloaded: it leaves destructors behind for threads that end later.
        let library = Box::leak(Box::new(library));
        // SAFETY: the type is that of the declaration in the server's service_my_crypt.h.
        let ctx_size = *unsafe { library.get::<CtxSizeFn>(b"my_aes_ctx_size") }.expect("my_aes_ctx_size");
        for mode in [Mode::Cbc, Mode::Ctr, Mode::Gcm] {
            // SAFETY: takes a mode by value and touches no memory of ours.
            let size = unsafe { ctx_size(mode as c_int) } as usize;
            assert!(size <= size_of::<Memory>(), "the server's contexts have grown to {size} bytes");
        }
        Self {
            // SAFETY: the type is that of the declaration in the server's service_my_crypt.h.
            crypt: *unsafe { library.get::<CryptFn>(b"my_aes_crypt") }.expect("my_aes_crypt"),
            // SAFETY: as above.
            init: *unsafe { library.get::<InitFn>(b"my_aes_crypt_init") }.expect("my_aes_crypt_init"),
            // SAFETY: as above.
            update: *unsafe { library.get::<UpdateFn>(b"my_aes_crypt_update") }.expect("my_aes_crypt_update"),
            // SAFETY: as above.
            finish: *unsafe { library.get::<FinishFn>(b"my_aes_crypt_finish") }.expect("my_aes_crypt_finish"),
            // SAFETY: as above.
            size: *unsafe { library.get::<SizeFn>(b"my_aes_get_size") }.expect("my_aes_get_size"),
        }
    }

    /// Begins a message. `key` and `iv` outlive it: the server keeps pointers to them.
    pub fn begin<'a>(&'a self, mode: Mode, flags: c_int, key: &'a [u8], iv: &'a [u8]) -> Result<Message<'a>, c_int> {
        assert!(iv.len() == 16, "the server reads 16 bytes of IV whatever length it is told");
        let mut message = Message { server: self, memory: Box::new([0; 128]), borrowed: PhantomData };
        // SAFETY: the memory has at least my_aes_ctx_size bytes, aligned to 16 (see load); key and IV have the lengths
        // that go with them and live as long as the message.
        let result = unsafe {
            (self.init)(
                message.memory.as_mut_ptr().cast(),
                mode as c_int,
                flags,
                key.as_ptr(),
                key.len() as c_uint,
                iv.as_ptr(),
                iv.len() as c_uint,
            )
        };
        if result == 0 {
            Ok(message)
        } else {
            // Nothing to finish: without a cipher the server's context owns no memory.
            std::mem::forget(message);
            Err(result)
        }
    }

    /// The whole message in one call. Returns the output or the server's error.
    pub fn crypt(&self, mode: Mode, flags: c_int, key: &[u8], iv: &[u8], input: &[u8]) -> Result<Vec<u8>, c_int> {
        assert!(iv.len() == 16, "the server reads 16 bytes of IV whatever length it is told");
        let mut output = vec![0; input.len() + SLACK];
        let mut written: c_uint = 0;
        // SAFETY: all pointers come with the lengths of their slices, and no mode writes more than two blocks beyond
        // the length of the input.
        let result = unsafe {
            (self.crypt)(
                mode as c_int,
                flags,
                input.as_ptr(),
                input.len() as c_uint,
                output.as_mut_ptr(),
                &mut written,
                key.as_ptr(),
                key.len() as c_uint,
                iv.as_ptr(),
                iv.len() as c_uint,
            )
        };
        if result != 0 {
            return Err(result);
        }
        output.truncate(written as usize);
        Ok(output)
    }

    /// A whole message in several updates, with the context on the stack as the server has it.
    ///
    /// `output` must be at least [`SLACK`] bytes longer than the input. Returns how much was written.
    pub fn message(
        &self,
        mode: Mode,
        flags: c_int,
        key: &[u8],
        iv: &[u8],
        parts: &[&[u8]],
        output: &mut [u8],
    ) -> Result<usize, c_int> {
        assert!(iv.len() == 16, "the server reads 16 bytes of IV whatever length it is told");
        assert!(output.len() >= parts.iter().map(|part| part.len()).sum::<usize>() + SLACK);
        let mut memory = MaybeUninit::<Memory>::uninit();
        let ctx: *mut c_void = memory.as_mut_ptr().cast();
        let (key_len, iv_len) = (key.len() as c_uint, iv.len() as c_uint);
        // SAFETY: as in begin; the memory stays where it is until the message is finished.
        check(unsafe { (self.init)(ctx, mode as c_int, flags, key.as_ptr(), key_len, iv.as_ptr(), iv_len) })?;
        let mut total = 0;
        let mut result = Ok(());
        for part in parts {
            let mut written: c_uint = 0;
            let output = output[total..].as_mut_ptr();
            // SAFETY: the context is initialised and not finished; the output has a block more than the input.
            result = check(unsafe { (self.update)(ctx, part.as_ptr(), part.len() as c_uint, output, &mut written) });
            total += written as usize;
            if result.is_err() {
                break;
            }
        }
        let mut written: c_uint = 0;
        // SAFETY: the context is initialised and finished once, here; a block of output is left.
        let finished = check(unsafe { (self.finish)(ctx, output[total..].as_mut_ptr(), &mut written) });
        result.and(finished)?;
        Ok(total + written as usize)
    }

    /// Length of the padded ciphertext of `len` bytes.
    pub fn encrypted_len(&self, mode: Mode, len: u32) -> u32 {
        // SAFETY: takes and returns numbers.
        unsafe { (self.size)(mode as c_int, len) }
    }
}

/// One message under way in the server's code.
pub struct Message<'a> {
    server: &'a ServerAes,
    // Boxed: the server's context holds a pointer into itself and must not move.
    memory: Box<Memory>,
    borrowed: PhantomData<&'a [u8]>,
}

impl Message<'_> {
    /// Returns the number of bytes written to `output`, which must have [`SLACK`] bytes more than `input`.
    pub fn update(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, c_int> {
        assert!(output.len() >= input.len() + SLACK);
        let mut written: c_uint = 0;
        // SAFETY: the context was initialised by begin and not finished; it writes at most one block more than the
        // input has, which fits the output.
        let result = unsafe {
            (self.server.update)(
                self.memory.as_mut_ptr().cast(),
                input.as_ptr(),
                input.len() as c_uint,
                output.as_mut_ptr(),
                &mut written,
            )
        };
        check(result)?;
        Ok(written as usize)
    }

    /// Returns the number of bytes written to `output`, which must have [`SLACK`] bytes.
    pub fn finish(mut self, output: &mut [u8]) -> Result<usize, c_int> {
        let result = self.end(output);
        std::mem::forget(self);
        result
    }

    fn end(&mut self, output: &mut [u8]) -> Result<usize, c_int> {
        assert!(output.len() >= SLACK);
        let mut written: c_uint = 0;
        // SAFETY: the context was initialised by begin and is finished once, here; it writes at most a block.
        let result =
            unsafe { (self.server.finish)(self.memory.as_mut_ptr().cast(), output.as_mut_ptr(), &mut written) };
        check(result)?;
        Ok(written as usize)
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        let _ = self.end(&mut [0; SLACK]);
    }
}

/// 0 is success for each of the server's functions.
fn check(result: c_int) -> Result<(), c_int> {
    if result == 0 { Ok(()) } else { Err(result) }
}

/// Mode numbers of the server's `my_aes_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Cbc = 1,
    Ctr = 2,
    Gcm = 3,
}

/// `ENCRYPTION_FLAG_DECRYPT`
pub const DECRYPT: c_int = 0;
/// `ENCRYPTION_FLAG_ENCRYPT`
pub const ENCRYPT: c_int = 1;
/// `ENCRYPTION_FLAG_NOPAD`
pub const NOPAD: c_int = 2;

/// How much longer an output must be than its input, so that the server cannot write past its end.
pub const SLACK: usize = 32;

const LIBRARY: &str = "libmariadbd.so.19";

type Memory = [u128; 128];

type CryptFn = unsafe extern "C" fn(
    c_int,
    c_int,
    *const u8,
    c_uint,
    *mut u8,
    *mut c_uint,
    *const u8,
    c_uint,
    *const u8,
    c_uint,
) -> c_int;
type InitFn = unsafe extern "C" fn(*mut c_void, c_int, c_int, *const u8, c_uint, *const u8, c_uint) -> c_int;
type UpdateFn = unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *mut u8, *mut c_uint) -> c_int;
type FinishFn = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_uint) -> c_int;
type SizeFn = unsafe extern "C" fn(c_int, c_uint) -> c_uint;
type CtxSizeFn = unsafe extern "C" fn(c_int) -> c_uint;
