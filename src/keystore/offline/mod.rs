//! What can be done with the key files of a server from outside of it, as free functions over the folder and KMS that answer
//! reports. The offline tool is made of them.
//!
//! They keep to the rules of the key store, by its own operations: whatever is written is written under the lock of the folder,
//! by the same functions, and so beside a running server too.

mod error;
mod import;
mod list;
pub mod repair;
mod retire;
mod rewrap;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::OfflineError;
pub use import::{Imported, NewKey, import};
pub use list::{Listed, Listing, State, list};
pub use retire::{InnoDb, retire};
pub use rewrap::{Rewrapping, rewrap};
pub use verify::{Found, Verdict, Verification, Verified, is_unanswered, verify};

use super::KeyStoreError;
use super::files::{Closed, Disk, Folders, FoundManifest, KeyFiles, SystemDisk};
use crate::cipher::Algorithm;
use crate::kms::{EncryptionContext, KeySpec, MasterKeyId};

/// The folder of the key files of a server, or a copy of it.
pub struct OpenFolder {
    pub(super) files: KeyFiles,
    manifest: FoundManifest,
}

/// What the manifest of a folder was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestState {
    /// There is none.
    Missing,
    /// A good one.
    Good {
        /// How many of its entries cannot be read.
        unreadable: usize,
    },
    /// It cannot be read, for this reason.
    Damaged(String),
    /// A later version of the plugin has written it, in this format.
    Newer(u32),
}

impl OpenFolder {
    /// To look only: nothing is written, and not even the lock is taken. So it may be a read-only copy.
    pub fn to_read(folder: &Path) -> Result<Self, KeyStoreError> {
        // Only in a copy of a datadir can a key version have been left behind: see [`KeyFiles::left_behind`].
        let datadir = if is_datadir(folder) { folder } else { Path::new("") };
        Self::read_on(Arc::new(SystemDisk), folder, datadir)
    }

    fn read_on(disk: Arc<dyn Disk>, folder: &Path, datadir: &Path) -> Result<Self, KeyStoreError> {
        Self::open(disk, &Folders { keys: folder, also: None, datadir, is_read_only: true })
    }

    /// To change something. Fails if the keys of `datadir` lie in another folder.
    pub fn to_write(folder: &Path, datadir: &Path) -> Result<Self, KeyStoreError> {
        Self::to_write_on(Arc::new(SystemDisk), folder, datadir)
    }

    pub(super) fn to_write_on(disk: Arc<dyn Disk>, folder: &Path, datadir: &Path) -> Result<Self, KeyStoreError> {
        // To open it for writing puts a damaged one aside.
        if let ManifestState::Damaged(reason) = Self::read_on(disk.clone(), folder, datadir)?.manifest() {
            return Err(OfflineError::DamagedManifest(folder.to_owned(), reason).into());
        }
        Self::open(disk, &Folders { keys: folder, also: None, datadir, is_read_only: false })
    }

    fn open(disk: Arc<dyn Disk>, folders: &Folders<'_>) -> Result<Self, KeyStoreError> {
        let (files, manifest) = KeyFiles::open(disk, folders)?;
        Ok(Self { files, manifest })
    }

    /// The absolute path of the folder.
    pub fn path(&self) -> &Path {
        self.files.path()
    }

    /// What its manifest was found to be.
    pub fn manifest(&self) -> ManifestState {
        match &self.manifest {
            FoundManifest::Missing => ManifestState::Missing,
            FoundManifest::Good { unreadable } => ManifestState::Good { unreadable: *unreadable },
            FoundManifest::Damaged { reason, .. } => ManifestState::Damaged(reason.clone()),
            FoundManifest::Newer(format) => ManifestState::Newer(*format),
        }
    }

    /// Fails if the folder is a datadir, or a copy of one, with which a server would not start: its keys lie elsewhere, or the
    /// files that tie the two together are not those that were.
    pub fn check_as_datadir(&self) -> Result<(), KeyStoreError> {
        if is_datadir(self.path()) { self.files.check_as_datadir() } else { Ok(()) }
    }

    /// What of the folder the server cannot read, if the folder is a datadir and the server runs as whom that belongs to, as far as
    /// owners and modes tell: a sentence for each file.
    pub fn closed_to_the_server(&self) -> Result<Vec<String>, KeyStoreError> {
        if !is_datadir(self.path()) {
            return Ok(Vec::new());
        }
        let closed = self.files.closed_to_owner_of(self.path())?;
        Ok(closed.iter().map(|(file, closed)| closed_text(file, *closed)).collect())
    }

    /// Where the keys lie, if the folder is a datadir that remembers that they lie in another one.
    pub fn elsewhere(&self) -> Result<Option<PathBuf>, KeyStoreError> {
        self.files.elsewhere()
    }
}

/// Whether a folder is a server's datadir, or a copy of one, as far as its contents tell.
pub fn is_datadir(folder: &Path) -> bool {
    ["ibdata1", "aria_log_control", "mysql"].iter().any(|name| folder.join(name).exists())
}

/// What would wrap new keys: nothing does here.
fn no_settings() -> super::NewKeySettings {
    super::NewKeySettings {
        master_key: None,
        master_keys: super::MasterKeysOfIds::default(),
        extra_master_keys: super::ExtraMasterKeys::default(),
        encryption_context: EncryptionContext::default(),
        spec: KeySpec::Aes256,
        algorithm: Algorithm::AesCbc,
    }
}

/// What wraps a key version that exists: its length and its algorithm are its own. Whether the master key is that of its key id
/// alone, only the settings of a server tell.
fn recipe(master_key: &MasterKeyId, encryption_context: EncryptionContext) -> super::new_keys::Recipe {
    super::new_keys::Recipe {
        master_key: Some(master_key.clone()),
        extra_master_keys: None,
        has_own_master_key: None,
        encryption_context,
        spec: KeySpec::Aes256,
        algorithm: Algorithm::AesCbc,
    }
}

const NOT_TRUSTED: &str = "it turned up under a master key that is not known here, and encrypts nothing new. To accept it, set \
                           aws_key_management_master_key_id to that master key for one start; if it is not yours, remove it";

/// What there is to do about a key version without a file, where a server may be running that has it in memory.
fn gone(name: crate::keystore::KeyName, path: &Path) -> String {
    format!(
        "{name}: key file {} is gone. If a server that has it in memory is running, do not restart that: SET GLOBAL \
         aws_key_management_rewrap_key = {} makes the file anew. Otherwise restore the file from a backup; do not drop the tables that \
         use the key",
        path.display(),
        name.id
    )
}

/// What is wrong with a file that the server cannot read.
fn closed_text(file: &str, closed: Closed) -> String {
    let Closed { to, owner: (user, group), mode } = closed;
    format!(
        "{file} belongs to user {user}, group {group}, with mode {mode:o}: the server, if it runs as user {to}, to whom the datadir \
         belongs, cannot read it"
    )
}
