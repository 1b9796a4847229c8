//! The plugins that are measured, each with key files of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plugin_host::{KeyVersion, Plugin, Running, mock_key_file};
use tempfile::TempDir;

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
    pub fn plugin(&self, library: &Path, keys: &Keys) -> Result<Running> {
        let (library, key_files) = self.copy(library, &keys.len().to_string())?;
        for (version, key) in named(keys) {
            let is_for_ctr = version == ctr_key(keys);
            let file = if is_for_ctr { mock_key_file::for_ctr(version, key) } else { mock_key_file::for_cbc(key) };
            fs::write(key_files.join(mock_key_file::name(version)), file)?;
        }
        start(&library, &key_files)
    }

    /// The same with `count` keys for AES_CBC, of which each has the versions 1 to `versions`.
    pub fn plugin_with_versions(&self, library: &Path, count: u32, versions: u32) -> Result<Running> {
        let (library, key_files) = self.copy(library, &format!("{count}-with-{versions}-versions"))?;
        for (id, key) in (1..).zip(keys(count as usize)) {
            for version in 1..=versions {
                let name = mock_key_file::name(KeyVersion { id, version });
                // No two versions have the same key.
                let mut key = key;
                key[..4].copy_from_slice(&version.to_be_bytes());
                fs::write(key_files.join(name), mock_key_file::for_cbc(&key))?;
            }
        }
        start(&library, &key_files)
    }

    /// The server's plugin with keys in a file.
    pub fn file_key_management(&self, library: &Path, keys: &Keys) -> Result<Running> {
        let (library, folder) = self.copy(library, &keys.len().to_string())?;
        let file = folder.join("keys.txt");
        let line =
            |(version, key): (KeyVersion, &[u8; 16])| format!("{};{:032x}\n", version.id, u128::from_be_bytes(*key));
        fs::write(&file, named(keys).map(line).collect::<String>())?;
        let mut plugin = Plugin::load(&library)?;
        plugin.set("filename", file)?;
        Ok(plugin.init()?)
    }

    /// A copy of the library, and a folder for its keys.
    fn copy(&self, library: &Path, which: &str) -> Result<(PathBuf, PathBuf)> {
        let name = library.file_stem().context("no library")?.to_string_lossy();
        let folder = self.folder.path().join(format!("{name}-{which}"));
        fs::create_dir(&folder)?;
        let copy = folder.with_extension("so");
        fs::copy(library, &copy).with_context(|| format!("copying {}", library.display()))?;
        Ok((copy, folder))
    }
}

/// Starts a copy of this plugin with key files of the mock.
fn start(library: &Path, key_files: &Path) -> Result<Running> {
    let mut plugin = Plugin::load(library)?;
    plugin.set("mock", "ON")?;
    plugin.set("keyfile_dir", key_files)?;
    plugin.set_datadir(key_files)?;
    Ok(plugin.init()?)
}

/// The key for AES_CTR: the last one.
pub fn ctr_key(keys: &Keys) -> KeyVersion {
    KeyVersion { id: keys.len() as u32, version: 1 }
}

/// The names that go with the keys.
pub fn named(keys: &Keys) -> impl Iterator<Item = (KeyVersion, &[u8; 16])> {
    (1..).map(|id| KeyVersion { id, version: 1 }).zip(keys)
}

/// Random keys, the same in each run.
pub fn keys(count: usize) -> Vec<[u8; 16]> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..count).map(|_| random.u128(..).to_be_bytes()).collect()
}
