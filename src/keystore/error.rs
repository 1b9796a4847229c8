//! Why a key is not to be had. Every message names the key, the cause and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{KeyId, KeyName};
use crate::cipher::Algorithm;
use crate::kms::KmsError;

/// Why a key could not be loaded, made or rotated.
#[derive(Debug)]
pub enum KeyStoreError {
    /// KMS did not unwrap the key, or did not make one.
    Kms(KeyName, KmsError),
    /// A key was to be made, and no master key is set. KMS was not asked.
    NoMasterKey(KeyName),
    /// What KMS unwrapped is no AES key.
    WrongLength {
        /// The key.
        name: KeyName,
        /// Its length.
        bytes: usize,
    },
    /// KMS made a key of another length than it was asked for.
    BadNewKey {
        /// The key.
        name: KeyName,
        /// Its length.
        bytes: usize,
    },
    /// The folder of the key files cannot be used.
    Folder(PathBuf, io::Error),
    /// The key file has nothing in it.
    EmptyFile(PathBuf),
    /// The key file is longer than any wrapped key. In bytes.
    LargeFile(PathBuf, u64),
    /// Something that is not a file has the name of a key file.
    NotAFile(PathBuf),
    /// The key file that is asked for, or that was here once, is not there.
    Gone(KeyName, PathBuf),
    /// The key file is of a format that a later version of the plugin writes.
    NewerKeyFile {
        /// The key.
        name: KeyName,
        /// The file's format.
        format: u32,
    },
    /// The key file says of itself that it is another key's.
    OtherName {
        /// What the file is called.
        name: KeyName,
        /// What it holds.
        key_id: u32,
        /// What it holds.
        key_version: u32,
    },
    /// The wrapped key in a key file of format 2 cannot be read.
    BadKeyFile(KeyName),
    /// The key file holds another key than the one that was made here.
    OtherKey(KeyName),
    /// The key file names another algorithm than the one that the key version has always encrypted with.
    OtherAlgorithm(KeyName, Algorithm),
    /// Another process holds the lock of the folder.
    Locked(PathBuf),
    /// The manifest is one of a later version of the plugin.
    NewerManifest(u32),
    /// `aws_key_management_allowed_key_ids` does not list the key.
    NotAllowed(KeyId),
    /// A key file that was to be made is there already.
    Exists(PathBuf),
    /// The operating system refused.
    Io {
        /// What was to be done, such as "read".
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Reading back a new key file gave other bytes than were written.
    ReadBack(PathBuf),
    /// There is nothing to rotate.
    NoSuchKey(KeyId),
    /// All version numbers of the key are used.
    NoVersionLeft(KeyId),
    /// mariadb-backup asked for a key that does not exist.
    BackupCreatesNothing(KeyName),
    /// No memory for the key.
    NoMemory(KeyName),
    /// It failed a moment ago, and is not tried again so soon.
    NotYet {
        /// What the last attempt said.
        before: String,
        /// When it is tried again.
        wait: Duration,
    },
    /// Some keys of a rotation of all could not be rotated.
    Several {
        /// How many.
        failed: usize,
        /// Out of how many.
        of: usize,
        /// How many were not tried any more, because KMS did not answer.
        skipped: usize,
        /// The first failure.
        first: Box<KeyStoreError>,
    },
}

impl fmt::Display for KeyStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kms(name, error) => write!(f, "{name}: {error}"),
            Self::NoMasterKey(name) => write!(
                f,
                "{name}: no master key is set. Set aws_key_management_master_key_id to the KMS key that is to wrap new data \
                 keys"
            ),
            Self::WrongLength { name, bytes } => {
                write!(
                    f,
                    "{name}: KMS gave a key of {bytes} bytes, which is no AES key. Restore its file from a backup"
                )
            }
            Self::BadNewKey { name, bytes } => {
                write!(
                    f,
                    "{name}: KMS made a key of {bytes} bytes, which is not what it was asked for, and is not used. Try again"
                )
            }
            Self::Folder(path, error) => write!(
                f,
                "the folder of the key files, {}, cannot be opened: {error}. Create it for the server's user, or correct \
                 aws_key_management_keyfile_dir",
                path.display()
            ),
            Self::EmptyFile(path) => write!(f, "key file {} is empty. {RESTORE}", path.display()),
            Self::LargeFile(path, bytes) => {
                write!(f, "key file {} has {bytes} bytes, more than any wrapped key. {RESTORE}", path.display())
            }
            Self::NotAFile(path) => {
                write!(f, "{} has the name of a key file, but is no file. Move it away. {RESTORE}", path.display())
            }
            Self::Gone(name, path) => write!(f, "{name}: key file {} is gone. {RESTORE}", path.display()),
            Self::NewerKeyFile { name, format } => {
                write!(f, "{name}: its file has format {format}. Install the version of the plugin that wrote it")
            }
            Self::OtherName { name, key_id, key_version } => write!(
                f,
                "{name}: its file holds key {key_id} version {key_version}. Give the key files their own names back"
            ),
            Self::BadKeyFile(name) => write!(f, "{name}: its file is damaged. {RESTORE}"),
            Self::OtherKey(name) => write!(
                f,
                "{name}: its file holds another key than the one that was made here, and is not used. {RESTORE}. Key files \
                 and aws-kms-key.manifest.json belong together"
            ),
            Self::OtherAlgorithm(name, algorithm) => write!(
                f,
                "{name}: its file says {algorithm}, which is not what it was made for, and is not used. {RESTORE}"
            ),
            Self::Locked(path) => write!(
                f,
                "the folder of the key files is locked by another process (see who has {} open). Try again when it has \
                 ended",
                path.display()
            ),
            Self::NewerManifest(format) => write!(
                f,
                "the manifest of the key files has format {format}, so no key is made. Install the version of the plugin \
                 that wrote it"
            ),
            Self::NotAllowed(id) => {
                write!(
                    f,
                    "key {id} does not exist, and aws_key_management_allowed_key_ids does not allow it to be made"
                )
            }
            Self::Exists(path) => write!(
                f,
                "key file {} exists already, made by somebody else, and is left alone. Try again",
                path.display()
            ),
            Self::Io { action, path, error } => {
                write!(f, "could not {action} {}: {error}.{}", path.display(), remedy(error.kind()))
            }
            Self::ReadBack(path) => {
                write!(f, "{} did not hold what was written to it. Check the disk", path.display())
            }
            Self::NoSuchKey(id) => write!(f, "key {id} does not exist. A key is made when a table first uses it"),
            Self::NoVersionLeft(id) => write!(f, "key {id} has no version number left"),
            Self::BackupCreatesNothing(name) => write!(
                f,
                "{name} does not exist, and mariadb-backup makes no keys. Add its key file {} to the backup",
                name.file_name()
            ),
            Self::NoMemory(name) => write!(f, "{name}: no memory could be had for the key"),
            Self::NotYet { before, wait } => {
                write!(f, "failed before, and is tried again in {} s: {before}", wait.as_secs() + 1)
            }
            Self::Several { failed, of, skipped, first } => {
                write!(f, "{failed} of {of} keys could not be rotated (see the error log)")?;
                if *skipped > 0 {
                    write!(f, ", {skipped} were not tried, as KMS does not answer")?;
                }
                write!(f, ". First: {first}")
            }
        }
    }
}

impl std::error::Error for KeyStoreError {}

/// InnoDB tells whoever opens a table without its key to drop it: so the message with the cause says not to.
const RESTORE: &str = "Restore the file from a backup and restart the server; do not drop the tables that use the key";

fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => " Give the server's user access to it",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " Make room on the disk",
        io::ErrorKind::ReadOnlyFilesystem => " Make the file system writable",
        io::ErrorKind::NotFound => " Create it, or restore it from a backup",
        _ => " Check the disk and the folder",
    }
}
