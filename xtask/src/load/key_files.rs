//! The key files: which there must be, and that no file that was seen once ever changes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Attempt, Step};
use crate::machine::paths;
use crate::rig::Server;

/// Every key file that was ever seen, with its SHA-256.
pub struct KeyFiles {
    seen: BTreeMap<(u32, u32), String>,
}

impl KeyFiles {
    /// Those of a server that was set up a moment ago.
    pub fn first(data: &Path) -> Result<Self> {
        Ok(Self { seen: on_disk(data)? })
    }

    /// All key ids.
    pub fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.seen.keys().map(|(id, _)| *id).collect();
        ids.dedup();
        ids
    }

    /// How many key versions there are.
    pub fn count(&self) -> usize {
        self.seen.len()
    }

    /// Checks the files that a killed server left: none is missing or has changed, and each key has the version that the
    /// client was told of, or one that was under way.
    pub fn after_kill(&mut self, data: &Path, attempts: &[Attempt]) -> Result<()> {
        let found = on_disk(data)?;
        self.check_unchanged(&found)?;
        let told = self.versions_after(attempts.iter().filter(|attempt| attempt.is_done));
        let most = self.most_versions(attempts);
        self.seen = found;
        let latest = self.latest();
        for (id, version) in &latest {
            let (told, most) = (told.get(id).copied().unwrap_or(0), most.get(id).copied().unwrap_or(0));
            ensure!(
                (told..=most).contains(version),
                "key {id} has version {version} on the disk, but the client was told of {told} and asked for {most}"
            );
            let files = self.seen.range((*id, 0)..=(*id, u32::MAX)).count();
            ensure!(files == usize::try_from(*version)?, "key {id} has {files} files up to version {version}");
        }
        let lost: Vec<_> = told.keys().filter(|id| !latest.contains_key(id)).collect();
        ensure!(lost.is_empty(), "the client was told of keys that have no file: {lost:?}");
        Ok(())
    }

    /// The latest version of each key if all `attempts` were done.
    pub fn most_versions(&self, attempts: &[Attempt]) -> BTreeMap<u32, u32> {
        self.versions_after(attempts)
    }

    /// Checks that the start loaded all files, said nothing but notes and what is `excused`, changed no key file, removed what was left over,
    /// and that the manifest lists every file.
    pub fn after_restart(&self, data: &Path, log: &str, excused: impl Fn(&str) -> bool) -> Result<()> {
        let found = on_disk(data)?;
        self.check_unchanged(&found)?;
        ensure!(found.len() == self.seen.len(), "the start has made key files");
        let names = paths::names_in(data)?;
        let left: Vec<_> = names.iter().filter(|name| name.starts_with(TEMPORARY)).collect();
        ensure!(left.is_empty(), "left over after the start: {left:?}");
        check_log(log, excused).context("the start was not clean")?;
        let all = found.len();
        let expected = format!("aws_key_management: loaded {all} of {all} key versions ");
        ensure!(log.contains(&expected), "the log does not say that all {all} key versions were loaded");
        let listed = in_manifest(data)?;
        for (key, sha) in &found {
            ensure!(listed.get(key) == Some(sha), "the manifest does not have {key:?} as it is on the disk");
        }
        ensure!(listed.len() == found.len(), "the manifest lists {} files, but there are {all}", listed.len());
        Ok(())
    }

    /// Checks that the server uses the latest version of each key.
    pub fn check_versions_in_use(&self, server: &Server<'_>) -> Result<()> {
        let latest = self.latest();
        let in_use = server.sql(IN_USE)?;
        ensure!(in_use.lines().count() >= 4, "the server's list of encrypted tables is too short:\n{in_use}");
        for line in in_use.lines() {
            let numbers: Vec<u32> = line.split('\t').map(str::parse).collect::<Result<_, _>>()?;
            let [id, version] = numbers[..] else { anyhow::bail!("not an id and a version: {line}") };
            ensure!(
                latest.get(&id) == Some(&version),
                "the server says that the latest version of key {id} is {version}, but on the disk it is {:?}",
                latest.get(&id)
            );
        }
        Ok(())
    }

    fn check_unchanged(&self, found: &BTreeMap<(u32, u32), String>) -> Result<()> {
        for (key, sha) in &self.seen {
            match found.get(key) {
                Some(now) => ensure!(now == sha, "the file of key {} version {} has changed", key.0, key.1),
                None => anyhow::bail!("the file of key {} version {} is gone", key.0, key.1),
            }
        }
        Ok(())
    }

    fn versions_after<'a>(&self, attempts: impl IntoIterator<Item = &'a Attempt>) -> BTreeMap<u32, u32> {
        let mut versions = self.latest();
        for attempt in attempts {
            match attempt.step {
                Step::Rotate(id) | Step::NewKey(id) => *versions.entry(id).or_default() += 1,
                Step::RotateAll => versions.values_mut().for_each(|version| *version += 1),
            }
        }
        versions
    }

    fn latest(&self) -> BTreeMap<u32, u32> {
        // In order, so the highest version of an id comes last and stays.
        self.seen.keys().copied().collect()
    }
}

/// The names of temporary files that are in the folder.
pub fn temporary_files(data: &Path) -> Result<usize> {
    Ok(paths::names_in(data)?.iter().filter(|name| name.starts_with(TEMPORARY)).count())
}

/// Id and version of each key file, with its SHA-256.
pub fn on_disk(data: &Path) -> Result<BTreeMap<(u32, u32), String>> {
    let mut files = BTreeMap::new();
    for name in paths::names_in(data)? {
        let numbers = name.strip_prefix("aws-kms-key.").and_then(|rest| rest.split_once('.'));
        if let Some((id, version)) = numbers
            && let (Ok(id), Ok(version)) = (id.parse(), version.parse())
        {
            let bytes = std::fs::read(data.join(&name)).with_context(|| format!("reading {name}"))?;
            files.insert((id, version), hex(&Sha256::digest(bytes)));
        }
    }
    Ok(files)
}

/// What the manifest says about each version: the SHA-256 of its file.
pub fn in_manifest(data: &Path) -> Result<BTreeMap<(u32, u32), String>> {
    let path = data.join("aws-kms-key.manifest.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let manifest: Value = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    let keys = manifest["keys"].as_array().context("the manifest has no list of keys")?;
    let entry = |key: &Value| -> Option<((u32, u32), String)> {
        let number = |name: &str| u32::try_from(key[name].as_u64()?).ok();
        Some(((number("key_id")?, number("key_version")?), key["file_sha256"].as_str()?.to_owned()))
    };
    keys.iter().map(|key| entry(key).with_context(|| format!("in the manifest: {key}"))).collect()
}

/// Checks that a server's error log has no error, and of the plugin nothing but notes, other than what is `excused`.
pub fn check_log(log: &str, excused: impl Fn(&str) -> bool) -> Result<()> {
    let is_bad =
        |line: &&str| line.contains("[ERROR]") || (line.contains("aws_key_management") && line.contains("[Warning]"));
    let bad: Vec<&str> = log.lines().filter(is_bad).filter(|line| !excused(line)).collect();
    ensure!(bad.is_empty(), "the error log says:\n{}", bad.join("\n"));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TEMPORARY: &str = ".aws-kms-key.new-";

const IN_USE: &str = "SELECT CURRENT_KEY_ID, CURRENT_KEY_VERSION FROM information_schema.INNODB_TABLESPACES_ENCRYPTION \
                      WHERE NAME LIKE 'load_test/%'";
