//! What is wrong with the folder of the key files, and with the file system that it is on.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use super::files::may_pass;

/// What is wrong with a folder in place of the one where the keys of the datadir lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongFolder {
    /// There is no key file in it, and no manifest.
    #[error("holds no keys")]
    Empty,
    /// It has another id.
    #[error("holds other keys (its aws-kms-key.folder.json has another id)")]
    Other,
    /// It has no id.
    #[error(
        "is not known to hold them (aws-kms-key.folder.json is missing: copy it too, or have `aws-key-management repair` make it anew)"
    )]
    Nameless,
}

/// There is encrypted data, and nothing of any key.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is encrypted, but there is no key file in {}, and no key is made, since it would not open this data. {}",
    .data.display(), .folder.display(), if *.is_filled_by_rsync { AFTER_RSYNC } else { RESTORE }
)]
pub struct DataWithoutKeys {
    /// A file of InnoDB's.
    pub data: PathBuf,
    /// Where the key files should be.
    pub folder: PathBuf,
    /// Whether the data may come from another node of a Galera cluster, by rsync.
    pub is_filled_by_rsync: bool,
}

/// What a file system cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lacks {
    /// Neither flock(2) nor fcntl(2) locks a file.
    #[error("gives no file locks, without which two servers could make the same key")]
    Locks,
    /// Neither renameat2(2) nor link(2) gives a file a name without taking it from another.
    #[error("has neither hard links nor a rename that spares what is there, so a key file could be overwritten")]
    ExclusiveNames,
}

impl Lacks {
    /// What to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Locks => {
                "Mount it with locks (NFS with its lock service and without 'nolock', Lustre with 'flock'), or keep the key \
                 files on another file system (aws_key_management_keyfile_dir)"
            }
            Self::ExclusiveNames => {
                "Keep the key files on another file system (aws_key_management_keyfile_dir), or, if it is the server's sandbox \
                 that refuses both (SystemCallFilter=), allow renameat2"
            }
        }
    }
}

const RESTORE: &str = "Restore the aws-kms-key.* files that belong to it, or correct aws_key_management_keyfile_dir; do not \
                       drop anything";

const AFTER_RSYNC: &str = "If this node got it from another one: wsrep_sst_method is rsync, which does not copy the key \
                           files. Set wsrep_sst_method = mariabackup; or copy all aws-kms-key.* files of the donor to \
                           this folder, and start the node again";

/// What to do about an error of the operating system. SELinux and AppArmor deny as rights that are missing do, with EACCES; a
/// sandbox refuses with EPERM or ENOSYS.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    // Those for which the standard library has no name.
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => return " The server has too many files open: raise LimitNOFILE= of the service",
        Some(Errno::ENFILE) => {
            return " This machine has too many files open: raise fs.file-max (sysctl), or close some";
        }
        Some(Errno::ELOOP) => return " Symbolic links in this path lead in a circle: correct them",
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " Give the server's user access to it; if it has that, see what SELinux, AppArmor or its sandbox \
             (SystemCallFilter= of the service) deny"
        }
        io::ErrorKind::Unsupported => {
            " Check the file system, and what the server's sandbox refuses (SystemCallFilter= of the service)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " Make room on the disk",
        io::ErrorKind::ReadOnlyFilesystem => {
            " Make the file system writable, or, if it is so for other programs, the folder by ReadWritePaths= of the service"
        }
        io::ErrorKind::NotADirectory => " A file is in this path where a folder should be: put the folder there",
        io::ErrorKind::OutOfMemory => {
            " The kernel has no memory for it: give this machine, or the server's service (MemoryMax=) or container, more"
        }
        io::ErrorKind::NotFound => " Mount it, create it, or restore it from a backup",
        _ if may_pass(error) => " Check the disk; for a network folder, the network and its server",
        _ => " Check the disk and the folder",
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::KeyStoreError;
    use super::*;

    #[test]
    fn an_error_of_the_operating_system_comes_with_what_to_do() {
        let remedies = [
            (libc::EACCES, "sandbox (SystemCallFilter= of the service) deny"),
            (libc::EPERM, "sandbox (SystemCallFilter= of the service) deny"),
            (libc::ENOSYS, "refuses (SystemCallFilter= of the service)"),
            (libc::ENOSPC, "Make room on the disk"),
            (libc::EDQUOT, "Make room on the disk"),
            (libc::EROFS, "ReadWritePaths= of the service"),
            (libc::ENOENT, "Mount it, create it, or restore it from a backup"),
            (libc::EMFILE, "raise LimitNOFILE= of the service"),
            (libc::ENFILE, "raise fs.file-max (sysctl), or close some"),
            (libc::ENOMEM, "or the server's service (MemoryMax=) or container, more"),
            (libc::ENOTDIR, "where a folder should be: put the folder there"),
            (libc::ELOOP, "lead in a circle: correct them"),
            (libc::EIO, "for a network folder, the network and its server"),
            (libc::EISDIR, "Check the disk and the folder"),
        ];
        for (number, remedy) in remedies {
            let error = io::Error::from_raw_os_error(number);
            let error = KeyStoreError::Io { action: "write", path: "/keys/file".into(), error }.to_string();
            assert!(error.starts_with("could not write /keys/file: ") && error.ends_with(remedy), "{error}");
            let error = KeyStoreError::Folder("/keys".into(), io::Error::from_raw_os_error(number)).to_string();
            assert!(error.ends_with(&format!("{remedy}, or correct aws_key_management_keyfile_dir")), "{error}");
        }
    }
}
