//! The plugins that are measured, each with key files of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use crate::plugin::{KeyName, Plugin, Setting};

/// Plugins in copies of their libraries, so that one can be loaded more than once, with other keys.
pub struct Stage {
    folder: TempDir,
}

/// Keys as [`Stage`] hands them out, by id, beginning with 1. Each has one version, 1.
pub type Keys = [[u8; 16]];

impl Stage {
    /// In a temporary folder, which is removed when this is dropped.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir().context("making a temporary folder")? })
    }

    /// This plugin, built with the feature `mock`: what the key files hold is the key. The last key is one for AES_CTR.
    pub fn plugin(&self, library: &Path, keys: &Keys) -> Result<Plugin> {
        let (library, key_files) = self.copy(library, keys)?;
        for (name, key) in named(keys) {
            let algorithm = if name.id == ctr_key(keys).id { Some("AES_CTR") } else { None };
            let path = key_files.join(format!("aws-kms-key.{}.{}", name.id, name.version));
            fs::write(path, key_file(name, key, algorithm))?;
        }
        let folder = key_files.to_str().context("the temporary folder's path is not UTF-8")?;
        Plugin::load(&library, &[("mock", Setting::Switch(true)), ("keyfile_dir", Setting::Text(folder))])
    }

    /// The server's plugin with keys in a file.
    pub fn file_key_management(&self, library: &Path, keys: &Keys) -> Result<Plugin> {
        let (library, folder) = self.copy(library, keys)?;
        let file = folder.join("keys.txt");
        let line = |(name, key): (KeyName, &[u8; 16])| format!("{};{:032x}\n", name.id, u128::from_be_bytes(*key));
        fs::write(&file, named(keys).map(line).collect::<String>())?;
        let file = file.to_str().context("the temporary folder's path is not UTF-8")?;
        Plugin::load(&library, &[("filename", Setting::Text(file))])
    }

    fn copy(&self, library: &Path, keys: &Keys) -> Result<(PathBuf, PathBuf)> {
        let name = library.file_stem().context("no library")?.to_string_lossy();
        let folder = self.folder.path().join(format!("{name}-{}-keys", keys.len()));
        fs::create_dir(&folder)?;
        let copy = folder.with_extension("so");
        fs::copy(library, &copy).with_context(|| format!("copying {}", library.display()))?;
        Ok((copy, folder))
    }
}

/// The key for AES_CTR: the last one.
pub fn ctr_key(keys: &Keys) -> KeyName {
    KeyName { id: keys.len() as u32, version: 1 }
}

/// The names that go with the keys.
pub fn named(keys: &Keys) -> impl Iterator<Item = (KeyName, &[u8; 16])> {
    (1..).map(|id| KeyName { id, version: 1 }).zip(keys)
}

/// Random keys, the same in each run.
pub fn keys(count: usize) -> Vec<[u8; 16]> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..count).map(|_| random.u128(..).to_be_bytes()).collect()
}

/// Format 1 is the wrapped key and nothing else, and means AES_CBC; format 2 is a document (docs/key-files.md).
fn key_file(name: KeyName, key: &[u8], algorithm: Option<&str>) -> Vec<u8> {
    let Some(algorithm) = algorithm else { return key.to_vec() };
    let KeyName { id, version } = name;
    let ciphertext = BASE64_STANDARD.encode(key);
    format!(
        r#"{{"format": 2, "key_id": {id}, "key_version": {version}, "algorithm": "{algorithm}", "encryption_context": {{}},
            "created": "2026-01-01T00:00:00Z", "ciphertext": "{ciphertext}"}}"#
    )
    .into_bytes()
}
