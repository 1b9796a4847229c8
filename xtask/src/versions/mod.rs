//! `cargo xtask versions`: the plugin, as it is built here, in servers of other Debian releases.

mod tree;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use self::tree::Release;
use crate::kms::Kms;
use crate::server::Home;
use crate::tally::Tally;
use crate::{console, emulator, packages, paths, toolchain};

/// Installs what is missing, builds the plugin and tries it in each version; an error at the first failure.
pub fn run() -> Result<Tally> {
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    emulator::ensure()?;
    let plugin = toolchain::build_plugin()?;
    let releases = tree::other_releases()?;
    for release in &releases {
        try_in(release, &plugin).with_context(|| format!("with the MariaDB of Debian {}", release.codename))?;
    }
    Ok(Tally::passed(releases.len()))
}

fn try_in(release: &Release, plugin: &Path) -> Result<()> {
    let installation = release.unpacked()?;
    let version = installation.version()?;
    let folder = paths::temporary_folder()?;
    let kms = Kms::emulator(folder.path())?;
    let home = Home::new(installation, folder.path(), plugin)?;
    exercise(&home, &kms).with_context(|| home.log_tail())?;
    kms.stop()?;
    folder.close()?;
    console::detail(format_args!(
        "MariaDB {version} ({}): loads the plugin, encrypts, rotates, reads back",
        release.codename
    ));
    Ok(())
}

fn exercise(home: &Home, kms: &Kms) -> Result<()> {
    let environment = kms.environment(&home.empty_folder());
    // Options of a plugin that is not loaded at the start.
    let loose: Vec<String> = kms.variables().iter().map(|line| format!("loose_{line}")).collect();
    let server = home.start(&loose, environment.clone())?;
    server.sql("INSTALL SONAME 'aws_key_management'")?;
    let plugin = server.sql(PLUGIN)?;
    ensure!(plugin.trim() == "ACTIVE\tENCRYPTION\tStable", "information_schema.PLUGINS says: {}", plugin.trim());
    // The whole table: a TYPELIB that is too short for this version makes it crash or show a wrong list.
    server.sql("SELECT * FROM information_schema.SYSTEM_VARIABLES")?;
    let values = server.sql(KEY_SPECS)?;
    ensure!(values.trim() == "AES_128,AES_256", "the values of key_spec are shown as: {}", values.trim());
    server.sql(TABLES)?;
    let rows = server.sql(ROWS)?;
    server.stop()?;

    let loaded = ["plugin_load_add = aws_key_management".to_owned(), "aws_key_management = FORCE".to_owned()];
    let server = home.start(&[loaded.to_vec(), kms.variables()].concat(), environment)?;
    ensure!(server.sql(ROWS)? == rows, "after a restart the rows are not what they were");
    server.sql(
        "SET GLOBAL aws_key_management_rotate_key = 7; INSERT INTO other.seven VALUES (0, 'after the rotation')",
    )?;
    ensure!(home.data().join("aws-kms-key.7.2").is_file(), "the rotation left no file aws-kms-key.7.2");
    server.stop()
}

const PLUGIN: &str = "SELECT PLUGIN_STATUS, PLUGIN_TYPE, PLUGIN_MATURITY FROM information_schema.PLUGINS \
                      WHERE PLUGIN_NAME = 'aws_key_management'";

const KEY_SPECS: &str = "SELECT ENUM_VALUE_LIST FROM information_schema.SYSTEM_VARIABLES \
                         WHERE VARIABLE_NAME = 'aws_key_management_key_spec'";

const TABLES: &str = "CREATE DATABASE other; \
    CREATE TABLE other.one (id INT PRIMARY KEY, text VARCHAR(100)) ENCRYPTED=YES; \
    CREATE TABLE other.seven (id INT PRIMARY KEY, text VARCHAR(100)) ENCRYPTED=YES ENCRYPTION_KEY_ID=7; \
    INSERT INTO other.one SELECT seq, REPEAT('one', 20) FROM other.seq_1_to_1000; \
    INSERT INTO other.seven SELECT seq, REPEAT('seven', 20) FROM other.seq_1_to_1000";

const ROWS: &str =
    "SELECT COUNT(*), MIN(text), MAX(text) FROM other.one; SELECT COUNT(*), MIN(text), MAX(text) FROM other.seven";
