//! A rotation of all keys: how long it takes, and how much it writes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use plugin_host::KeyVersion;

use crate::key_files::Stage;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What the plugin calls its version.
    pub plugin_version: String,
    /// How many keys were rotated.
    pub keys: u32,
    /// How many versions each had before.
    pub versions: u32,
    /// From the statement to its end.
    pub took: Duration,
    /// What was written meanwhile.
    pub written: Written,
}

/// Bytes that this process has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// By system calls, whatever became of them: the same on every machine.
    pub by_calls: u64,
    /// To the disk, in whole pages; none if the files lie in memory.
    pub to_disk: u64,
}

/// Rotates `keys` keys, each with `versions` versions, by `SET GLOBAL aws_key_management_rotate_key = -1`, and looks
/// whether each has one more then. The mock answers in place of KMS, so what is measured is the work with the files.
pub fn measure(stage: &Stage, library: &Path, keys: u32, versions: u32) -> Result<Figure> {
    let mut plugin = stage.plugin_with_versions(library, keys, versions)?;
    let before = Written::until_now()?;
    let started = Instant::now();
    plugin.set_global("rotate_key", -1)?;
    let took = started.elapsed();
    let written = Written::until_now()?.since(before);
    let mut buffer = [0; 32];
    for id in 1..=keys {
        let version = plugin.latest_key_version(id);
        ensure!(version == versions + 1, "after the rotation, the latest version of key {id} is said to be {version}");
        let key = plugin.key(KeyVersion { id, version }, &mut buffer);
        ensure!(key == Ok(16), "the new version of key {id} cannot be had: {key:?}");
    }
    let plugin_version = plugin.version();
    plugin.deinit()?;
    Ok(Figure { plugin_version, keys, versions, took, written })
}

impl Figure {
    /// Bytes for each key, by system calls.
    pub fn bytes_per_key(&self) -> f64 {
        self.written.by_calls as f64 / f64::from(self.keys)
    }

    /// Milliseconds for each key.
    pub fn ms_per_key(&self) -> f64 {
        self.took.as_secs_f64() * 1e3 / f64::from(self.keys)
    }
}

/// How many times as much is written for a key in the largest rotation as in the smallest: 1 if what is written is in
/// proportion to the number of keys.
pub fn growth(figures: &[Figure]) -> f64 {
    let smallest = figures.iter().min_by_key(|figure| figure.keys);
    let largest = figures.iter().max_by_key(|figure| figure.keys);
    match (smallest, largest) {
        (Some(smallest), Some(largest)) => largest.bytes_per_key() / smallest.bytes_per_key(),
        _ => f64::NAN,
    }
}

/// Whether the rotations wrote as little as they should. Does not depend on the machine.
pub fn is_frugal(figures: &[Figure]) -> bool {
    growth(figures) <= MOST_GROWTH && figures.iter().all(|figure| figure.bytes_per_key() <= MOST_BYTES_PER_KEY)
}

impl Written {
    fn until_now() -> Result<Self> {
        Self::parse(&fs::read_to_string("/proc/self/io").context("reading /proc/self/io")?)
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
            value.with_context(|| format!("/proc/self/io has no {name}"))
        };
        Ok(Self { by_calls: value("wchar")?, to_disk: value("write_bytes")? })
    }

    fn since(self, before: Self) -> Self {
        Self { by_calls: self.by_calls - before.by_calls, to_disk: self.to_disk - before.to_disk }
    }
}

/// How many keys there are, in the order of the table.
pub const KEYS: [u32; 3] = [100, 300, 1000];

/// The same, for seconds.
pub const FEW_KEYS: [u32; 2] = [20, 200];

/// How many versions each has.
pub const VERSIONS: u32 = 10;

/// The key file is written, and what the manifest says of the key's versions, a few hundred bytes for each, a few times.
pub const MOST_BYTES_PER_KEY: f64 = 16_384.0;

/// A manifest that is written whole for each key makes it as large as the ratio of the numbers of keys, which is 10.
pub const MOST_GROWTH: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(keys: u32, by_calls: u64) -> Figure {
        let written = Written { by_calls, to_disk: 0 };
        Figure { plugin_version: String::new(), keys, versions: VERSIONS, took: Duration::from_secs(1), written }
    }

    #[test]
    fn what_is_written_must_grow_no_faster_than_the_number_of_keys() {
        assert!(is_frugal(&[figure(1000, 5_000_000), figure(100, 500_000)]));
        assert!(!is_frugal(&[figure(100, 500_000), figure(1000, 8_000_000)]), "60 % more for each key");
        assert!(!is_frugal(&[figure(100, 2_000_000), figure(1000, 20_000_000)]), "in proportion, but too much");
        assert!(!is_frugal(&[]));
    }

    #[test]
    fn what_the_kernel_counts_is_read_and_subtracted() {
        let before = Written::parse("rchar: 9\nwchar: 10\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n").unwrap();
        let after = Written::parse("wchar: 25\nwrite_bytes: 8192\n").unwrap();
        assert_eq!(after.since(before), Written { by_calls: 15, to_disk: 4096 });
        assert!(Written::parse("wchar: 25\n").is_err());
    }
}
