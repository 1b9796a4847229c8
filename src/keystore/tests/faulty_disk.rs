//! The disk of the operating system, with errors that a test plants: what file systems say that the tests do not have.

use std::fs::TryLockError;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::keystore::files::{Disk, Kind, Listed, LockFile, NewFile, SystemDisk};

/// Clones have the same faults.
#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Arc<Mutex<Vec<Fault>>>, Arc<Mutex<Option<Meanwhile>>>);

/// How many folders are listed before, and what happens then.
type Meanwhile = (usize, Box<dyn FnOnce() + Send>);

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    Canonicalize,
    List,
    Kind,
    Read,
    Lock,
    NameNew,
    Remove,
    SyncFile,
    CheckWritable,
}

struct Fault {
    fails: Fails,
    /// The end of the path.
    of: String,
    code: i32,
    /// How many go well before.
    good: usize,
    times: usize,
}

impl FaultyDisk {
    /// The next `times` of an operation on what `of` is the end of the path of fail with this number of an error.
    pub(super) fn plant(&self, fails: Fails, of: &str, code: i32, times: usize) {
        self.plant_after(0, fails, of, code, times);
    }

    /// The same, but so many go well before.
    pub(super) fn plant_after(&self, good: usize, fails: Fails, of: &str, code: i32, times: usize) {
        self.0.lock().expect("faults").push(Fault { fails, of: of.to_owned(), code, good, times });
    }

    /// This happens once, when so many folders have been listed, and right before the next one is.
    pub(super) fn before_a_list(&self, after: usize, happens: impl FnOnce() + Send + 'static) {
        *self.1.lock().expect("meanwhile") = Some((after, Box::new(happens)));
    }

    /// Whether that has happened.
    pub(super) fn has_happened(&self) -> bool {
        self.1.lock().expect("meanwhile").is_none()
    }

    fn count_a_list(&self) {
        let due = self.1.lock().expect("meanwhile").take_if(|(after, _)| match after.checked_sub(1) {
            Some(left) => {
                *after = left;
                false
            }
            None => true,
        });
        if let Some((_, happens)) = due {
            happens();
        }
    }

    /// How many of the planted errors nobody has met.
    pub(super) fn left(&self) -> usize {
        self.0.lock().expect("faults").iter().map(|fault| fault.times).sum()
    }

    /// As it was before.
    pub(super) fn heal(&self) {
        self.0.lock().expect("faults").clear();
    }

    fn meet(&self, fails: Fails, path: &Path) -> Result<()> {
        let mut faults = self.0.lock().expect("faults");
        let is_meant =
            |fault: &&mut Fault| fault.fails == fails && path.to_str().is_some_and(|path| path.ends_with(&fault.of));
        match faults.iter_mut().filter(|fault| fault.times > 0).find(is_meant) {
            Some(fault) if fault.good > 0 => {
                fault.good -= 1;
                Ok(())
            }
            Some(fault) => {
                fault.times -= 1;
                Err(Error::from_raw_os_error(fault.code))
            }
            None => Ok(()),
        }
    }
}

impl Disk for FaultyDisk {
    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        self.meet(Fails::Canonicalize, path)?;
        SystemDisk.canonicalize(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<Listed>> {
        self.count_a_list();
        self.meet(Fails::List, folder)?;
        SystemDisk.list(folder)
    }

    fn kind(&self, path: &Path) -> Result<Kind> {
        self.meet(Fails::Kind, path)?;
        SystemDisk.kind(path)
    }

    fn read(&self, path: &Path, at_most: u64) -> Result<(Vec<u8>, Kind)> {
        self.meet(Fails::Read, path)?;
        SystemDisk.read(path, at_most)
    }

    fn create(&self, folder: &Path, prefix: &str) -> Result<Box<dyn NewFile>> {
        Ok(Box::new(Temporary(SystemDisk.create(folder, prefix)?, self.clone())))
    }

    fn open_to_lock(&self, path: &Path) -> Result<Box<dyn LockFile>> {
        Ok(Box::new(Lock(SystemDisk.open_to_lock(path)?, path.to_owned(), self.clone())))
    }

    fn is_locked(&self, path: &Path) -> Result<bool> {
        self.meet(Fails::Lock, path)?;
        SystemDisk.is_locked(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.meet(Fails::Remove, path)?;
        SystemDisk.remove(path)
    }

    fn sync_files(&self, paths: &[PathBuf]) -> Vec<Result<()>> {
        let synced = SystemDisk.sync_files(paths).into_iter().zip(paths);
        synced.map(|(synced, path)| self.meet(Fails::SyncFile, path).and(synced)).collect()
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        SystemDisk.sync_folder(folder)
    }

    fn check_writable(&self, folder: &Path) -> Result<()> {
        self.meet(Fails::CheckWritable, folder)?;
        SystemDisk.check_writable(folder)
    }
}

struct Temporary(Box<dyn NewFile>, FaultyDisk);

impl NewFile for Temporary {
    fn number(&self) -> Result<u64> {
        self.0.number()
    }

    fn write(&mut self, contents: &[u8]) -> Result<()> {
        self.0.write(contents)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }

    fn read_back(&self) -> Result<Vec<u8>> {
        self.0.read_back()
    }

    fn rename_to_new(self: Box<Self>, path: &Path) -> Result<()> {
        self.1.meet(Fails::NameNew, path)?;
        self.0.rename_to_new(path)
    }

    fn rename_over(self: Box<Self>, path: &Path) -> Result<()> {
        self.0.rename_over(path)
    }
}

struct Lock(Box<dyn LockFile>, PathBuf, FaultyDisk);

impl LockFile for Lock {
    fn try_lock(&self) -> std::result::Result<(), TryLockError> {
        self.2.meet(Fails::Lock, &self.1).map_err(TryLockError::Error)?;
        self.0.try_lock()
    }
}
