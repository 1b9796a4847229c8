//! `cargo xtask crash`: a server is killed while it rotates keys and makes new ones, again and again; after each restart
//! every row that was committed is there, and every key has the old or the new version.

mod client;
mod key_files;
mod moments;
mod plan;
mod rows;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use self::client::Client;
use self::key_files::KeyFiles;
use self::moments::Moments;
use self::plan::Plan;
use self::rows::Rows;
use crate::console::{self, Progress};
use crate::emulator_control::Control;
use crate::kms::Kms;
use crate::server::{Home, Server};
use crate::tally::Tally;
use crate::{emulator, installation, interrupt, packages, paths, toolchain};

/// Rounds of a run that is to be trusted; 10 are enough among many other tests.
pub const LONG: u32 = 200;

/// Installs what is missing, builds the plugin, and kills a server `rounds` times, at moments that follow from `seed`
/// (which is printed; without one it is random). An error at the first thing that is not as it should be: then the
/// server's folder stays.
pub fn run(rounds: u32, seed: Option<u64>) -> Result<Tally> {
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    emulator::ensure()?;
    let plugin = toolchain::build_plugin()?;
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    console::detail(format_args!("{rounds} rounds with --seed {seed}"));
    let mut folder = paths::temporary_folder()?;
    let moments = kill_often(rounds, seed, folder.path(), &plugin).inspect_err(|_| {
        if interrupt::check().is_ok() {
            folder.disable_cleanup(true);
            console::detail(format_args!("kept, to be looked at and removed by you: {}", folder.path().display()));
        }
    })?;
    console::detail(&moments);
    ensure!(
        moments.in_a_rotation() > 0,
        "no kill hit a rotation, so this has shown nothing; run it again, on a machine that does less"
    );
    Ok(Tally::passed(usize::try_from(rounds)?))
}

fn kill_often(rounds: u32, seed: u64, folder: &Path, plugin: &Path) -> Result<Moments> {
    let kms = Kms::emulator(folder)?;
    let Kms::Emulator(emulator) = &kms else { bail!("there is no emulator") };
    let control = Control::of(emulator);
    let home = Home::new(installation::Installation::of_the_system()?, folder, plugin)?;
    let mut stand = Stand { folder, home: &home, kms: &kms, control, rng: Rng::with_seed(seed) };
    let moments = stand.all_rounds(rounds).with_context(|| home.log_tail())?;
    kms.stop()?;
    Ok(moments)
}

/// Where the server stands that is killed.
struct Stand<'a> {
    folder: &'a Path,
    home: &'a Home,
    kms: &'a Kms,
    control: Control,
    rng: Rng,
}

impl<'a> Stand<'a> {
    fn all_rounds(&mut self, rounds: u32) -> Result<Moments> {
        let mut server = self.start()?;
        server.sql(&rows::create())?;
        let mut rows = Rows::default();
        let mut keys = KeyFiles::first(&self.home.data())?;
        let mut plan = Plan::default();
        let mut moments = Moments::default();
        let mut progress = Progress::new("killing and starting again");
        for round in 1..=rounds {
            let told = self.kill(server, &mut plan, &rows, &keys);
            let (killed, writer_said) = told.with_context(|| format!("in round {round}"))?;
            // The check after the kill and the one after the restart see the same files, or the start has changed some.
            let at_the_kill = (|| {
                moments.count(&killed, &keys, &self.home.data())?;
                keys.after_kill(&self.home.data(), &killed)
            })();
            at_the_kill.with_context(|| format!("after the kill of round {round}"))?;
            server = self.start().with_context(|| format!("starting again after round {round}"))?;
            let checked = (|| {
                keys.after_restart(&self.home.data(), &self.home.log_text())?;
                rows.check(&server, &writer_said)?;
                keys.check_versions_in_use(&server)
            })();
            checked.with_context(|| format!("after the restart of round {round}"))?;
            progress.tick();
        }
        drop(progress);
        let took = wait_for_new_pages(&server)?;
        moments.finish(&keys, took);
        server.stop()?;
        Ok(moments)
    }

    fn start(&self) -> Result<Server<'a>> {
        let mut options: Vec<String> = OPTIONS.iter().map(|line| (*line).to_owned()).collect();
        options.extend(self.kms.variables());
        self.home.start(&options, self.kms.environment(&self.home.empty_folder()))
    }

    /// Lets clients work, and kills the server while they do. Tells what the rotating one had done, and what the writing
    /// one had been told.
    fn kill(
        &mut self,
        server: Server<'_>,
        plan: &mut Plan,
        rows: &Rows,
        keys: &KeyFiles,
    ) -> Result<(plan::Killed, String)> {
        let pause = Duration::from_millis(DELAYS[self.rng.usize(..DELAYS.len())]);
        if !pause.is_zero() {
            self.control.delay("*", pause)?;
        }
        let steps = plan.next(&mut self.rng, keys);
        let writer = Client::start(self.folder, "writer", &rows.inserts())?;
        let rotator = Client::start(self.folder, "rotator", &plan::statements(&steps))?;
        rotator.wait_until_connected()?;
        interrupt::sleep(Duration::from_micros(self.rng.u64(..LONGEST_LIFE_MICROS)))?;
        drop(server);
        let killed = plan::Killed::new(steps, &rotator.wait()?)?;
        let written = writer.wait()?;
        ensure!(written.lost_connection(), "the writing client failed by itself: {}", written.errors);
        self.control.clear_faults()?;
        Ok((killed, written.answers))
    }
}

/// The server's encryption threads bring pages that are more than one version behind to the latest version. Answers how
/// long that took.
fn wait_for_new_pages(server: &Server<'_>) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let old = server.sql(OLD_PAGES)?;
        if old.trim() == "0" {
            return Ok(started.elapsed());
        }
        if started.elapsed() > NEW_PAGES_DEADLINE {
            bail!("{} tables still have pages that are two or more key versions old", old.trim());
        }
        interrupt::sleep(Duration::from_millis(100))?;
    }
}

/// Durable commits, and everything small, so that a start is quick.
const OPTIONS: [&str; 13] = [
    "plugin_load_add = aws_key_management",
    "aws_key_management = FORCE",
    "innodb_encrypt_tables = ON",
    "innodb_encrypt_log = ON",
    "innodb_encryption_threads = 2",
    "innodb_encryption_rotate_key_age = 1",
    "innodb_flush_log_at_trx_commit = 1",
    "innodb_buffer_pool_size = 16M",
    "innodb_log_file_size = 16M",
    "innodb_buffer_pool_dump_at_shutdown = OFF",
    "log_bin = binlog",
    "encrypt_binlog = ON",
    "skip_stack_trace",
];

const OLD_PAGES: &str = "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION \
                         WHERE NAME LIKE 'crash/%' AND MIN_KEY_VERSION + 1 < CURRENT_KEY_VERSION";

/// What the emulator waits before it answers, in milliseconds; one of them in each round, so that kills hit the calls of
/// KMS as well as the writing of files.
const DELAYS: [u64; 4] = [0, 0, 5, 10];

const LONGEST_LIFE_MICROS: u64 = 60_000;

const NEW_PAGES_DEADLINE: Duration = Duration::from_secs(60);
