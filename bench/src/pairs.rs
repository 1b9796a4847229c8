//! Compares two ways of doing the same work in one process.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// How long and with how many threads to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often each of the two has its turn.
    pub rounds: usize,
    /// About the CPU time of a turn, for each thread.
    pub turn: Duration,
    /// Threads that do the same work at the same time.
    pub threads: usize,
}

/// What [`alternate`] measured.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Nanoseconds of CPU time that one call of the first takes: the median over the rounds.
    pub first_ns: f64,
    /// The same of the second.
    pub second_ns: f64,
    /// Time of the first divided by the time of the second in the same round, the median over the rounds: above 1, the
    /// second is faster.
    pub ratio: f64,
    /// How often a thread gave up its CPU while it called the second: it waited for something.
    pub second_waits: u64,
    /// All calls of the second in the rounds, of all threads together.
    pub second_calls: u64,
}

/// Lets two pieces of work take turns, and compares them round by round. Each thread gets its own pair from `make`.
///
/// Times on a shared machine move by a third from one second to the next; the ratio within a round does not. CPU time
/// leaves out what other programs take away; to see that none of a call's time is spent waiting, there is
/// [`Pair::second_waits`].
pub fn alternate<A: FnMut(), B: FnMut()>(plan: Plan, make: impl Fn() -> (A, B) + Sync) -> Result<Pair> {
    let start = Barrier::new(plan.threads);
    let run = || {
        let (mut first, mut second) = make();
        run_thread(plan, &start, &mut first, &mut second)
    };
    let threads: Vec<Thread> = thread::scope(|scope| {
        let handles: Vec<_> = (0..plan.threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().map(|handle| handle.join().ok().context("a thread panicked")?).collect::<Result<_>>()
    })?;
    let mean = |round: usize, side: fn(&Round) -> f64| {
        let of_threads = threads.iter().filter_map(|thread| thread.rounds.get(round)).map(side);
        of_threads.sum::<f64>() / plan.threads as f64
    };
    let (first, second) = (|round: &Round| round.first_ns, |round: &Round| round.second_ns);
    let median_of = |value: &dyn Fn(usize) -> f64| median((0..plan.rounds).map(value).collect());
    Ok(Pair {
        first_ns: median_of(&|round| mean(round, first)),
        second_ns: median_of(&|round| mean(round, second)),
        ratio: median_of(&|round| mean(round, first) / mean(round, second)),
        second_waits: threads.iter().flat_map(|thread| &thread.rounds).map(|round| round.second_waits).sum(),
        second_calls: threads.iter().map(|thread| u64::from(thread.second_calls) * plan.rounds as u64).sum(),
    })
}

struct Thread {
    second_calls: u32,
    rounds: Vec<Round>,
}

struct Round {
    first_ns: f64,
    second_ns: f64,
    second_waits: u64,
}

fn run_thread(plan: Plan, start: &Barrier, first: &mut impl FnMut(), second: &mut impl FnMut()) -> Result<Thread> {
    let first_calls = calls_in(plan.turn, first);
    let second_calls = calls_in(plan.turn, second);
    let mut rounds = Vec::with_capacity(plan.rounds);
    for index in 0..plan.rounds {
        let mut take_first = || {
            start.wait();
            ns_per_call(first_calls, first)
        };
        let mut take_second = || -> (f64, Result<u64>) {
            start.wait();
            let before = waits();
            let ns = ns_per_call(second_calls, second);
            (ns, waits().and_then(|after| Ok(after - before?)))
        };
        // The order changes, so that what one leaves in the caches helps both equally often.
        let (first_ns, (second_ns, second_waits)) = if index % 2 == 0 {
            let first_ns = take_first();
            (first_ns, take_second())
        } else {
            let second = take_second();
            (take_first(), second)
        };
        // All threads must come to the barrier equally often, so an error is kept until the end.
        rounds.push(second_waits.map(|second_waits| Round { first_ns, second_ns, second_waits }));
    }
    Ok(Thread { second_calls, rounds: rounds.into_iter().collect::<Result<_>>()? })
}

fn calls_in(time: Duration, work: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    loop {
        let spent = ns_per_call(calls, work) * f64::from(calls);
        let wanted = time.as_nanos() as f64;
        if spent * 4.0 >= wanted || calls >= 1 << 24 {
            return ((f64::from(calls) * wanted / spent) as u32).max(1);
        }
        calls *= 2;
    }
}

fn ns_per_call(calls: u32, work: &mut impl FnMut()) -> f64 {
    let start = cpu_time();
    for _ in 0..calls {
        work();
    }
    (cpu_time() - start) * 1e9 / f64::from(calls)
}

/// Seconds of CPU that this thread has had.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How often this thread has given up its CPU by itself.
fn waits() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").context("reading /proc/thread-self/status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).context("no count of context switches")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::Mutex;

    use super::*;

    fn spin(turns: u32) {
        (0..turns).for_each(|turn| {
            black_box(turn);
        });
    }

    #[test]
    fn work_that_takes_three_times_as_long_has_a_ratio_of_three() {
        let plan = Plan { rounds: 31, turn: Duration::from_micros(500), threads: 2 };
        let pair = alternate(plan, || (|| spin(3000), || spin(1000))).unwrap();
        assert!((2.0..4.5).contains(&pair.ratio), "{pair:?}");
        assert!(pair.second_calls > 62 && pair.first_ns > pair.second_ns, "{pair:?}");
    }

    #[test]
    fn a_thread_that_waits_is_noticed() {
        let plan = Plan { rounds: 1, turn: Duration::from_micros(50), threads: 2 };
        let lock = Mutex::new(());
        let wait = || {
            let _guard = lock.lock();
            thread::sleep(Duration::from_micros(50));
        };
        let pair = alternate(plan, || (|| spin(10), wait)).unwrap();
        assert!(pair.second_waits > 0, "{pair:?}");
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
    }
}
