//! Starts of the plugin that fail, in a running server, and then one that works.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use procfs::process::Process;

use crate::rig::{Home, Rig, Server};
use crate::terminal;

/// Each failure several times, each with its own error and nothing left behind; then the plugin is installed.
pub fn run(plugin: &Path) -> Result<()> {
    Rig::new(plugin)?.run(fail_and_succeed)
}

fn fail_and_succeed(rig: &Rig) -> Result<()> {
    let home = &rig.home;
    std::fs::write(home.data().join("aws-kms-key.1.1"), rig.kms.new_wrapped_key()?)?;
    let server = rig.start_without_plugin()?;
    // The server reads it again at each INSTALL.
    let option_file = home.option_file();
    let good = std::fs::read_to_string(&option_file)?;
    let process = server.process()?;
    // The first round is the warm-up of the server itself.
    let (mut before, mut last) = (None, None);
    let repeated = FAILURES.iter().cycle().take(FAILURES.len() * (1 + ROUNDS));
    for (number, (option, expected)) in repeated.enumerate() {
        std::fs::write(&option_file, format!("{good}loose_aws_key_management_{option}\n"))?;
        let Err(error) = server.sql(INSTALL) else { bail!("with {option} the plugin was installed") };
        let log = home.log_text();
        ensure!(
            log.contains(expected),
            "with {option} the log does not say '{expected}', but INSTALL failed: {error:#}"
        );
        let now = Left::by(&process)?;
        ensure!(!now.threads.contains(&"aws-kms".to_owned()), "with {option}, the plugin's thread is left");
        if number + 1 == FAILURES.len() {
            before = Some(now.clone());
        }
        last = Some(now);
    }
    let (Some(before), Some(last)) = (before, last) else { bail!("nothing was tried") };
    ensure!(
        last.threads.len() <= before.threads.len() + OF_THE_SERVER
            && last.descriptors <= before.descriptors + OF_THE_SERVER,
        "threads or files are left: {last:?}; before {ROUNDS} rounds of failures it was {before:?}"
    );
    std::fs::write(&option_file, &good)?;
    succeed(home, &server)?;
    let threads = Left::by(&process)?.threads.iter().filter(|name| *name == "aws-kms").count();
    ensure!(threads == 1, "the installed plugin has {threads} threads");
    server.stop()?;
    let failures = FAILURES.len() * (1 + ROUNDS);
    terminal::detail(format_args!("{failures} starts of the plugin failed and left nothing behind; then one worked"));
    Ok(())
}

fn succeed(home: &Home, server: &Server<'_>) -> Result<()> {
    server.sql(INSTALL)?;
    ensure!(home.log_text().contains("loaded 1 of 1 key versions"), "the good start did not load the key");
    server
        .sql("CREATE DATABASE works; CREATE TABLE works.one (id INT PRIMARY KEY) ENCRYPTED=YES ENCRYPTION_KEY_ID=7")?;
    Ok(())
}

/// What a process has of things that can be left behind.
#[derive(Clone, Debug)]
struct Left {
    threads: Vec<String>,
    descriptors: usize,
}

impl Left {
    fn by(process: &Process) -> Result<Self> {
        // A thread may end while we look.
        let names = process.tasks()?.filter_map(|task| Some(task.ok()?.stat().ok()?.comm));
        let mut threads: Vec<String> = names.collect();
        threads.sort();
        Ok(Self { threads, descriptors: process.fd_count()? })
    }
}

const INSTALL: &str = "INSTALL SONAME 'aws_key_management'";

/// An option that makes a start fail, and what the error says. The last fails when the plugin's thread is running and has
/// called KMS.
const FAILURES: [(&str, &str); 4] = [
    ("endpoint_url = nonsense", "aws_key_management_endpoint_url is wrong: 'nonsense'"),
    ("keyfile_dir = /there/is/no/such/folder", "/there/is/no/such/folder"),
    ("allowed_key_ids = 1,x", "'x' is neither a key id"),
    ("endpoint_url = http://127.0.0.1:1\nloose_aws_key_management_startup_timeout = 1", "Decrypt"),
];

/// What is left once in each round is more than the server's own threads and files come and go by.
const ROUNDS: usize = 6;
const OF_THE_SERVER: usize = 3;
