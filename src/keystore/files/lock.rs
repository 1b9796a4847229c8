//! The lock of a folder: two servers that were given the same folder add files one after the other.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::{Disk, LockFile};
use super::limits::has_no_locks;
use crate::keystore::KeyStoreError;
use crate::keystore::error::Lacks;
use crate::waits;

/// Held while files are added. Released when it is dropped, and by the operating system when the process ends.
pub struct FolderLock(#[allow(dead_code)] Box<dyn LockFile>);

impl FolderLock {
    /// Waits for another process that is adding files, but not for ever: it may have been stopped.
    pub(super) fn take(disk: &dyn Disk, folder: &Path) -> Result<Self, KeyStoreError> {
        let path = folder.join(LOCK_FILE);
        let failed = |action, error| KeyStoreError::Io { action, path: path.clone(), error };
        let file = disk.open_to_lock(&path).map_err(|error| failed("open lock file", error))?;
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < until && waits::pause(LOCK_PAUSE) => {}
                Err(TryLockError::WouldBlock) => return Err(KeyStoreError::Locked(path)),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    let (folder, lacks) = (folder.to_owned(), Lacks::Locks);
                    return Err(KeyStoreError::FileSystem { folder, lacks, error });
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
            }
        }
    }
}

pub(super) const LOCK_FILE: &str = ".aws-kms-key.lock";

/// For another process that is adding files, which takes milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;
    use crate::keystore::files::system_disk::SystemDisk;

    #[test]
    fn a_lock_that_another_process_does_not_release_is_given_up() {
        let dir = tempfile::tempdir().expect("dir");
        let lock = || FolderLock::take(&SystemDisk, dir.path());
        let held = lock().expect("lock");
        let started = Instant::now();
        let error = lock().err().expect("held").to_string();
        assert!(error.contains("is locked by another process") && error.contains(".aws-kms-key.lock"), "{error}");
        assert!((LONGEST_WAIT..LONGEST_WAIT * 2).contains(&started.elapsed()));
        drop(held);
        lock().expect("lock");
    }
}
