//! `retire`: versions that nothing needs any more.

use std::path::PathBuf;

use anyhow::Result;
use aws_key_management::keystore::KeyName;
use aws_key_management::keystore::offline::{self, InnoDb};
use serde_json::json;

use super::Folders;
use crate::ending::{Ending, WrongUsage};
use crate::table::{print, print_json};

/// Which folder, and which versions.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    folders: Folders,
    /// The versions, whose key files must be gone
    #[arg(value_name = "ID.VERSION", required = true, value_parser = key_name)]
    names: Vec<KeyName>,
    /// A folder outside of the datadir with a redo log, a system tablespace or undo tablespaces of InnoDB, or the file of a
    /// tablespace. May be given more than once
    #[arg(long, value_name = "PATH")]
    innodb: Vec<PathBuf>,
    /// The server has no InnoDB
    #[arg(long, conflicts_with = "innodb")]
    no_innodb: bool,
    /// InnoDB's tablespaces and redo log are asked. That no log, other table or backup needs them cannot be told: says that you have checked
    #[arg(long)]
    yes_i_checked: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Retires all of them or none.
pub fn run(options: &Options) -> Result<Ending> {
    if !options.yes_i_checked {
        return Err(WrongUsage(CHECK.to_owned()).into());
    }
    let folder = options.folders.open_to_write()?;
    let innodb = match options.no_innodb {
        true => InnoDb::None,
        false => InnoDb::Elsewhere(options.innodb.clone()),
    };
    offline::retire(&folder, &options.names, &innodb)?;
    if options.json {
        let versions: Vec<_> = options
            .names
            .iter()
            .map(|name| json!({"key_id": name.id.value(), "key_version": name.version.value()}))
            .collect();
        print_json(&json!({"folder": folder.path(), "retired": versions}));
    } else {
        let line = |name: &KeyName| format!("{name}: retired. Its number is not used again\n");
        print(&options.names.iter().map(line).collect::<String>());
    }
    Ok(Ending::Good)
}

fn key_name(text: &str) -> Result<KeyName, &'static str> {
    let parsed = text.split_once('.').and_then(|(id, version)| KeyName::new(id.parse().ok()?, version.parse().ok()?));
    parsed.ok_or("it must be a key id, a dot and a version, such as 7.2")
}

const CHECK: &str = "\
whether data needs a key version can be told of InnoDB's tablespaces, and of its redo log from MariaDB 10.8 on: binary logs, Aria \
tables, temporary files and backups may be encrypted with it, too. docs/operation.md says how to find out (\"Before the old master key is disabled\"). When \
you have, add --yes-i-checked";
