//! Locks of open files, in one of the two ways that file systems have.

use std::fs::{File, TryLockError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::limits::has_no_locks;

/// Who else may have a lock at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// Locks an open file by flock(2), or, where the file system has only locks of fcntl(2), by one of these. Those are what the
/// server itself needs of its datadir, for the control file of Aria (`lock_control_file` in ma_control_file.c). Each belongs to
/// the open file, and excludes other threads of the same process too.
pub(super) fn lock(file: &File, lock: Lock) -> Result<(), TryLockError> {
    let by_flock = match lock {
        Lock::Shared => file.try_lock_shared(),
        Lock::Exclusive => file.try_lock(),
    };
    or_by_fcntl(by_flock, || by_fcntl(file, lock))
}

fn or_by_fcntl(
    by_flock: Result<(), TryLockError>,
    by_fcntl: impl FnOnce() -> Result<(), TryLockError>,
) -> Result<(), TryLockError> {
    match by_flock {
        Err(TryLockError::Error(error)) if has_no_locks(&error) => by_fcntl(),
        locked => locked,
    }
}

fn by_fcntl(file: &File, lock: Lock) -> Result<(), TryLockError> {
    let kind = if lock == Lock::Shared { libc::F_RDLCK } else { libc::F_WRLCK };
    // From its beginning on, however long it is.
    let whole = libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        // fcntl(2): either of the two.
        Err(Errno::EAGAIN | Errno::EACCES) => Err(TryLockError::WouldBlock),
        Err(error) => Err(TryLockError::Error(error.into())),
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::io;

    use super::*;

    fn code(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    fn is_taken(locked: Result<(), TryLockError>) -> bool {
        matches!(locked, Err(TryLockError::WouldBlock))
    }

    #[test]
    fn a_lock_of_fcntl_excludes_others_as_one_of_flock_does() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("lock");
        let open = || File::options().create(true).truncate(false).read(true).write(true).open(&path).expect("open");
        for by in [by_fcntl, lock] {
            let (one, two, three) = (open(), open(), open());
            by(&one, Lock::Exclusive).expect("free");
            assert!(is_taken(by(&two, Lock::Exclusive)) && is_taken(by(&two, Lock::Shared)));
            // As opened again and closed: locks of the process would be lost by that.
            drop(two);
            assert!(is_taken(by(&three, Lock::Shared)));
            drop(one);
            by(&three, Lock::Shared).expect("free");
        }
    }

    #[test]
    fn where_flock_is_refused_fcntl_locks_and_where_it_is_taken_it_does_not() {
        let fcntl = || Err(TryLockError::Error(code(libc::EDOM)));
        for number in [libc::ENOLCK, libc::EBADF, libc::ENOSYS, libc::EOPNOTSUPP] {
            let asked = or_by_fcntl(Err(TryLockError::Error(code(number))), fcntl);
            assert!(matches!(asked, Err(TryLockError::Error(error)) if error.raw_os_error() == Some(libc::EDOM)));
        }
        assert!(is_taken(or_by_fcntl(Err(TryLockError::WouldBlock), || Ok(()))));
        assert!(or_by_fcntl(Err(TryLockError::Error(code(libc::EINTR))), || Ok(())).is_err());
        let locked = or_by_fcntl(Ok(()), fcntl);
        assert!(locked.is_ok() && !is_taken(locked));
    }
}
