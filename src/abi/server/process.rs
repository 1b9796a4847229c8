//! The process's own functions and variables, as far as it has them.

use std::ffi::{CStr, OsString, c_uint, c_ulong};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use super::super::server_text::{PluginText, ServerTextVariable};
use super::symbols::{
    ABORT_LOOP, CURRENT_THD, CurrentThd, ERROR_HANDLER_HOOK, MARIABACKUP_EXE, MY_MESSAGE, MY_MESSAGE_STDERR,
    MYSQLD_SERVER_STARTED, Message, OPT_BOOTSTRAP, Symbols, THD_KILLED, Thd, ThdKilled, XTRABACKUP_INCREMENTAL_DIR,
};
use crate::keystore::Role;

/// The server, or mariadb-backup.
pub(in crate::abi) struct Server {
    message: Option<Message>,
    current_thd: Option<CurrentThd>,
    incremental_dir: Option<&'static ServerTextVariable>,
    thd_killed: Option<ThdKilled>,
    started: Option<&'static AtomicU8>,
    bootstrap: Option<&'static AtomicU8>,
    abort_loop: Option<&'static AtomicU8>,
    /// mariadb-backup prints errors by a function that drops what is meant for the error log only.
    drops_log_lines: bool,
    role: Role,
}

impl Server {
    /// Looked up at the first call.
    pub(in crate::abi) fn current() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| Self::with(Symbols::of_the_process()))
    }

    pub(super) fn with(symbols: Symbols) -> Self {
        let hook = symbols.variable(&ERROR_HANDLER_HOOK).map(|hook| hook.load(Ordering::Relaxed));
        let to_stderr = symbols.address(&MY_MESSAGE_STDERR);
        Self {
            message: symbols.function(&MY_MESSAGE),
            current_thd: symbols.function(&CURRENT_THD),
            incremental_dir: symbols.variable(&XTRABACKUP_INCREMENTAL_DIR),
            thd_killed: symbols.function(&THD_KILLED),
            started: symbols.variable(&MYSQLD_SERVER_STARTED),
            bootstrap: symbols.variable(&OPT_BOOTSTRAP),
            abort_loop: symbols.variable(&ABORT_LOOP),
            drops_log_lines: !to_stderr.is_null() && hook == Some(to_stderr),
            role: if symbols.address(&MARIABACKUP_EXE).is_null() { Role::Server } else { Role::Backup },
        }
    }

    /// Whether this is a server or mariadb-backup.
    pub(in crate::abi) fn role(&self) -> Role {
        self.role
    }

    /// The folder of an incremental backup that mariadb-backup is about to apply: a key that was made after the full
    /// backup has its file only there.
    pub(in crate::abi) fn incremental_backup(&self) -> Option<PathBuf> {
        let folder = self.incremental_dir?.read().to_owned()?;
        Some(PathBuf::from(OsString::from_vec(folder.into_bytes())))
    }

    /// Whether the calling thread executes a statement of a connection.
    pub(in crate::abi) fn has_statement(&self) -> bool {
        self.statement().is_some()
    }

    /// Whether the server does not take connections yet. A bootstrap never does. `false` if it cannot be told, and in
    /// mariadb-backup.
    pub(in crate::abi) fn is_starting(&self) -> bool {
        self.role == Role::Server && self.started.is_some_and(|started| !is_set(started))
    }

    /// Whether this is a bootstrap, as of mariadb-install-db.
    pub(in crate::abi) fn is_bootstrap(&self) -> bool {
        self.bootstrap.is_some_and(is_set)
    }

    /// Whether the statement of the calling thread was killed; on a thread that executes none, whether the server goes down.
    pub(in crate::abi) fn ends_waits(&self) -> bool {
        match (self.statement(), self.thd_killed) {
            (Some(statement), Some(thd_killed)) => thd_killed(statement) != 0,
            (Some(_), None) => false,
            (None, _) => self.abort_loop.is_some_and(is_set),
        }
    }

    fn statement(&self) -> Option<&'static Thd> {
        self.current_thd.and_then(|current_thd| current_thd())
    }

    /// Hands `text` to the server's function for errors. `false` if it has none, or would drop the text.
    pub(in crate::abi) fn message(&self, flags: c_ulong, text: &CStr) -> bool {
        match self.message {
            Some(message) if !self.drops_log_lines => {
                message(ER_UNKNOWN_ERROR, PluginText::new(text), flags);
                true
            }
            _ => false,
        }
    }
}

/// Of a `bool` of the server's, which another thread may write.
fn is_set(flag: &AtomicU8) -> bool {
    flag.load(Ordering::Relaxed) != 0
}

/// `ER_UNKNOWN_ERROR`, SQL state HY000: for messages of one's own.
const ER_UNKNOWN_ERROR: c_uint = 1105;
