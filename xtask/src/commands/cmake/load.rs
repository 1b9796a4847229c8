//! What was built is loaded by a server of the tree's series.

use std::path::Path;

use anyhow::{Result, ensure};

use super::source::Tree;
use crate::commands::versions;
use crate::rig::{self, Installation, Rig, Server};
use crate::terminal;

/// The server of the tree's series, if one is to be had: the system's, or one of another Debian release.
pub fn server(tree: &Tree) -> Result<Option<Installation>> {
    let system = Installation::of_the_system()?;
    if system.version()?.starts_with(&format!("{}.", tree.series())) {
        return Ok(Some(system));
    }
    versions::server_of(&tree.series())
}

/// `installation` loads `plugin`, encrypts with it, and reads back after a restart.
pub fn check(installation: Installation, plugin: &Path) -> Result<()> {
    let version = installation.version()?;
    Rig::of(installation, plugin)?.run(exercise)?;
    terminal::detail(format_args!("MariaDB {version} loads it, encrypts, rotates, reads back"));
    Ok(())
}

fn exercise(rig: &Rig) -> Result<()> {
    let server = rig.start(rig::LOAD)?;
    let plugin = server.sql(PLUGIN)?;
    ensure!(plugin.trim() == "ACTIVE\tENCRYPTION\tStable", "information_schema.PLUGINS says: {}", plugin.trim());
    // The whole table: declarations of another version would show here.
    server.sql("SELECT * FROM information_schema.SYSTEM_VARIABLES")?;
    server.sql(TABLE)?;
    server.sql("SET GLOBAL aws_key_management_rotate_key = 7")?;
    let rows = rows(&server)?;
    server.stop()?;
    let file = std::fs::read(rig.home.data().join("test/seven.ibd"))?;
    ensure!(memchr::memmem::find(&file, TEXT.as_bytes()).is_none(), "the table's file shows its text");
    let server = rig.start(rig::LOAD)?;
    ensure!(self::rows(&server)? == rows, "after a restart the rows are not what they were");
    server.stop()
}

fn rows(server: &Server<'_>) -> Result<String> {
    server.sql("CHECKSUM TABLE test.seven EXTENDED; SELECT COUNT(*), MIN(b), MAX(b) FROM test.seven")
}

const PLUGIN: &str = "SELECT PLUGIN_STATUS, PLUGIN_TYPE, PLUGIN_MATURITY FROM information_schema.PLUGINS \
                      WHERE PLUGIN_NAME = 'aws_key_management'";

const TEXT: &str = "in the clear";

const TABLE: &str = "CREATE DATABASE IF NOT EXISTS test; \
    CREATE TABLE test.seven (a INT PRIMARY KEY, b VARCHAR(100)) ENGINE=InnoDB ENCRYPTED=YES ENCRYPTION_KEY_ID=7; \
    INSERT INTO test.seven SELECT seq, CONCAT('in the clear', seq) FROM test.seq_1_to_2000";
