//! `cargo xtask soak`: a server under load, with rotations, kills, faults of KMS and backups at random; after each restart
//! no row and no key is lost, and the error log has no error that was not provoked. Then two servers on one key folder.

mod backup;
mod faults;
mod two_servers;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;

use self::faults::Faults;
use crate::interrupt;
use crate::load::{self, KeyFiles, Rotator, Rows};
use crate::machine::packages;
use crate::rig::{self, Rig, Server};
use crate::tally::Tally;
use crate::terminal::{self, Progress, seconds};

/// How long, and what happens.
#[derive(clap::Args)]
pub struct Options {
    /// How long it takes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Draws the troubles of a run that printed this (random without it)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Installs what is missing, builds the plugin and lets it work. An error at the first thing that is not as it should be:
/// then the server's folder stays.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    soak(Duration::from_secs(60 * options.minutes), options.seed, tally)
}

/// Enough among many other tests.
pub fn short(tally: &mut Tally) -> Result<()> {
    soak(Duration::from_secs(40), None, tally)
}

fn soak(time: Duration, seed: Option<u64>, tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::TEST])?;
    let plugin = rig::prepare()?;
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    terminal::detail(format_args!("{} with --seed {seed}", seconds(time)));
    let mut rng = Rng::with_seed(seed);
    let begin = Instant::now();
    let end = begin + time * 4 / 5;
    let mut happened = Happened::default();
    while Instant::now() < end {
        let rig = Rig::new(&plugin)?.keep_after_failure();
        rig.run(|rig| Career { rig, plugin: &plugin, rng: rng.fork(), happened: &mut happened }.work_until(end))?;
        tally.passed += 1;
    }
    terminal::detail(format_args!("{happened:?}"));
    let end = begin + time;
    loop {
        two_servers::run(&plugin, end, rng.fork())?;
        tally.passed += 1;
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

/// What the clients and the troubles did.
#[derive(Debug, Default)]
struct Happened {
    servers: u32,
    kills: u32,
    orderly_restarts: u32,
    faults: u32,
    backups: u32,
    rows: u32,
    key_versions: usize,
    refused_statements: usize,
}

/// A server from its first start to some hundred key versions: with more of them, starts would take all the time.
struct Career<'a> {
    rig: &'a Rig,
    plugin: &'a Path,
    rng: Rng,
    happened: &'a mut Happened,
}

impl<'a> Career<'a> {
    fn work_until(mut self, end: Instant) -> Result<()> {
        let data = self.rig.home.data();
        let mut faults = Faults::new(&self.rig.kms);
        let mut server = self.start()?;
        let rows = Rows::create(&server)?;
        let mut keys = KeyFiles::first(&data)?;
        let mut progress = Progress::new("a server in trouble");
        while Instant::now() < end && keys.count() < MOST_VERSIONS {
            self.life(&server, &faults, &rows, &mut keys)?;
            load::check_log(&self.rig.home.log_text(), |line| faults.excuse(line)).context("before the restart")?;
            faults.forget();
            if self.rng.u32(..3) == 0 {
                faults.hold_up_start(&mut self.rng)?;
            }
            server = self.start().context("starting again")?;
            faults.clear()?;
            keys.after_restart(&data, &self.rig.home.log_text(), |line| faults.excuse(line))?;
            rows.check(&server)?;
            load::check_all_tables(&server)?;
            keys.check_versions_in_use(&server)?;
            progress.tick();
        }
        server.stop()?;
        self.happened.servers += 1;
        self.happened.rows += rows.committed().iter().sum::<u32>();
        self.happened.key_versions += keys.count();
        Ok(())
    }

    fn start(&self) -> Result<Server<'a>> {
        self.rig.start(&[rig::LOAD, load::OPTIONS, OPTIONS].join("\n"))
    }

    /// Lets clients work amid troubles until the server is killed or stopped.
    fn life(&mut self, server: &Server<'_>, faults: &Faults<'_>, rows: &Rows, keys: &mut KeyFiles) -> Result<()> {
        let rotator = Rotator::new(self.rng.fork(), keys.ids()).every(ROTATION_PAUSE);
        let (writer, session) = (server.session()?, server.session()?);
        let is_stopping = &AtomicBool::new(false);
        let attempts = thread::scope(|threads| {
            let writing = threads.spawn(|| rows.write_until_lost(writer));
            // A statement that a shutdown cuts off may be refused before the connection is lost.
            let excused = |said: &str| is_stopping.load(Ordering::Relaxed) || faults.excuse(said);
            let rotating = threads.spawn(move || rotator.work_until_lost(server, session, excused));
            let troubles = self.troubles(faults, rows);
            is_stopping.store(true, Ordering::Relaxed);
            // Whatever came of the troubles: without a server the clients end.
            let ended = if self.rng.u32(..4) == 0 {
                self.happened.orderly_restarts += 1;
                faults.stop();
                faults.clear().and_then(|()| server.stop())
            } else {
                self.happened.kills += 1;
                server.kill()
            };
            let written = writing.join().map_err(|_| anyhow!("the writing client panicked"))?;
            let attempts = rotating.join().map_err(|_| anyhow!("the rotating client panicked"))?;
            troubles.and(ended).and(written).and(attempts)
        })?;
        faults.clear()?;
        self.happened.refused_statements += attempts.iter().filter(|attempt| !attempt.is_done).count();
        keys.after_kill(&self.rig.home.data(), &attempts).context("after the end of a server")
    }

    fn troubles(&mut self, faults: &Faults<'_>, rows: &Rows) -> Result<()> {
        for _ in 0..self.rng.u32(1..5) {
            interrupt::sleep(Duration::from_millis(self.rng.u64(..500)))?;
            if self.rng.u32(..4) == 0 {
                self.happened.backups += 1;
                backup::make_and_check(self.rig, self.plugin, rows, self.happened.backups).context("a backup")?;
            } else {
                self.happened.faults += 1;
                faults.inject(&mut self.rng)?;
                interrupt::sleep(Duration::from_millis(self.rng.u64(..2000)))?;
                faults.clear()?;
            }
        }
        Ok(())
    }
}

const OPTIONS: &str = "aws_key_management_request_timeout = 1000";

/// Pages are left under the key versions that they were written with: without encryption threads all of them are needed.
const MOST_VERSIONS: usize = 300;

const ROTATION_PAUSE: Duration = Duration::from_millis(30);
