//! A disk in memory that forgets in a power failure what was not synced: contents of files and names apart, as file
//! systems do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::MANIFEST;
use crate::keystore::files::{Disk, Kind, Listed, LockFile, NewFile};

/// Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct LossyDisk(Arc<Mutex<State>>);

/// What an operation that changes something meets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// The power fails instead of this one, counted from 1.
    pub(super) power_fails_at: Option<usize>,
    /// This sync does nothing, counted from 1: as if it were not in the program.
    pub(super) forgotten_sync: Option<usize>,
    /// This sync fails.
    pub(super) failing_sync: Option<usize>,
    /// The manifest cannot be replaced.
    pub(super) manifest_stays: bool,
    /// A new file does not hold what was written to it.
    pub(super) writes_garbage: bool,
}

/// What a power failure spares of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spared {
    pub(super) names: bool,
    pub(super) contents: bool,
}

/// What the thread that was interrupted by a power failure ends with.
pub(super) struct PowerFailure;

#[derive(Clone, Default)]
struct State {
    folders: BTreeSet<PathBuf>,
    /// A file's place here is what names stand for.
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    locked: BTreeSet<usize>,
    faults: Faults,
    changes: usize,
    syncs: usize,
    looks: usize,
    is_off: bool,
    /// What stat has said, and says again.
    attributes: Option<BTreeMap<PathBuf, Kind>>,
}

#[derive(Clone, Default)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
}

impl LossyDisk {
    /// With these folders, which are empty.
    pub(super) fn new(folders: &[&str]) -> Self {
        let disk = Self::default();
        disk.state().folders.extend(folders.iter().map(PathBuf::from));
        disk
    }

    /// Another disk with the same on it, synced and not.
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Counts changes and syncs anew.
    pub(super) fn set_faults(&self, faults: Faults) {
        let mut state = self.state();
        (state.faults, state.changes, state.syncs, state.looks) = (faults, 0, 0, 0);
    }

    /// A file that somebody has copied here, and nobody has synced.
    pub(super) fn copy_in(&self, path: &str, contents: &[u8]) {
        let mut state = self.state();
        let file = state.add(contents.to_vec());
        state.names.insert(path.into(), file);
    }

    /// From now on, what a path leads to is remembered as it was when it was first asked for, but for the names in folders:
    /// as NFS does it.
    pub(super) fn cache_attributes(&self) {
        let paths: Vec<PathBuf> = self.state().names.keys().cloned().collect();
        let known = paths.into_iter().filter_map(|path| Some((path.clone(), self.kind(&path).ok()?))).collect();
        self.state().attributes = Some(known);
    }

    /// How many syncs there were since faults were set.
    pub(super) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// How often a folder was listed, or the manifest read, since faults were set: what takes the longer the more keys there
    /// are.
    pub(super) fn looks(&self) -> usize {
        self.state().looks
    }

    /// All is as it was when the power failed, but for what was not synced and is not spared. Faults are over.
    pub(super) fn power_comes_back(&self, spared: Spared) {
        let mut state = self.state();
        if !spared.names {
            state.names = state.synced_names.clone();
        }
        for file in &mut state.files {
            if !spared.contents {
                file.now = file.synced.clone();
            }
            file.synced = file.now.clone();
        }
        state.synced_names = state.names.clone();
        state.locked.clear();
        (state.faults, state.is_off) = (Faults::default(), false);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an operation that changes something.
    fn change(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.changes += 1;
        if state.faults.power_fails_at == Some(state.changes) {
            state.is_off = true;
        }
        if state.is_off {
            drop(state);
            // As a panic ends the thread, but says nothing.
            std::panic::resume_unwind(Box::new(PowerFailure));
        }
        state
    }

    /// Begins a sync; `None` if it is forgotten.
    fn sync(&self) -> Result<Option<MutexGuard<'_, State>>> {
        let mut state = self.change();
        state.syncs += 1;
        let this = Some(state.syncs);
        match &state.faults {
            faults if faults.failing_sync == this => Err(Error::other("the disk failed")),
            faults if faults.forgotten_sync == this => Ok(None),
            _ => Ok(Some(state)),
        }
    }
}

impl State {
    fn add(&mut self, now: Vec<u8>) -> usize {
        self.files.push(Contents { now, synced: Vec::new() });
        self.files.len() - 1
    }

    fn kind_of(&self, file: usize) -> Kind {
        let (bytes, modified) = (self.files[file].now.len() as u64, SystemTime::UNIX_EPOCH);
        Kind::File { bytes, number: file as u64, modified }
    }

    fn find(&self, path: &Path) -> Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for LossyDisk {
    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        self.kind(path).map(|_| path.to_owned())
    }

    fn list(&self, folder: &Path) -> Result<Vec<Listed>> {
        self.kind(folder)?;
        let mut state = self.state();
        state.looks += 1;
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(Listed { name: path.file_name()?.to_owned(), is_file: true })).collect())
    }

    fn kind(&self, path: &Path) -> Result<Kind> {
        let state = self.state();
        if state.folders.contains(path) {
            return Ok(Kind::Folder);
        }
        if let Some(kind) = state.attributes.as_ref().and_then(|known| known.get(path)) {
            return Ok(*kind);
        }
        state.find(path).map(|file| state.kind_of(file))
    }

    fn read(&self, path: &Path, at_most: u64) -> Result<(Vec<u8>, Kind)> {
        let mut state = self.state();
        state.looks += usize::from(at_most > 0 && path.ends_with(MANIFEST));
        let file = state.find(path)?;
        let contents = &state.files[file].now;
        Ok((contents[..contents.len().min(at_most as usize)].to_vec(), state.kind_of(file)))
    }

    fn create(&self, folder: &Path, prefix: &str) -> Result<Box<dyn NewFile>> {
        let mut state = self.change();
        let file = state.add(Vec::new());
        let path = folder.join(format!("{prefix}{file}"));
        state.names.insert(path.clone(), file);
        state.locked.insert(file);
        Ok(Box::new(Temporary { disk: self.clone(), path, file }))
    }

    fn open_to_lock(&self, path: &Path) -> Result<Box<dyn LockFile>> {
        if self.kind(path).is_err() {
            let mut state = self.change();
            let file = state.add(Vec::new());
            state.names.insert(path.to_owned(), file);
        }
        let file = self.state().find(path)?;
        Ok(Box::new(Lock { disk: self.clone(), file, is_held: Mutex::new(false) }))
    }

    fn is_locked(&self, path: &Path) -> Result<bool> {
        let state = self.state();
        Ok(state.locked.contains(&state.find(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.change();
        let file = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.change().names.remove(path).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_files(&self, paths: &[PathBuf]) -> Vec<Result<()>> {
        let sync = |path: &PathBuf| {
            let Some(mut state) = self.sync()? else { return Ok(()) };
            let file = state.find(path)?;
            let contents = &mut state.files[file];
            contents.synced = contents.now.clone();
            Ok(())
        };
        paths.iter().map(sync).collect()
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let Some(mut state) = self.sync()? else { return Ok(()) };
        state.synced_names.retain(|path, _| path.parent() != Some(folder));
        let inside: Vec<_> = state.names.iter().filter(|(path, _)| path.parent() == Some(folder)).collect();
        let inside: Vec<_> = inside.into_iter().map(|(path, file)| (path.clone(), *file)).collect();
        state.synced_names.extend(inside);
        Ok(())
    }

    fn check_writable(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}

struct Temporary {
    disk: LossyDisk,
    path: PathBuf,
    file: usize,
}

impl NewFile for Temporary {
    fn number(&self) -> Result<u64> {
        Ok(self.file as u64)
    }

    fn write(&mut self, contents: &[u8]) -> Result<()> {
        let mut state = self.disk.change();
        let is_garbage = state.faults.writes_garbage;
        state.files[self.file].now.extend(contents.iter().map(|byte| if is_garbage { !byte } else { *byte }));
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let Some(mut state) = self.disk.sync()? else { return Ok(()) };
        let contents = &mut state.files[self.file];
        contents.synced = contents.now.clone();
        Ok(())
    }

    fn read_back(&self) -> Result<Vec<u8>> {
        Ok(self.disk.state().files[self.file].now.clone())
    }

    fn rename_to_new(self: Box<Self>, path: &Path) -> Result<()> {
        if self.disk.kind(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.disk.rename(&self.path, path)
    }

    fn rename_over(self: Box<Self>, path: &Path) -> Result<()> {
        if self.disk.state().faults.manifest_stays && path.ends_with(MANIFEST) {
            return Err(Error::other("the disk failed"));
        }
        self.disk.rename(&self.path, path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if !state.is_off {
            state.names.remove(&self.path);
            state.locked.remove(&self.file);
        }
    }
}

struct Lock {
    disk: LossyDisk,
    file: usize,
    is_held: Mutex<bool>,
}

impl LockFile for Lock {
    fn try_lock(&self) -> std::result::Result<(), TryLockError> {
        if !self.disk.state().locked.insert(self.file) {
            return Err(TryLockError::WouldBlock);
        }
        *self.is_held.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if *self.is_held.lock().unwrap_or_else(PoisonError::into_inner) {
            self.disk.state().locked.remove(&self.file);
        }
    }
}
