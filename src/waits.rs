//! Every wait of the plugin ends within a second when the server stops, or when the statement that waits is killed.
//!
//! Whoever waits asks several times a second, on the thread that waits: what ends a wait depends on the thread. `abi`
//! knows the server, and says once how to ask.

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Says how to find out whether the calling thread is to wait no longer. The first caller in a process decides.
pub fn ask_whether_to_end(ask: fn() -> bool) {
    // A second init of the plugin says the same.
    let _ = ASK.set(ask);
}

/// Whether the calling thread is to wait no longer.
pub fn must_end() -> bool {
    #[cfg(test)]
    if tests::MUST_END.get() {
        return true;
    }
    ASK.get().is_some_and(|ask| ask())
}

/// Waits for `time`. `false` if the wait had to end before.
pub fn pause(time: Duration) -> bool {
    let until = Instant::now() + time;
    while !must_end() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(ASK_EVERY));
    }
    false
}

/// Waits for a message until `until`. What is on its way already when the wait has to end gets half a second. `None`
/// without a message.
pub fn receive<T>(receiver: &Receiver<T>, until: Instant) -> Option<T> {
    let begun = Instant::now();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(ASK_EVERY)) {
            Ok(message) => return Some(message),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return None,
            // Asked in each round, as asking also tells systemd that the start goes on.
            Err(RecvTimeoutError::Timeout) if must_end() && begun.elapsed() >= LAST_CHANCE => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

static ASK: OnceLock<fn() -> bool> = OnceLock::new();

const ASK_EVERY: Duration = Duration::from_millis(100);
const LAST_CHANCE: Duration = Duration::from_millis(500);

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::sync::mpsc;

    use super::*;

    thread_local! {
        /// Ends the waits of a test's thread.
        pub(crate) static MUST_END: Cell<bool> = const { Cell::new(false) };
    }

    #[test]
    fn a_pause_lasts_its_time_unless_it_has_to_end() {
        let begun = Instant::now();
        assert!(pause(Duration::from_millis(250)));
        assert!(begun.elapsed() >= Duration::from_millis(250));
        MUST_END.set(true);
        assert!(!pause(Duration::from_secs(60)));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_message_on_its_way_is_still_received_when_the_wait_has_to_end() {
        MUST_END.set(true);
        let (sender, receiver) = mpsc::channel();
        let until = Instant::now() + Duration::from_secs(60);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                sender.send(7).expect("somebody waits");
            });
            assert_eq!(receive(&receiver, until), Some(7));
        });
        let begun = Instant::now();
        assert_eq!(receive(&receiver, until), None);
        assert!((400..1000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }

    #[test]
    fn nothing_is_received_after_its_time_or_when_nobody_can_send_any_more() {
        let (sender, receiver) = mpsc::channel::<()>();
        let begun = Instant::now();
        assert_eq!(receive(&receiver, begun + Duration::from_millis(200)), None);
        assert!(begun.elapsed() >= Duration::from_millis(200));
        drop(sender);
        assert_eq!(receive(&receiver, begun + Duration::from_secs(60)), None);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
