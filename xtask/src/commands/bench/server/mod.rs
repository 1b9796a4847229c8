//! `cargo xtask bench server`: what encryption costs a whole server, in CPU time for each transaction of sysbench, beside no
//! encryption and beside `file_key_management`.
//!
//! All servers are up together and take short turns, so that what else the machine does meets all of them alike; their files
//! lie in memory, so that nobody waits for a disk. What counts is the ratio within a round. Each round has servers of its own:
//! where the kernel puts a process's memory makes one some percent slower than another for as long as it runs.

mod docs;
mod figures;
mod kinds;

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use duct::cmd;

use self::figures::{Figure, Row, Turn};
use self::kinds::{Pool, Variant, Workload};
use crate::machine::{packages, paths};
use crate::rig::{self, Home, Installation, Rig, Server};
use crate::terminal::{self, Progress};
use crate::{interrupt, run};

/// Installs what is missing, measures, and renews docs/server-benchmark.* if asked for.
pub fn run(plugin: &Path, rounds: usize, write_docs: bool) -> Result<()> {
    packages::ensure(&[packages::SYSBENCH])?;
    let memory = if Path::new(MEMORY).is_dir() { MEMORY.into() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(memory).context("making a folder in memory")?;
    let rows = Rig::new(plugin)?.run(|rig| {
        let mut rows = Vec::new();
        for (number, pool) in Pool::ALL.into_iter().enumerate() {
            let own = folder.path().join(number.to_string());
            std::fs::create_dir(&own)?;
            rows.extend(measure(rig, &own, plugin, pool, rounds)?);
            std::fs::remove_dir_all(&own)?;
        }
        Ok(rows)
    })?;
    terminal::line(text(&rows));
    if write_docs {
        let version = Installation::of_the_system()?.version()?;
        docs::write(&paths::repository().join("docs"), &rows, rounds, &version)?;
    }
    Ok(())
}

fn measure(rig: &Rig, folder: &Path, plugin: &Path, pool: Pool, rounds: usize) -> Result<Vec<Row>> {
    let key_file = folder.join("keys.txt");
    std::fs::write(&key_file, KEYS)?;
    let file_key_management = Path::new(&rig::default_value("plugin-dir")?).join(FILE_KEY_MANAGEMENT);
    let homes: Vec<Home> = Variant::ALL
        .iter()
        .enumerate()
        .map(|(number, _)| {
            let own = folder.join(number.to_string());
            std::fs::create_dir(&own)?;
            let home = Home::new(Installation::of_the_system()?, &own, plugin)?;
            std::fs::copy(&file_key_management, own.join("plugin").join(FILE_KEY_MANAGEMENT))
                .with_context(|| format!("copying {}", file_key_management.display()))?;
            Ok(home)
        })
        .collect::<Result<_>>()?;
    let start = |variant: Variant, home| -> Result<Server<'_>> {
        let options = variant.options(pool, &key_file);
        let server = match variant {
            Variant::Plugin(_) => rig.start_at(home, &options),
            Variant::None | Variant::FileKeyManagement(_) => home.start(&options, Some(&rig.environment())),
        };
        home.explain(server)
    };
    for (variant, home) in Variant::ALL.into_iter().zip(&homes) {
        let server = start(variant, home)?;
        terminal::detail(format_args!("filling a server ({}): {}", pool.name(), variant.name()));
        server.sql("CREATE DATABASE sbtest")?;
        sysbench(home, Workload::ReadWrite, &["prepare"])?;
        check_is_encrypted(&server, variant)?;
        server.stop()?;
    }
    let mut turns = Workload::ALL.map(|_| vec![Vec::new(); homes.len()]);
    let mut progress = Progress::new(format_args!("{}: {rounds} rounds", pool.name()));
    for round in 0..rounds {
        let servers: Vec<Server<'_>> =
            Variant::ALL.into_iter().zip(&homes).map(|(variant, home)| start(variant, home)).collect::<Result<_>>()?;
        for home in &homes {
            sysbench(home, Workload::WARM_UP, &["run"])?;
            progress.tick();
        }
        for (workload, turns) in Workload::ALL.into_iter().zip(&mut turns) {
            let mut before = servers.iter().map(Done::by).collect::<Result<Vec<_>>>()?;
            for turn in 0..servers.len() {
                let place = (round + turn) % servers.len();
                let said = sysbench(&homes[place], workload, &["run"])?;
                let transactions =
                    transactions(&said).with_context(|| format!("sysbench says no transactions:\n{said}"))?;
                ensure!(transactions > 0.0, "no transaction was made");
                let after = Done::by(&servers[place])?;
                turns[place].push(before[place].until(&after, transactions));
                before[place] = after;
                progress.tick();
                ensure!(!interrupt::has_come(), "interrupted");
            }
        }
        servers.iter().try_for_each(Server::stop)?;
    }
    Ok(Workload::ALL.into_iter().zip(&turns).map(|(workload, turns)| Row::of(pool, workload, turns)).collect())
}

/// What a server has done since it was started.
struct Done {
    ticks: u64,
    pages_read: u64,
    pages_written: u64,
    log_bytes: u64,
}

impl Done {
    fn by(server: &Server<'_>) -> Result<Self> {
        let stat = server.process()?.stat()?;
        let counter = |name: &str| -> Result<u64> {
            let value = server.sql(&format!(
                "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = '{name}'"
            ))?;
            value.trim().parse().with_context(|| format!("the server's {name} is {value:?}"))
        };
        Ok(Self {
            ticks: stat.utime + stat.stime,
            pages_read: counter("INNODB_PAGES_READ")?,
            pages_written: counter("INNODB_PAGES_WRITTEN")?,
            log_bytes: counter("INNODB_OS_LOG_WRITTEN")?,
        })
    }

    /// For each of the transactions that were made until `after`. What the server wrote while it was the turn of others is
    /// counted too, since the workload has begun: they are its own pages.
    fn until(&self, after: &Self, transactions: f64) -> Turn {
        let each = |before: u64, after: u64| (after - before) as f64 / transactions;
        Turn {
            micros: each(self.ticks, after.ticks) * 1e6 / procfs::ticks_per_second() as f64,
            pages_read: each(self.pages_read, after.pages_read),
            pages_written: each(self.pages_written, after.pages_written),
            log_bytes: each(self.log_bytes, after.log_bytes),
        }
    }
}

fn sysbench(home: &Home, workload: Workload, command: &[&str]) -> Result<String> {
    let mut words = vec![format!("oltp_{}", workload.name().replace(['-', ' '], "_"))];
    words.push(format!("--mysql-socket={}", home.socket().display()));
    words.extend(SYSBENCH.map(str::to_owned));
    words.extend(command.iter().map(|word| (*word).to_owned()));
    run::output("sysbench", &cmd("sysbench", words))
}

/// From a line such as `    transactions:                        2211   (552.31 per sec.)`.
fn transactions(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("transactions:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// So that no server is measured that does not do what its name says.
fn check_is_encrypted(server: &Server<'_>, variant: Variant) -> Result<()> {
    let encrypted = server.sql(
        "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION \
         WHERE NAME LIKE 'sbtest/%' AND ENCRYPTION_SCHEME = 1 AND MIN_KEY_VERSION > 0",
    )?;
    let is_encrypted = encrypted.trim() == "1";
    if is_encrypted == (variant == Variant::None) {
        bail!("the table of the server with {} is encrypted in {} of 1 tablespaces", variant.name(), encrypted.trim());
    }
    Ok(())
}

fn text(rows: &[Row]) -> String {
    let mut text =
        "CPU time of the server for a transaction, in microseconds, and over that without encryption\n".to_owned();
    for Row { pool, workload, figures, plain } in rows {
        let _ = writeln!(text, "\n{}, {}: {plain}", workload.name(), pool.name());
        for (variant, Figure { micros, ratio }) in Variant::ALL.iter().zip(figures) {
            let _ = writeln!(text, "  {:28} {micros:9.0}   {ratio}", variant.name());
        }
    }
    text
}

const MEMORY: &str = "/dev/shm";
const FILE_KEY_MANAGEMENT: &str = "file_key_management.so";

/// Any; of 128 bits, as this plugin's by default.
const KEYS: &str = "1;a7addd9adea9978fda19f21e6be98788\n";

/// 250 000 rows are about 64 MB.
const SYSBENCH: [&str; 7] = [
    "--db-driver=mysql",
    "--mysql-user=root",
    "--tables=1",
    "--table-size=250000",
    "--threads=1",
    "--time=3",
    "--rand-type=uniform",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transactions_are_found_in_what_sysbench_says() {
        let said = "SQL statistics:\n    queries performed:\n        read:   30954\n    transactions:                        2211   (552.31 per sec.)\n    queries:    35376\n";
        assert_eq!(transactions(said), Some(2211.0));
        assert_eq!(transactions("FATAL: no connection"), None);
    }
}
