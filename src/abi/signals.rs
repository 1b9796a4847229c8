//! The signals that stop a server, while it does not take them yet.
//!
//! From its first moments on, the server's main thread has them blocked. Its thread for signals takes them, and that one is
//! made after the plugins were initialised (`start_signal_handler` in sql/mysqld.cc): until then, they stay pending.

use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use super::server::Server;
use crate::keystore::Job;

/// A signal that is to stop the server, and that nobody has taken yet.
pub(super) fn pending_stop() -> Option<Signal> {
    let mut pending: libc::sigset_t = *SigSet::empty().as_ref();
    // SAFETY: the pointer is to a live local of the right type.
    if unsafe { libc::sigpending(&raw mut pending) } != 0 {
        return None;
    }
    // SAFETY: the set is one of the system's own.
    let pending = unsafe { SigSet::from_sigset_t_unchecked(pending) };
    STOPS.into_iter().find(|stop| pending.contains(*stop))
}

/// Lets a pending signal do what it does in a program that knows nothing of it: end the process. Returns only if that
/// cannot be.
///
/// For a start that waits for its keys, before any storage engine but Aria has opened its files. The server would only hear
/// of the signal at the end of its start: it would let InnoDB recover without its keys first, and with `ON` 10.11 would then,
/// one time in four, wait for ever in `init_slave` for a thread that has ended already.
pub(super) fn let_through(stop: Signal) {
    // SIGQUIT would leave a core dump.
    let end = if stop == Signal::SIGQUIT { Signal::SIGTERM } else { stop };
    // SAFETY: SIG_DFL is valid for these signals. Nobody else depends on the server's own action for them: it is a handler
    // that writes a line to the log.
    unsafe { libc::signal(end as libc::c_int, libc::SIG_DFL) };
    let mut set = SigSet::empty();
    set.add(end);
    let _ = set.thread_unblock();
    // Delivered before it returns.
    let _ = nix::sys::signal::raise(end);
    let _ = set.thread_block();
}

/// Takes a pending signal, and raises it again when the server is up ([`RaiseWhenStarted`]). For a start that waits for a
/// key when storage engines are at work already: they are to be ended in order, which the server can do once it is up.
pub(super) fn put_aside() {
    let Some(stop) = pending_stop() else { return };
    let mut set = SigSet::empty();
    set.add(stop);
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set and the time are live, and no information on the signal is asked for.
    let taken = unsafe { libc::sigtimedwait(set.as_ref(), ptr::null_mut(), &raw const at_once) };
    if taken > 0 {
        PUT_ASIDE.store(taken, Ordering::SeqCst);
    }
}

/// Whether a signal was put aside, and not raised again yet.
pub(super) fn is_put_aside() -> bool {
    PUT_ASIDE.load(Ordering::SeqCst) != 0
}

/// Raises again what was put aside, when the server is up.
pub(super) struct RaiseWhenStarted;

impl Job for RaiseWhenStarted {
    fn name(&self) -> &'static str {
        "raise a signal that was put aside"
    }

    fn run(&mut self, now: Instant) -> Option<Instant> {
        if Server::current().is_starting() {
            return Some(now + LOOK_EVERY);
        }
        if let Ok(stop) = Signal::try_from(PUT_ASIDE.swap(0, Ordering::SeqCst)) {
            // It is a signal for the process itself, which exists.
            let _ = nix::sys::signal::kill(Pid::this(), stop);
        }
        None
    }
}

static PUT_ASIDE: AtomicI32 = AtomicI32::new(0);

const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

const LOOK_EVERY: Duration = Duration::from_millis(200);

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// Blocked signals are pending for the thread alone, if they are raised for it alone.
    #[test]
    fn a_blocked_signal_is_seen_and_taken_and_another_is_not() {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGHUP);
        set.thread_block().expect("blocked");
        assert_eq!(pending_stop(), None);
        nix::sys::signal::raise(Signal::SIGHUP).expect("raised");
        assert_eq!(pending_stop(), None, "it stops no server");
        nix::sys::signal::raise(Signal::SIGINT).expect("raised");
        assert_eq!(pending_stop(), Some(Signal::SIGINT));
        assert!(!is_put_aside());
        put_aside();
        assert_eq!((pending_stop(), is_put_aside()), (None, true));
        PUT_ASIDE.store(0, Ordering::SeqCst);
    }
}
