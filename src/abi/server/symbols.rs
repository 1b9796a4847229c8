//! The symbols of the process that the plugin uses, with their types. Looked up by name at run time: the symbols for
//! services that a plugin can export carry versions, and 11.8 refuses those of 10.11.

use std::ffi::{CStr, c_int, c_uint, c_ulong, c_void};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8};

use super::super::server_text::{PluginText, ServerText, ServerTextVariable};

/// Answers the address of the symbol of a name, or NULL.
pub(super) type LookUp = fn(&CStr) -> *mut c_void;

/// What the process has of the symbols.
#[derive(Clone, Copy)]
pub(super) struct Symbols(LookUp);

/// A symbol, and what it is in all versions of the server and of mariadb-backup that have it.
pub(super) struct Symbol<T> {
    name: &'static CStr,
    is: PhantomData<fn() -> T>,
}

/// `void my_message(uint error, const char *str, myf MyFlags)`: reports an error, by the function below (include/my_sys.h).
pub(super) const MY_MESSAGE: Symbol<Message> = Symbol::new(c"my_message");
pub(super) type Message = extern "C" fn(c_uint, PluginText<'_>, c_ulong);

/// A variable that points to the function which gets all errors (include/my_sys.h).
pub(super) const ERROR_HANDLER_HOOK: Symbol<AtomicPtr<c_void>> = Symbol::new(c"error_handler_hook");

/// What a server puts there before it initialises plugins (sql/mysqld.cc).
pub(super) const MY_MESSAGE_SQL: Symbol<c_void> = Symbol::new(c"my_message_sql");

/// What mariadb-backup leaves there (mysys/my_mess.c). It drops what is meant for the error log only.
pub(super) const MY_MESSAGE_STDERR: Symbol<c_void> = Symbol::new(c"my_message_stderr");

/// `THD *_current_thd()`: the connection that the calling thread works for, or NULL (sql/sql_class.cc).
pub(super) const CURRENT_THD: Symbol<CurrentThd> = Symbol::new(c"_current_thd");
pub(super) type CurrentThd = extern "C" fn() -> Option<&'static Thd>;

/// A connection of the server's. It lives as long as the calling thread works for it, so it stays on that thread.
#[repr(C)]
pub(super) struct Thd([u8; 0], PhantomData<*mut c_void>);

/// `int thd_killed(const MYSQL_THD thd)`: whether the statement of a connection is to end (sql/sql_class.cc). It reads what
/// the connection is, so NULL would be its end.
pub(super) const THD_KILLED: Symbol<ThdKilled> = Symbol::new(c"thd_killed");
pub(super) type ThdKilled = extern "C" fn(&Thd) -> c_int;

/// `const char *thd_priv_user(MYSQL_THD thd, size_t *length)`: the user of the account that a connection has, an empty text
/// for the anonymous one. It has no other end than that of the statement (sql/sql_class.cc).
pub(super) const THD_PRIV_USER: Symbol<PartOfAccount> = Symbol::new(c"thd_priv_user");

/// `thd_priv_host`: the same of its host.
pub(super) const THD_PRIV_HOST: Symbol<PartOfAccount> = Symbol::new(c"thd_priv_host");
pub(super) type PartOfAccount = extern "C" fn(&Thd, &mut usize) -> ServerText;

/// `bool check_global_access(THD *thd, privilege_t want_access, bool no_errors)`: whether the account of a connection lacks a
/// global right (sql/sql_parse.cc; a C++ symbol, seen in 10.5.23, 10.11.19 and 11.8.9). `privilege_t` is an enumeration of
/// 64 bits (sql/privilege.h).
pub(super) const CHECK_GLOBAL_ACCESS: Symbol<CheckGlobalAccess> =
    Symbol::new(c"_Z19check_global_accessP3THD11privilege_tb");
pub(super) type CheckGlobalAccess = extern "C" fn(&Thd, u64, bool) -> bool;

/// `PROCESS_ACL` (sql/privilege.h).
pub(super) const PROCESS: u64 = 1 << 8;

/// `int mysqld_server_started`: 1 from the moment on at which the server takes connections; stays 0 in a bootstrap and with
/// `--wsrep-recover` (sql/mysqld.cc; seen on 10.5.23, 10.11.19 and 11.8.9). mariadb-backup has it too, and never sets it.
pub(super) const MYSQLD_SERVER_STARTED: Symbol<AtomicI32> = Symbol::new(c"mysqld_server_started");

/// `int mysqld_server_initialized`: set by a server before it initialises plugins, and never by mariadb-backup, which has it
/// too (sql/mysqld.cc).
pub(super) const MYSQLD_SERVER_INITIALIZED: Symbol<AtomicI32> = Symbol::new(c"mysqld_server_initialized");

/// `my_bool opt_bootstrap`: the option `--bootstrap`, as mariadb-install-db uses it (sql/mysqld.cc).
pub(super) const OPT_BOOTSTRAP: Symbol<AtomicU8> = Symbol::new(c"opt_bootstrap");

/// `my_bool wsrep_recovery`: the option `--wsrep-recover` (sql/wsrep_mysqld.cc).
pub(super) const WSREP_RECOVERY: Symbol<AtomicU8> = Symbol::new(c"wsrep_recovery");

/// `char *wsrep_provider`: the library of the cluster; `none`, or empty, without one (sql/wsrep_mysqld.cc).
pub(super) const WSREP_PROVIDER: Symbol<ServerTextVariable> = Symbol::new(c"wsrep_provider");

/// `const char *wsrep_sst_method`: how a node gets all data from another one, such as `rsync` or `mariabackup`
/// (sql/wsrep_sst.cc).
pub(super) const WSREP_SST_METHOD: Symbol<ServerTextVariable> = Symbol::new(c"wsrep_sst_method");

/// `my_bool opt_help`: the option `--help` (sql/mysqld.cc).
pub(super) const OPT_HELP: Symbol<AtomicU8> = Symbol::new(c"opt_help");

/// A `bool` that is set when the server goes down (sql/mysqld.cc).
pub(super) const ABORT_LOOP: Symbol<AtomicU8> = Symbol::new(c"abort_loop");

/// Variables of mariadb-backup, whatever they are, in 10.5 to 11.8; no server has any of them
/// (extra/mariabackup/xtrabackup.cc).
pub(super) const OF_MARIADB_BACKUP: [Symbol<c_void>; 4] = [
    Symbol::new(c"mariabackup_exe"),
    Symbol::new(c"xtrabackup_backup"),
    Symbol::new(c"xtrabackup_prepare"),
    Symbol::new(c"xtrabackup_copy_back"),
];

/// mariadb-backup's option `--incremental-dir`: a string or NULL (extra/mariabackup/xtrabackup.cc).
pub(super) const XTRABACKUP_INCREMENTAL_DIR: Symbol<ServerTextVariable> = Symbol::new(c"xtrabackup_incremental_dir");

impl<T> Symbol<T> {
    /// The table above is where types are claimed, as in an `extern` block.
    const fn new(name: &'static CStr) -> Self {
        Self { name, is: PhantomData }
    }
}

impl Symbols {
    /// Those of the process that the plugin is loaded into.
    pub(super) fn of_the_process() -> Self {
        // SAFETY: the name ends in NUL, and RTLD_DEFAULT is a valid handle.
        Self(|name| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
    }

    /// # Safety
    /// What `look_up` answers is, if not NULL, the address of something that lasts and is what the table above says.
    #[cfg(test)]
    pub(super) unsafe fn made_up(look_up: LookUp) -> Self {
        Self(look_up)
    }

    /// Where a symbol is, or NULL.
    pub(super) fn address<T>(self, symbol: &Symbol<T>) -> *mut c_void {
        (self.0)(symbol.name)
    }

    pub(super) fn has<T>(self, symbol: &Symbol<T>) -> bool {
        !self.address(symbol).is_null()
    }

    /// A variable.
    pub(super) fn variable<T>(self, symbol: &Symbol<T>) -> Option<&'static T> {
        // SAFETY: what lies there is a `T`, as the table says, and it lasts as long as the process. Types that others
        // write are atomic.
        unsafe { self.address(symbol).cast::<T>().as_ref() }
    }

    /// A function. `F` is the type of a pointer to it.
    pub(super) fn function<F: Copy>(self, symbol: &Symbol<F>) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.address(symbol);
        // SAFETY: `F` has the size of a pointer, and it is one to a function of the type that lies there, as the table says.
        (!address.is_null()).then(|| unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }
}
