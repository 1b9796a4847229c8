//! The process's own functions and variables, as far as it has them.

use std::ffi::{CStr, OsString, c_uint, c_ulong};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use super::super::server_text::{PluginText, ServerTextVariable};
use super::role;
use super::symbols::{
    ABORT_LOOP, CHECK_GLOBAL_ACCESS, CURRENT_THD, CheckGlobalAccess, CurrentThd, ERROR_HANDLER_HOOK, MY_MESSAGE,
    MY_MESSAGE_STDERR, MYSQLD_SERVER_STARTED, Message, OPT_BOOTSTRAP, OPT_HELP, PROCESS, PartOfAccount, Symbols,
    THD_KILLED, THD_PRIV_HOST, THD_PRIV_USER, Thd, ThdKilled, WSREP_PROVIDER, WSREP_RECOVERY, WSREP_SST_METHOD,
    XTRABACKUP_INCREMENTAL_DIR,
};
use crate::keystore::Role;

/// The server, or mariadb-backup.
pub(in crate::abi) struct Server {
    message: Option<Message>,
    current_thd: Option<CurrentThd>,
    incremental_dir: Option<&'static ServerTextVariable>,
    thd_killed: Option<ThdKilled>,
    check_global_access: Option<CheckGlobalAccess>,
    user: Option<PartOfAccount>,
    host: Option<PartOfAccount>,
    started: Option<&'static AtomicI32>,
    bootstrap: Option<&'static AtomicU8>,
    wsrep_recovery: Option<&'static AtomicU8>,
    help: Option<&'static AtomicU8>,
    abort_loop: Option<&'static AtomicU8>,
    wsrep_provider: Option<&'static ServerTextVariable>,
    wsrep_sst_method: Option<&'static ServerTextVariable>,
    /// mariadb-backup prints errors by a function that drops what is meant for the error log only.
    drops_log_lines: bool,
    role: Option<Role>,
}

/// What a server was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::abi) enum Purpose {
    /// To take connections.
    Serve,
    /// To make the system tables, as by mariadb-install-db. Never takes connections.
    Bootstrap,
    /// To say at which position of the cluster it was. Never takes connections, and must leave nothing behind.
    WsrepRecovery,
    /// To print its options.
    Help,
}

impl Server {
    /// Looked up at the first call, which init makes.
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
            check_global_access: symbols.function(&CHECK_GLOBAL_ACCESS),
            user: symbols.function(&THD_PRIV_USER),
            host: symbols.function(&THD_PRIV_HOST),
            started: symbols.variable(&MYSQLD_SERVER_STARTED),
            bootstrap: symbols.variable(&OPT_BOOTSTRAP),
            wsrep_recovery: symbols.variable(&WSREP_RECOVERY),
            help: symbols.variable(&OPT_HELP),
            abort_loop: symbols.variable(&ABORT_LOOP),
            wsrep_provider: symbols.variable(&WSREP_PROVIDER),
            wsrep_sst_method: symbols.variable(&WSREP_SST_METHOD),
            drops_log_lines: !to_stderr.is_null() && hook == Some(to_stderr),
            role: role::from_signs(symbols),
        }
    }

    /// Whether this is a server or mariadb-backup; in doubt ([`Server::is_unknown`]) the one that writes nothing.
    pub(in crate::abi) fn role(&self) -> Role {
        match self.role {
            Some(Role::Server) if self.purpose() == Purpose::WsrepRecovery => Role::Recovery,
            role => role.unwrap_or(Role::Backup),
        }
    }

    /// Whether the signs of a server and of mariadb-backup are missing, or contradict each other.
    pub(in crate::abi) fn is_unknown(&self) -> bool {
        self.role.is_none()
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
        self.role() != Role::Backup && self.started.is_some_and(|started| started.load(Ordering::Relaxed) == 0)
    }

    /// Whether this server never takes connections: a bootstrap, as of mariadb-install-db, or a recovery for Galera.
    pub(in crate::abi) fn never_serves(&self) -> bool {
        matches!(self.purpose(), Purpose::Bootstrap | Purpose::WsrepRecovery)
    }

    /// Whether this is a node of a Galera cluster which gets its data by rsync, if another node sends it all. Only known while the
    /// server is starting.
    pub(in crate::abi) fn is_filled_by_rsync(&self) -> bool {
        let has = |variable: Option<&ServerTextVariable>, is: fn(&[u8]) -> bool| {
            variable.and_then(|variable| variable.read().to_owned()).is_some_and(|text| is(text.as_bytes()))
        };
        // Later, a SET GLOBAL may free what is read here.
        self.is_starting()
            && has(self.wsrep_provider, |provider| !matches!(provider, b"" | b"none"))
            && has(self.wsrep_sst_method, |method| method.starts_with(b"rsync"))
    }

    /// What the server was started for.
    pub(in crate::abi) fn purpose(&self) -> Purpose {
        if self.bootstrap.is_some_and(is_set) {
            Purpose::Bootstrap
        } else if self.wsrep_recovery.is_some_and(is_set) {
            Purpose::WsrepRecovery
        } else if self.help.is_some_and(is_set) {
            Purpose::Help
        } else {
            Purpose::Serve
        }
    }

    /// Whether the server goes down, or the statement of the calling thread was killed.
    pub(in crate::abi) fn ends_waits(&self) -> bool {
        // A thread of InnoDB's background may count as one of a statement that nobody kills, and is joined by the shutdown.
        let goes_down = self.abort_loop.is_some_and(is_set);
        let is_killed =
            || self.statement().zip(self.thd_killed).is_some_and(|(statement, thd_killed)| thd_killed(statement) != 0);
        goes_down || is_killed()
    }

    /// The account of the calling thread's connection, as `user@host`. `None` without a connection.
    pub(in crate::abi) fn account(&self) -> Option<String> {
        let statement = self.statement()?;
        let part = |part: PartOfAccount| {
            let text = part(statement, &mut 0).to_owned().unwrap_or_default();
            text.to_string_lossy().into_owned()
        };
        Some(format!("{}@{}", part(self.user?), part(self.host?)))
    }

    /// Whether the account of the calling thread's connection has the right PROCESS. `false` without a connection, and where
    /// the server cannot be asked.
    pub(in crate::abi) fn statement_has_process_privilege(&self) -> bool {
        let asked = self.statement().zip(self.check_global_access);
        asked.is_some_and(|(statement, lacks)| !lacks(statement, PROCESS, true))
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
