//! The server's own AES, as the oracle: `my_aes_crypt_*` of the library that holds the whole server.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

use libloading::{Error, Library, Symbol};

use crate::declaration::{CtxFinish, CtxUpdate};
use crate::message::{self, Memory, check};

pub use crate::message::SLACK;

/// The functions, looked up once.
pub struct ServerAes {
    crypt: CryptFn,
    init: InitFn,
    update: CtxUpdate,
    finish: CtxFinish,
    size: SizeFn,
    library: &'static Library,
}

impl ServerAes {
    /// The one of this process.
    ///
    /// # Panics
    /// If the library is not installed: a test that needs the oracle must fail without it.
    pub fn load() -> &'static Self {
        static SERVER: OnceLock<ServerAes> = OnceLock::new();
        #[expect(clippy::panic, reason = "a test that needs the oracle must fail without it")]
        SERVER.get_or_init(|| {
            Self::look_up().unwrap_or_else(|error| {
                panic!("{LIBRARY} cannot be used ({error}); `cargo xtask setup` installs it (package libmariadbd19)")
            })
        })
    }

    fn look_up() -> Result<Self, Error> {
        // SAFETY: the library's initialisers are those of a MariaDB server, which any program may load.
        let library = unsafe { Library::new(LIBRARY) }?;
        // Never unloaded: it leaves destructors behind for threads that end later.
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the type is that of the declaration in the server's service_my_crypt.h.
        let ctx_size: Symbol<CtxSizeFn> = unsafe { library.get(b"my_aes_ctx_size") }?;
        for mode in [Mode::Cbc, Mode::Ctr, Mode::Gcm] {
            // SAFETY: takes a mode by value and touches no memory of ours.
            let size = unsafe { ctx_size(mode as c_int) } as usize;
            assert!(size <= size_of::<Memory>(), "the server's contexts have grown to {size} bytes");
        }
        // SAFETY: `CryptFn` is the declaration of my_aes_crypt in the server's service_my_crypt.h.
        let crypt = unsafe { library.get::<CryptFn>(b"my_aes_crypt") }?;
        // SAFETY: `InitFn` is the declaration of my_aes_crypt_init in the server's service_my_crypt.h.
        let init = unsafe { library.get::<InitFn>(b"my_aes_crypt_init") }?;
        // SAFETY: my_aes_crypt_update is declared in the server's service_my_crypt.h like a plugin's crypt_ctx_update.
        let update = unsafe { library.get::<CtxUpdate>(b"my_aes_crypt_update") }?;
        // SAFETY: my_aes_crypt_finish is declared in the server's service_my_crypt.h like a plugin's crypt_ctx_finish.
        let finish = unsafe { library.get::<CtxFinish>(b"my_aes_crypt_finish") }?;
        // SAFETY: `SizeFn` is the declaration of my_aes_get_size in the server's service_my_crypt.h.
        let size = unsafe { library.get::<SizeFn>(b"my_aes_get_size") }?;
        Ok(Self { crypt: *crypt, init: *init, update: *update, finish: *finish, size: *size, library })
    }

    /// The versions of what it is made of, such as `libmariadbd 10.11.6, OpenSSL 3.0.15`.
    pub fn version(&self) -> String {
        // SAFETY: the type is that of the declaration in the server's mysql.h.
        let client_info =
            unsafe { self.library.get::<unsafe extern "C" fn() -> *const c_char>(b"mysql_get_client_info") };
        let mariadb = client_info.map_or_else(
            |_| "of unknown version".to_owned(),
            |client_info| {
                // SAFETY: has no preconditions.
                let version = unsafe { client_info() };
                // SAFETY: returns a constant string that ends in NUL.
                unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
            },
        );
        // SAFETY: a library that libmariadbd needs is looked through too; the type is that of OpenSSL's crypto.h.
        let openssl = unsafe { self.library.get::<unsafe extern "C" fn(c_int) -> *const c_char>(b"OpenSSL_version") };
        let Ok(openssl) = openssl else { return format!("libmariadbd {mariadb}") };
        // SAFETY: takes any number; 0 is the library's version.
        let openssl = unsafe { openssl(0) };
        // SAFETY: returns a constant string that ends in NUL.
        let openssl = unsafe { CStr::from_ptr(openssl) }.to_string_lossy().into_owned();
        let openssl: Vec<&str> = openssl.split(' ').take(2).collect();
        format!("libmariadbd {mariadb}, {}", openssl.join(" "))
    }

    /// Begins a message. `key` and `iv` outlive it: the server keeps pointers to them.
    pub fn begin<'a>(&'a self, mode: Mode, flags: c_int, key: &'a [u8], iv: &'a [u8]) -> Result<Message<'a>, c_int> {
        check_iv(iv);
        let mut message = Message { server: self, memory: Box::new([0; 128]), is_over: false, borrowed: PhantomData };
        // SAFETY: the memory has at least my_aes_ctx_size bytes, aligned to 16 (see `look_up`); key and IV have the lengths
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
        // After a failure there is nothing to finish: without a cipher the server's context owns no memory.
        message.is_over = result != 0;
        check(result).map(|()| message)
    }

    /// The whole message in one call. Returns the output or the server's error.
    pub fn crypt(&self, mode: Mode, flags: c_int, key: &[u8], iv: &[u8], input: &[u8]) -> Result<Vec<u8>, c_int> {
        check_iv(iv);
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
        check(result)?;
        output.truncate(written as usize);
        Ok(output)
    }

    /// A whole message in several updates, with the context on the stack as the server has it. Returns how much was
    /// written to `output`, which must be at least [`SLACK`] bytes longer than the input, or the server's error.
    #[inline]
    pub fn message(
        &self,
        mode: Mode,
        flags: c_int,
        key: &[u8],
        iv: &[u8],
        parts: &[&[u8]],
        output: &mut [u8],
    ) -> Result<usize, c_int> {
        check_iv(iv);
        let (key_len, iv_len) = (key.len() as c_uint, iv.len() as c_uint);
        let begin = |context: *mut c_void| {
            // SAFETY: the memory has at least my_aes_ctx_size bytes, aligned to 16 (see `look_up`); key and IV go with their
            // lengths and live longer than the message.
            unsafe { (self.init)(context, mode as c_int, flags, key.as_ptr(), key_len, iv.as_ptr(), iv_len) }
        };
        // SAFETY: the functions are the server's, which writes no more than two blocks beyond the length of the input; after
        // a failed init there is nothing to finish, because the context owns no memory.
        unsafe { message::through(begin, self.update, self.finish, parts, output) }
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
    /// There is nothing to finish any more.
    is_over: bool,
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
        self.end(output)
    }

    fn end(&mut self, output: &mut [u8]) -> Result<usize, c_int> {
        assert!(output.len() >= SLACK);
        self.is_over = true;
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
        if !self.is_over {
            let _ = self.end(&mut [0; SLACK]);
        }
    }
}

fn check_iv(iv: &[u8]) {
    assert!(iv.len() == 16, "the server reads 16 bytes of IV whatever length it is told");
}

/// Mode numbers of the server's `my_aes_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With or without padding.
    Cbc = 1,
    /// No padding.
    Ctr = 2,
    /// A tag behind the ciphertext.
    Gcm = 3,
}

/// `ENCRYPTION_FLAG_DECRYPT`
pub const DECRYPT: c_int = 0;
/// `ENCRYPTION_FLAG_ENCRYPT`
pub const ENCRYPT: c_int = 1;
/// `ENCRYPTION_FLAG_NOPAD`
pub const NOPAD: c_int = 2;

const LIBRARY: &str = "libmariadbd.so.19";

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
type SizeFn = unsafe extern "C" fn(c_int, c_uint) -> c_uint;
type CtxSizeFn = unsafe extern "C" fn(c_int) -> c_uint;
