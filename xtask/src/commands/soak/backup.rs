//! A backup of the server under load, and a server that is started from it.

use std::path::Path;

use anyhow::{Context, Result};
use duct::{Expression, cmd};

use crate::load::{self, KeyFiles, Rows};
use crate::machine::paths;
use crate::rig::{self, Home, Installation, Rig};
use crate::run;

/// Takes the backup number `number` with mariadb-backup, prepares it and starts a server on it: it has the rows that were
/// committed before, and every key of the backup can be used.
pub fn make_and_check(rig: &Rig, plugin: &Path, rows: &Rows, number: u32) -> Result<()> {
    let folder = paths::emptied(&rig.folder().join(format!("backup-{number}")))?;
    let restored = Home::without_data(Installation::of_the_system()?, &folder, plugin)?;
    let data = restored.data();
    let least = rows.committed();
    let defaults = format!("--defaults-file={}", rig.home.option_file().display());
    let socket = format!("--socket={}", rig.home.socket().display());
    let target = format!("--target-dir={}", data.display());
    run::quietly("mariadb-backup", &backup(rig, &[&defaults, "--backup", "--user=root", &socket, &target]))?;
    let most = rows.asked_for();
    // The plugin's settings lie in the backup.
    run::quietly("mariadb-backup --prepare", &backup(rig, &["--prepare", &target]))?;
    let keys = KeyFiles::first(&data)?;
    let server = rig.start_at(&restored, &[rig::LOAD, load::OPTIONS].join("\n"));
    restored.explain(server.and_then(|server| {
        keys.after_restart(&data, &restored.log_text(), |_| false)?;
        load::check(&server, least, most)?;
        load::check_all_tables(&server)?;
        server.stop()
    }))?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

fn backup(rig: &Rig, words: &[&str]) -> Expression {
    cmd("mariadb-backup", words).dir(rig.folder()).full_env(rig.environment())
}
