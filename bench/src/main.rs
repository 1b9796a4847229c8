//! Measures the plugin beside the server. `cargo xtask bench` builds the plugin and runs this.

mod aes;
mod docs;
mod key_files;
mod lookup;
mod machine;
mod pairs;
mod rotation;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

fn main() -> ExitCode {
    match request().and_then(|request| run::run(&request)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line: `--plugin FILE --file-key-management FILE [--docs FOLDER] [--smoke] [aes] [lookup] [rotation]`.
fn request() -> Result<run::Request> {
    let (mut plugin, mut file_key_management, mut docs, mut smoke) = (None, None, None, false);
    let (mut aes, mut lookup, mut rotation) = (false, false, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut path = || words.next().map(PathBuf::from);
        match word.as_str() {
            "--plugin" => plugin = path(),
            "--file-key-management" => file_key_management = path(),
            "--docs" => docs = path(),
            "--smoke" => smoke = true,
            "aes" => aes = true,
            "lookup" => lookup = true,
            "rotation" => rotation = true,
            unknown => bail!("unknown option {unknown}"),
        }
    }
    let all = !aes && !lookup && !rotation;
    Ok(run::Request {
        plugin: plugin.context("--plugin FILE is missing")?,
        file_key_management: file_key_management.context("--file-key-management FILE is missing")?,
        docs,
        smoke,
        aes: aes || all,
        lookup: lookup || all,
        rotation: rotation || all,
    })
}
