//! Takes key versions off the list of those that have to be in the folder: their data is gone, and their files are, too.

use std::path::PathBuf;

use super::{OfflineError, OpenFolder};
use crate::keystore::files::Elsewhere;
use crate::keystore::{KeyName, KeyStoreError};

/// Where a server's InnoDB is, beside the datadir.
#[derive(Clone, Debug)]
pub enum InnoDb {
    /// There, too: folders with a redo log, a system tablespace or undo tablespaces, or the files of tablespaces.
    Elsewhere(Vec<PathBuf>),
    /// The server has none.
    None,
}

/// Retires key versions: all or none. Their absence is no error from then on, and their numbers are never used again. None may
/// have a file: one that somebody still has on the disk is better not forgotten. None may be of use to a tablespace of the
/// datadir, or to its redo log, nor to what InnoDB has elsewhere. Whether other data needs a version cannot be told from here: binary logs, Aria tables, temporary
/// files and backups are encrypted too.
pub fn retire(folder: &OpenFolder, names: &[KeyName], innodb: &InnoDb) -> Result<(), KeyStoreError> {
    let files = &folder.files;
    let elsewhere = match innodb {
        InnoDb::Elsewhere(paths) => files.innodb_elsewhere(paths)?,
        InnoDb::None if files.has_innodb() => return Err(OfflineError::HasInnoDb.into()),
        InnoDb::None => Elsewhere::default(),
    };
    // What the manifest on the disk says is known from here on.
    let adding = files.begin_adding()?;
    for name in names.iter().copied() {
        if files.contents(name)?.is_some() {
            return Err(OfflineError::StillThere(name, files.path_of(name)).into());
        }
        if let Some(path) = files.path_of_copy(name)? {
            return Err(OfflineError::StillThere(name, path).into());
        }
        if !files.is_recorded(name) {
            return Err(OfflineError::NothingToRetire(name).into());
        }
    }
    let missed = if matches!(innodb, InnoDb::None) { Vec::new() } else { files.missed_of_innodb(&elsewhere) };
    if !missed.is_empty() {
        return Err(OfflineError::NotSeen(missed.join(" and ")).into());
    }
    if let [first, others @ ..] = &files.tablespaces_with(names, &elsewhere)?[..] {
        let (tablespace, name) = first.clone();
        return Err(OfflineError::InUse { name, tablespace, others: others.len() }.into());
    }
    if let Some((path, name)) = files.redo_log_with(names, &elsewhere)? {
        return Err(OfflineError::InRedoLog(name, path).into());
    }
    for name in names.iter().copied() {
        let mut of_key = files.recorded();
        of_key.extend(files.versions(name.id)?.into_iter().map(|version| KeyName { id: name.id, version }));
        of_key.retain(|other| other.id == name.id);
        let is_highest = of_key.iter().all(|other| *other <= name);
        if is_highest && of_key.iter().any(|other| !names.contains(other)) {
            return Err(OfflineError::IsLatest(name).into());
        }
    }
    adding.retire(names)
}
