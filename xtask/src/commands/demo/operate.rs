//! What an operator does with the keys: the last part of the demo.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::super::install;
use super::kms::Kms;
use super::sql;
use super::statements::{self, CHECKSUMS, KEY_USAGE, REWRAP_ALL, ROWS, STATUS, TABLES, VERIFY_ALL};
use crate::rig::{Home, Server};
use crate::terminal::{aside, detail, show};

/// The keys, and what uses each of them. MariaDB before 10.6 has no views over JSON.
pub fn list_keys(server: &Server) -> Result<String> {
    aside("$ mariadb < sql/aws_key_management.sql");
    let script = install::statements_source();
    server.sql(&std::fs::read_to_string(&script).with_context(|| format!("reading {}", script.display()))?)?;
    let usage = sql(server, KEY_USAGE)?;
    detail(
        "Key 7 has three versions, and its table needs the last one only: the others can be retired when no backup, redo\n\
         log or binary log needs them. The status variables say the same in numbers:",
    );
    ensure!(usage.contains("7 |"), "key 7 is not in the list");
    sql(server, STATUS)?;
    Ok("the keys, their age and what uses each are seen in SQL".to_owned())
}

/// A key file that was damaged is found while the server runs, and made whole.
pub fn find_damage(home: &Home, server: &Server) -> Result<String> {
    sql(server, VERIFY_ALL)?;
    let file = home.data().join("aws-kms-key.7.2");
    let good = std::fs::read(&file).context("reading a key file")?;
    let mut bad = good.clone();
    if let Some(byte) = bad.last_mut() {
        *byte ^= 1;
    }
    aside(format_args!("$ # one bit of {} is flipped", file.display()));
    overwrite(&file, &bad)?;
    let refused = server.sql(VERIFY_ALL).err().context("verify_keys did not find the damaged key file")?;
    show(format!("{refused:#}"));
    ensure!(format!("{refused:#}").contains("key 7 version 2"), "it does not name the key");
    overwrite(&file, &good)?;
    detail("A restart would have failed for that key. The file is restored, as from a backup:");
    sql(server, VERIFY_ALL)?;
    Ok("a damaged key file was found before a restart needed it".to_owned())
}

/// Wraps all keys anew under another master key, and has the old one deleted. Answers the options of a server that goes on,
/// and what was proven; nothing with the real KMS, where no key of the user's is touched.
pub fn leave_master_key(server: &Server, kms: &Kms, options: &str) -> Result<Option<(String, String)>> {
    let Kms::Emulator(emulator) = kms else {
        detail("Left out with the real KMS: the demo makes and deletes no master keys of yours.");
        return Ok(None);
    };
    let other = emulator.master_key(OTHER_ALIAS, "us-east-1", &[])?;
    detail(format_args!("Another master key: {OTHER_ALIAS}, {other}"));
    emulator.key_state("alias/demo", "PendingDeletion")?;
    detail(
        "The first master key is scheduled for deletion, while the server runs: KMS unwraps nothing with it any more, and a\nrestart would not find its keys. But the running server has them in memory:",
    );
    sql(server, &statements::master_key(OTHER_ALIAS))?;
    sql(server, REWRAP_ALL)?;
    let options = options.replace("alias/demo", OTHER_ALIAS);
    let proven = "all keys were wrapped anew under another master key, after the first one had been scheduled for deletion, and \
                  the server started again with all its rows";
    Ok(Some((options, proven.to_owned())))
}

/// All rows are there.
pub fn read_back(server: &Server, checksums: &str) -> Result<()> {
    sql(server, CHECKSUMS)?;
    ensure!(server.sql(CHECKSUMS)? == checksums, "the checksums of the tables are not those from before the restart");
    for table in TABLES {
        let intact = server.sql(&statements::intact_rows(table))?;
        ensure!(intact.trim() == ROWS.to_string(), "only {} of {ROWS} rows of {table} came back intact", intact.trim());
    }
    Ok(())
}

/// Key files may be written by nobody; a disk fault does not ask.
fn overwrite(file: &PathBuf, contents: &[u8]) -> Result<()> {
    std::fs::remove_file(file)?;
    std::fs::write(file, contents).context("writing a key file")
}

const OTHER_ALIAS: &str = "alias/demo-other";
