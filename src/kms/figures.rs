//! What the calls of KMS come to, in numbers that anybody may read at any time without waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Call;

/// The calls since the start, by operation, and the region that they go to.
#[derive(Debug, Default)]
pub struct Figures {
    calls: [Counters; Call::ALL.len()],
    /// Locked for a copy only.
    region: Mutex<String>,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    failed: AtomicU64,
    throttled: AtomicU64,
    retries: AtomicU64,
    time_us: AtomicU64,
    max_time_us: AtomicU64,
}

/// The calls of one operation, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that were made, whatever came of them, and those that are under way.
    pub calls: u64,
    /// Those that ended with an error, after all attempts. A call that was cancelled (KILL, the end of the server) is none of
    /// them: nobody knows what would have come of it.
    pub failed: u64,
    /// Attempts that KMS refused because there were too many.
    pub throttled: u64,
    /// Requests that were sent beyond the first of a call. So KMS has got `calls + retries` requests, less one for each call
    /// that failed before anything was sent.
    pub retries: u64,
    /// How long the calls took that ended or failed, in microseconds, with their retries and the pauses between these.
    pub time_us: u64,
    /// How long the longest of them took.
    pub max_time_us: u64,
}

impl Figures {
    /// A call begins.
    pub(super) fn began(&self, call: Call) {
        add(&self.of(call).calls, 1);
    }

    /// A request was sent again.
    pub(super) fn retried(&self, call: Call) {
        add(&self.of(call).retries, 1);
    }

    /// KMS refused an attempt because there were too many.
    pub(super) fn throttled(&self, call: Call) {
        add(&self.of(call).throttled, 1);
    }

    /// A call ended, and `took` so long.
    pub(super) fn ended(&self, call: Call, has_failed: bool, took: Duration) {
        let counters = self.of(call);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if has_failed {
            add(&counters.failed, 1);
        }
        add(&counters.time_us, took);
        counters.max_time_us.fetch_max(took, Ordering::Relaxed);
    }

    /// The calls that go to `region` are under way.
    pub(super) fn set_region(&self, region: &str) {
        region.clone_into(&mut self.region.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The region that the calls go to; before the first one, the one that is configured, or empty.
    pub fn region(&self) -> String {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The calls of one operation.
    pub fn calls(&self, call: Call) -> Calls {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { calls, failed, throttled, retries, time_us, max_time_us } = self.of(call);
        Calls {
            calls: read(calls),
            failed: read(failed),
            throttled: read(throttled),
            retries: read(retries),
            time_us: read(time_us),
            max_time_us: read(max_time_us),
        }
    }

    /// The calls of all operations together.
    pub fn all_calls(&self) -> Calls {
        Call::ALL.into_iter().map(|call| self.calls(call)).fold(Calls::default(), |all, one| Calls {
            calls: all.calls + one.calls,
            failed: all.failed + one.failed,
            throttled: all.throttled + one.throttled,
            retries: all.retries + one.retries,
            time_us: all.time_us + one.time_us,
            max_time_us: all.max_time_us.max(one.max_time_us),
        })
    }

    #[allow(clippy::indexing_slicing)] // the calls are numbered from 0 on
    fn of(&self, call: Call) -> &Counters {
        &self.calls[call as usize]
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_own_numbers_and_all_of_them_add_up() {
        let figures = Figures::default();
        for (times, call) in Call::ALL.into_iter().enumerate() {
            for time in 0..=times as u64 {
                figures.began(call);
                figures.retried(call);
                figures.throttled(call);
                figures.ended(call, time == 0, Duration::from_micros(10 * (time + 1)));
            }
        }
        let [first, second, ..] = Call::ALL;
        let one = Calls { calls: 1, failed: 1, throttled: 1, retries: 1, time_us: 10, max_time_us: 10 };
        assert_eq!(figures.calls(first), one);
        let two = Calls { calls: 2, failed: 1, throttled: 2, retries: 2, time_us: 30, max_time_us: 20 };
        assert_eq!(figures.calls(second), two);
        let calls = (1..=Call::ALL.len() as u64).sum();
        let all = figures.all_calls();
        assert_eq!((all.calls, all.throttled, all.retries, all.failed), (calls, calls, calls, Call::ALL.len() as u64));
        assert_eq!(all.max_time_us, 10 * Call::ALL.len() as u64);
        assert_eq!(all.time_us, Call::ALL.into_iter().map(|call| figures.calls(call).time_us).sum::<u64>());
    }
}
