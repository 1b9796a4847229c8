//! When the plugin waits no longer: see [`crate::waits`].

use std::sync::atomic::{AtomicU8, Ordering};

use super::error_log::ErrorLog;
use super::server::Server;
use super::{signals, systemd};
use crate::keystore::{Reporter, Role};
use crate::own_threads;

/// Whether the calling thread is to wait no longer. While the server is starting, tells systemd that it is at work, and
/// takes care of a signal that is to stop it.
pub(super) fn must_end() -> bool {
    if PHASE.load(Ordering::Relaxed) == Phase::Ending as u8 {
        return true;
    }
    let server = Server::current();
    // The plugin's own thread has a signal to raise again, which waits behind its other jobs.
    if own_threads::is_current() {
        return signals::is_put_aside();
    }
    // A signal ends mariadb-backup, waiting or not.
    if server.role() == Role::Backup {
        return false;
    }
    if server.is_starting() {
        systemd::extend_start();
        return is_stopped_while_starting(server);
    }
    server.ends_waits()
}

/// After an init that failed: ends the process if that was because it is to stop.
pub(super) fn end_if_stopped() {
    if Server::current().is_starting()
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

fn is_stopped_while_starting(server: &Server) -> bool {
    if signals::is_put_aside() {
        return true;
    }
    let Some(stop) = signals::pending_stop() else { return false };
    if PHASE.load(Ordering::Relaxed) == Phase::Initialised as u8 {
        // It is never up. What a bootstrap makes is useless if it is stopped; a recovery is done once more.
        if server.never_serves() { signals::let_through(stop) } else { signals::put_aside() }
    }
    true
}

static PHASE: AtomicU8 = AtomicU8::new(Phase::Initialising as u8);
