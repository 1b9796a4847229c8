//! Why a key is not to be had. Every message names the key, the cause and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::folder_errors::remedy;
pub use super::folder_errors::{DataWithoutKeys, Lacks, WrongFolder};

use super::files::may_pass;
use super::offline::OfflineError;
use super::{KeyId, KeyName};
use crate::cipher::Algorithm;
use crate::kms::KmsError;

/// Why a key could not be loaded, made or rotated.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// KMS did not unwrap the key, or did not make one.
    #[error("{0}: {1}")]
    Kms(KeyName, KmsError),
    /// A key was to be made, and no master key is set. KMS was not asked.
    #[error(
        "{0}: no master key is set. Set aws_key_management_master_key_id to the KMS key that is to wrap new data keys"
    )]
    NoMasterKey(KeyName),
    /// What KMS unwrapped is no AES key.
    #[error("{name}: KMS gave a key of {bytes} bytes, which is no AES key. Restore its file from a backup")]
    WrongLength {
        /// The key.
        name: KeyName,
        /// Its length.
        bytes: usize,
    },
    /// KMS made a key of another length than it was asked for.
    #[error("{name}: KMS made a key of {bytes} bytes, which is not what it was asked for, and is not used. Try again")]
    BadNewKey {
        /// The key.
        name: KeyName,
        /// Its length.
        bytes: usize,
    },
    /// The folder of the key files cannot be used.
    #[error(
        "the folder of the key files, {}, cannot be opened: {}.{}, or correct aws_key_management_keyfile_dir", .0.display(), .1,
        remedy(.1)
    )]
    Folder(PathBuf, io::Error),
    /// The datadir has keys, which do not lie in the folder that is given for them.
    #[error(
        "the keys of this datadir lie in {}, but {} {found}. No key is made or loaded. Mount that folder or restore its \
         aws-kms-key.* files, or correct aws_key_management_keyfile_dir. Only if you mean to go on without those keys, move \
         {} away", .expected.display(), .folder.display(), .memory.display()
    )]
    WrongFolder {
        /// What was given.
        folder: PathBuf,
        /// Where the keys lay last.
        expected: PathBuf,
        /// What was found.
        found: WrongFolder,
        /// Where the datadir remembers it.
        memory: PathBuf,
    },
    /// A file that ties the datadir and the folder of the key files together cannot be read.
    #[error(
        "{} is damaged ({reason}), so it cannot be told whether the key files are those of this datadir. The keys \
         themselves are not touched by that. `aws-key-management repair` says whether what is left of it tells, and makes it anew \
         (with --folder-is-right if you say so); or restore it from a backup", .path.display()
    )]
    DamagedMemory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key file has nothing in it.
    #[error("key file {} is empty. {RESTORE}", .0.display())]
    EmptyFile(PathBuf),
    /// The key file is longer than any wrapped key. In bytes.
    #[error("key file {} has {} bytes, more than any wrapped key. {RESTORE}", .0.display(), .1)]
    LargeFile(PathBuf, u64),
    /// Something that is not a file has the name of a key file.
    #[error("{} has the name of a key file, but is no file. Move it away. {RESTORE}", .0.display())]
    NotAFile(PathBuf),
    /// The key file that is asked for, or that was here once, is not there.
    #[error("{}: key file {} is gone. {RESTORE}", .0, .1.display())]
    Gone(KeyName, PathBuf),
    /// A file that was said to be a tablespace is none.
    #[error("{path} is no tablespace of InnoDB. Of a redo log, name the folder. Nothing was changed", path = .0.display())]
    NoTablespace(PathBuf),
    /// Data asks for a version that somebody has taken off the list of those that are needed.
    #[error(
        "{}: it was retired, and somebody asks for it. If data needs it, put its key file {} back from where it was kept, and do not \
         drop the tables that use the key; for new tables, take another key id", .0, .1.display()
    )]
    Retired(KeyName, PathBuf),
    /// New data is encrypted with a version that somebody has taken off the list of those that are needed.
    #[error(
        "{0}: it is the latest of its key and was retired, while this server has it in memory and encrypts new data with it. If no table \
         uses the key any more, restart the server"
    )]
    RetiredInUse(KeyName),
    /// A key that is to be made is what data is encrypted with already.
    #[error(
        "key {id} is not made: {path} is encrypted with it, and nothing is known of it here: its key files and their entries in the manifest \
         are lost. Restore its aws-kms-key.{id}.* files, and aws-kms-key.manifest.json, from a backup; do not drop the tables that use \
         the key. Only if that file is of no use, or of another server, move it away", path = .path.display()
    )]
    DataOfKey {
        /// The key.
        id: KeyId,
        /// A file that is encrypted with it.
        path: PathBuf,
    },
    /// A key that is to be rotated was wrapped by a master key of its own, which nobody names any more.
    #[error(
        "key {id} is not rotated: its versions are wrapped by {master_key}, which was the master key of this key id alone, in \
         aws_key_management_master_keys, where it has none any more. A new version would be wrapped by the master key of all others. Write \
         the entry again; or make the key one like all others first: SET GLOBAL aws_key_management_rewrap_key = {id}"
    )]
    OwnMasterKeyGone {
        /// The key.
        id: KeyId,
        /// The ARN.
        master_key: String,
    },
    /// The key file is of a format that a later version of the plugin writes.
    #[error("{name}: its file has format {format}. Install the version of the plugin that wrote it")]
    NewerKeyFile {
        /// The key.
        name: KeyName,
        /// The file's format.
        format: u32,
    },
    /// The key file says of itself that it is another key's.
    #[error("{name}: its file holds key {key_id} version {key_version}. Give the key files their own names back")]
    OtherName {
        /// What the file is called.
        name: KeyName,
        /// What it holds.
        key_id: u32,
        /// What it holds.
        key_version: u32,
    },
    /// What was bound into the wrapped key names another key.
    #[error(
        "{0}: the encryption context in its file is that of another key, and it is not used. Give the key files their own \
         names back"
    )]
    OtherContext(KeyName),
    /// The wrapped key in a key file of format 2 cannot be read.
    #[error("{0}: its file is damaged. {RESTORE}")]
    BadKeyFile(KeyName),
    /// The key file holds another key than the one that was made here.
    #[error(
        "{0}: its file holds another key than the one that was made here, and is not used. {RESTORE}. Key files and \
         aws-kms-key.manifest.json belong together"
    )]
    OtherKey(KeyName),
    /// The key file names another algorithm than the one that the key version has always encrypted with.
    #[error("{0}: its file says {1}, which is not what it was made for, and is not used. {RESTORE}")]
    OtherAlgorithm(KeyName, Algorithm),
    /// Another process holds the lock of the folder.
    #[error(
        "the folder of the key files is locked by another process (see who has {} open). Try again when it has ended",
        .0.display()
    )]
    Locked(PathBuf),
    /// The wait for that lock had to end.
    #[error(
        "the wait for another process to release {} in the folder of the key files was given up, since the server stops or \
         the statement was killed", .0.display()
    )]
    LockGivenUp(PathBuf),
    /// The file system cannot do what a key needs to be made safely.
    #[error(
        "no key is made in {}, since its file system {lacks} ({error}). Keys that exist are used. {}", .folder.display(),
        .lacks.remedy()
    )]
    FileSystem {
        /// Where the key was to be made.
        folder: PathBuf,
        /// What the file system cannot do.
        lacks: Lacks,
        /// How it said so.
        error: io::Error,
    },
    /// The manifest is one of a later version of the plugin.
    #[error(
        "the manifest of the key files has format {0}, so no key is made. Install the version of the plugin that wrote it"
    )]
    NewerManifest(u32),
    /// `aws_key_management_allowed_key_ids` does not list the key.
    #[error("key {0} does not exist, and aws_key_management_allowed_key_ids does not allow it to be made")]
    NotAllowed(KeyId),
    /// A key file that was to be made is there already.
    #[error(
        "key file {} exists already, made by somebody else, and is left alone. Try again", .0.display()
    )]
    Exists(PathBuf),
    /// A key file is another than it was a moment ago.
    #[error("key file {} was changed by somebody else meanwhile, and is left alone. Try again", .0.display())]
    ChangedMeanwhile(PathBuf),
    /// A key that could not be loaded was to be re-wrapped.
    #[error("{0}: it is not in memory, since it could not be loaded (see the error log), and cannot be re-wrapped")]
    NotInMemory(KeyName),
    /// A key that turned up under a master key that nobody knows here was to be re-wrapped: it would be trusted then.
    #[error(
        "{0}: it has turned up here under a master key that is not known, and is not re-wrapped before it is accepted (see \
         the error log)"
    )]
    NotAccepted(KeyName),
    /// KMS unwrapped another key than it had been given to wrap.
    #[error(
        "{0}: what KMS wrapped is not the key that it was given, and is not used. The key file is as it was. Try again"
    )]
    NotTheSameKey(KeyName),
    /// mariadb-backup was to verify keys.
    #[error("mariadb-backup verifies no keys")]
    BackupVerifiesNothing,
    /// A start would not find some key versions.
    #[error(
        "a restart would not find {failed} of {of} key versions (see SHOW WARNINGS and the error log): {}. First: {first}",
        list(.names)
    )]
    NotAllVerified {
        /// How many.
        failed: usize,
        /// Out of how many.
        of: usize,
        /// Which failed.
        names: Vec<KeyName>,
        /// The first failure.
        first: String,
    },
    /// The offline tool was to do what it may not.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// Several key files were to be made, and those that were made could not be taken back after a failure.
    #[error(
        "{first}. And the key files that were made before may be there still: {} ({why}). Do not start the server before you have \
         removed them, and try again then", all(.names)
    )]
    NotTakenBack {
        /// Which may be there.
        names: Vec<KeyName>,
        /// Why the first could not be taken back.
        why: Box<KeyStoreError>,
        /// What failed first.
        first: Box<KeyStoreError>,
    },
    /// A key has no key file that can be used.
    #[error("{name} is only in a copy that another master key wraps: {reason}")]
    OnlyCopy {
        /// The key.
        name: KeyName,
        /// Why it is not in its key file.
        reason: String,
    },
    /// mariadb-backup was to re-wrap keys.
    #[error("mariadb-backup re-wraps no keys")]
    BackupRewrapsNothing,
    /// Some key versions could not be re-wrapped.
    #[error(
        "{} of {of} key versions could not be re-wrapped (see the error log){}: {}. First: {first}",
        .names.len(), not_tried(*.skipped), list(.names)
    )]
    NotAllRewrapped {
        /// How many there are.
        of: usize,
        /// How many of those that were not re-wrapped were not tried any more, because they would have failed alike.
        skipped: usize,
        /// Which were not.
        names: Vec<KeyName>,
        /// The first failure.
        first: Box<KeyStoreError>,
    },
    /// The operating system refused.
    #[error("could not {action} {}: {error}.{}", .path.display(), remedy(.error))]
    Io {
        /// What was to be done, such as "read".
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Reading back a new key file gave other bytes than were written.
    #[error("{} did not hold what was written to it. Check the disk", .0.display())]
    ReadBack(PathBuf),
    /// There is nothing to rotate.
    #[error("key {0} does not exist. A key is made when a table first uses it")]
    NoSuchKey(KeyId),
    /// All version numbers of the key are used.
    #[error("key {0} has no version number left")]
    NoVersionLeft(KeyId),
    /// mariadb-backup asked for a key that does not exist.
    #[error(
        "{} does not exist, and mariadb-backup makes no keys. Add its key file {} to the backup", .0, .0.file_name()
    )]
    BackupCreatesNothing(KeyName),
    /// A server that was started with `--wsrep_recover` asked for a key that does not exist. With the folder of the key files.
    #[error(
        "{} does not exist in {}, and a server that is started with --wsrep_recover makes no keys: it is to leave nothing \
         behind. Where there is no data yet there is no position to recover: start this node without --wsrep_recover. \
         Otherwise restore the file {}", .0, .1.display(), .0.file_name()
    )]
    RecoveryCreatesNothing(KeyName, PathBuf),
    /// There is encrypted data, and nothing of any key.
    #[error(transparent)]
    DataWithoutKeys(DataWithoutKeys),
    /// There are or were key versions, and not one of them can be used.
    #[error(
        "not one of the {of} key version(s) of {} can be used, so all encrypted tables would be called corrupted. First: \
         {first}", .folder.display()
    )]
    NoneUsable {
        /// How many there are or were.
        of: usize,
        /// Where they lie.
        folder: PathBuf,
        /// Why the first of them cannot be used.
        first: String,
    },
    /// The wait for the key had to end.
    #[error("key {0}: given up, since the server stops or the statement was killed")]
    GivenUp(KeyId),
    /// The wait for a folder that does not answer had to end.
    #[error("the wait for the folder of the key files was given up, since the server stops")]
    FolderGivenUp,
    /// No memory for the key.
    #[error("{0}: no memory could be had for the key")]
    NoMemory(KeyName),
    /// It failed a moment ago, and is not tried again so soon.
    #[error("failed before, and is tried again in {} s: {before}", .wait.as_secs() + 1)]
    NotYet {
        /// What the last attempt said.
        before: String,
        /// When it is tried again.
        wait: Duration,
    },
    /// A key would have been the first under its master key, and that could not be written down.
    #[error(
        "{name} was not made: it would be the first under master key {arn}, which has to be in the manifest of the key files \
         before it: {error}"
    )]
    NewMasterKey {
        /// The key.
        name: KeyName,
        /// The ARN of the master key.
        arn: String,
        /// Why it could not be written down.
        error: Box<KeyStoreError>,
    },
    /// Some keys of a rotation of all could not be rotated.
    #[error(
        "{failed} of {of} keys could not be rotated (see the error log){}. First: {first}", not_tried(*.skipped)
    )]
    Several {
        /// How many.
        failed: usize,
        /// Out of how many.
        of: usize,
        /// How many were not tried any more, because they would have failed alike.
        skipped: usize,
        /// The first failure.
        first: Box<KeyStoreError>,
    },
}

impl KeyStoreError {
    /// Of a key that was to be made: whether others would fail like it, and not for a reason of its own.
    pub(super) fn keeps_keys_from_being_made(&self) -> bool {
        let is_of_the_key_alone = matches!(
            self,
            Self::NotAllowed(_)
                | Self::NoSuchKey(_)
                | Self::Gone(..)
                | Self::Retired(..)
                | Self::DataOfKey { .. }
                | Self::OwnMasterKeyGone { .. }
                | Self::Exists(_)
                | Self::NoVersionLeft(_)
                | Self::BackupCreatesNothing(_)
                | Self::RecoveryCreatesNothing(..)
        );
        !is_of_the_key_alone && !self.is_given_up()
    }

    /// Whether a wait had to end, which says nothing about a key.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::GivenUp(_) | Self::LockGivenUp(_) | Self::FolderGivenUp => true,
            Self::NewMasterKey { error, .. } => error.is_given_up(),
            _ => false,
        }
    }

    /// What is wrong, for who says himself what to do about a key that is in memory.
    pub(super) fn without_remedy(&self) -> String {
        let text = self.to_string();
        let what = text.split(RESTORE).next().unwrap_or_default();
        what.trim_end_matches([' ', '.', ',']).to_owned()
    }

    /// The same for failures of the same kind: without what differs from call to call.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Kms(_, error) => error.kind(),
            other => other.to_string(),
        }
    }

    /// Of reading a key file: whether something else is in its place, or something that this process may not read. A new key file
    /// may take its name then, and what is there is kept under another one.
    pub(super) fn is_of_an_obstacle(&self) -> bool {
        match self {
            Self::LargeFile(..) | Self::NotAFile(_) => true,
            Self::Io { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether the folder may answer later: see [`may_pass`].
    pub(super) fn is_no_answer_of_the_folder(&self) -> bool {
        matches!(self, Self::Io { error, .. } if may_pass(error))
    }
}

/// InnoDB tells whoever opens a table without its key to drop it: so the message with the cause says not to.
const RESTORE: &str = "Restore the file from a backup and restart the server; do not drop the tables that use the key";

fn not_tried(keys: usize) -> String {
    if keys == 0 { String::new() } else { format!(", {keys} were not tried, as they would fail like it") }
}

/// The files of all of them.
fn all(names: &[KeyName]) -> String {
    names.iter().map(|name| name.file_name()).collect::<Vec<_>>().join(", ")
}

fn list(names: &[KeyName]) -> String {
    const MOST: usize = 8;
    let mut told: Vec<String> = names.iter().take(MOST).map(KeyName::to_string).collect();
    told.extend((names.len() > MOST).then(|| format!("{} more", names.len() - MOST)));
    told.join(", ")
}
