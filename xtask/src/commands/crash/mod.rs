//! `cargo xtask crash`: a server is killed while it rotates keys and makes new ones, again and again; after each restart
//! every row that was committed is there, and every key has the old or the new version.

mod moments;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;

use self::moments::Moments;
use crate::interrupt;
use crate::load::{self, Attempt, KeyFiles, Rotator, Rows};
use crate::rig::{self, Rig, Server};
use crate::tally::Tally;
use crate::terminal::{self, Progress};

/// How often, and when.
#[derive(clap::Args)]
pub struct Options {
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Repeats the moments of a run that printed this (random without it)
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Options {
    /// Enough among many other tests.
    pub const SHORT: Self = Self { rounds: 10, seed: None };
}

/// Installs what is missing, builds the plugin, and kills a server again and again. An error at the first thing that is
/// not as it should be: then the server's folder stays.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    let plugin = rig::prepare()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    terminal::detail(format_args!("{} rounds with --seed {seed}", options.rounds));
    let moments = Rig::new(&plugin)?
        .keep_after_failure()
        .run(|rig| Stand { rig, rng: Rng::with_seed(seed) }.all_rounds(options.rounds))?;
    ensure!(
        moments.in_a_rotation() > 0,
        "no kill hit a rotation, so this has shown nothing; run it again, on a machine that does less"
    );
    tally.passed += usize::try_from(options.rounds)?;
    Ok(())
}

/// Where the server stands that is killed.
struct Stand<'a> {
    rig: &'a Rig,
    rng: Rng,
}

impl<'a> Stand<'a> {
    fn all_rounds(&mut self, rounds: u32) -> Result<Moments> {
        let data = self.rig.home.data();
        let mut server = self.start()?;
        let rows = Rows::create(&server)?;
        let mut keys = KeyFiles::first(&data)?;
        let mut moments = Moments::default();
        let mut progress = Progress::new("killing and starting again");
        for round in 1..=rounds {
            let attempts = self.kill(server, &rows, &keys).with_context(|| format!("in round {round}"))?;
            // The check after the kill and the one after the restart see the same files, or the start has changed some.
            let found = moments.add(&attempts, &keys, &data).and_then(|()| keys.after_kill(&data, &attempts));
            found.with_context(|| format!("after the kill of round {round}"))?;
            server = self.start().with_context(|| format!("starting again after round {round}"))?;
            let checked = keys
                .after_restart(&data, &self.rig.home.log_text(), |_| false)
                .and_then(|()| rows.check(&server))
                .and_then(|()| keys.check_versions_in_use(&server));
            checked.with_context(|| format!("after the restart of round {round}"))?;
            progress.tick();
        }
        drop(progress);
        let took = wait_for_new_pages(&server)?;
        server.stop()?;
        terminal::detail(&moments);
        terminal::detail(format_args!(
            "{} versions of {} keys at the end; every committed row was there after every restart; no page was left two \
             versions behind {} after the last one",
            keys.count(),
            keys.ids().len(),
            terminal::seconds(took)
        ));
        Ok(moments)
    }

    fn start(&self) -> Result<Server<'a>> {
        self.rig.start(&[rig::LOAD, load::OPTIONS, OPTIONS].join("\n"))
    }

    /// Lets clients work, and kills the server while they do. Tells what the rotating one has tried.
    fn kill(&mut self, server: Server<'_>, rows: &Rows, keys: &KeyFiles) -> Result<Vec<Attempt>> {
        let pause = Duration::from_millis(DELAYS[self.rng.usize(..DELAYS.len())]);
        if !pause.is_zero() {
            self.rig.kms.delay("*", pause)?;
        }
        let rotator = Rotator::new(self.rng.fork(), keys.ids());
        let life = Duration::from_micros(self.rng.u64(..LONGEST_LIFE_MICROS));
        let (writer, session) = (server.session()?, server.session()?);
        let attempts = thread::scope(|threads| {
            let writing = threads.spawn(|| rows.write_until_lost(writer));
            let rotating = threads.spawn(|| rotator.work_until_lost(&server, session, |_| false));
            thread::sleep(life);
            server.kill()?;
            writing.join().map_err(|_| anyhow!("the writing client panicked"))??;
            rotating.join().map_err(|_| anyhow!("the rotating client panicked"))?
        })?;
        self.rig.kms.clear_faults()?;
        Ok(attempts)
    }
}

/// The server's encryption threads bring pages that are more than one version behind to the latest version. Answers how
/// long that took.
fn wait_for_new_pages(server: &Server<'_>) -> Result<Duration> {
    let started = Instant::now();
    interrupt::wait_for("no page is two key versions old", Duration::from_secs(60), || {
        Ok((server.sql(OLD_PAGES)?.trim() == "0").then(|| started.elapsed()))
    })
}

const OPTIONS: &str = "innodb_encryption_threads = 2\ninnodb_encryption_rotate_key_age = 1";

const OLD_PAGES: &str = "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION \
                         WHERE NAME LIKE 'load_test/%' AND MIN_KEY_VERSION + 1 < CURRENT_KEY_VERSION";

/// What the emulator waits before it answers, in milliseconds; one of them in each round, so that kills hit the calls of
/// KMS as well as the writing of files.
const DELAYS: [u64; 4] = [0, 0, 5, 10];

const LONGEST_LIFE_MICROS: u64 = 150_000;
