//! A server on arm64: tables in both algorithms, rotations, a crash, a backup; and a server on this CPU that reads what the
//! other wrote, and the other way round.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use duct::cmd;

use crate::commands::versions::server::Programs;
use crate::machine::paths;
use crate::rig::{self, Home, Installation, Rig, Server};
use crate::{interrupt, load, run, terminal};

/// The plugin for arm64, that for this machine, and the server for arm64.
pub struct Both<'programs> {
    /// Built for arm64.
    pub plugin: PathBuf,
    /// Built for this machine.
    pub native_plugin: PathBuf,
    /// For arm64, unpacked.
    pub programs: &'programs Programs,
}

impl Both<'_> {
    /// Does all of it.
    pub fn run(&self) -> Result<()> {
        Rig::of(self.programs.installation()?, &self.plugin)?.run(|rig| {
            let rows = work(rig)?;
            terminal::detail("tables in AES_CBC and AES_CTR: encrypted, rotated, the same after a kill");
            let restored = self.backup(rig)?;
            restored.explain(read(rig, &restored, &rows))?;
            terminal::detail("mariadb-backup: the restored server has all rows");
            self.change_cpu(rig, &restored, &rows)?;
            terminal::detail("a server on this CPU reads and rotates what arm64 wrote, and arm64 goes on with that");
            Ok(())
        })
    }

    /// A backup of a running server, prepared, as the data folder of a server that was not started yet.
    fn backup(&self, rig: &Rig) -> Result<Home> {
        let folder = rig.folder().join("restored");
        let restored = Home::without_data(self.programs.installation()?, &folder, &self.plugin)?;
        let server = rig.start(&options())?;
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let target = option("target-dir", &restored.data());
        let defaults = option("defaults-file", &rig.home.option_file());
        let socket = option("socket", &rig.home.socket());
        let backup: &[&str] = &[&defaults, "--backup", "--user=root", &socket, &target];
        // The plugin's settings lie in the backup.
        let prepare: &[&str] = &["--prepare", &target];
        for words in [backup, prepare] {
            let program = self.programs.mariadb_backup()?.into_iter();
            let words = program.chain(words.iter().chain(self.programs.backup_options()).map(OsString::from));
            let command = cmd("env", words).dir(rig.folder()).full_env(rig.environment());
            run::quietly("mariadb-backup", &command)?;
        }
        server.stop()?;
        Ok(restored)
    }

    /// The data folder goes to a server on this CPU and back again.
    fn change_cpu(&self, rig: &Rig, restored: &Home, rows: &str) -> Result<()> {
        let folder = rig.folder().join("native");
        let native = Home::without_data(Installation::of_the_system()?, &folder, &self.native_plugin)?;
        std::fs::rename(restored.data(), native.data())?;
        let rows = native.explain(continue_on(rig, &native, rows))?;
        std::fs::rename(native.data(), restored.data())?;
        restored.explain(continue_on(rig, restored, &rows)).map(drop)
    }
}

/// Makes tables, rotates their keys until all pages are encrypted anew, and kills the server. The checksums of the tables.
fn work(rig: &Rig) -> Result<String> {
    let server = rig.start(&options())?;
    for (algorithm, table) in TABLES {
        server.sql(&format!("SET GLOBAL aws_key_management_encryption_algorithm = {algorithm}; {table}"))?;
    }
    server.sql(ROWS)?;
    let before = checksums(&server)?;
    rotate(&server)?;
    rotate(&server)?;
    interrupt::wait_for("all pages are encrypted anew", PATIENCE, || {
        Ok((server.sql(OLD_PAGES)?.trim() == "0").then_some(()))
    })?;
    ensure!(checksums(&server)? == before, "after the rotations the rows are not what they were");
    server.sql("INSERT INTO arm.cbc VALUES (0, 'at last'); INSERT INTO arm.ctr VALUES (0, 'at last')")?;
    let rows = checksums(&server)?;
    // What was committed is in the encrypted redo log, at least.
    server.kill()?;
    read(rig, &rig.home, &rows)?;
    check_key_files(&rig.home.data())?;
    check_encrypted(&rig.home.data())?;
    Ok(rows)
}

/// A server at `home` starts, has these `rows`, and stops.
fn read(rig: &Rig, home: &Home, rows: &str) -> Result<()> {
    let server = rig.start_at(home, &options())?;
    let found = checksums(&server)?;
    ensure!(found == rows, "the tables' checksums are\n{found}and not\n{rows}");
    server.stop()
}

/// A server at `home` has these `rows`, rotates and writes. What the rows are then.
fn continue_on(rig: &Rig, home: &Home, rows: &str) -> Result<String> {
    read(rig, home, rows)?;
    let server = rig.start_at(home, &options())?;
    rotate(&server)?;
    server.sql("UPDATE arm.cbc SET text = REVERSE(text); UPDATE arm.ctr SET text = REVERSE(text)")?;
    let rows = checksums(&server)?;
    server.stop()?;
    read(rig, home, &rows)?;
    Ok(rows)
}

fn rotate(server: &Server<'_>) -> Result<()> {
    for (algorithm, id) in [("AES_CBC", 5), ("AES_CTR", 6)] {
        server.sql(&format!(
            "SET GLOBAL aws_key_management_encryption_algorithm = {algorithm}; \
             SET GLOBAL aws_key_management_rotate_key = {id}"
        ))?;
    }
    Ok(())
}

fn checksums(server: &Server<'_>) -> Result<String> {
    server.sql("CHECKSUM TABLE arm.cbc, arm.ctr, arm.aria, arm.plain EXTENDED")
}

/// Each key has three versions, of the algorithm that it was rotated with.
fn check_key_files(data: &Path) -> Result<()> {
    for (id, is_ctr) in [(5, false), (6, true)] {
        for version in 1..=3 {
            let file = data.join(format!("aws-kms-key.{id}.{version}"));
            let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            ensure!(contains(&bytes, "AES_CTR") == is_ctr, "{} is of the other algorithm", file.display());
        }
    }
    Ok(())
}

/// The text of the rows is nowhere in the data folder, but for the table that is not to be encrypted, where it shows that the
/// search finds it.
fn check_encrypted(data: &Path) -> Result<()> {
    let mut found = Vec::new();
    for (file, _) in paths::files_below(&data.join("arm"))? {
        if contains(&std::fs::read(&file)?, TEXT) {
            found.push(file.strip_prefix(data)?.to_owned());
        }
    }
    ensure!(found == [Path::new("arm/plain.ibd")], "the rows can be read in the files {found:?}");
    Ok(())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn options() -> String {
    [rig::LOAD, load::OPTIONS, MORE_OPTIONS].join("\n")
}

const MORE_OPTIONS: &str = "innodb_encryption_threads = 1\naria_encrypt_tables = ON\nencrypt_tmp_files = ON";

/// With the algorithm that their keys are made with.
const TABLES: [(&str, &str); 2] = [
    (
        "AES_CBC",
        "CREATE DATABASE arm; \
         CREATE TABLE arm.cbc (id INT PRIMARY KEY, text TEXT) ENCRYPTED=YES ENCRYPTION_KEY_ID=5; \
         CREATE TABLE arm.plain (id INT PRIMARY KEY, text TEXT) ENCRYPTED=NO; \
         CREATE TABLE arm.aria (id INT PRIMARY KEY, text TEXT) ENGINE=Aria",
    ),
    ("AES_CTR", "CREATE TABLE arm.ctr (id INT PRIMARY KEY, text TEXT) ENCRYPTED=YES ENCRYPTION_KEY_ID=6"),
];

const ROWS: &str = "INSERT INTO arm.cbc SELECT seq, REPEAT('text of a row ', 20) FROM arm.seq_1_to_2000; \
     INSERT INTO arm.ctr SELECT * FROM arm.cbc; INSERT INTO arm.aria SELECT * FROM arm.cbc; \
     INSERT INTO arm.plain SELECT * FROM arm.cbc";

const TEXT: &str = "text of a row";

const OLD_PAGES: &str = "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION \
     WHERE NAME IN ('arm/cbc', 'arm/ctr') AND MIN_KEY_VERSION < 2";

const PATIENCE: Duration = Duration::from_secs(120);
