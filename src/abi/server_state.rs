//! How the server is: still starting, running, or on its way down; and whether the statement of a thread was killed.
//!
//! The names are the same in 10.5, 10.11 and 11.8. mariadb-backup has all of them too, and never sets them.

use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use super::error_log::ErrorLog;
use super::server::Server;
use super::{signals, systemd};
use crate::keystore::{Reporter, Role};
use crate::own_threads;

/// Whether the server has not said yet that it takes connections, or is a bootstrap (mariadb-install-db), which never does.
/// `mysqld_server_initialized` is no answer: it is set before the plugins are initialised.
pub(super) fn is_starting() -> bool {
    is_server() && Symbols::found().started.is_some_and(|started| started.load(Ordering::Relaxed) == 0)
}

/// Whether this is a bootstrap, which ends without ever having been up.
pub(super) fn is_bootstrap() -> bool {
    Symbols::found().bootstrap.is_some_and(|bootstrap| bootstrap.load(Ordering::Relaxed) != 0)
}

/// Whether the calling thread is to wait no longer: see [`crate::waits`]. While the server is starting, tells systemd that
/// it is at work, and takes care of a signal that is to stop it.
pub(super) fn must_wait_no_longer() -> bool {
    if PHASE.load(Ordering::Relaxed) == Phase::Ending as u8 {
        return true;
    }
    if own_threads::is_current() || !is_server() {
        return false;
    }
    if is_starting() {
        systemd::extend_start();
        return is_stopped_while_starting();
    }
    let symbols = Symbols::found();
    let statement = symbols.current_thd.map_or(std::ptr::null_mut(), |current_thd| current_thd());
    if statement.is_null() {
        return symbols.abort_loop.is_some_and(|abort_loop| abort_loop.load(Ordering::Relaxed) != 0);
    }
    // SAFETY: the statement is the one that the calling thread executes, so it lives.
    symbols.thd_killed.is_some_and(|thd_killed| unsafe { thd_killed(statement) } != 0)
}

fn is_stopped_while_starting() -> bool {
    if signals::is_put_aside() {
        return true;
    }
    let Some(stop) = signals::pending_stop() else { return false };
    if PHASE.load(Ordering::Relaxed) == Phase::Initialised as u8 {
        // A bootstrap is never up, and what it makes is useless if it is stopped.
        if is_bootstrap() { signals::let_through(stop) } else { signals::put_aside() }
    }
    true
}

/// After an init that failed: ends the process if that was because it is to stop.
pub(super) fn end_if_stopped() {
    if is_starting()
        && let Some(stop) = signals::pending_stop()
    {
        ErrorLog.note(&format!("the server is stopped by {stop}, while it starts"));
        signals::let_through(stop);
    }
}

/// Where the plugin is in its life.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Initialising,
    Initialised,
    /// All its waits end.
    Ending,
}

/// To be called when the plugin enters a phase.
pub(super) fn set_phase(phase: Phase) {
    PHASE.store(phase as u8, Ordering::Relaxed);
}

static PHASE: AtomicU8 = AtomicU8::new(Phase::Initialising as u8);

fn is_server() -> bool {
    Server::current().role() == Role::Server
}

/// What the process has of these. The variables are `bool`, a byte each, which other threads write.
struct Symbols {
    /// `mysqld_server_started` (sql/mysqld.cc)
    started: Option<&'static AtomicU8>,
    /// `opt_bootstrap` (sql/mysqld.cc)
    bootstrap: Option<&'static AtomicU8>,
    /// `abort_loop` (sql/mysqld.cc)
    abort_loop: Option<&'static AtomicU8>,
    current_thd: Option<CurrentThd>,
    thd_killed: Option<ThdKilled>,
}

/// `THD *_current_thd()` (sql/sql_class.cc): the connection that the calling thread works for, or NULL.
type CurrentThd = extern "C" fn() -> *mut c_void;

/// `int thd_killed(const MYSQL_THD thd)` (include/mysql/plugin.h).
type ThdKilled = unsafe extern "C" fn(*const c_void) -> c_int;

impl Symbols {
    fn found() -> &'static Self {
        static SYMBOLS: OnceLock<Symbols> = OnceLock::new();
        SYMBOLS.get_or_init(|| {
            let current_thd = symbol(c"_current_thd");
            let thd_killed = symbol(c"thd_killed");
            Self {
                started: variable(c"mysqld_server_started"),
                bootstrap: variable(c"opt_bootstrap"),
                abort_loop: variable(c"abort_loop"),
                // SAFETY: the type is a nullable pointer to a function, and the symbol is a function of this type.
                current_thd: unsafe { std::mem::transmute::<*mut c_void, Option<CurrentThd>>(current_thd) },
                // SAFETY: the type is a nullable pointer to a function, and the symbol is a function of this type.
                thd_killed: unsafe { std::mem::transmute::<*mut c_void, Option<ThdKilled>>(thd_killed) },
            }
        })
    }
}

fn variable(name: &CStr) -> Option<&'static AtomicU8> {
    // SAFETY: the symbol is a variable of one byte, which lasts as long as the process.
    unsafe { symbol(name).cast::<AtomicU8>().as_ref() }
}

/// The address of a symbol of the process, or NULL.
fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends in NUL; RTLD_DEFAULT is a valid handle.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}
