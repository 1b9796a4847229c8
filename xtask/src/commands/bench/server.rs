//! `cargo xtask bench server`: what encryption costs a whole server, in CPU time for each transaction of sysbench, beside no
//! encryption and beside `file_key_management`.
//!
//! All servers are up together and take short turns, so that what else the machine does meets all of them alike; the data is
//! larger than the buffer pool and lies in memory, so that pages are decrypted and encrypted all the time and nobody waits for a
//! disk. What counts is the ratio within a round.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use duct::cmd;

use super::server_docs;
use crate::machine::{packages, paths};
use crate::rig::{self, Home, Installation, Rig, Server};
use crate::terminal::{self, Progress};
use crate::{interrupt, run};

/// How a server encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Not at all.
    None,
    /// By the server's own plugin.
    FileKeyManagement(Algorithm),
    /// By this plugin.
    Plugin(Algorithm),
}

/// What pages and logs are encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES_CBC
    Cbc,
    /// AES_CTR
    Ctr,
}

/// What sysbench lets a server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// oltp_read_only
    ReadOnly,
    /// oltp_read_write
    ReadWrite,
    /// oltp_write_only
    WriteOnly,
}

/// What came of a workload on all servers.
pub struct Row {
    /// The workload.
    pub workload: Workload,
    /// In the order of [`Variant::ALL`].
    pub figures: Vec<Figure>,
}

/// What a transaction costs a server.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// CPU time of the server, in microseconds: the median.
    pub micros: f64,
    /// That of the same round over that of the server without encryption: the median, and the quarters below and above it.
    pub ratio: Quartiles,
}

/// The values at a quarter, a half and three quarters of all, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles([f64; 3]);

/// Installs what is missing, measures, and renews docs/server-benchmark.* if asked for.
pub fn run(plugin: &Path, rounds: usize, write_docs: bool) -> Result<()> {
    packages::ensure(&[packages::SYSBENCH])?;
    let memory = if Path::new(MEMORY).is_dir() { MEMORY.into() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(memory).context("making a folder in memory")?;
    let rows = Rig::new(plugin)?.run(|rig| measure(rig, folder.path(), plugin, rounds))?;
    terminal::line(text(&rows));
    if write_docs {
        let version = Installation::of_the_system()?.version()?;
        server_docs::write(&paths::repository().join("docs"), &rows, rounds, &version)?;
    }
    Ok(())
}

fn measure(rig: &Rig, folder: &Path, plugin: &Path, rounds: usize) -> Result<Vec<Row>> {
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
    let servers: Vec<(Variant, &Home, Server<'_>)> = Variant::ALL
        .into_iter()
        .zip(&homes)
        .map(|(variant, home)| {
            let options = variant.options(&key_file);
            let server = match variant {
                Variant::Plugin(_) => rig.start_at(home, &options),
                Variant::None | Variant::FileKeyManagement(_) => home.start(&options, Some(&rig.environment())),
            };
            let server = home.explain(server)?;
            terminal::detail(format_args!("filling a server: {}", variant.name()));
            server.sql("CREATE DATABASE sbtest")?;
            sysbench(home, Workload::ReadWrite, &["prepare"])?;
            check_is_encrypted(&server, variant)?;
            Ok((variant, home, server))
        })
        .collect::<Result<_>>()?;
    let mut rows = Vec::new();
    for workload in Workload::ALL {
        let mut times = vec![Vec::new(); servers.len()];
        let mut progress = Progress::new(format_args!("{}: {rounds} rounds", workload.name()));
        // The first is for warming up.
        for round in 0..=rounds {
            for turn in 0..servers.len() {
                let place = (round + turn) % servers.len();
                let (_, home, server) = &servers[place];
                let micros = turn_of(home, server, workload)?;
                if round > 0 {
                    times[place].push(micros);
                }
                progress.tick();
                ensure!(!interrupt::has_come(), "interrupted");
            }
        }
        rows.push(Row { workload, figures: figures(&times) });
    }
    servers.iter().try_for_each(|(.., server)| server.stop())?;
    Ok(rows)
}

/// Microseconds of the server's CPU time for a transaction.
fn turn_of(home: &Home, server: &Server<'_>, workload: Workload) -> Result<f64> {
    let before = cpu_ticks(server)?;
    let said = sysbench(home, workload, &["run"])?;
    let ticks = cpu_ticks(server)? - before;
    let transactions = transactions(&said).with_context(|| format!("sysbench says no transactions:\n{said}"))?;
    ensure!(transactions > 0.0, "no transaction was made");
    Ok(ticks as f64 * 1e6 / procfs::ticks_per_second() as f64 / transactions)
}

fn cpu_ticks(server: &Server<'_>) -> Result<u64> {
    let stat = server.process()?.stat()?;
    Ok(stat.utime + stat.stime)
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

fn figures(times: &[Vec<f64>]) -> Vec<Figure> {
    let plain = times.first().cloned().unwrap_or_default();
    let figure = |times: &Vec<f64>| {
        let ratios = times.iter().zip(&plain).map(|(time, plain)| time / plain).collect();
        Figure { micros: Quartiles::of(times.clone()).median(), ratio: Quartiles::of(ratios) }
    };
    times.iter().map(figure).collect()
}

fn text(rows: &[Row]) -> String {
    let mut text =
        "CPU time of the server for a transaction, in microseconds, and over that without encryption\n".to_owned();
    for Row { workload, figures } in rows {
        let _ = writeln!(text, "\n{}", workload.name());
        for (variant, Figure { micros, ratio }) in Variant::ALL.iter().zip(figures) {
            let _ = writeln!(text, "  {:28} {micros:9.0}   {ratio}", variant.name());
        }
    }
    text
}

impl Variant {
    /// The first is what the others are compared with.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::FileKeyManagement(Algorithm::Cbc),
        Self::FileKeyManagement(Algorithm::Ctr),
        Self::Plugin(Algorithm::Cbc),
        Self::Plugin(Algorithm::Ctr),
    ];

    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no encryption",
            Self::FileKeyManagement(Algorithm::Cbc) => "file_key_management, AES_CBC",
            Self::FileKeyManagement(Algorithm::Ctr) => "file_key_management, AES_CTR",
            Self::Plugin(Algorithm::Cbc) => "aws_key_management, AES_CBC",
            Self::Plugin(Algorithm::Ctr) => "aws_key_management, AES_CTR",
        }
    }

    /// Lines of a my.cnf.
    fn options(self, key_file: &Path) -> String {
        let plugin = match self {
            Self::None => return SERVER.to_owned(),
            Self::FileKeyManagement(algorithm) => format!(
                "plugin_load_add = file_key_management\nfile_key_management_filename = {}\n\
                 file_key_management_encryption_algorithm = {}",
                key_file.display(),
                algorithm.name()
            ),
            Self::Plugin(algorithm) => {
                format!("{}\naws_key_management_encryption_algorithm = {}", rig::LOAD, algorithm.name())
            }
        };
        format!("{SERVER}\n{ENCRYPT}\n{plugin}")
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Cbc => "AES_CBC",
            Self::Ctr => "AES_CTR",
        }
    }
}

impl Workload {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::ReadWrite, Self::WriteOnly];

    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
            Self::WriteOnly => "write-only",
        }
    }
}

impl Quartiles {
    /// Of any number of values but none.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = (values.len().saturating_sub(1)) as f64 * part;
            let (below, above) = (values.get(place.floor() as usize), values.get(place.ceil() as usize));
            below.zip(above).map_or(f64::NAN, |(below, above)| below + (above - below) * place.fract())
        };
        Self([at(0.25), at(0.5), at(0.75)])
    }

    /// The values between which half of all lie.
    pub fn quarters(&self) -> [f64; 2] {
        [self.0[0], self.0[2]]
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.0[1]
    }
}

impl std::fmt::Display for Quartiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [below, median, above] = self.0;
        write!(f, "{median:.3} ({below:.3} to {above:.3})")
    }
}

const MEMORY: &str = "/dev/shm";
const FILE_KEY_MANAGEMENT: &str = "file_key_management.so";

/// Any; of 128 bits, as this plugin's by default.
const KEYS: &str = "1;a7addd9adea9978fda19f21e6be98788\n";

/// The buffer pool holds a quarter of the table.
const SERVER: &str = "innodb_buffer_pool_size = 16M\ninnodb_flush_method = fsync\ninnodb_log_file_size = 64M\n\
                      innodb_flush_log_at_trx_commit = 2\nskip_log_bin";
const ENCRYPT: &str = "innodb_encrypt_tables = ON\ninnodb_encrypt_log = ON";

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

    #[test]
    fn a_ratio_is_that_of_the_same_round() {
        // The second half of the time, the machine is half as fast.
        let figures = figures(&[vec![100.0, 100.0, 200.0, 200.0], vec![110.0, 108.0, 216.0, 220.0]]);
        assert_eq!(figures[0].ratio, Quartiles([1.0; 3]));
        assert!((figures[1].ratio.median() - 1.09).abs() < 1e-9, "{:?}", figures[1]);
    }

    #[test]
    fn quartiles_lie_between_the_values() {
        assert_eq!(Quartiles::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]), Quartiles([2.0, 3.0, 4.0]));
        assert_eq!(Quartiles::of(vec![1.0, 2.0]), Quartiles([1.25, 1.5, 1.75]));
    }
}
