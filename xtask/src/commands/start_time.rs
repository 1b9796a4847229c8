//! `cargo xtask start-time`: 1000 keys behind a KMS that takes 20 ms for each call hold up a start by less than 3 s.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::rig::{self, Rig};
use crate::tally::Tally;
use crate::terminal::{self, Progress, seconds};

/// Repetitions of a run that is to be trusted; 1 is enough among many other tests.
pub const LONG: u32 = 3;

/// Installs what is missing, builds the plugin, and compares starts; `repetitions` of each, of which the quickest start
/// with one key and the slowest with all of them count. An error if the difference is too much.
pub fn run(repetitions: u32, tally: &mut Tally) -> Result<()> {
    let times = Rig::new(&rig::prepare()?)?.run(|rig| {
        let (one, all) = (rig.folder().join("one"), rig.folder().join("all"));
        make_key_files(rig, &one, 1)?;
        make_key_files(rig, &all, KEYS)?;
        rig.kms.delay("Decrypt", DECRYPT_TAKES)?;
        (0..repetitions).map(|_| Ok((start(rig, &one, 1)?, start(rig, &all, KEYS)?))).collect::<Result<Vec<_>>>()
    })?;
    let one = times.iter().map(|(one, _)| one.took).min().unwrap_or_default();
    let all = times.iter().map(|(_, all)| all.took).max().unwrap_or_default();
    let in_flight = times.iter().map(|(_, all)| all.in_flight).max().unwrap_or_default();
    terminal::detail(format_args!(
        "ready with 1 key after {:.2} s, with {KEYS} keys after {:.2} s (a Decrypt takes {} ms; the quickest and the slowest \
         of {repetitions}); {in_flight} calls under way at the same time",
        one.as_secs_f32(),
        all.as_secs_f32(),
        DECRYPT_TAKES.as_millis()
    ));
    ensure!(all < one + MOST, "a start with {KEYS} keys takes over {} longer", seconds(MOST));
    ensure!(in_flight <= MOST_IN_FLIGHT, "more than {MOST_IN_FLIGHT} calls of KMS were under way at the same time");
    // One by one they take 20 s; if no two were seen together, the measure above would mean nothing.
    ensure!(in_flight > 1, "the calls of KMS were made one by one");
    tally.passed += 2;
    Ok(())
}

struct Start {
    took: Duration,
    in_flight: usize,
}

/// Starts a server with the key files of `folder` and stops it.
fn start(rig: &Rig, folder: &Path, keys: usize) -> Result<Start> {
    rig.kms.forget_calls()?;
    // The folder of the start before was another, which the datadir remembers.
    let memory = rig.home.data().join("aws-kms-key.datadir.json");
    if memory.exists() {
        fs::remove_file(memory)?;
    }
    let keyfile_dir = format!("aws_key_management_keyfile_dir = {}", folder.display());
    let started = Instant::now();
    let server = rig.start(&format!("{}\n{keyfile_dir}", rig::LOAD))?;
    let took = started.elapsed();
    let loaded = format!("loaded {keys} of {keys} key versions ");
    let log = rig.home.log_text();
    ensure!(log.contains(&loaded), "the log does not say that {keys} key versions were loaded");
    let bad = log.lines().find(|line| is_bad(line));
    ensure!(bad.is_none(), "the start was not clean: {}", bad.unwrap_or_default());
    let calls = rig.kms.calls("Decrypt")?;
    ensure!(calls.len() == keys, "{keys} keys took {} calls of Decrypt", calls.len());
    server.stop()?;
    Ok(Start { took, in_flight: most_in_flight(&calls) })
}

/// Whether a line of the error log tells of something that must not be. These key files come without a manifest.
fn is_bad(line: &str) -> bool {
    let warning = line.contains("[Warning]") && !line.contains("there is no manifest of the key files");
    line.contains("aws_key_management") && (line.contains("[ERROR]") || warning)
}

fn make_key_files(rig: &Rig, folder: &Path, keys: usize) -> Result<()> {
    fs::create_dir(folder)?;
    let mut progress = Progress::new(format_args!("making {keys} keys"));
    for id in 1..=keys {
        fs::write(folder.join(format!("aws-kms-key.{id}.1")), rig.kms.wrapped_key()?)?;
        progress.tick();
    }
    Ok(())
}

/// Every call is under way for at least [`DECRYPT_TAKES`] after it arrived, so those that arrive within such a time are
/// under way together.
fn most_in_flight(arrivals: &[f64]) -> usize {
    let together = |first: usize| {
        let end = arrivals[first] + DECRYPT_TAKES.as_secs_f64();
        arrivals[first..].iter().take_while(|time| **time < end).count()
    };
    (0..arrivals.len()).map(together).max().unwrap_or(0)
}

const KEYS: usize = 1000;
const DECRYPT_TAKES: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_secs(3);
const MOST_IN_FLIGHT: usize = 32;

#[cfg(test)]
mod tests {
    use super::most_in_flight;

    #[test]
    fn calls_that_arrive_within_the_time_of_one_are_under_way_together() {
        assert_eq!(most_in_flight(&[]), 0);
        assert_eq!(most_in_flight(&[1.0, 1.02, 1.05]), 1);
        assert_eq!(most_in_flight(&[1.0, 1.015, 1.019, 1.034, 1.0341]), 4);
    }
}
