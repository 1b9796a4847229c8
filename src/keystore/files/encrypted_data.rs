//! Whether InnoDB has encrypted anything in a datadir, as the heads of its files say. A datadir with such data has, or had,
//! keys, also if nothing remembers them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Kind};
use super::durable_files::failed;
use super::tablespaces::{SYSTEM_TABLESPACE, all, encryption_of, every, number_of, tables};
use super::{KeyFiles, KeyId, KeyName, KeyStoreError};

impl KeyFiles {
    /// The redo log, and which of these versions it is encrypted with: InnoDB starts without none of them. Fails if it cannot be
    /// read. Only that of MariaDB 10.8 and later tells; earlier ones keep no version.
    pub fn redo_log_with(
        &self,
        names: &[KeyName],
        elsewhere: &Elsewhere,
    ) -> Result<Option<(PathBuf, KeyName)>, KeyStoreError> {
        for path in self.of_innodb(REDO_LOG, elsewhere) {
            let head = match self.folder.disk.read(&path, HEAD) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                head => head.map_err(|error| failed("read the head of", &path, error))?.0,
            };
            let key = key_of_redo_log(&head);
            let is_used = |name: &&KeyName| key == Some((name.id.value(), name.version.value()));
            if let Some(name) = names.iter().find(is_used) {
                return Ok(Some((path, *name)));
            }
        }
        Ok(None)
    }

    /// A file of the datadir that is encrypted with a key, as far as the heads of InnoDB's files tell.
    pub fn encrypted_with(&self, id: KeyId) -> Option<PathBuf> {
        let datadir = self.memory.as_ref()?.datadir().path();
        let Needing { needing, .. } = self.needing(datadir, &|name| name.id == id);
        needing.into_values().next()
    }

    /// A file of InnoDB's in a datadir that cannot be read without a version, for each version of those that are `asked` for, as far as
    /// the heads of its files tell.
    pub fn needing(&self, datadir: &Path, asked: &dyn Fn(KeyName) -> bool) -> Needing {
        let disk = &*self.folder.disk;
        let (mut needing, mut not_read) = (BTreeMap::new(), Vec::new());
        // The lowest version of all pages is in use; 0 tells none.
        let mut note = |path: PathBuf, key: Option<(u32, u32)>| {
            let name = key.and_then(|(id, version)| KeyName::new(id, version));
            if let Some(name) = name.filter(|name| asked(*name)) {
                needing.entry(name).or_insert(path);
            }
        };
        let mut missed = Vec::new();
        let listed = every(disk, datadir, &mut |path| missed.push(path));
        let redo_log = datadir.join(REDO_LOG);
        match disk.read(&redo_log, HEAD) {
            Ok((head, _)) => note(redo_log, key_of_redo_log(&head)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && listed.is_empty() => {}
            Err(_) => not_read.push(redo_log),
        }
        for path in listed {
            match encryption_of(disk, &path) {
                Ok(encryption) => note(path, encryption.map(|it| (it.key_id, it.lowest_version))),
                // It was dropped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => not_read.push(path),
            }
        }
        not_read.extend(missed);
        Needing { needing, not_read }
    }

    /// What every InnoDB has, and is nowhere to be seen: then it lies in a folder that nobody has named. An undo log that lies
    /// elsewhere is not noticed.
    pub fn missed_of_innodb(&self, elsewhere: &Elsewhere) -> Vec<&'static str> {
        let disk = &*self.folder.disk;
        let is_there = |name| self.of_innodb(name, elsewhere).iter().any(|path| disk.read(path, 1).is_ok());
        let mut missed = Vec::new();
        if !is_there(REDO_LOG) {
            missed.push("the redo log (ib_logfile0)");
        }
        if !is_there(SYSTEM_TABLESPACE) && !elsewhere.has_system_tablespace {
            missed.push("the system tablespace (ibdata1)");
        }
        missed
    }

    /// Whether a datadir has anything by which InnoDB can be told.
    pub fn has_innodb(&self) -> bool {
        let Some(memory) = &self.memory else { return false };
        let (disk, datadir) = (&*self.folder.disk, memory.datadir().path());
        let is_there = |name: &&str| disk.read(&datadir.join(name), 1).is_ok();
        [REDO_LOG, SYSTEM_TABLESPACE, "ib_buffer_pool"].iter().any(is_there)
            || all(disk, datadir).is_ok_and(|tablespaces| !tablespaces.is_empty())
    }

    /// These folders and files. Fails with one that is not there, or is a file and no tablespace.
    pub fn innodb_elsewhere(&self, paths: &[PathBuf]) -> Result<Elsewhere, KeyStoreError> {
        let disk = &*self.folder.disk;
        let mut elsewhere = Elsewhere::default();
        for path in paths {
            match disk.kind(path).map_err(|error| failed("find", path, error))? {
                Kind::File { .. } => {
                    let number =
                        number_of(disk, path).map_err(|error| failed("read the first page of", path, error))?;
                    let number = number.ok_or_else(|| KeyStoreError::NoTablespace(path.clone()))?;
                    elsewhere.has_system_tablespace |= number == 0;
                    elsewhere.files.push(path.clone());
                }
                _ => elsewhere.folders.push(path.clone()),
            }
        }
        Ok(elsewhere)
    }

    fn of_innodb(&self, name: &str, elsewhere: &Elsewhere) -> Vec<PathBuf> {
        let datadir = self.memory.iter().map(|memory| memory.datadir().path());
        datadir.chain(elsewhere.folders.iter().map(PathBuf::as_path)).map(|folder| folder.join(name)).collect()
    }
}

/// What needs key versions.
pub struct Needing {
    /// A file for each of the versions that one needs.
    pub needing: BTreeMap<KeyName, PathBuf>,
    /// What could not be read, and may need one.
    pub not_read: Vec<PathBuf>,
}

/// Where InnoDB has files outside of the datadir, as somebody says.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Folders with a redo log, a system tablespace or undo tablespaces, by the names that InnoDB gives them.
    pub(super) folders: Vec<PathBuf>,
    /// Tablespaces, by whatever name.
    pub(super) files: Vec<PathBuf>,
    /// Whether the system tablespace is one of them.
    has_system_tablespace: bool,
}

/// A file of the datadir with encrypted data: the redo log, or one of the first tablespaces. `None` if there is none, or if
/// that cannot be told.
pub fn encrypted_file(disk: &dyn Disk, datadir: &Path) -> Option<PathBuf> {
    let redo_log = datadir.join(REDO_LOG);
    if disk.read(&redo_log, 1).is_ok_and(|(head, _)| is_encrypted_redo_log(&head)) {
        return Some(redo_log);
    }
    let is_encrypted = |path: &PathBuf| {
        let encryption = encryption_of(disk, path).ok().flatten();
        // That of no version is that of a tablespace in which there may be pages in the clear.
        encryption.is_some_and(|encryption| encryption.lowest_version != 0)
    };
    let tablespaces = std::iter::once(datadir.join(SYSTEM_TABLESPACE)).chain(tables(disk, datadir));
    tablespaces.take(MOST_TABLESPACES).find(is_encrypted)
}

/// The highest bit of the format, with which the file begins (`log_t::FORMAT_ENCRYPTED`, storage/innobase/include/log0log.h).
fn is_encrypted_redo_log(head: &[u8]) -> bool {
    head.first().is_some_and(|first| first & 0x80 != 0)
}

/// Key id and version in the head of a redo log of MariaDB 10.8 or later (`log_crypt_write_header`,
/// storage/innobase/log/log0crypt.cc).
fn key_of_redo_log(head: &[u8]) -> Option<(u32, u32)> {
    let is_older = head.first() == Some(&0x80) || head.starts_with(b"\xD0HYS");
    if !is_encrypted_redo_log(head) || is_older {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    Some((number(48)?, number(52)?))
}

const REDO_LOG: &str = "ib_logfile0";
/// Bytes.
const HEAD: u64 = 512;
/// There may be 100000, and where all of these are in the clear, so are, as a rule, the others.
const MOST_TABLESPACES: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::fs;

    use super::super::SystemDisk;
    use super::super::tablespaces::first_page;
    use super::*;

    #[test]
    fn a_redo_log_says_in_its_format_whether_it_is_encrypted() {
        // 10.2 to 10.4, 10.5, 10.8, and 10.8 with encryption.
        for (encrypted, plain) in
            [([0x80, 0, 0, 104], [0, 0, 0, 104]), (*b"\xD0HYS", *b"PHYS"), ([0xF0, 0x9F, 0x97, 0x9D], *b"Phys")]
        {
            assert!(is_encrypted_redo_log(&encrypted) && !is_encrypted_redo_log(&plain));
        }
        assert!(!is_encrypted_redo_log(b""));
    }

    #[test]
    fn a_redo_log_says_with_which_version_of_which_key_it_is_encrypted_if_it_keeps_it() {
        let head = |format: &[u8]| {
            let mut head = vec![0; 512];
            head[..4].copy_from_slice(format);
            head[48..56].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 3]);
            head
        };
        assert_eq!(key_of_redo_log(&head(&[0xF0, 0x9F, 0x97, 0x9D])), Some((1, 3)));
        for other in [&[0x80, 0, 0, 104], b"\xD0HYS", b"Phys"] {
            assert_eq!(key_of_redo_log(&head(other)), None);
        }
        assert_eq!(key_of_redo_log(&[0xF0; 50]), None);
    }

    #[test]
    fn the_redo_log_the_system_tablespace_and_tables_are_looked_at() {
        let datadir = tempfile::tempdir().expect("folder");
        fs::create_dir(datadir.path().join("db")).expect("folder");
        let put = |name: &str, contents: &[u8]| fs::write(datadir.path().join(name), contents).expect("write");
        put("db/one.ibd", &first_page(0x15, 10_428, 7, 0));
        put("db/one.frm", &first_page(0x15, 10_428, 7, 1));
        put("ib_logfile0", b"Phys");
        assert_eq!(encrypted_file(&SystemDisk, datadir.path()), None);
        for (name, encrypted) in [
            ("db/two.ibd", &first_page(0x15, 10_428, 7, 1)[..]),
            ("ibdata1", &first_page(0x15, 10_428, 7, 1)),
            ("ib_logfile0", &[0xF0, 0x9F, 0x97, 0x9D]),
        ] {
            put(name, encrypted);
            assert_eq!(encrypted_file(&SystemDisk, datadir.path()), Some(datadir.path().join(name)));
        }
    }
}
