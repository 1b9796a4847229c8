//! Key files: their names, their contents, and how they come to be.
//!
//! A key file `aws-kms-key.<id>.<version>` holds one wrapped key, as KMS gave it out and nothing else. A new one is
//! written to a temporary file in the same folder, synced, read back, and given its name only if nobody has it; then
//! the folder is synced. So a key file is there whole or not at all, whenever the machine stops.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::KeyStoreError;
use crate::kms::WrappedKey;

/// A data key's number: any 32-bit number but 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// `None` for 0.
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// A version of a data key: from 1 up. Neither 0 ("not encrypted") nor 2^32-1 ("invalid") is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(u32);

impl KeyVersion {
    /// The version that every key begins with.
    pub const FIRST: Self = Self(1);

    /// `None` for the two numbers that the server uses for something else.
    pub const fn new(version: u32) -> Option<Self> {
        if version == 0 || version == u32::MAX { None } else { Some(Self(version)) }
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The version after this one.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).and_then(Self::new)
    }
}

/// A key id with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// Which key.
    pub id: KeyId,
    /// Which version of it.
    pub version: KeyVersion,
}

impl KeyName {
    /// `None` if one of the numbers cannot be.
    pub fn new(id: u32, version: u32) -> Option<Self> {
        Some(Self { id: KeyId::new(id)?, version: KeyVersion::new(version)? })
    }

    /// The name of the key's file.
    pub fn file_name(self) -> String {
        format!("{PREFIX}{}.{}", self.id.0, self.version.0)
    }

    /// `None` for all that is no name of a key file, numbers with leading zeros or signs included.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (id, version) = file_name.strip_prefix(PREFIX)?.split_once('.')?;
        let name = Self::new(id.parse().ok()?, version.parse().ok()?)?;
        (name.file_name() == file_name).then_some(name)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} version {}", self.id.0, self.version.0)
    }
}

/// The folder of the key files.
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// `path` must be a folder that can be listed.
    pub fn open(path: &Path) -> Result<Self, KeyStoreError> {
        let failed = |error| KeyStoreError::Io { action: "open the folder of the key files", path: path.into(), error };
        // An absolute path is of more use in a message than ".".
        let path = path.canonicalize().map_err(failed)?;
        fs::read_dir(&path).map_err(failed)?;
        Ok(Self(path))
    }

    /// The path of a key's file, which need not exist.
    pub fn path_of(&self, name: KeyName) -> PathBuf {
        self.0.join(name.file_name())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// All that has the name of a key file, in order.
    pub fn scan(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        let failed = |error| self.failed("list", self.0.clone(), error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().to_str().and_then(KeyName::parse));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The versions of one key that have a file, usable or not, ascending.
    pub(super) fn versions(&self, id: KeyId) -> Result<Vec<KeyVersion>, KeyStoreError> {
        Ok(self.scan()?.into_iter().filter(|name| name.id == id).map(|name| name.version).collect())
    }

    /// The wrapped key in a key file.
    pub fn read(&self, name: KeyName) -> Result<WrappedKey, KeyStoreError> {
        let path = self.path_of(name);
        // Before it is opened: to open a named pipe would wait for its other end.
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => return Err(KeyStoreError::NotAFile(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyStoreError::Gone(name)),
            Err(error) => return Err(self.failed("read key file", path, error)),
            Ok(metadata) if metadata.len() > LONGEST_FILE => {
                return Err(KeyStoreError::LargeFile(path, metadata.len()));
            }
            Ok(_) => {}
        }
        let bytes = read_bounded(&path).map_err(|error| self.failed("read key file", path.clone(), error))?;
        if bytes.is_empty() {
            return Err(KeyStoreError::EmptyFile(path));
        }
        Ok(WrappedKey::new(bytes))
    }

    /// Makes a key file, which must not exist. When this returns, the file is whole and on the disk.
    pub fn write_new(&self, name: KeyName, wrapped: &WrappedKey) -> Result<(), KeyStoreError> {
        let path = self.path_of(name);
        let failed = |error| self.failed("write key file", path.clone(), error);
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(&self.0)
            .map_err(failed)?;
        // Tells other processes that this temporary file is in use (see `remove_leftovers`).
        file.as_file().try_lock().map_err(|error| failed(error.into()))?;
        file.write_all(wrapped.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        if read_bounded(file.path()).map_err(failed)? != wrapped.as_bytes() {
            return Err(KeyStoreError::ReadBack(file.path().to_owned()));
        }
        file.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => KeyStoreError::Exists(path.clone()),
            _ => failed(error.error),
        })?;
        File::open(&self.0).and_then(|folder| folder.sync_all()).map_err(|error| {
            // Nobody uses the key yet. A name that may be gone after a power failure must not stay.
            let _ = fs::remove_file(&path);
            failed(error)
        })
    }

    /// Removes temporary files that a stopped server left behind; those of a running one are left alone. Answers how
    /// many.
    pub fn remove_leftovers(&self) -> Result<usize, KeyStoreError> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.0).map_err(|error| self.failed("list", self.0.clone(), error))?.flatten() {
            let is_leftover = entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
                && entry.file_type().is_ok_and(|kind| kind.is_file())
                && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if is_leftover {
                fs::remove_file(entry.path())
                    .map_err(|error| self.failed("remove temporary file", entry.path(), error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn failed(&self, action: &'static str, path: PathBuf, error: io::Error) -> KeyStoreError {
        KeyStoreError::Io { action, path, error }
    }
}

const PREFIX: &str = "aws-kms-key.";

/// Not the prefix of the key files: mariadb-backup copies whatever begins with it.
const TEMPORARY_PREFIX: &str = ".aws-kms-key.new-";

/// Readable for the group, which may run the backups; writable for nobody.
const MODE: u32 = 0o440;

/// No wrapped key is longer, in bytes: KMS takes a CiphertextBlob of up to 6144 (API reference of Decrypt).
const LONGEST_FILE: u64 = 64 * 1024;

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_key_files_are_parsed_and_nothing_else() {
        for (id, version) in [(1, 1), (7, 12), (100_000, 1), (u32::MAX, u32::MAX - 1)] {
            let name = KeyName::new(id, version).expect("a name");
            assert_eq!(KeyName::parse(&name.file_name()), Some(name));
        }
        for name in [
            "aws-kms-key.1",
            "aws-kms-key.1.",
            "aws-kms-key.0.1",
            "aws-kms-key.1.0",
            "aws-kms-key.1.4294967295",
            "aws-kms-key.4294967296.1",
            "aws-kms-key.01.1",
            "aws-kms-key.+1.1",
            "aws-kms-key.-1.1",
            "aws-kms-key.1.1.bak",
            "aws-kms-key.1.1~",
            "aws-kms-key.manifest.json",
            "aws-kms-key. 1.1",
            "ibdata1",
        ] {
            assert_eq!(KeyName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_new_key_file_holds_the_wrapped_key_and_nothing_else_and_only_its_readers_can_read_it() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(dir.path()).expect("folder");
        let name = KeyName::new(4_294_967_295, 3).expect("name");
        folder.write_new(name, &WrappedKey::new(b"wrapped".to_vec())).expect("write");
        let path = dir.path().join("aws-kms-key.4294967295.3");
        assert_eq!(fs::read(&path).expect("read"), b"wrapped");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o337, 0, "writable or for others");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file is left");
        assert!(folder.read(name).expect("read") == WrappedKey::new(b"wrapped".to_vec()));
        assert_eq!(folder.scan().expect("scan"), [name]);
    }

    #[test]
    fn an_existing_key_file_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(dir.path()).expect("folder");
        let name = KeyName::new(1, 1).expect("name");
        fs::write(folder.path_of(name), b"old").expect("write");
        let error = folder.write_new(name, &WrappedKey::new(b"new".to_vec())).expect_err("exists");
        assert!(matches!(error, KeyStoreError::Exists(_)), "{error}");
        assert_eq!(fs::read(folder.path_of(name)).expect("read"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file is left");
    }

    #[test]
    fn leftovers_of_a_stopped_server_are_removed_and_files_in_use_are_not() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(dir.path()).expect("folder");
        fs::write(dir.path().join(".aws-kms-key.new-abc"), b"half").expect("write");
        fs::write(dir.path().join(".aws-kms-key.new-xyz"), b"in use").expect("write");
        let in_use = File::open(dir.path().join(".aws-kms-key.new-xyz")).expect("open");
        in_use.lock().expect("lock");
        assert_eq!(folder.remove_leftovers().expect("remove"), 1);
        assert!(!dir.path().join(".aws-kms-key.new-abc").exists());
        assert!(dir.path().join(".aws-kms-key.new-xyz").exists());
    }

    #[test]
    fn unusable_key_files_are_named_with_their_cause() {
        let dir = tempfile::tempdir().expect("dir");
        let folder = KeyFolder::open(dir.path()).expect("folder");
        let name = |version| KeyName::new(1, version).expect("name");
        fs::write(folder.path_of(name(1)), b"").expect("write");
        fs::create_dir(folder.path_of(name(2))).expect("mkdir");
        fs::write(folder.path_of(name(3)), vec![1; 65 * 1024]).expect("write");
        let error = |version| folder.read(name(version)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(1).contains("aws-kms-key.1.1 is empty"), "{}", error(1));
        assert!(error(2).contains("aws-kms-key.1.2 has the name of a key file, but is no file"), "{}", error(2));
        assert!(error(3).contains("aws-kms-key.1.3 has 66560 bytes"), "{}", error(3));
        assert!(error(4).contains("there is no key file aws-kms-key.1.4"), "{}", error(4));
    }
}
