//! What is tried in each version: that the plugin loads, encrypts and rotates; a backup and its restore; the roles of
//! processes.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use duct::cmd;

use super::server::Programs;
use crate::machine::debian::Release;
use crate::machine::paths;
use crate::rig::{self, Rig, Server};
use crate::tally::Tally;
use crate::{run, terminal};

/// Installs what is missing, builds the plugin and tries it in the `releases`, on a system that has the place `here` among
/// all; an error at the first failure.
pub fn run(releases: impl Iterator<Item = Release>, here: usize, tally: &mut Tally) -> Result<()> {
    let plugin = rig::prepare()?;
    for release in releases {
        try_in(&release, here, &plugin).with_context(|| format!("with the MariaDB of Debian {}", release.codename))?;
        tally.passed += 1;
    }
    Ok(())
}

fn try_in(release: &Release, here: usize, plugin: &Path) -> Result<()> {
    try_programs(&Programs::of(release, here)?, plugin, release.codename)
}

/// Tries `plugin` in these, which come from `whence`.
pub fn try_programs(programs: &Programs, plugin: &Path, whence: &str) -> Result<()> {
    let installation = programs.installation()?;
    let version = installation.version()?;
    Rig::of(installation, plugin)?.run(|rig| exercise(rig, programs))?;
    terminal::detail(format_args!(
        "MariaDB {version} ({whence}): loads the plugin, encrypts, rotates, reads back, also from a backup; \
         mariadb-backup and --wsrep_recover are known as such"
    ));
    Ok(())
}

fn exercise(rig: &Rig, programs: &Programs) -> Result<()> {
    let server = rig.start_without_plugin()?;
    install(&server)?;
    let rows = fill_tables(&server)?;
    check_status(rig, &server, "0")?;
    server.stop()?;

    let server = rig.start(rig::LOAD)?;
    ensure!(server.sql(ROWS)? == rows, "after a restart the rows are not what they were");
    rotate(rig, &server)?;
    check_status(rig, &server, "1")?;
    // It has a way of its own to the status variables; in 10.5, while it is off, it shows those of no plugin.
    let rotations = server.sql(ROTATIONS)?;
    ensure!(
        ["1", "NULL"].contains(&rotations.trim()),
        "performance_schema shows of the rotations: {}",
        rotations.trim()
    );
    check_keys_in_sql(rig, &server)?;
    let target = rig.folder().join("backup");
    check_roles(rig, programs, &target)?;
    server.sql("DROP TABLE other.one, other.seven")?;
    server.stop()?;
    check_restore(rig, programs, &target, &rows)?;
    check_recovery(rig)
}

/// Installs the plugin by SQL, and looks at how it is shown.
pub fn install(server: &Server<'_>) -> Result<()> {
    server.sql("INSTALL SONAME 'aws_key_management'")?;
    let plugin = server.sql(PLUGIN)?;
    ensure!(plugin.trim() == "ACTIVE\tENCRYPTION\tStable", "information_schema.PLUGINS says: {}", plugin.trim());
    // The whole table: a TYPELIB that is too short for this version makes it crash or show a wrong list.
    server.sql("SELECT * FROM information_schema.SYSTEM_VARIABLES")?;
    let values = server.sql(KEY_SPECS)?;
    ensure!(values.trim() == "AES_128,AES_256", "the values of key_spec are shown as: {}", values.trim());
    Ok(())
}

/// Makes two encrypted tables, and answers what is in them, as [`ROWS`] shows it.
pub fn fill_tables(server: &Server<'_>) -> Result<String> {
    server.sql(TABLES)?;
    server.sql(ROWS)
}

/// Rotates key 7, writes with the new version, and takes that back.
pub fn rotate(rig: &Rig, server: &Server<'_>) -> Result<()> {
    server.sql(
        "SET GLOBAL aws_key_management_rotate_key = 7; INSERT INTO other.seven VALUES (0, 'after the rotation'); \
         DELETE FROM other.seven WHERE id = 0",
    )?;
    ensure!(rig.home.data().join("aws-kms-key.7.2").is_file(), "the rotation left no file aws-kms-key.7.2");
    Ok(())
}

/// A server with `--wsrep_recover` is known as such: it makes no key, not even where there is nothing, and says its position.
fn check_recovery(rig: &Rig) -> Result<()> {
    let recover = |expected: &str| {
        let options = format!("{}\n{}\ninnodb_encrypt_log = ON\nwsrep_recover", rig::LOAD, rig.kms.variables());
        let status = rig.home.run(&options, &rig.environment())?;
        let log = rig.home.log_text();
        ensure!(status.success(), "--wsrep_recover ended with {status}");
        ensure!(log.contains("New keys: none with --wsrep_recover"), "the plugin does not know --wsrep_recover");
        ensure!(log.contains(expected), "with --wsrep_recover, the log does not say: {expected}");
        paths::names_in(&rig.home.data())
    };
    let data = rig.home.data();
    let keys = |names: &[String]| names.iter().filter(|name| name.contains("aws-kms-key")).count();
    let before = keys(&paths::names_in(&data)?);
    let after = keys(&recover("aws_key_management: loaded ")?);
    ensure!(after == before, "--wsrep_recover has made {after} files of {before}");
    std::fs::remove_dir_all(&data)?;
    rig.home.empty_data()?;
    let made = recover("WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1\n")?;
    ensure!(keys(&made) == 0 && !made.iter().any(|name| name.starts_with("ib")), "--wsrep_recover has made {made:?}");
    Ok(())
}

/// The status variables are shown by all that shows them, with the number of keys that have a file and `rotations`, and FLUSH
/// STATUS changes none.
fn check_status(rig: &Rig, server: &Server<'_>, rotations: &str) -> Result<()> {
    let files = paths::names_in(&rig.home.data())?;
    let keys = files.iter().filter(|file| file.starts_with("aws-kms-key.") && file.ends_with(".1")).count().to_string();
    for from in ["SHOW GLOBAL STATUS", "SHOW SESSION STATUS", "FLUSH STATUS; SHOW GLOBAL STATUS"] {
        let shown = server.sql(&format!("{from} LIKE 'aws\\_key\\_management\\_%'"))?;
        let value = |name: &str| {
            let mut lines = shown.lines().filter_map(|line| line.split_once('\t'));
            let found = lines.find(|(shown, _)| *shown == format!("Aws_key_management_{name}"));
            found.map_or("nothing", |(_, value)| value)
        };
        let values = ["keys", "rotations", "restart_ready", "kms_decrypt_calls_failed"].map(value);
        ensure!(values == [keys.as_str(), rotations, "ON", "0"], "{from} shows {values:?} of:\n{shown}");
        let all = server.sql(STATUS_ROWS)?;
        ensure!(all.trim() == shown.lines().count().to_string(), "information_schema has {} of:\n{shown}", all.trim());
    }
    Ok(())
}

/// The file of statements can be run twice; the function lists the versions in each version of the server, and the views, which
/// need JSON_TABLE, where there is that. After a restart they are still there.
fn check_keys_in_sql(rig: &Rig, server: &Server<'_>) -> Result<()> {
    server.sql(KEYS_IN_SQL)?;
    server.sql(KEYS_IN_SQL)?;
    let files = paths::names_in(&rig.home.data())?;
    let versions = files.iter().filter(|file| file.starts_with("aws-kms-key.") && file.ends_with(['1', '2'])).count();
    let listed = server.sql("SELECT JSON_VALID(aws_key_management_keys()), JSON_LENGTH(aws_key_management_keys())")?;
    ensure!(listed.trim() == format!("1\t{versions}"), "the function lists {} of {versions} versions", listed.trim());
    let has_views = server.sql("SELECT COUNT(*) FROM information_schema.VIEWS WHERE TABLE_NAME LIKE 'aws_key%'")?;
    let has_json_table = server.sql("/*M!100600 SELECT 2 */; /*!50000 SELECT 0 */")?;
    let expected = has_json_table.lines().next().unwrap_or_default();
    ensure!(has_views.trim() == expected, "there are {} views, and not {expected}", has_views.trim());
    if expected == "2" {
        let latest = server.sql(LATEST_OF_SEVEN)?;
        ensure!(latest.trim() == "2\tok\tAES_CBC\troot@localhost\t1", "the view says of key 7: {}", latest.trim());
        let used = server.sql(USE_OF_ONE)?;
        ensure!(used.trim() == "1", "the view of the usage says of key 1: {}", used.trim());
    }
    Ok(())
}

/// The plugin knows both programs by their signs: the server, which makes keys, and mariadb-backup, which makes none.
fn check_roles(rig: &Rig, programs: &Programs, target: &Path) -> Result<()> {
    let log = rig.home.log_text();
    ensure!(!log.contains(UNKNOWN), "the plugin does not know what a server is in this version");
    ensure!(log.contains("New keys: AES_128"), "the plugin does not say in the server's log which keys it makes");
    let target = option("target-dir", target);
    let (defaults, socket) = (option("defaults-file", &rig.home.option_file()), option("socket", &rig.home.socket()));
    let backup: &[&str] = &[&defaults, "--backup", "--user=root", &socket, &target];
    let prepare: &[&str] = &["--prepare", &target];
    for words in [backup, prepare] {
        let (mut said, mut is_known) = (String::new(), false);
        let more = words.iter().chain(programs.backup_options()).map(OsString::from);
        let words = programs.mariadb_backup()?.into_iter().chain(more);
        let command = cmd("env", words).dir(rig.folder()).full_env(rig.environment());
        let status = run::lines_with_progress("mariadb-backup", &command, |line| {
            is_known |= line.contains("New keys: none in mariadb-backup");
            said.extend([line, "\n"]);
        })?;
        ensure!(status.success(), "mariadb-backup failed ({status}); it said:\n{said}");
        ensure!(is_known && !said.contains(UNKNOWN), "the plugin does not know mariadb-backup; it said:\n{said}");
    }
    Ok(())
}

/// The prepared backup, copied back into an empty datadir, has the `rows` that the server has lost meanwhile.
fn check_restore(rig: &Rig, programs: &Programs, target: &Path, rows: &str) -> Result<()> {
    rig.home.empty_data()?;
    let data = option("datadir", &rig.home.data());
    let own = ["--copy-back".to_owned(), option("target-dir", target), data];
    let words = programs.mariadb_backup()?.into_iter().chain(own.map(OsString::from));
    let command = cmd("env", words).dir(rig.folder()).full_env(rig.environment());
    run::quietly("mariadb-backup --copy-back", &command)?;
    let server = rig.start(rig::LOAD)?;
    ensure!(server.sql(ROWS)? == rows, "after a restore the rows are not what they were");
    ensure!(rig.home.data().join("aws-kms-key.7.2").is_file(), "the backup lacks aws-kms-key.7.2");
    server.stop()
}

fn option(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}

const UNKNOWN: &str = "this process is not known as a MariaDB server";

const KEYS_IN_SQL: &str = include_str!("../../../../sql/aws_key_management.sql");

const LATEST_OF_SEVEN: &str = "SELECT KEY_VERSION, STATE, ALGORITHM, CREATED_BY, WRAPS \
    FROM sys.aws_key_management_key_versions WHERE KEY_ID = 7 AND IS_LATEST";

const USE_OF_ONE: &str = "SELECT TABLESPACES > 0 FROM sys.aws_key_management_key_usage WHERE KEY_ID = 1";

const PLUGIN: &str = "SELECT PLUGIN_STATUS, PLUGIN_TYPE, PLUGIN_MATURITY FROM information_schema.PLUGINS \
                      WHERE PLUGIN_NAME = 'aws_key_management'";

const ROTATIONS: &str = "SELECT MAX(VARIABLE_VALUE) FROM performance_schema.global_status \
                         WHERE VARIABLE_NAME = 'aws_key_management_rotations'";

const STATUS_ROWS: &str = "SELECT COUNT(*) FROM information_schema.GLOBAL_STATUS \
                           WHERE VARIABLE_NAME LIKE 'aws\\_key\\_management\\_%'";

const KEY_SPECS: &str = "SELECT ENUM_VALUE_LIST FROM information_schema.SYSTEM_VARIABLES \
                         WHERE VARIABLE_NAME = 'aws_key_management_key_spec'";

const TABLES: &str = "CREATE DATABASE other; \
    CREATE TABLE other.one (id INT PRIMARY KEY, text VARCHAR(100)) ENCRYPTED=YES; \
    CREATE TABLE other.seven (id INT PRIMARY KEY, text VARCHAR(100)) ENCRYPTED=YES ENCRYPTION_KEY_ID=7; \
    INSERT INTO other.one SELECT seq, REPEAT('one', 20) FROM other.seq_1_to_1000; \
    INSERT INTO other.seven SELECT seq, REPEAT('seven', 20) FROM other.seq_1_to_1000";

/// What is in the encrypted tables.
pub const ROWS: &str =
    "SELECT COUNT(*), MIN(text), MAX(text) FROM other.one; SELECT COUNT(*), MIN(text), MAX(text) FROM other.seven";
