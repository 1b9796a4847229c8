//! The threads that the plugin makes: they take none of the server's signals, and call none of its functions.

use std::cell::Cell;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Runs `make_threads` with the server's signals blocked: a new thread inherits the mask of the thread that makes it, so
/// there is no moment without the mask. What a thread's own fault raises stays open, for the server's stack trace.
pub(crate) fn without_signals<T>(make_threads: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut signals = SigSet::all();
    for own in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGTRAP] {
        signals.remove(own);
    }
    let _before = MaskBefore(signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?);
    make_threads()
}

/// To be called first on a thread of the plugin's own.
pub(crate) fn enter() {
    IS_OWN.set(true);
}

/// Whether the calling thread is one of the plugin's own. The server's functions may be called on all others only.
pub(crate) fn is_current() -> bool {
    IS_OWN.get()
}

thread_local! {
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Gives the calling thread its mask back, also after a panic.
struct MaskBefore(SigSet);

impl Drop for MaskBefore {
    fn drop(&mut self) {
        // It was the thread's mask before, so it is valid.
        let _ = self.0.thread_set_mask();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_the_plugin_has_the_stop_signals_blocked_and_its_maker_has_its_mask_back() {
        let before = SigSet::thread_get_mask().expect("a mask");
        let thread = without_signals(|| {
            Ok(std::thread::spawn(|| {
                enter();
                (SigSet::thread_get_mask().expect("a mask"), is_current())
            }))
        });
        let (mask, is_own) = thread.expect("a thread").join().expect("no panic");
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
            assert!(mask.contains(signal), "{signal}");
        }
        assert!(!mask.contains(Signal::SIGSEGV));
        assert!(is_own && !is_current());
        assert_eq!(SigSet::thread_get_mask().expect("a mask"), before);
    }
}
