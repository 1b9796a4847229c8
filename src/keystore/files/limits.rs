//! What file systems cannot do, or cannot do for the moment, by the numbers of their errors. The words of Linux's manual
//! pages are few; the numbers were gathered from the file systems of its kernel.

use std::io;

use nix::errno::Errno;

/// Whether an attempt to lock failed because the file system has no locks of this kind: NFS without its lock service
/// (ENOLCK), NFS for a file that is not open for writing (EBADF), Lustre mounted without `flock` (ENOSYS), FUSE and others
/// (EOPNOTSUPP, EINVAL).
pub(super) fn has_no_locks(error: &io::Error) -> bool {
    matches!(number(error), Some(Errno::ENOLCK | Errno::EBADF | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EINVAL))
}

/// Whether an attempt to give a file a name that nothing has failed because the file system cannot do that in this way:
/// renameat2(2) with RENAME_NOREPLACE (EINVAL on NFS and most of FUSE), link(2) (EPERM on FAT and vboxsf, EMLINK where a file
/// has one name).
pub(super) fn has_no_exclusive_names(error: &io::Error) -> bool {
    matches!(number(error), Some(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM | Errno::EOPNOTSUPP | Errno::EMLINK))
}

/// Whether a file that was found cannot be synced. fsync(2), EINVAL: this file system does not sync what was opened. What it
/// is told, it has done.
pub(super) fn does_not_sync_files(error: &io::Error) -> bool {
    number(error) == Some(Errno::EINVAL)
}

/// Whether a folder cannot be synced by itself, which not all file systems can that sync files.
pub(super) fn does_not_sync_folders(error: &io::Error) -> bool {
    matches!(number(error), Some(Errno::EINVAL | Errno::EBADF | Errno::ENOSYS | Errno::EOPNOTSUPP))
}

/// Whether a failure to read may pass by itself: those of a network folder whose server does not answer, or has just come
/// back, and the error of every disk that fails now and then.
pub fn may_pass(error: &io::Error) -> bool {
    use Errno::*;
    matches!(
        number(error),
        Some(
            EIO | ESTALE
                | ETIMEDOUT
                | EAGAIN
                | EHOSTDOWN
                | EHOSTUNREACH
                | ENETDOWN
                | ENETUNREACH
                | ENETRESET
                | ENOTCONN
                | ECONNREFUSED
                | ECONNRESET
                | ECONNABORTED
                | ESHUTDOWN
                | EPIPE
                | ENOLINK
                | ECOMM
                | EREMOTEIO
        )
    )
}

fn number(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}
