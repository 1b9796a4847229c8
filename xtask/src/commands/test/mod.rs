//! `cargo xtask test`: lints and every test, up to the first failure.

mod cargo;
pub mod cargo_test;
mod emulator;
pub mod symbols;

use std::time::Instant;

use anyhow::{Context, Result};
use console::style;

use super::{bench, cmake, crash, galera, memory, miri, sandbox, setup, soak, start_time, suite, versions};
use crate::machine::toolchain;
use crate::tally::Tally;
use crate::terminal::{self, Steps};

/// Installs what is missing and runs all of it.
pub fn run(tally: &mut Tally) -> Result<()> {
    let started = Instant::now();
    let mut steps = Steps::default();
    for (title, work) in STEPS {
        let number = steps.next(title);
        let began = Instant::now();
        if let Err(error) = work(tally) {
            // A lint is no test, but a run that failed must not count no failure.
            tally.failed = tally.failed.max(1);
            return Err(error).with_context(|| format!("in step {number}, {title}"));
        }
        terminal::aside(terminal::seconds(began.elapsed()));
    }
    terminal::line(style(format_args!("\nEverything passed in {}", terminal::seconds(started.elapsed()))).green());
    Ok(())
}

type Work = fn(&mut Tally) -> Result<()>;

const STEPS: [(&str, Work); 21] = [
    ("what the tests need", |_| setup::run()),
    ("format", |_| cargo::format()),
    ("lints", |_| cargo::lints()),
    ("documentation", |_| cargo::documentation()),
    ("unit and integration tests", cargo::tests),
    ("a crash at every step of making a key", cargo::crash_tests),
    ("the published keys under a model checker", cargo::model_tests),
    ("the cipher without AES instructions", cargo::portable_cipher),
    ("self test of the KMS emulator", emulator::tests),
    ("symbols of the plugin", |tally| symbols::check(&toolchain::build_plugin()?, tally)),
    ("benchmarks, in short", bench::smoke),
    ("data keys in memory and in core dumps", memory::run),
    ("time of a start with 1000 keys", |tally| start_time::run(1, tally)),
    ("a server killed in the middle of rotations", |tally| crash::run(&crash::Options::SHORT, tally)),
    ("a server amid kills, faults of KMS and backups", soak::short),
    ("a server in sandboxes", sandbox::run),
    ("a Galera cluster of two nodes", galera::run),
    ("server suite", |tally| suite::run(&suite::Options::default(), tally)),
    ("callbacks in Miri", miri::run),
    ("other versions of MariaDB", versions::smoke),
    ("a build from MariaDB's source tree", cmake::run_if_there),
];
