//! The folder of the key files, and how files come to be in it.
//!
//! A new file is written to a temporary file in the same folder, synced, and read back; then it gets its name, a key
//! file only if nobody has that name; then the folder is synced. So a file is there whole or not at all, whenever the
//! machine stops.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Kind, NewFile};
use super::limits::{has_no_exclusive_names, may_pass};
use super::lock::FolderLock;
use crate::keystore::error::Lacks;
use crate::keystore::failpoints::failpoint;
use crate::keystore::{KeyId, KeyName, KeyStoreError, KeyVersion};

/// The folder of the key files.
#[derive(Clone)]
pub struct KeyFolder {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    /// Where key files may lie too. Nothing is written there.
    also: Option<PathBuf>,
}

impl KeyFolder {
    /// `path` must be a folder that can be listed; `also` is a second folder to read key files from, if it is there.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, also: Option<&Path>) -> Result<Self, KeyStoreError> {
        let failed = |error| not_opened(path, error);
        let path = disk.canonicalize(path).map_err(failed)?;
        disk.list(&path).map_err(failed)?;
        let also = match also.map(|also| (also, disk.kind(also))) {
            Some((also, Ok(Kind::Folder))) => Some(also.to_owned()),
            Some((also, Err(error))) if may_pass(&error) => return Err(not_opened(also, error)),
            _ => None,
        };
        Ok(Self { disk, path, also })
    }

    /// The path of a key's file, which need not exist.
    pub fn path_of(&self, name: KeyName) -> PathBuf {
        self.find(name).unwrap_or_else(|_| self.path.join(name.file_name()))
    }

    /// The same. Fails if one of the folders does not say whether it is there.
    fn find(&self, name: KeyName) -> io::Result<PathBuf> {
        let path = self.path.join(name.file_name());
        let Some(also) = &self.also else { return Ok(path) };
        let in_also = also.join(name.file_name());
        match self.disk.kind(&path) {
            Err(error) if may_pass(&error) => Err(error),
            Err(_) => match self.disk.kind(&in_also) {
                Err(error) if may_pass(&error) => Err(error),
                Err(_) => Ok(path),
                Ok(_) => Ok(in_also),
            },
            Ok(_) => Ok(path),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this process may make files here, as far as that can be told without making one.
    pub fn check_writable(&self) -> io::Result<()> {
        self.disk.check_writable(&self.path)
    }

    /// All that has the name of a key file, in order.
    pub fn scan(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        self.names_with("")
    }

    /// The versions of one key that have a file, usable or not, ascending.
    pub fn versions(&self, id: KeyId) -> Result<Vec<KeyVersion>, KeyStoreError> {
        Ok(self.names_with(&KeyName::prefix(id))?.into_iter().map(|name| name.version).collect())
    }

    fn names_with(&self, prefix: &str) -> Result<Vec<KeyName>, KeyStoreError> {
        self.names_of(|name| name.starts_with(prefix).then(|| KeyName::parse(name))?)
    }

    /// The folders to read from.
    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.path), self.also.as_ref()].into_iter().flatten()
    }

    /// The keys of whose files' names `parse` says so, in order.
    pub(super) fn names_of(&self, parse: impl Fn(&str) -> Option<KeyName>) -> Result<Vec<KeyName>, KeyStoreError> {
        let mut names = Vec::new();
        for folder in self.folders() {
            let listed = self.disk.list(folder).map_err(|error| failed("list", folder, error))?;
            names.extend(listed.iter().filter_map(|listed| parse(listed.name.to_str()?)));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The contents of a key file, which are neither empty nor too long.
    pub fn read(&self, name: KeyName) -> Result<Vec<u8>, KeyStoreError> {
        let read_failed = |path: &Path, error| failed("read key file", path, error);
        let path = self.find(name).map_err(|error| read_failed(&self.path.join(name.file_name()), error))?;
        // Before it is opened: to open a named pipe would wait for its other end.
        match self.disk.kind(&path) {
            Ok(Kind::File { bytes, .. }) if bytes > LONGEST_FILE => return Err(KeyStoreError::LargeFile(path, bytes)),
            Ok(Kind::File { .. }) => {}
            Ok(_) => return Err(KeyStoreError::NotAFile(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyStoreError::Gone(name, path)),
            Err(error) => return Err(read_failed(&path, error)),
        }
        let (bytes, _) = self.disk.read(&path, LONGEST_FILE).map_err(|error| read_failed(&path, error))?;
        if bytes.is_empty() {
            return Err(KeyStoreError::EmptyFile(path));
        }
        Ok(bytes)
    }

    /// Makes a key file, which must not exist. When this returns, the file is whole and on the disk. If the last step fails,
    /// the file is there, but may be gone after a power failure.
    pub fn write_new(&self, name: KeyName, contents: &[u8]) -> Result<(), KeyStoreError> {
        let path = self.path.join(name.file_name());
        let file = self.write_temporary(|_| Ok(contents.to_vec()), &path)?;
        failpoint!("before_link");
        file.rename_to_new(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyStoreError::Exists(path.clone()),
            _ if has_no_exclusive_names(&error) => {
                let (folder, lacks) = (self.path.clone(), Lacks::ExclusiveNames);
                KeyStoreError::FileSystem { folder, lacks, error }
            }
            _ => failed("write key file", &path, error),
        })?;
        failpoint!("after_link");
        const SYNC: &str = "sync the folder of the new key file, which is there all the same,";
        self.disk.sync_folder(&self.path).map_err(|error| failed(SYNC, &path, error))?;
        failpoint!("after_sync");
        Ok(())
    }

    /// The names of all files that the plugin may have written, in order.
    pub fn all_names(&self) -> Result<Vec<String>, KeyStoreError> {
        let listed = self.disk.list(&self.path).map_err(|error| failed("list", &self.path, error))?;
        let mut names: Vec<String> = listed.into_iter().filter_map(|listed| listed.name.into_string().ok()).collect();
        names.retain(|name| ["aws-kms-key", ".aws-kms-key"].iter().any(|prefix| name.starts_with(prefix)));
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a key file that was made a moment ago and that nobody knows of yet, if it is still the same. The caller holds the
    /// folder's lock, and has held it since.
    pub fn take_back(&self, name: KeyName, contents: &[u8]) -> Result<(), KeyStoreError> {
        if self.contents(name)?.as_deref() != Some(contents) {
            return Ok(());
        }
        let path = self.path.join(name.file_name());
        self.disk.remove(&path).map_err(|error| failed("take back the new key file", &path, error))?;
        self.disk.sync_folder(&self.path).map_err(|error| failed("sync the folder of the key file", &path, error))
    }

    /// Makes sure that key files which were found here, and their names, are on the disk. Answers those for which it failed.
    pub fn sync(&self, names: &[KeyName]) -> Vec<(KeyName, KeyStoreError)> {
        let paths = names.iter().map(|name| (*name, self.path_of(*name))).collect::<Vec<_>>();
        self.sync_paths(&paths)
    }

    /// The path of the file with other copies of a key version, if there is one: under extra master keys, or of before a re-wrap.
    pub fn path_of_copy(&self, name: KeyName) -> Result<Option<PathBuf>, KeyStoreError> {
        for path in self.paths_of_copies(name) {
            match self.disk.kind(&path) {
                Ok(_) => return Ok(Some(path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("look at", &path, error)),
            }
        }
        Ok(None)
    }

    fn paths_of_copies(&self, name: KeyName) -> impl Iterator<Item = PathBuf> {
        let files = [name.file_name_extra(), name.file_name_before_rewrap()];
        files.into_iter().flat_map(|file| self.folders().map(move |folder| folder.join(&file)))
    }

    /// The same for the copies of keys that were loaded from one. One that cannot be opened was none of them.
    pub fn sync_copies(&self, names: &[KeyName]) -> Vec<(KeyName, KeyStoreError)> {
        let mut paths = Vec::new();
        for name in names {
            let is_file = |path: &PathBuf| matches!(self.disk.kind(path), Ok(Kind::File { .. }));
            paths.extend(self.paths_of_copies(*name).filter(is_file).map(|path| (*name, path)));
        }
        let mut failures = self.sync_paths(&paths);
        let may_not_open = |error: &KeyStoreError| match error {
            KeyStoreError::Io { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        };
        failures.retain(|(_, error)| !may_not_open(error));
        failures
    }

    fn sync_paths(&self, named: &[(KeyName, PathBuf)]) -> Vec<(KeyName, KeyStoreError)> {
        let paths: Vec<PathBuf> = named.iter().map(|(_, path)| path.clone()).collect();
        let synced = self.disk.sync_files(&paths);
        let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
        let folders: BTreeMap<&Path, io::Result<()>> =
            folders.into_iter().map(|folder| (folder, self.disk.sync_folder(folder))).collect();
        let mut failures = Vec::new();
        for ((name, path), synced) in named.iter().zip(synced) {
            let folder = path.parent().and_then(|folder| folders.get(folder)?.as_ref().err());
            if let Err(error) = synced {
                failures.push((*name, failed("sync key file", path, error)));
            } else if let Some(error) = folder {
                failures.push((*name, failed("sync the folder of key file", path, again(error))));
            }
        }
        failures
    }

    /// Waits for another process that is adding files, but not for ever: it may have been stopped.
    pub fn lock(&self) -> Result<FolderLock, KeyStoreError> {
        FolderLock::take(&*self.disk, &self.path)
    }

    /// Removes temporary files that a stopped server left behind; those of a running one are left alone. Answers how
    /// many.
    pub fn remove_leftovers(&self) -> Result<usize, KeyStoreError> {
        let candidates = self.temporary_files()?;
        if candidates.is_empty() {
            return Ok(0);
        }
        // Another server with the same folder may be about to lock a file that it has just made.
        let _lock = self.lock()?;
        let mut removed = 0;
        for path in candidates {
            if self.disk.is_locked(&path).is_ok_and(|is_locked| !is_locked) {
                self.disk.remove(&path).map_err(|error| failed("remove temporary file", &path, error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    pub(super) fn temporary_files(&self) -> Result<Vec<PathBuf>, KeyStoreError> {
        let mut listed = self.disk.list(&self.path).map_err(|error| failed("list", &self.path, error))?;
        listed.retain(|listed| {
            listed.is_file && listed.name.to_str().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
        });
        Ok(listed.into_iter().map(|listed| self.path.join(listed.name)).collect())
    }

    /// A synced temporary file with `contents`, which are what is read back from it.
    pub(super) fn write_temporary(
        &self,
        contents: impl FnOnce(u64) -> io::Result<Vec<u8>>,
        destination: &Path,
    ) -> Result<Box<dyn NewFile>, KeyStoreError> {
        let failed = |error| failed("write", destination, error);
        failpoint!("before_temporary");
        let mut file = self.disk.create(&self.path, TEMPORARY_PREFIX).map_err(failed)?;
        failpoint!("after_create");
        let contents = file.number().and_then(contents).map_err(failed)?;
        file.write(&contents).map_err(failed)?;
        failpoint!("after_write");
        file.sync().map_err(failed)?;
        if file.read_back().map_err(failed)? != contents {
            return Err(KeyStoreError::ReadBack(destination.to_owned()));
        }
        Ok(file)
    }
}

/// Why a folder cannot be used.
pub(super) fn not_opened(path: &Path, error: io::Error) -> KeyStoreError {
    // An absolute path is of more use in a message than ".".
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if may_pass(&error) { failed("open folder", &path, error) } else { KeyStoreError::Folder(path, error) }
}

/// The same error for another key.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

pub(super) fn failed(action: &'static str, path: &Path, error: io::Error) -> KeyStoreError {
    KeyStoreError::Io { action, path: path.to_owned(), error }
}

/// Not the prefix of the key files: mariadb-backup copies whatever begins with it.
const TEMPORARY_PREFIX: &str = ".aws-kms-key.new-";

/// No wrapped key is longer, in bytes: KMS takes a CiphertextBlob of up to 6144 (API reference of Decrypt).
pub(super) const LONGEST_FILE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::keystore::files::documents::Document;
    use crate::keystore::files::system_disk::SystemDisk;

    fn open(path: &Path, also: Option<&Path>) -> KeyFolder {
        KeyFolder::open(Arc::new(SystemDisk), path, also).expect("folder")
    }

    fn folder() -> (tempfile::TempDir, KeyFolder) {
        let dir = tempfile::tempdir().expect("dir");
        let folder = open(dir.path(), None);
        (dir, folder)
    }

    #[test]
    fn a_new_key_file_holds_its_contents_and_nothing_else_and_only_its_readers_can_read_it() {
        let (dir, folder) = folder();
        let name = KeyName::new(4_294_967_295, 3).expect("name");
        folder.write_new(name, b"wrapped").expect("write");
        let path = dir.path().join("aws-kms-key.4294967295.3");
        assert_eq!(fs::read(&path).expect("read"), b"wrapped");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o337, 0, "writable or for others");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file is left");
        assert_eq!(folder.read(name).expect("read"), b"wrapped");
        assert_eq!(folder.scan().expect("scan"), [name]);
    }

    #[test]
    fn an_existing_key_file_is_never_overwritten() {
        let (dir, folder) = folder();
        let name = KeyName::new(1, 1).expect("name");
        fs::write(folder.path_of(name), b"old").expect("write");
        let error = folder.write_new(name, b"new").expect_err("exists");
        assert!(matches!(error, KeyStoreError::Exists(_)), "{error}");
        assert_eq!(fs::read(folder.path_of(name)).expect("read"), b"old");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "no temporary file is left");
    }

    #[test]
    fn leftovers_of_a_stopped_server_are_removed_and_files_in_use_are_not() {
        let (dir, folder) = folder();
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
        let (_dir, folder) = folder();
        let name = |version| KeyName::new(1, version).expect("name");
        fs::write(folder.path_of(name(1)), b"").expect("write");
        fs::create_dir(folder.path_of(name(2))).expect("mkdir");
        fs::write(folder.path_of(name(3)), vec![1; 65 * 1024]).expect("write");
        symlink(folder.path_of(name(5)), folder.path_of(name(5))).expect("link");
        let error = |version| folder.read(name(version)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(1).contains("aws-kms-key.1.1 is empty"), "{}", error(1));
        assert!(error(2).contains("aws-kms-key.1.2 has the name of a key file, but is no file"), "{}", error(2));
        assert!(error(3).contains("aws-kms-key.1.3 has 66560 bytes"), "{}", error(3));
        assert!(error(4).contains("aws-kms-key.1.4 is gone"), "{}", error(4));
        assert!(error(5).contains("could not read key file"), "it is there: {}", error(5));
    }

    #[test]
    fn a_key_file_may_have_64_kib() {
        let (_dir, folder) = folder();
        let name = KeyName::new(1, 1).expect("name");
        fs::write(folder.path_of(name), vec![1; 64 * 1024]).expect("write");
        assert_eq!(folder.read(name).expect("read"), vec![1; 64 * 1024]);
        assert_eq!(folder.contents(name).expect("read"), Some(vec![1; 64 * 1024]));
        fs::write(folder.path_of(name), vec![1; 64 * 1024 + 1]).expect("write");
        for error in [folder.read(name).map(drop), folder.contents(name).map(drop)] {
            assert!(matches!(error, Err(KeyStoreError::LargeFile(_, 65_537))), "{error:?}");
        }
    }

    #[test]
    fn a_document_that_cannot_be_opened_is_not_a_missing_one() {
        let (dir, folder) = folder();
        assert!(matches!(folder.read_document("document"), Ok(Document::Missing)));
        // A link to itself.
        symlink(dir.path().join("document"), dir.path().join("document")).expect("link");
        assert!(folder.read_document("document").is_err() && folder.document_kind("document").is_err());
    }

    #[test]
    fn a_second_folder_is_read_but_the_first_comes_first() {
        let (dir, also) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        for (folder, file) in [(&dir, "aws-kms-key.1.1"), (&also, "aws-kms-key.1.1"), (&also, "aws-kms-key.1.2")] {
            fs::write(folder.path().join(file), folder.path().to_str().expect("UTF-8")).expect("write");
        }
        let folder = open(dir.path(), Some(also.path()));
        let names = [1, 2].map(|version| KeyName::new(1, version).expect("name"));
        assert_eq!(folder.scan().expect("scan"), names);
        let contents = names.map(|name| String::from_utf8(folder.read(name).expect("read")).expect("UTF-8"));
        assert_eq!(contents, [&dir, &also].map(|folder| folder.path().to_str().expect("UTF-8")));
        let in_neither = KeyName::new(1, 3).expect("name");
        assert!(matches!(folder.read(in_neither), Err(KeyStoreError::Gone(..))));
        // One that is not there is none.
        let folder = open(dir.path(), Some(&also.path().join("none")));
        assert_eq!(folder.scan().expect("scan"), names[..1]);
    }
}
