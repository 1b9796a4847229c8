//! The disk of the operating system.

use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use nix::unistd::{AccessFlags, eaccess};
use tempfile::{NamedTempFile, PersistError};

use super::disk::{Disk, Kind, Listed, LockFile, NewFile};
use super::file_lock::{Lock, lock};
use super::limits::{does_not_sync_files, does_not_sync_folders, has_no_exclusive_names, has_no_locks};
use super::owner;

/// The disk of the operating system.
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        let listed = |entry: fs::DirEntry| Listed {
            name: entry.file_name(),
            is_file: entry.file_type().is_ok_and(|kind| kind.is_file()),
        };
        fs::read_dir(folder)?.map(|entry| entry.map(listed)).collect()
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        kind(&fs::metadata(path)?)
    }

    fn read(&self, path: &Path, at_most: u64) -> io::Result<(Vec<u8>, Kind)> {
        let file = File::open(path)?;
        let kind = kind(&file.metadata()?)?;
        let mut bytes = Vec::new();
        file.take(at_most).read_to_end(&mut bytes)?;
        Ok((bytes, kind))
    }

    fn create(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn NewFile>> {
        let mut builder = tempfile::Builder::new();
        let file = builder.prefix(prefix).permissions(Permissions::from_mode(MODE)).tempfile_in(folder)?;
        or_without_locks(lock(file.as_file(), Lock::Exclusive))?;
        owner::give_to_owner_of(file.as_file(), folder)?;
        Ok(Box::new(file))
    }

    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn LockFile>> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        if let Some(folder) = path.parent() {
            owner::give_to_owner_of(&file, folder)?;
        }
        Ok(Box::new(file))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        // Not exclusively: for that, NFS wants a file that is open for writing, which nobody may do with these.
        match lock(&File::open(path)?, Lock::Shared) {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_files(&self, paths: &[PathBuf]) -> Vec<io::Result<()>> {
        let sync = |paths: &[PathBuf]| -> Vec<io::Result<()>> {
            paths.iter().map(|path| or_if(does_not_sync_files, File::open(path)?.sync_all())).collect()
        };
        if paths.len() < SYNC_THREADS {
            return sync(paths);
        }
        // Who waits at the same time waits for the same flush of the disk: 2000 files took 0.07 s on an SSD, and 2 to 5 s one
        // after the other.
        thread::scope(|scope| {
            let begin = |paths| (paths, thread::Builder::new().spawn_scoped(scope, move || sync(paths)));
            let begun: Vec<_> = paths.chunks(paths.len().div_ceil(SYNC_THREADS)).map(begin).collect();
            let end = |(paths, thread): (&[PathBuf], io::Result<ScopedJoinHandle<'_, _>>)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| sync(paths)),
                Err(_) => sync(paths),
            };
            begun.into_iter().flat_map(end).collect()
        })
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        or_if(does_not_sync_folders, File::open(folder)?.sync_all())
    }

    fn check_writable(&self, folder: &Path) -> io::Result<()> {
        Ok(eaccess(folder, AccessFlags::W_OK.union(AccessFlags::X_OK))?)
    }
}

/// Of a temporary file: where there are no locks, nobody looks for leftovers either.
fn or_without_locks(locked: Result<(), TryLockError>) -> io::Result<()> {
    match locked {
        Err(TryLockError::Error(error)) if has_no_locks(&error) => Ok(()),
        locked => Ok(locked?),
    }
}

fn kind(metadata: &Metadata) -> io::Result<Kind> {
    Ok(match metadata.file_type() {
        kind if kind.is_file() => {
            Kind::File { bytes: metadata.len(), number: metadata.ino(), modified: metadata.modified()? }
        }
        kind if kind.is_dir() => Kind::Folder,
        _ => Kind::Other,
    })
}

/// What cannot be synced has been done already; or the file system is one that nobody writes to, such as squashfs.
fn or_if(cannot: fn(&io::Error) -> bool, synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if cannot(&error) => Ok(()),
        synced => synced,
    }
}

impl NewFile for NamedTempFile {
    fn number(&self) -> io::Result<u64> {
        Ok(self.as_file().metadata()?.ino())
    }

    fn write(&mut self, contents: &[u8]) -> io::Result<()> {
        self.write_all(contents)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.as_file().sync_all()
    }

    fn read_back(&self) -> io::Result<Vec<u8>> {
        fs::read(self.path())
    }

    fn rename_to_new(self: Box<Self>, path: &Path) -> io::Result<()> {
        name_new(*self, path, NamedTempFile::persist_noclobber)
    }

    fn rename_over(self: Box<Self>, path: &Path) -> io::Result<()> {
        owner::make_like(self.as_file(), path)?;
        self.persist(path).map(drop).map_err(|error| error.error)
    }
}

/// `rename` is tempfile's: renameat2(2), and link(2) after some of its errors. link is tried after the others, too.
fn name_new<'a>(
    file: NamedTempFile,
    path: &'a Path,
    rename: impl FnOnce(NamedTempFile, &'a Path) -> Result<File, PersistError>,
) -> io::Result<()> {
    match rename(file, path) {
        Ok(_) => Ok(()),
        // Its first name goes when it is dropped.
        Err(PersistError { error, file }) if has_no_exclusive_names(&error) => fs::hard_link(file.path(), path),
        Err(failed) => Err(failed.error),
    }
}

impl LockFile for File {
    fn try_lock(&self) -> Result<(), TryLockError> {
        lock(self, Lock::Exclusive)
    }
}

/// Readable for the group, which may run the backups; writable for nobody.
const MODE: u32 = 0o440;

/// Files that are synced at the same time.
const SYNC_THREADS: usize = 16;

#[cfg(all(test, not(miri)))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn code(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn where_a_rename_cannot_be_exclusive_a_link_is_and_a_name_that_is_taken_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("dir");
        for (number, is_tried) in [
            (libc::EINVAL, true),
            (libc::ENOSYS, true),
            (libc::EPERM, true),
            (libc::EOPNOTSUPP, true),
            (libc::EEXIST, false),
            (libc::EIO, false),
        ] {
            let path = dir.path().join(format!("key.{number}"));
            let make = |contents: &[u8]| {
                let mut file = tempfile::Builder::new().tempfile_in(dir.path()).expect("file");
                file.write_all(contents).expect("write");
                name_new(file, &path, |file, _| Err(PersistError { error: code(number), file }))
            };
            assert_eq!(make(b"new").is_ok(), is_tried, "{number}");
            assert_eq!(fs::read(&path).ok(), is_tried.then(|| b"new".to_vec()), "{number}");
            let error = make(b"newer").expect_err("taken");
            assert!(!is_tried || error.kind() == io::ErrorKind::AlreadyExists, "{error}");
            assert_eq!(fs::read(&path).ok(), is_tried.then(|| b"new".to_vec()), "{number}");
        }
        let names = fs::read_dir(dir.path()).expect("list").count();
        assert_eq!(names, 4, "no temporary file is left");
    }

    #[test]
    fn a_folder_that_can_be_written_to_is_told_from_one_that_cannot_and_nothing_is_made_in_it() {
        let dir = tempfile::tempdir().expect("dir");
        SystemDisk.check_writable(dir.path()).expect("writable");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
        // sysctl(7) refuses root, too, and on other systems the file system may be mounted so.
        let error = SystemDisk.check_writable(Path::new("/proc/sys/kernel")).expect_err("not writable");
        let refused = [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem];
        assert!(refused.contains(&error.kind()), "{error}");
    }

    #[test]
    fn found_files_and_folders_of_a_file_system_that_cannot_sync_count_as_synced() {
        // procfs has no fsync, like squashfs and iso9660.
        let path = PathBuf::from("/proc/version");
        let error = File::open(&path).and_then(|file| file.sync_all()).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::InvalidInput));
        let synced =
            |paths: &[PathBuf]| -> Vec<bool> { SystemDisk.sync_files(paths).iter().map(Result::is_ok).collect() };
        assert_eq!(synced(std::slice::from_ref(&path)), [true]);
        assert_eq!(synced(&vec![path; 2 * SYNC_THREADS]), [true; 2 * SYNC_THREADS]);
        assert_eq!(synced(&[PathBuf::from("/proc/no such file")]), [false]);
        let error = File::open("/proc").and_then(|folder| folder.sync_all()).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::InvalidInput));
        assert!(SystemDisk.sync_folder(Path::new("/proc")).is_ok());
        assert!(SystemDisk.sync_folder(Path::new("/proc/no such folder")).is_err());
        let of_a_disk_that_fails = || Err(code(libc::EIO));
        assert!(or_if(does_not_sync_files, of_a_disk_that_fails()).is_err());
        assert!(or_if(does_not_sync_folders, of_a_disk_that_fails()).is_err());
        assert!(or_if(does_not_sync_files, Err(code(libc::EROFS))).is_err(), "as ext4 says after it has failed");
    }

    #[test]
    fn a_temporary_file_needs_no_lock_where_there_are_none_and_one_everywhere_else() {
        for number in [libc::ENOLCK, libc::EOPNOTSUPP] {
            assert!(or_without_locks(Err(TryLockError::Error(code(number)))).is_ok(), "{number}");
        }
        let error = or_without_locks(Err(TryLockError::Error(code(libc::EIO)))).map_err(|error| error.raw_os_error());
        assert_eq!(error, Err(Some(libc::EIO)));
        assert!(or_without_locks(Err(TryLockError::WouldBlock)).is_err());
    }

    #[test]
    fn a_file_of_the_plugins_own_has_to_be_on_the_disk_also_where_that_cannot_be_done() {
        let path = tempfile::TempPath::try_from_path("/proc/no such file").expect("a path");
        let mut file = NamedTempFile::from_parts(File::open("/proc/version").expect("procfs"), path);
        assert_eq!(NewFile::sync(&mut file).map_err(|error| error.kind()), Err(io::ErrorKind::InvalidInput));
    }

    #[test]
    fn a_device_is_neither_a_file_nor_a_folder() {
        assert_eq!(SystemDisk.kind(Path::new("/dev/null")).expect("a device"), Kind::Other);
        assert_eq!(SystemDisk.kind(Path::new("/dev")).expect("a folder"), Kind::Folder);
    }
}
