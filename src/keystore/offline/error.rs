//! What the offline tool may not do to key files.

use std::path::PathBuf;

use crate::keystore::KeyName;

/// Why the offline tool did not do what it was to do. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// A key that was to be imported is or was here.
    #[error(
        "{0}: key {id} is or was in this folder, and is not imported over it. Only if an import went wrong and no server has used \
         its keys since: move its key files, aws-kms-key.manifest.json, aws-kms-key.datadir.json and aws-kms-key.folder.json away, and import again", id = .0.id
    )]
    NotNew(KeyName),
    /// Keys were to be imported beside a key file that the manifest does not know: then its master key would not be known, and it
    /// would not be trusted.
    #[error(
        "{0}: the manifest does not know its key file yet. Start the server once with this plugin, which records it, before keys are \
         imported. Nothing was imported"
    )]
    NotRecordedYet(KeyName),
    /// A key file that was to be re-wrapped is one that the manifest does not know.
    #[error(
        "{0}: the manifest does not know its key file yet. Start the server once with this plugin, which knows whether to trust it, \
         before it is re-wrapped"
    )]
    NotSeenYet(KeyName),
    /// The manifest is damaged.
    #[error(
        "the manifest of the key files in {folder} is damaged ({reason}). `repair` keeps what can still be read of it; otherwise the next start \
         of the server puts it aside and makes it anew. Nothing has changed", folder = .0.display(), reason = .1
    )]
    DamagedManifest(PathBuf, String),
    /// The version that its key encrypts with was to be retired.
    #[error(
        "{0}: it is the highest version of its key, which a server encrypts with. Retire it together with all others of the key, when \
         no data needs the key any more, or rotate the key first"
    )]
    IsLatest(KeyName),
    /// A version that was to be retired was never here.
    #[error("{0}: the manifest does not know it, so nobody misses it")]
    NothingToRetire(KeyName),
    /// A version that was to be retired has a file.
    #[error(
        "{0}: its key file {path} is there. A version is retired when its file is gone: if you are sure that no data needs it, move \
         the file to a safe place first", path = .1.display()
    )]
    StillThere(KeyName, PathBuf),
    /// A version that was to be retired may be what pages of a tablespace are encrypted with.
    #[error(
        "{name}: the tablespace {tablespace} may have pages that are encrypted with it{more}. Its data could not be read any more: wait \
         until InnoDB has encrypted them anew (after two rotations, with innodb_encryption_threads above 0), and restart the server, so that this is on the \
         disk; or drop the table. Nothing \
         was retired", tablespace = .tablespace.display(), more = and_others(*.others)
    )]
    InUse {
        /// The version.
        name: KeyName,
        /// The first such tablespace.
        tablespace: PathBuf,
        /// How many more there are.
        others: usize,
    },
    /// Something of InnoDB's, which may need a version, does not lie in the datadir.
    #[error(
        "not in the datadir: {0} of InnoDB. It cannot be asked which key versions it needs. Name its folder with --innodb \
         (see innodb_log_group_home_dir, innodb_data_home_dir, innodb_undo_directory and innodb_data_file_path), or, if the server has no \
         InnoDB, say --no-innodb. Nothing was retired"
    )]
    NotSeen(String),
    /// There is said to be no InnoDB, and there is.
    #[error("there are files of InnoDB in the datadir: --no-innodb is for a server without it. Nothing was retired")]
    HasInnoDb,
    /// A version that was to be retired is what the redo log is encrypted with.
    #[error(
        "{0}: the redo log {path} is encrypted with it, and the server would not start without. Have the redo log made anew first: \
         change innodb_log_file_size in the option file, and restart the server. Nothing was retired", path = .1.display()
    )]
    InRedoLog(KeyName, PathBuf),
    /// A key that was to be imported has a length that AES does not know. In bytes.
    #[error("{name}: its key has {bytes} bytes; an AES key has 16, 24 or 32. Nothing was imported")]
    NoAesKey {
        /// The key.
        name: KeyName,
        /// Its length.
        bytes: usize,
    },
}

fn and_others(count: usize) -> String {
    if count == 0 { String::new() } else { format!(", and so may {count} others") }
}
