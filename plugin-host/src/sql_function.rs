//! A function for SQL in a plugin's library, called as by a statement (sql/sql_udf.cc and sql/item_func.cc of the server).

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_uint, c_ulong, c_void};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, ensure};
use libloading::Library;

/// `UDF_INIT`
#[repr(C)]
#[derive(Debug)]
struct Init {
    maybe_null: c_char,
    decimals: c_uint,
    max_length: c_ulong,
    ptr: *mut c_char,
    const_item: c_char,
    extension: *mut c_void,
}

/// `UDF_ARGS`
#[repr(C)]
struct Args {
    arg_count: c_uint,
    pointers: [*mut c_void; 7],
}

/// The server's memory for the reason of a failure: `MYSQL_ERRMSG_SIZE`.
const MESSAGE_SIZE: usize = 512;

/// `MAX_FIELD_WIDTH`: the server's memory for a short answer.
const ANSWER_SIZE: usize = 766;

type Begin = unsafe extern "C" fn(*mut Init, *mut Args, *mut c_char) -> c_char;
type Text =
    unsafe extern "C" fn(*mut Init, *mut Args, *mut c_char, *mut c_ulong, *mut c_char, *mut c_char) -> *const c_char;
type End = unsafe extern "C" fn(*mut Init);

/// A function that answers a text and takes no arguments. The server has a handle of its own to the library, whether the
/// plugin in it is initialised or not.
#[derive(Debug)]
pub struct SqlFunction {
    begin: Begin,
    text: Text,
    end: End,
    _library: Library,
}

impl SqlFunction {
    /// As `CREATE FUNCTION name RETURNS STRING SONAME library`.
    pub fn create(library: &Path, name: &str) -> Result<Self> {
        // SAFETY: the file is trusted, as a server trusts its plugins.
        let library = unsafe { Library::new(library) }.with_context(|| format!("loading {}", library.display()))?;
        // SAFETY: what has this name in a library is a function of this type; so below.
        let begin = *unsafe { library.get::<Begin>(format!("{name}_init").as_bytes()) }?;
        // SAFETY: as above.
        let text = *unsafe { library.get::<Text>(name.as_bytes()) }?;
        // SAFETY: as above.
        let end = *unsafe { library.get::<End>(format!("{name}_deinit").as_bytes()) }?;
        Ok(Self { begin, text, end, _library: library })
    }

    /// A statement of an account that has the right PROCESS or not, which passes so many arguments. The inner error is the
    /// one that the function gives the statement.
    pub fn statement(&self, has_process: bool, arguments: u32) -> Result<Result<Statement<'_>, String>> {
        let mut init = Box::new(Init {
            maybe_null: 0,
            decimals: 31,
            max_length: 255,
            ptr: ptr::null_mut(),
            const_item: 1,
            extension: ptr::null_mut(),
        });
        let mut args = Box::new(Args { arg_count: arguments, pointers: [ptr::null_mut(); 7] });
        let mut message = [0x55_u8; MESSAGE_SIZE + 1];
        ACCOUNT.set(if has_process { Account::WithProcess } else { Account::Without });
        // SAFETY: what a server passes.
        let failed = unsafe { (self.begin)(&raw mut *init, &raw mut *args, message.as_mut_ptr().cast()) };
        ACCOUNT.set(Account::None);
        ensure!(message.last() == Some(&0x55), "the function has written beyond the memory for its message");
        if failed != 0 {
            let text = CStr::from_bytes_until_nul(&message).context("the message has no end")?;
            return Ok(Err(text.to_string_lossy().into_owned()));
        }
        Ok(Ok(Statement { function: self, init, args }))
    }
}

/// A statement that has begun. Dropped, it ends.
#[derive(Debug)]
pub struct Statement<'function> {
    function: &'function SqlFunction,
    init: Box<Init>,
    args: Box<Args>,
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} arguments", self.arg_count)
    }
}

impl Statement<'_> {
    /// What the function answers for a row; `None` is NULL.
    pub fn text(&mut self) -> Result<Option<String>> {
        let mut answer = [0_u8; ANSWER_SIZE];
        let (mut length, mut is_null, mut error) = (ANSWER_SIZE as c_ulong, 0, 0);
        let (init, args) = (&raw mut *self.init, &raw mut *self.args);
        let place = answer.as_mut_ptr().cast();
        // SAFETY: what a server passes, for a statement that has begun.
        let text =
            unsafe { (self.function.text)(init, args, place, &raw mut length, &raw mut is_null, &raw mut error) };
        ensure!(error == 0, "the function has failed");
        if text.is_null() || is_null != 0 {
            return Ok(None);
        }
        ensure!(self.init.maybe_null == 1, "the function has not said that it may be NULL");
        ensure!(length <= self.init.max_length, "the server would cut the text of {length} bytes");
        // SAFETY: the function has said so.
        let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length as usize) };
        Ok(Some(String::from_utf8(text.to_vec())?))
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: the statement has begun, and ends once.
        unsafe { (self.function.end)(&raw mut *self.init) };
    }
}

/// The connection that the calling thread works for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Account {
    None,
    Without,
    WithProcess,
}

thread_local! {
    static ACCOUNT: Cell<Account> = const { Cell::new(Account::None) };
}

/// What a server has, so that a function can ask who calls it. Programs have the two if they are linked with
/// `--export-dynamic-symbol`.
#[unsafe(no_mangle)]
extern "C" fn _current_thd() -> *mut c_void {
    match ACCOUNT.get() {
        Account::None => ptr::null_mut(),
        Account::Without => ptr::without_provenance_mut(1),
        Account::WithProcess => ptr::without_provenance_mut(2),
    }
}

/// Whether the account lacks a right: `PROCESS_ACL` is the one that is known here.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the server's name for it")]
extern "C" fn _Z19check_global_accessP3THD11privilege_tb(thd: *mut c_void, right: u64, no_errors: bool) -> bool {
    !(thd.addr() == 2 && right == 1 << 8 && no_errors)
}
