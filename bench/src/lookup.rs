//! Look-ups: how long the plugin and the server's file_key_management take for the version and the bytes of a key.

use std::fmt;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use plugin_host::{KeyVersion, Running};

use crate::key_files::{self, Keys, Stage};
use crate::pairs::{self, Pair, Plan};

/// Both plugins with the same keys.
pub struct Sides {
    keys: Vec<[u8; 16]>,
    file_key_management: Running,
    plugin: Running,
}

/// What the server asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `get_latest_key_version`, asked on every page write.
    LatestVersion,
    /// `get_key`
    Key,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What was asked.
    pub question: Question,
    /// How many keys there are.
    pub keys: usize,
    /// How many threads asked at the same time.
    pub threads: usize,
    /// Nanoseconds of CPU time for an answer of file_key_management.
    pub file_key_management_ns: f64,
    /// The same of the plugin.
    pub plugin_ns: f64,
    /// Time of file_key_management divided by the time of the plugin: above 1 the plugin is faster.
    pub ratio: f64,
    /// How often a thread gave up its CPU in the plugin.
    pub waits: u64,
    /// How often the plugin was asked.
    pub calls: u64,
}

impl Sides {
    /// Loads both with `count` keys.
    pub fn load(stage: &Stage, plugin: &Path, file_key_management: &Path, count: usize) -> Result<Self> {
        let keys = key_files::keys(count);
        let plugin = stage.plugin(plugin, &keys)?;
        let file_key_management = stage.file_key_management(file_key_management, &keys)?;
        Ok(Self { keys, file_key_management, plugin })
    }

    /// What the plugin calls its version.
    pub fn plugin_version(&self) -> String {
        self.plugin.version()
    }

    /// Fails unless both give the same, right answers to everything.
    pub fn compare(&self) -> Result<()> {
        for plugin in [&self.file_key_management, &self.plugin] {
            answers_are_right(plugin, &self.keys)?;
        }
        Ok(())
    }

    /// Measures one question.
    pub fn measure(&self, question: Question, plan: Plan) -> Result<Figure> {
        let ids = ids(self.keys.len());
        let Pair { first_ns, second_ns, ratio, second_waits, second_calls } = pairs::alternate(plan, || {
            (ask(&self.file_key_management, question, &ids), ask(&self.plugin, question, &ids))
        })?;
        Ok(Figure {
            question,
            keys: self.keys.len(),
            threads: plan.threads,
            file_key_management_ns: first_ns,
            plugin_ns: second_ns,
            ratio,
            waits: second_waits,
            calls: second_calls,
        })
    }
}

impl Figure {
    /// Whether the plugin's threads waited for anything: an interruption by the machine now and then is none.
    pub fn has_waited(&self) -> bool {
        self.waits * CALLS_FOR_ONE_WAIT > self.calls
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LatestVersion => "get_latest_key_version",
            Self::Key => "get_key",
        })
    }
}

fn answers_are_right(plugin: &Running, keys: &Keys) -> Result<()> {
    let mut buffer = [0; 32];
    for (version, key) in key_files::named(keys) {
        let latest = plugin.latest_key_version(version.id);
        ensure!(latest == version.version, "the latest version of key {} is said to be {latest}", version.id);
        let length = plugin.key(version, &mut buffer);
        let length = length.map_err(|error| anyhow!("{version:?} cannot be had ({error})"))?;
        ensure!(buffer[..length] == key[..], "{version:?} is said to be another key");
    }
    Ok(())
}

/// Ids in an order that no branch predictor knows.
fn ids(keys: usize) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(2);
    (0..IDS).map(|_| random.u32(1..=keys as u32)).collect()
}

fn ask<'a>(plugin: &'a Running, question: Question, ids: &'a [u32]) -> impl FnMut() + 'a {
    let mut turn = 0;
    let mut buffer = [0; 32];
    move || {
        turn = (turn + 1) % IDS;
        let id = ids[turn];
        match question {
            Question::LatestVersion => assert!(black_box(plugin.latest_key_version(id)) == 1),
            Question::Key => assert!(black_box(plugin.key(KeyVersion { id, version: 1 }, &mut buffer)) == Ok(16)),
        }
    }
}

/// A power of two, so that the remainder costs nothing.
const IDS: usize = 4096;

const CALLS_FOR_ONE_WAIT: u64 = 10_000;

/// Numbers of keys: a usual one, and a large one.
pub const KEYS: [usize; 2] = [3, 1000];

/// Numbers of threads.
pub const THREADS: [usize; 3] = [1, 2, 8];
