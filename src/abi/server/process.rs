//! The process's own functions and variables, as far as it has them.

use std::ffi::{CStr, OsString, c_uint, c_ulong};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::super::server_text::{PluginText, ServerTextVariable};
use super::symbols::{
    CURRENT_THD, CurrentThd, ERROR_HANDLER_HOOK, MARIABACKUP_EXE, MY_MESSAGE, MY_MESSAGE_STDERR, Message, Symbols,
    XTRABACKUP_INCREMENTAL_DIR,
};
use crate::keystore::Role;

/// The server, or mariadb-backup.
pub(in crate::abi) struct Server {
    message: Option<Message>,
    current_thd: Option<CurrentThd>,
    incremental_dir: Option<&'static ServerTextVariable>,
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
        self.current_thd.is_some_and(|current_thd| !current_thd().is_null())
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

/// `ER_UNKNOWN_ERROR`, SQL state HY000: for messages of one's own.
const ER_UNKNOWN_ERROR: c_uint = 1105;
