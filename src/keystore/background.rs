//! Work that nobody waits for: a thread of the plugin's own, which does what is due, when a clock or a bell says so.
//!
//! It takes no lock for longer than a moment, and its messages do not go through the server's functions.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Reporter;
use crate::own_threads;

/// The thread. Ended when dropped.
pub struct Background {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

/// Something that is to be done again and again.
pub trait Job: Send {
    /// What it is, in a few words.
    fn name(&self) -> &'static str;

    /// Does what is due at `now`, if anything is. Answers when something will be; `None`: not before the bell rings.
    fn run(&mut self, now: Instant) -> Option<Instant>;
}

/// Wakes the thread, so that each job looks what is due.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    is_rung: bool,
    must_end: bool,
    has_ended: bool,
}

impl Background {
    /// Starts the thread, which runs each job at once.
    pub fn start(bell: &Bell, jobs: Vec<Box<dyn Job>>, reporter: &'static dyn Reporter) -> io::Result<Self> {
        let for_thread = bell.clone();
        let thread = own_threads::without_signals(|| {
            std::thread::Builder::new().name("aws-kms-jobs".to_owned()).spawn(move || {
                own_threads::enter();
                work(&for_thread, jobs, reporter);
                for_thread.state().has_ended = true;
                for_thread.0.1.notify_all();
            })
        })?;
        Ok(Self { bell: bell.clone(), thread: Some(thread) })
    }
}

impl Drop for Background {
    /// The waits of the jobs have to end now ([`crate::waits`]), which the caller has seen to. A job that hangs all the
    /// same, such as on a network folder, is left to itself after `LONGEST_END`.
    fn drop(&mut self) {
        let mut state = self.bell.state();
        state.must_end = true;
        self.bell.0.1.notify_all();
        let ended = self.bell.0.1.wait_timeout_while(state, LONGEST_END, |state| !state.has_ended);
        let has_ended = ended.unwrap_or_else(PoisonError::into_inner).0.has_ended;
        if let Some(thread) = self.thread.take()
            && has_ended
        {
            // A panic in a job has been reported.
            let _ = thread.join();
        }
    }
}

impl Bell {
    /// Each job looks what is due.
    pub fn ring(&self) {
        self.state().is_rung = true;
        self.0.1.notify_all();
    }

    /// Waits until `until`, or until the bell rings. `None` when the thread has to end, else whether the bell has rung.
    fn wait(&self, until: Option<Instant>) -> Option<bool> {
        let mut state = self.state();
        while !state.must_end && !state.is_rung {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            // Without an end of its own, a wait of an hour is one more look at the clock.
            let left = left.unwrap_or(Duration::from_secs(3600));
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.must_end { None } else { Some(std::mem::take(&mut state.is_rung)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(bell: &Bell, jobs: Vec<Box<dyn Job>>, reporter: &'static dyn Reporter) {
    let now = Instant::now();
    let mut jobs: Vec<_> = jobs.into_iter().map(|job| (Some(now), job)).collect();
    let mut is_rung = false;
    loop {
        jobs.retain_mut(|(due, job)| {
            if !is_rung && due.is_none_or(|due| due > Instant::now()) {
                return true;
            }
            match catch_unwind(AssertUnwindSafe(|| job.run(Instant::now()))) {
                Ok(next) => {
                    *due = next;
                    true
                }
                Err(_) => {
                    // It may leave things half done, so it is not run again.
                    reporter.error(&format!(
                        "internal error in the job '{}', which is not done any more until the server is restarted: what the status \
                         variables say of it is of the past. Please report this",
                        job.name()
                    ));
                    false
                }
            }
        });
        match bell.wait(jobs.iter().filter_map(|(due, _)| *due).min()) {
            Some(rung) => is_rung = rung,
            None => return,
        }
    }
}

/// How long the end of the plugin waits for the end of the thread.
const LONGEST_END: Duration = Duration::from_millis(900);

#[cfg(all(test, not(miri)))]
mod tests {
    #![allow(clippy::expect_used, clippy::panic)] // clippy sees no tests in the helpers

    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Says when it runs, and is due again after `every`.
    struct Ticker {
        every: Option<Duration>,
        ran: Sender<Instant>,
        panics: bool,
    }

    impl Job for Ticker {
        fn name(&self) -> &'static str {
            "tick"
        }

        fn run(&mut self, now: Instant) -> Option<Instant> {
            self.ran.send(now).expect("the test listens");
            assert!(!self.panics, "as planned");
            self.every.map(|every| now + every)
        }
    }

    struct Errors(Mutex<Vec<String>>);

    impl Reporter for Errors {
        fn note(&self, _: &str) {}
        fn warning(&self, _: &str) {}
        fn error(&self, text: &str) {
            assert!(own_threads::is_current());
            self.0.lock().expect("errors").push(text.to_owned());
        }
    }

    fn errors() -> &'static Errors {
        Box::leak(Box::new(Errors(Mutex::default())))
    }

    fn ticker(every: Option<Duration>, panics: bool) -> (Box<dyn Job>, Receiver<Instant>) {
        let (ran, times) = mpsc::channel();
        (Box::new(Ticker { every, ran, panics }), times)
    }

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn a_job_runs_at_once_and_when_it_is_due_and_when_the_bell_rings() {
        let bell = Bell::default();
        let (often, often_ran) = ticker(Some(Duration::from_millis(20)), false);
        let (idle, idle_ran) = ticker(None, false);
        let (rare, rare_ran) = ticker(Some(2 * LONG), false);
        let background = Background::start(&bell, vec![often, idle, rare], errors()).expect("a thread");
        let first = often_ran.recv_timeout(LONG).expect("at once");
        idle_ran.recv_timeout(LONG).expect("at once");
        often_ran.recv_timeout(LONG).expect("again");
        let third = often_ran.recv_timeout(LONG).expect("again");
        assert!(third - first >= Duration::from_millis(40));
        assert!(idle_ran.recv_timeout(SHORT).is_err(), "nothing is due");
        assert_eq!(rare_ran.try_iter().count(), 1, "it is due later");
        bell.ring();
        idle_ran.recv_timeout(LONG).expect("the bell has rung");
        drop(background);
        while often_ran.try_recv().is_ok() {}
        assert!(matches!(often_ran.recv_timeout(SHORT), Err(mpsc::RecvTimeoutError::Disconnected)), "the job is gone");
    }

    #[test]
    fn a_wait_lasts_until_its_end_or_until_the_bell_rings() {
        let bell = Bell::default();
        let until = Instant::now() + Duration::from_millis(50);
        assert_eq!(bell.wait(Some(until)), Some(false));
        assert!(Instant::now() >= until);
        bell.ring();
        let (ends, ended) = mpsc::channel();
        std::thread::spawn(move || ends.send(bell.wait(None)));
        assert_eq!(ended.recv_timeout(LONG), Ok(Some(true)));
    }

    #[test]
    fn a_job_that_panics_is_reported_and_the_others_go_on() {
        let (bell, errors) = (Bell::default(), errors());
        let (bad, bad_ran) = ticker(Some(Duration::ZERO), true);
        let (good, good_ran) = ticker(Some(Duration::from_millis(10)), false);
        let background = Background::start(&bell, vec![bad, good], errors).expect("a thread");
        for _ in 0..3 {
            good_ran.recv_timeout(LONG).expect("it goes on");
        }
        drop(background);
        assert_eq!(bad_ran.iter().count(), 1);
        assert_eq!(
            *errors.0.lock().expect("errors"),
            [
                "internal error in the job 'tick', which is not done any more until the server is restarted: what the status variables \
             say of it is of the past. Please report this"
            ]
        );
    }

    #[test]
    fn the_end_does_not_wait_for_a_job_that_hangs() {
        struct Hangs(Receiver<()>, Sender<()>);
        impl Job for Hangs {
            fn name(&self) -> &'static str {
                "hang"
            }
            fn run(&mut self, _: Instant) -> Option<Instant> {
                self.1.send(()).expect("the test listens");
                let _ = self.0.recv();
                None
            }
        }
        let ((release, released), (begins, begun)) = (mpsc::channel(), mpsc::channel());
        let hangs = Box::new(Hangs(released, begins));
        let background = Background::start(&Bell::default(), vec![hangs], errors()).expect("a thread");
        begun.recv_timeout(LONG).expect("it runs");
        let before = Instant::now();
        drop(background);
        assert!((800..1500).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
        drop(release);
    }
}
