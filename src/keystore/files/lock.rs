//! The lock of a folder: two servers that were given the same folder add files one after the other.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{Disk, LockFile};
use super::limits::has_no_locks;
use crate::keystore::KeyStoreError;
use crate::keystore::error::Lacks;
use crate::waits;

/// Held while files are added. Released when it is dropped, and by the operating system when the process ends.
pub struct FolderLock(#[allow(dead_code)] Box<dyn LockFile>);

impl FolderLock {
    /// Waits for another process that is adding files, but not for ever: it may have been stopped. Nor when the wait has to
    /// end.
    pub(super) fn take(disk: &dyn Disk, folder: &Path) -> Result<Self, KeyStoreError> {
        let path = folder.join(LOCK_FILE);
        let file = disk.open_to_lock(&path);
        Self::wait_for(file.map_err(|error| failed("open lock file", path, error))?, folder)
    }

    fn wait_for(file: Box<dyn LockFile>, folder: &Path) -> Result<Self, KeyStoreError> {
        let path = folder.join(LOCK_FILE);
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return Err(KeyStoreError::Locked(path)),
                Err(TryLockError::WouldBlock) if waits::pause(LOCK_PAUSE) => {}
                Err(TryLockError::WouldBlock) => return Err(KeyStoreError::LockGivenUp(path)),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    let (folder, lacks) = (folder.to_owned(), Lacks::Locks);
                    return Err(KeyStoreError::FileSystem { folder, lacks, error });
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", path, error)),
            }
        }
    }
}

fn failed(action: &'static str, path: PathBuf, error: io::Error) -> KeyStoreError {
    KeyStoreError::Io { action, path, error }
}

pub(super) const LOCK_FILE: &str = ".aws-kms-key.lock";

/// For another process that is adding files, which takes milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::sync::Mutex;

    use super::*;
    use crate::keystore::files::system_disk::SystemDisk;
    use crate::waits::tests::MUST_END;

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

    #[test]
    fn a_wait_for_the_lock_that_a_stop_or_kill_ends_says_so() {
        let dir = tempfile::tempdir().expect("dir");
        let lock = || FolderLock::take(&SystemDisk, dir.path());
        let held = lock().expect("lock");
        MUST_END.set(true);
        let error = lock().err().expect("given up");
        assert!(error.is_given_up());
        let said = error.to_string();
        assert!(said.contains("given up, since the server stops or the statement was killed"), "{said}");
        assert!(said.contains(".aws-kms-key.lock") && !said.contains("Try again"), "{said}");
        drop(held);
        assert!(lock().is_ok(), "a lock that nobody has is not waited for");
        MUST_END.set(false);
    }

    /// Answers with these errors, the last one first, and then is locked.
    struct Planned(Mutex<Vec<io::ErrorKind>>);

    impl LockFile for Planned {
        fn try_lock(&self) -> Result<(), TryLockError> {
            let next = self.0.lock().expect("plan").pop();
            next.map_or(Ok(()), |kind| Err(TryLockError::Error(kind.into())))
        }
    }

    #[test]
    fn a_signal_does_not_keep_the_lock_from_being_taken_and_any_other_error_is_one() {
        let lock = |plan: &[io::ErrorKind]| {
            FolderLock::wait_for(Box::new(Planned(Mutex::new(plan.to_vec()))), Path::new("/keys"))
        };
        assert!(lock(&[io::ErrorKind::Interrupted; 3]).is_ok());
        let error = lock(&[io::ErrorKind::PermissionDenied]).err().expect("refused").to_string();
        assert!(error.starts_with("could not lock /keys/.aws-kms-key.lock: "), "{error}");
    }
}
