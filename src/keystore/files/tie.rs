//! What ties the datadir and the folder of its keys together, when it is damaged, or says that the keys lie elsewhere: see
//! [`super::memory`].

use serde::Deserialize;

use super::documents::Document;
use super::durable_files::{KeyFolder, failed};
use super::json::AnyDocument;
use super::memory::{self, DATADIR_FILE, FOLDER_FILE, FolderId, Memory, Remembered};
use super::repairing::read;
use crate::keystore::KeyStoreError;

/// How the datadir and the folder belong together.
pub enum Tie {
    /// A start accepts it.
    Good,
    /// A start does not, for this reason, and nothing in the folder can make it good.
    Lost(KeyStoreError),
    /// A start does not, but the two can be tied together again.
    Broken(BrokenTie),
}

/// How the two can be tied together again.
pub struct BrokenTie {
    /// Why a start does not accept them.
    pub error: KeyStoreError,
    /// Whether what is left of the two files says that they belong together.
    pub is_proven: bool,
    id: String,
    in_folder: Side,
    in_datadir: Side,
}

/// One of the two files.
struct Side {
    contents: Option<Vec<u8>>,
    /// The id of the key folder in it, if it can be read.
    id: Option<String>,
    /// What may be that id, if it cannot.
    remains: Vec<String>,
}

impl BrokenTie {
    /// Looks at the two. Fails if the folders do not answer.
    pub(super) fn find(folder: &KeyFolder, datadir: &KeyFolder) -> Result<Tie, KeyStoreError> {
        let error = match Memory::new(datadir.clone()).check(folder) {
            Ok(()) => return Ok(Tie::Good),
            Err(error @ (KeyStoreError::WrongFolder { .. } | KeyStoreError::DamagedMemory { .. })) => error,
            Err(error) => return Err(error),
        };
        let in_folder = Side::read(folder, FOLDER_FILE, |file: FolderId| file.id)?;
        let in_datadir = Side::read(datadir, DATADIR_FILE, |file: Remembered| file.folder_id)?;
        let (Some(in_folder), Some(in_datadir), true) = (in_folder, in_datadir, memory::has_keys(folder)?) else {
            return Ok(Tie::Lost(error));
        };
        let common = in_folder.ids().find(|id| in_datadir.ids().any(|other| other == *id));
        // A datadir that remembers nothing takes any folder.
        let proven = common.or_else(|| in_folder.ids().next().filter(|_| in_datadir.contents.is_none())).cloned();
        let is_proven = proven.is_some();
        let id = proven.or_else(|| in_folder.ids().chain(in_datadir.ids()).next().cloned());
        let id = id.map_or_else(|| memory::new_id(folder), Ok)?;
        Ok(Tie::Broken(Self { error, is_proven, id, in_folder, in_datadir }))
    }

    /// Ties them together. What the two files held is kept: answers as what.
    pub(super) fn mend(&self, folder: &KeyFolder, datadir: &KeyFolder) -> Result<Vec<String>, KeyStoreError> {
        let _lock = folder.lock()?;
        self.in_folder.check_unchanged(folder, FOLDER_FILE)?;
        self.in_datadir.check_unchanged(datadir, DATADIR_FILE)?;
        let mut kept = Vec::new();
        if self.in_folder.id.as_ref() != Some(&self.id) {
            kept.extend(self.in_folder.keep(folder, FOLDER_BEFORE)?);
            memory::write(folder, FOLDER_FILE, &FolderId::of(self.id.clone()))?;
        }
        let memory = Memory::new(datadir.clone());
        // One that remembers nothing yet, the next start lets remember.
        if self.in_datadir.contents.is_some() && self.in_datadir.id.as_ref() != Some(&self.id) {
            kept.extend(self.in_datadir.keep(datadir, DATADIR_BEFORE)?);
            memory::write(datadir, DATADIR_FILE, &memory.to_remember(folder, self.id.clone()))?;
        }
        Ok(kept)
    }
}

impl Side {
    /// `None` if what has the name is no file, or one of a later version of the plugin.
    fn read<T: for<'a> Deserialize<'a>>(
        folder: &KeyFolder,
        file_name: &str,
        id: impl Fn(T) -> String,
    ) -> Result<Option<Self>, KeyStoreError> {
        Ok(Some(
            match folder
                .read_document(file_name)
                .map_err(|error| failed("read", &folder.path().join(file_name), error))?
            {
                Document::Missing => Self { contents: None, id: None, remains: Vec::new() },
                Document::NoFile => return Ok(None),
                Document::File { contents, .. } => {
                    if let Ok(AnyDocument { format }) = serde_json::from_slice(&contents)
                        && format > memory::FORMAT
                    {
                        return Ok(None);
                    }
                    let id = serde_json::from_slice(&contents).ok().map(id);
                    let remains = if id.is_none() { ids_in(&contents) } else { Vec::new() };
                    Self { contents: Some(contents), id, remains }
                }
            },
        ))
    }

    fn ids(&self) -> impl Iterator<Item = &String> {
        self.id.iter().chain(&self.remains)
    }

    fn check_unchanged(&self, folder: &KeyFolder, file_name: &str) -> Result<(), KeyStoreError> {
        match read(folder, file_name)? == self.contents {
            true => Ok(()),
            false => Err(KeyStoreError::ChangedMeanwhile(folder.path().join(file_name))),
        }
    }

    fn keep(&self, folder: &KeyFolder, file_name: &str) -> Result<Option<String>, KeyStoreError> {
        self.contents.as_ref().map(|contents| folder.keep(file_name, contents)).transpose()
    }
}

/// All that could be an id: 32 hexadecimal digits, and no more.
fn ids_in(contents: &[u8]) -> Vec<String> {
    let runs = contents.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() == 32);
    runs.map(|run| String::from_utf8_lossy(run).into_owned()).collect()
}

const FOLDER_BEFORE: &str = "aws-kms-key.folder.before-repair";
const DATADIR_BEFORE: &str = "aws-kms-key.datadir.before-repair";
