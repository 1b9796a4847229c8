//! Two servers on one key folder, which rotate and make keys against each other: no number is given twice, no key differs,
//! and both read everything after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;

use crate::interrupt;
use crate::load::{self, Rotator, Rows};
use crate::machine::paths;
use crate::rig::{self, Home, Installation, Rig, Server};
use crate::terminal;

/// Lets them work until `end`, but not for a moment only, or until there are many key versions.
pub fn run(plugin: &Path, end: Instant, mut rng: Rng) -> Result<()> {
    Rig::new(plugin)?.keep_after_failure().run(|rig| {
        let folder = paths::emptied(&rig.folder().join("second"))?;
        let second = Home::new(Installation::of_the_system()?, &folder, plugin)?;
        let keys = paths::emptied(&rig.folder().join("keys"))?;
        let options = format!("{}\n{}\naws_key_management_keyfile_dir = {}", rig::LOAD, load::OPTIONS, keys.display());
        let start = || -> Result<[Server<'_>; 2]> { Ok([rig.start(&options)?, rig.start_at(&second, &options)?]) };
        second.explain((|| {
            let servers = start()?;
            let rows = [Rows::create(&servers[0])?, Rows::create(&servers[1])?];
            work(&servers, &rows, &keys, end, &mut rng)?;
            let logs = [rig.home.log_text(), second.log_text()];
            let made = numbers_made(&logs)?;
            for log in &logs {
                load::check_log(log, is_of_the_stop)?;
            }
            let files = load::on_disk(&keys)?;
            ensure!(files.keys().eq(made.keys()), "the files of the folder are not those that the servers made");
            let servers = start().context("starting both again")?;
            for ((home, server), rows) in [&rig.home, &second].into_iter().zip(&servers).zip(&rows) {
                let (log, all) = (home.log_text(), files.len());
                load::check_log(&log, |_| false)?;
                ensure!(log.contains(&format!("loaded {all} of {all} key versions ")), "not all {all} were loaded");
                rows.check(server)?;
                load::check_all_tables(server)?;
                server.stop()?;
            }
            let of_one: BTreeSet<(u32, usize)> = made.iter().map(|((id, _), server)| (*id, *server)).collect();
            let of_both = of_one.iter().filter(|(id, server)| *server == 0 && of_one.contains(&(*id, 1))).count();
            ensure!(of_both > 1, "the servers did not work on the same keys, so this has shown nothing");
            terminal::detail(format_args!(
                "two servers on one key folder made {} key versions, of {of_both} keys against each other: no number twice, \
                 and both read everything after a restart",
                files.len()
            ));
            Ok(())
        })())
    })
}

/// A server that is stopped in the middle of a rotation says what it gives up: the keys to come, or to wait for the lock that
/// the other server has. What it has made is recorded at its next start, which the check after that sees.
fn is_of_the_stop(line: &str) -> bool {
    line.contains("given up, since the server stops")
}

/// Lets a writing and a rotating client work on each server, and stops them.
fn work(servers: &[Server<'_>; 2], rows: &[Rows; 2], keys: &Path, end: Instant, rng: &mut Rng) -> Result<()> {
    // Both know the same keys, so they make the same new ones.
    let known: Vec<u32> = load::on_disk(keys)?.into_keys().map(|(id, _)| id).collect();
    let sessions = servers.each_ref().map(|server| Ok((server.session()?, server.session()?)));
    let sessions = sessions.into_iter().collect::<Result<Vec<_>>>()?;
    let is_stopping = AtomicBool::new(false);
    thread::scope(|threads| {
        let mut clients = Vec::new();
        // A statement that a shutdown cuts off may be refused before the connection is lost.
        let is_stopping = &is_stopping;
        let excused = |_: &str| is_stopping.load(Ordering::Relaxed);
        for ((server, rows), (writer, session)) in servers.iter().zip(rows).zip(sessions) {
            let rotator = Rotator::new(rng.fork(), known.clone());
            clients.push(threads.spawn(move || rows.write_until_lost(writer)));
            clients.push(threads.spawn(move || rotator.work_until_lost(server, session, excused).map(drop)));
        }
        let end = end.max(Instant::now() + LEAST_TIME);
        let waited = (|| {
            while Instant::now() < end && load::on_disk(keys)?.len() < MOST_VERSIONS {
                interrupt::sleep(Duration::from_millis(100))?;
            }
            Ok(())
        })();
        is_stopping.store(true, Ordering::Relaxed);
        // Without a server the clients end.
        let stopped: Vec<Result<()>> = servers.iter().map(Server::stop).collect();
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        stopped.into_iter().fold(waited, Result::and)
    })
}

/// The key versions that the servers say they made, each with which of them. An error if both made one.
fn numbers_made(logs: &[String; 2]) -> Result<BTreeMap<(u32, u32), usize>> {
    let mut made = BTreeMap::new();
    for (server, log) in logs.iter().enumerate() {
        for line in log.lines().filter_map(|line| line.split_once("aws_key_management: made key ")) {
            let mut words = line.1.split(' ');
            let mut number = || words.find_map(|word| word.parse::<u32>().ok());
            let (Some(id), Some(version)) = (number(), number()) else { continue };
            let before = made.insert((id, version), server);
            ensure!(before.is_none(), "key {id} version {version} was made twice");
        }
    }
    Ok(made)
}

const MOST_VERSIONS: usize = 500;

/// Enough to make keys against each other.
const LEAST_TIME: Duration = Duration::from_secs(5);
