//! What the plugin uses of the process that it is loaded into. Looked up by name at run time: the symbols for services
//! that a plugin can export carry versions, and 11.8 refuses those of 10.11.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::keystore::Role;

/// The process's own functions and variables, as far as it has them.
pub(super) struct Server {
    print_error: Option<PrintError>,
    current_thd: Option<CurrentThd>,
    /// mariadb-backup prints errors by a function that drops what is meant for the error log only.
    drops_log_lines: bool,
    role: Role,
}

/// `void my_printf_error(uint error, const char *format, myf flags, ...)`; mariadbd and mariadb-backup have it in all
/// versions. The text is cut at 511 bytes.
type PrintError = unsafe extern "C" fn(c_uint, *const c_char, c_ulong, ...);

/// `THD *_current_thd()`: the connection that the calling thread works for, or NULL.
type CurrentThd = unsafe extern "C" fn() -> *mut c_void;

impl Server {
    /// Looked up at the first call.
    pub(super) fn current() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::look_up)
    }

    /// Whether this is a server or mariadb-backup, which exports `mariabackup_exe` in 10.5 to 11.8.
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// The folder of an incremental backup that mariadb-backup is about to apply: a key that was made after the full
    /// backup has its file only there.
    pub(super) fn incremental_backup(&self) -> Option<PathBuf> {
        let variable = symbol(c"xtrabackup_incremental_dir").cast::<*const c_char>();
        if variable.is_null() {
            return None;
        }
        // SAFETY: the symbol is a variable that holds a pointer to a string, which is set before the plugin is loaded.
        let folder = unsafe { *variable };
        if folder.is_null() {
            return None;
        }
        // SAFETY: not NULL, and a string of the command line, which ends in NUL.
        let folder = unsafe { CStr::from_ptr(folder) };
        Some(PathBuf::from(OsStr::from_bytes(folder.to_bytes())))
    }

    /// Whether the calling thread executes a statement of a connection.
    pub(super) fn has_statement(&self) -> bool {
        match self.current_thd {
            // SAFETY: the symbol `_current_thd` is a function of this type in all versions that export it; it has no
            // preconditions.
            Some(current_thd) => !unsafe { current_thd() }.is_null(),
            None => false,
        }
    }

    /// Hands `text` to the server's error function. `false` if it has none, or would drop the text.
    pub(super) fn print_error(&self, flags: c_ulong, text: &CStr) -> bool {
        match self.print_error {
            Some(print_error) if !self.drops_log_lines => {
                // SAFETY: the symbol `my_printf_error` is a function of this type in all versions; the format takes one
                // string, and gets one that ends in NUL and lives through the call.
                unsafe { print_error(ER_UNKNOWN_ERROR, c"%s".as_ptr(), flags, text.as_ptr()) };
                true
            }
            _ => false,
        }
    }

    fn look_up() -> Self {
        // SAFETY: the type is a nullable pointer to a function, and the symbol is a function of this type (include/my_sys.h
        // of the server).
        let print_error = unsafe { std::mem::transmute::<*mut c_void, Option<PrintError>>(symbol(c"my_printf_error")) };
        // SAFETY: as above (sql/sql_class.h of the server).
        let current_thd = unsafe { std::mem::transmute::<*mut c_void, Option<CurrentThd>>(symbol(c"_current_thd")) };
        let hook = symbol(c"error_handler_hook").cast::<*mut c_void>();
        let to_stderr = symbol(c"my_message_stderr");
        // SAFETY: the symbol `error_handler_hook`, where it exists, is a variable that holds a pointer to a function.
        let drops_log_lines = !hook.is_null() && !to_stderr.is_null() && unsafe { *hook } == to_stderr;
        let role = if symbol(c"mariabackup_exe").is_null() { Role::Server } else { Role::Backup };
        Self { print_error, current_thd, drops_log_lines, role }
    }
}

/// `ER_UNKNOWN_ERROR`, SQL state HY000: for messages of one's own.
const ER_UNKNOWN_ERROR: c_uint = 1105;

/// The address of a symbol of the process, or NULL.
fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends in NUL; RTLD_DEFAULT is a valid handle.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// The local time, as the server's error log begins its lines: `2026-11-24  3:30:00`.
pub(super) fn log_time() -> String {
    let now: libc::time_t = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| libc::time_t::try_from(since.as_secs()).unwrap_or(0));
    // SAFETY: `tm` is a struct of integers and a pointer that may be NULL.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals.
    unsafe { libc::localtime_r(&raw const now, &raw mut parts) };
    let libc::tm { tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec, .. } = parts;
    let (year, month): (c_int, c_int) = (tm_year + 1900, tm_mon + 1);
    format!("{year}-{month:02}-{tm_mday:02} {tm_hour:2}:{tm_min:02}:{tm_sec:02}")
}
