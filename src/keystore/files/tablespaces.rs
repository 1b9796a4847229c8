//! What the first page of a tablespace of InnoDB says of how its pages are encrypted. That page itself never is.

use std::io;
use std::path::{Path, PathBuf};

use super::KeyFiles;
use super::disk::{Disk, Listed};
use super::durable_files::failed;
use super::encrypted_data::Elsewhere;
use crate::keystore::{KeyName, KeyStoreError};

/// How the pages of a tablespace are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// The key.
    pub key_id: u32,
    /// The lowest version of the key that a page is encrypted with; 0 as long as there may be one in the clear, which says nothing
    /// of the others.
    pub lowest_version: u32,
}

impl KeyFiles {
    /// The tablespaces of the datadir that may have a page which is encrypted with one of these versions, each with the one that it may
    /// be, as their first pages say: they tell the lowest version of all pages, and not which others there are. In one whose pages are
    /// being encrypted, it may be any of the key. Fails if that cannot be told of a tablespace.
    pub fn tablespaces_with(
        &self,
        names: &[KeyName],
        elsewhere: &Elsewhere,
    ) -> Result<Vec<(PathBuf, KeyName)>, KeyStoreError> {
        let Some(memory) = &self.memory else { return Ok(Vec::new()) };
        let (disk, datadir) = (&*self.folder.disk, memory.datadir().path());
        let mut listed = all(disk, datadir).map_err(|error| failed("list the tablespaces in", datadir, error))?;
        for folder in &elsewhere.folders {
            let there =
                of_all_tables(disk, folder).map_err(|error| failed("list the tablespaces in", folder, error))?;
            listed.extend(there);
        }
        listed.extend(elsewhere.files.iter().cloned());
        let mut found = Vec::new();
        for path in listed {
            let encryption = match encryption_of(disk, &path) {
                // It was dropped meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                encryption => encryption.map_err(|error| failed("read the first page of", &path, error))?,
            };
            let is_used = |name: &&KeyName| {
                encryption.is_some_and(|it| it.key_id == name.id.value() && it.lowest_version <= name.version.value())
            };
            found.extend(names.iter().find(is_used).map(|name| (path, *name)));
        }
        Ok(found)
    }
}

/// What the first page of a file says; `None` if it is not encrypted, or is no tablespace.
pub fn encryption_of(disk: &dyn Disk, path: &Path) -> io::Result<Option<Encryption>> {
    // There may be many: of most, the usual page is the whole one.
    let (mut head, _) = disk.read(path, USUAL_PAGE)?;
    if page_size(&head) as u64 > USUAL_PAGE {
        head = disk.read(path, LARGEST_PAGE)?.0;
    }
    Ok(encryption_in(&head))
}

/// The number of a tablespace, by its first page: 0 is the system tablespace's. `None` if the file is none (`FIL_PAGE_TYPE_FSP_HDR`,
/// storage/innobase/include/fil0fil.h).
pub fn number_of(disk: &dyn Disk, path: &Path) -> io::Result<Option<u32>> {
    let (head, _) = disk.read(path, 64)?;
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let is_first_page = number(4) == Some(0) && head.get(24..26) == Some(&[0, 8]);
    Ok(number(34).filter(|_| is_first_page))
}

/// The tablespaces of tables. A folder that cannot be listed has none.
pub fn tables<'disk>(disk: &'disk dyn Disk, datadir: &Path) -> impl Iterator<Item = PathBuf> + use<'disk> {
    let databases = folders_of(disk.list(datadir).unwrap_or_default(), datadir);
    databases.into_iter().flat_map(|database| {
        let files = disk.list(&database).unwrap_or_default().into_iter();
        files.map(move |listed| database.join(listed.name)).filter(|path| has_extension(path, "ibd"))
    })
}

/// The system tablespace's first file and the undo logs that lie in a folder.
fn of_all_tables(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(named_as_of_all_tables(&disk.list(folder)?, folder))
}

fn named_as_of_all_tables(listed: &[Listed], folder: &Path) -> Vec<PathBuf> {
    let is_undo = |name: &str| name.strip_prefix("undo").is_some_and(|number| number.parse::<u32>().is_ok());
    let is_tablespace = |name: &&str| *name == SYSTEM_TABLESPACE || is_undo(name);
    let names = listed.iter().filter_map(|listed| listed.name.to_str()).filter(is_tablespace);
    names.map(|name| folder.join(name)).collect()
}

/// All tablespaces of a datadir: those of tables, also where `DATA DIRECTORY` has put them, the system tablespace's first file, and
/// those of undo logs that lie in the datadir. Fails if a folder cannot be listed.
pub fn all(disk: &dyn Disk, datadir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(disk, datadir, &mut found, &mut |_, error| Err(error))?;
    Ok(found)
}

/// The same as far as folders can be listed: of each path that cannot be looked at, `missed` is told.
pub fn every(disk: &dyn Disk, datadir: &Path, missed: &mut dyn FnMut(PathBuf)) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut told = |path: &Path, _: io::Error| {
        missed(path.to_owned());
        Ok(())
    };
    // It goes on whatever fails.
    let _ = walk(disk, datadir, &mut found, &mut told);
    found
}

/// What cannot be looked at, `failed` judges.
fn walk(
    disk: &dyn Disk,
    datadir: &Path,
    found: &mut Vec<PathBuf>,
    failed: &mut dyn FnMut(&Path, io::Error) -> io::Result<()>,
) -> io::Result<()> {
    let listed = match disk.list(datadir) {
        Ok(listed) => listed,
        Err(error) => return failed(datadir, error),
    };
    found.extend(named_as_of_all_tables(&listed, datadir));
    for database in folders_of(listed, datadir) {
        let files = match disk.list(&database) {
            // A name that leads nowhere, or to a file, has none.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => {
                failed(&database, error)?;
                continue;
            }
            Ok(files) => files,
        };
        for path in files.into_iter().map(|listed| database.join(listed.name)) {
            if has_extension(&path, "ibd") {
                found.push(path);
            } else if has_extension(&path, "isl") {
                // The path of a tablespace that lies elsewhere, as text (storage/innobase/fsp/fsp0file.cc).
                match disk.read(&path, LONGEST_LINK) {
                    Ok((link, _)) => found.push(datadir.join(String::from_utf8_lossy(&link).trim_end())),
                    Err(error) => failed(&path, error)?,
                }
            }
        }
    }
    Ok(())
}

fn folders_of(listed: Vec<Listed>, datadir: &Path) -> Vec<PathBuf> {
    // What is no database: a file system's own, and the hidden folders of administrators.
    let is_database = |listed: &Listed| {
        !listed.is_file && listed.name != "lost+found" && !listed.name.as_encoded_bytes().starts_with(b".")
    };
    listed.into_iter().filter(is_database).map(|listed| datadir.join(listed.name)).collect()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}

/// A magic, the type and the length of what follows, 16 random bytes, the lowest key version of all pages, the key id, and whether
/// the table asks for it (storage/innobase/fil/fil0crypt.cc).
fn encryption_in(head: &[u8]) -> Option<Encryption> {
    let page = head.get(..page_size(head)).unwrap_or(head);
    let place = page.windows(CRYPT_DATA.len()).position(|window| window == CRYPT_DATA)?;
    let numbers = page.get(place + CRYPT_DATA.len() + IV..)?;
    let number = |at: usize| Some(u32::from_be_bytes(numbers.get(at..at + 4)?.try_into().ok()?));
    Some(Encryption { lowest_version: number(0)?, key_id: number(4)? })
}

/// The flags of a tablespace have it (storage/innobase/include/fsp0types.h).
fn page_size(head: &[u8]) -> usize {
    let flags = head.get(FLAGS..FLAGS + 4).and_then(|flags| flags.try_into().ok()).map_or(0, u32::from_be_bytes);
    let (is_full_crc32, full_crc32) = (flags & 0x10 != 0, flags & 0xF);
    let (compressed, other) = ((flags >> 1) & 0xF, (flags >> 6) & 0xF);
    match (is_full_crc32, compressed, other) {
        (true, _, _) => 512 << full_crc32,
        (false, 0, 0) => 16_384,
        (false, 0, size) | (false, size, _) => 512 << size,
    }
}

pub(super) const SYSTEM_TABLESPACE: &str = "ibdata1";
/// `CRYPT_MAGIC`, `CRYPT_SCHEME_1` and the length of the random bytes.
const CRYPT_DATA: &[u8] = b"s\x0E\x0CREt\x01\x10";
const IV: usize = 16;
/// `FSP_HEADER_OFFSET + FSP_SPACE_FLAGS`.
const FLAGS: usize = 38 + 16;
const LARGEST_PAGE: u64 = 65_536;
/// `innodb_page_size`, if nobody sets it.
const USUAL_PAGE: u64 = 16_384;
/// `PATH_MAX` and a line's end, with room.
const LONGEST_LINK: u64 = 8192;

/// The first page of a table's file, as 10.11 writes it, and what comes after it: the tablespace's flags, where the page says how it
/// is encrypted, and what.
#[cfg(test)]
pub fn first_page(flags: u32, at: usize, key_id: u32, lowest_version: u32) -> Vec<u8> {
    let mut file = vec![0; 80_000];
    file[24..26].copy_from_slice(&[0, 8]);
    file[54..58].copy_from_slice(&flags.to_be_bytes());
    let crypt_data = [CRYPT_DATA, &[7; IV], &lowest_version.to_be_bytes(), &key_id.to_be_bytes(), &[1]].concat();
    file[at..at + crypt_data.len()].copy_from_slice(&crypt_data);
    file
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::fs;

    use super::super::SystemDisk;
    use super::*;

    #[test]
    fn the_first_page_says_with_which_key_and_from_which_version_on() {
        let encryption = Some(Encryption { key_id: 9, lowest_version: 3 });
        assert_eq!(encryption_in(&first_page(0x15, 10_428, 9, 3)), encryption);
        assert_eq!(encryption_in(&[0; 16_384]), None);
        assert_eq!(encryption_in(b"short"), None);
        // Cut within the numbers.
        assert_eq!(encryption_in(&first_page(0x15, 100, 9, 3)[..100 + 8 + 16 + 6]), None);
    }

    #[test]
    fn what_lies_beyond_the_first_page_is_a_users_data_and_says_nothing() {
        // The flags of pages of 16, 64 and 4 KiB with full_crc32; of 16 and 8 KiB before; and of compressed ones of 8 KiB.
        for (flags, page) in [(0x15, 16_384), (0x17, 65_536), (0x13, 4096), (0, 16_384), (4 << 6, 8192), (4 << 1, 8192)]
        {
            assert!(encryption_in(&first_page(flags, page - 40, 7, 3)).is_some(), "{flags:#x}");
            assert!(encryption_in(&first_page(flags, page, 7, 3)).is_none(), "{flags:#x}");
        }
    }

    #[test]
    fn all_tablespaces_are_found_those_that_lie_elsewhere_too_and_a_folder_that_cannot_be_listed_is_an_error() {
        let (datadir, elsewhere) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let path = |name: &str| datadir.path().join(name);
        fs::create_dir(path("db")).expect("folder");
        for name in ["ibdata1", "undo001", "undo", "ib_logfile0", "db/a.ibd", "db/a.frm", "db/#sql-1.ibd"] {
            fs::write(path(name), b"x").expect("write");
        }
        let other = elsewhere.path().join("b.ibd");
        fs::write(path("db/b.isl"), format!("{}\n", other.display())).expect("write");
        std::os::unix::fs::symlink("nowhere", path("link")).expect("link");
        let mut found = all(&SystemDisk, datadir.path()).expect("all");
        found.sort();
        let mut expected = ["db/#sql-1.ibd", "db/a.ibd", "ibdata1", "undo001"].map(path).to_vec();
        expected.push(other);
        expected.sort();
        assert_eq!(found, expected);
        assert!(all(&SystemDisk, &path("gone")).is_err());
    }

    #[test]
    fn of_a_larger_page_than_the_usual_one_all_is_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("t.ibd");
        for (flags, at) in [(0x15, 10_428), (0x16, 30_000), (0x17, 60_000)] {
            fs::write(&path, first_page(flags, at, 7, 3)).expect("write");
            let encryption = encryption_of(&SystemDisk, &path).expect("read");
            assert_eq!(encryption, Some(Encryption { key_id: 7, lowest_version: 3 }), "{flags:#x}");
        }
    }
}
