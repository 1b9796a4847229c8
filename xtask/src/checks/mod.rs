//! `cargo xtask test`: lints and every test, up to the first failure.

mod cargo;
mod emulator;

use std::time::Instant;

use anyhow::Result;

use crate::console::{self, Steps};
use crate::tally::Tally;
use crate::{bench, crash, fuzz, memory, miri, nightly, packages, start_time, suite, symbols, toolchain, versions};

/// Installs what is missing and runs all of it. The last line printed is the count of tests; `false` means a failure,
/// which has been reported.
pub fn run() -> bool {
    let mut checks = Checks::default();
    let started = Instant::now();
    let result = checks.all();
    match &result {
        Ok(()) => {
            let time = console::seconds(started.elapsed());
            console::line(console::green(format_args!("\nEverything passed in {time}")));
        }
        Err(error) => {
            // A lint is no test, but a run that failed must not count no failure.
            checks.tally.failed = checks.tally.failed.max(1);
            let step = format!("{}, {}", checks.steps.number(), checks.title);
            console::line(console::red(format_args!("\nerror in step {step}: {error:#}")));
        }
    }
    console::line(checks.tally);
    result.is_ok()
}

#[derive(Default)]
struct Checks {
    steps: Steps,
    title: &'static str,
    tally: Tally,
}

impl Checks {
    fn all(&mut self) -> Result<()> {
        self.step("what the tests need", || {
            packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST, packages::FUZZ])?;
            toolchain::ensure_lints()?;
            nightly::ensure()?;
            crate::emulator::ensure()
        })?;
        self.step("format", cargo::format)?;
        self.step("lints", cargo::lints)?;
        self.step("documentation", cargo::documentation)?;
        self.counted("unit and integration tests", cargo::tests)?;
        self.counted("a crash at every step of making a key", cargo::crash_tests)?;
        self.counted("the published keys under a model checker", cargo::model_tests)?;
        self.counted("the cipher without AES instructions", cargo::portable_cipher)?;
        self.counted("self test of the KMS emulator", emulator::tests)?;
        self.counted("symbols of the plugin", |tally| {
            symbols::check(&toolchain::build_plugin()?)?;
            *tally += Tally::passed(1);
            Ok(())
        })?;
        self.summed("benchmarks, in short", bench::smoke)?;
        self.summed("data keys in memory and in core dumps", memory::run)?;
        self.summed("time of a start with 1000 keys", || start_time::run(1))?;
        self.summed("a server killed in the middle of rotations", || crash::run(ROUNDS_OF_KILLS, None))?;
        self.counted("server suite", |tally| suite::run(&suite::Request::default(), tally))?;
        self.counted("callbacks in Miri", miri::run)?;
        self.summed("callbacks under a fuzzer", || fuzz::run(fuzz::SHORT))?;
        self.summed("other versions of MariaDB", versions::run)
    }

    fn summed(&mut self, title: &'static str, work: impl FnOnce() -> Result<Tally>) -> Result<()> {
        self.counted(title, |tally| {
            *tally += work()?;
            Ok(())
        })
    }

    fn step(&mut self, title: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.title = title;
        self.steps.next(title);
        let started = Instant::now();
        work()?;
        console::detail(console::dim(console::seconds(started.elapsed())));
        Ok(())
    }

    fn counted(&mut self, title: &'static str, work: impl FnOnce(&mut Tally) -> Result<()>) -> Result<()> {
        let mut tally = Tally::default();
        let result = self.step(title, || work(&mut tally));
        self.tally += tally;
        result
    }
}

/// Each takes seconds.
const ROUNDS_OF_KILLS: u32 = 10;
