//! Whether InnoDB has encrypted anything in a datadir, as the heads of its files say. A datadir with such data has, or had,
//! keys, also if nothing remembers them.

use std::path::{Path, PathBuf};

use super::disk::Disk;

/// A file of the datadir with encrypted data: the redo log, or one of the first tablespaces. `None` if there is none, or if
/// that cannot be told.
pub fn encrypted_file(disk: &dyn Disk, datadir: &Path) -> Option<PathBuf> {
    let has = |path: &PathBuf, is_encrypted: fn(&[u8]) -> bool| {
        disk.read(path, LARGEST_PAGE).is_ok_and(|(head, _)| is_encrypted(&head))
    };
    let redo_log = datadir.join(REDO_LOG);
    if has(&redo_log, is_encrypted_redo_log) {
        return Some(redo_log);
    }
    let tablespaces = std::iter::once(datadir.join(SYSTEM_TABLESPACE)).chain(tables(disk, datadir));
    tablespaces.take(MOST_TABLESPACES).find(|path| has(path, is_encrypted_tablespace))
}

/// The tablespaces of tables. A name that is no folder has none.
fn tables<'disk>(disk: &'disk dyn Disk, datadir: &Path) -> impl Iterator<Item = PathBuf> + use<'disk> {
    let databases = disk.list(datadir).unwrap_or_default().into_iter().filter(|listed| !listed.is_file);
    let databases: Vec<PathBuf> = databases.map(|listed| datadir.join(listed.name)).collect();
    databases.into_iter().flat_map(|database| {
        let files = disk.list(&database).unwrap_or_default().into_iter();
        files
            .map(move |listed| database.join(listed.name))
            .filter(|path| path.extension().is_some_and(|it| it == "ibd"))
    })
}

/// The highest bit of the format, with which the file begins (`log_t::FORMAT_ENCRYPTED`, storage/innobase/include/log0log.h).
fn is_encrypted_redo_log(head: &[u8]) -> bool {
    head.first().is_some_and(|first| first & 0x80 != 0)
}

/// The first page is never encrypted, and says how the others are (storage/innobase/fil/fil0crypt.cc): a magic, the type and
/// the length of what follows, 16 random bytes, and the lowest key version of all pages, which is 0 as long as there may be
/// one that is not encrypted.
fn is_encrypted_tablespace(head: &[u8]) -> bool {
    let page = head.get(..page_size(head)).unwrap_or(head);
    let mut places = page.windows(CRYPT_DATA.len() + IV + 4).filter(|place| place.starts_with(CRYPT_DATA));
    places.any(|place| place[CRYPT_DATA.len() + IV..].iter().any(|byte| *byte != 0))
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

const REDO_LOG: &str = "ib_logfile0";
const SYSTEM_TABLESPACE: &str = "ibdata1";
/// `CRYPT_MAGIC`, `CRYPT_SCHEME_1` and the length of the random bytes.
const CRYPT_DATA: &[u8] = b"s\x0E\x0CREt\x01\x10";
const IV: usize = 16;
/// `FSP_HEADER_OFFSET + FSP_SPACE_FLAGS`.
const FLAGS: usize = 38 + 16;
const LARGEST_PAGE: u64 = 65_536;
/// There may be 100000, and where all of these are in the clear, so are, as a rule, the others.
const MOST_TABLESPACES: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::fs;

    use super::super::SystemDisk;
    use super::*;

    /// The first page of a table's file, as 10.11 writes it, and what comes after it.
    fn tablespace(flags: u32, at: usize, lowest_version: u32) -> Vec<u8> {
        let mut file = vec![0; 80_000];
        file[FLAGS..FLAGS + 4].copy_from_slice(&flags.to_be_bytes());
        let crypt_data = [CRYPT_DATA, &[7; IV], &lowest_version.to_be_bytes(), &[0, 0, 0, 7, 1]].concat();
        file[at..at + crypt_data.len()].copy_from_slice(&crypt_data);
        file
    }

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
    fn a_tablespace_is_encrypted_if_its_lowest_version_is_none_of_unencrypted_pages() {
        assert!(is_encrypted_tablespace(&tablespace(0x15, 10_428, 1)));
        assert!(!is_encrypted_tablespace(&tablespace(0x15, 10_428, 0)), "not yet, or not any more");
        assert!(!is_encrypted_tablespace(&[0; 16_384]) && !is_encrypted_tablespace(b"short"));
    }

    #[test]
    fn what_lies_beyond_the_first_page_is_a_users_data_and_says_nothing() {
        // The flags of pages of 16, 64 and 4 KiB with full_crc32; of 16 and 8 KiB before; and of compressed ones of 8 KiB.
        for (flags, page) in [(0x15, 16_384), (0x17, 65_536), (0x13, 4096), (0, 16_384), (4 << 6, 8192), (4 << 1, 8192)]
        {
            assert!(is_encrypted_tablespace(&tablespace(flags, page - 40, 3)), "{flags:#x}");
            assert!(!is_encrypted_tablespace(&tablespace(flags, page, 3)), "{flags:#x}");
        }
    }

    #[test]
    fn the_redo_log_the_system_tablespace_and_tables_are_looked_at() {
        let datadir = tempfile::tempdir().expect("folder");
        fs::create_dir(datadir.path().join("db")).expect("folder");
        let put = |name: &str, contents: &[u8]| fs::write(datadir.path().join(name), contents).expect("write");
        put("db/one.ibd", &tablespace(0x15, 10_428, 0));
        put("db/one.frm", &tablespace(0x15, 10_428, 1));
        put("ib_logfile0", b"Phys");
        assert_eq!(encrypted_file(&SystemDisk, datadir.path()), None);
        for (name, encrypted) in [
            ("db/two.ibd", &tablespace(0x15, 10_428, 1)[..]),
            ("ibdata1", &tablespace(0x15, 10_428, 1)),
            ("ib_logfile0", &[0xF0, 0x9F, 0x97, 0x9D]),
        ] {
            put(name, encrypted);
            assert_eq!(encrypted_file(&SystemDisk, datadir.path()), Some(datadir.path().join(name)));
        }
    }
}
