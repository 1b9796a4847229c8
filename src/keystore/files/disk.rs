//! What is done with files, as an interface: so that the tests can put a disk behind it that forgets, in a power failure,
//! whatever was not synced. All paths are absolute, but for those given to [`Disk::canonicalize`].

use std::ffi::OsString;
use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};
use std::time::SystemTime;

use tempfile::NamedTempFile;

/// File operations. Each is what the operating system's is, and as lasting: a file's contents last from
/// [`NewFile::sync`] or [`Disk::sync_files`] on, a name from [`Disk::sync_folder`] on.
pub trait Disk: Send + Sync {
    /// The absolute path of what exists, without symbolic links.
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf>;

    /// All that has a name in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>>;

    /// What has this name, or what the symbolic link with this name leads to.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// A file's contents, up to `at_most` bytes, and what the file is, which is asked when it is open: on NFS, [`Disk::kind`]
    /// answers from a cache, and to open a file makes sure of what is known of it (nfs(5), close-to-open consistency).
    fn read(&self, path: &Path, at_most: u64) -> io::Result<(Vec<u8>, Kind)>;

    /// Makes a file in `folder` that nobody else has, with a name that begins with `prefix`. It is locked, which tells
    /// other processes that it is in use, and removed when it is dropped, unless it gets a name that stays.
    fn create(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn NewFile>>;

    /// Opens a file to lock it. Makes one with no contents, if `or_create` says so.
    fn open_to_lock(&self, path: &Path, or_create: bool) -> io::Result<Box<dyn LockFile>>;

    /// Gives a file another name, in place of any file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the contents of files last, whoever has written them, if the file system can do that: files that were found may
    /// lie on one that is only read. Answers in their order.
    fn sync_files(&self, paths: &[PathBuf]) -> Vec<io::Result<()>>;

    /// Makes the names in a folder last, if the file system can do that apart.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file in the making.
pub trait NewFile {
    /// Its number, which it keeps when it is renamed: see [`Kind::File`].
    fn number(&self) -> io::Result<u64>;

    /// Appends to it.
    fn write(&mut self, contents: &[u8]) -> io::Result<()>;

    /// Makes the contents last.
    fn sync(&mut self) -> io::Result<()>;

    /// All that was written.
    fn read_back(&self) -> io::Result<Vec<u8>>;

    /// Gives it the name that it keeps. Fails with `AlreadyExists` if something has that name.
    fn rename_to_new(self: Box<Self>, path: &Path) -> io::Result<()>;

    /// Gives it the name that it keeps, in place of any file that has it.
    fn rename_over(self: Box<Self>, path: &Path) -> io::Result<()>;
}

/// An open file that can be locked. The lock is released when this is dropped, and when the process ends.
pub trait LockFile: Send {
    /// Locks it, if nobody else has.
    fn try_lock(&self) -> Result<(), TryLockError>;
}

/// A name in a folder.
pub struct Listed {
    /// Without the folder.
    pub name: OsString,
    /// Whether it is a file: no folder, and no symbolic link either.
    pub is_file: bool,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Its length.
        bytes: u64,
        /// The file system's number of it (inode), which a copy does not share.
        number: u64,
        /// When its contents were changed last.
        modified: SystemTime,
    },
    /// A folder.
    Folder,
    /// A device, a pipe or the like.
    Other,
}

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
        file.as_file().try_lock()?;
        Ok(Box::new(file))
    }

    fn open_to_lock(&self, path: &Path, or_create: bool) -> io::Result<Box<dyn LockFile>> {
        let file = match or_create {
            true => File::options().create(true).truncate(false).write(true).open(path)?,
            false => File::open(path)?,
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_files(&self, paths: &[PathBuf]) -> Vec<io::Result<()>> {
        let sync = |paths: &[PathBuf]| -> Vec<io::Result<()>> {
            paths.iter().map(|path| or_cannot_be_synced(File::open(path)?.sync_all())).collect()
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
        or_cannot_be_synced(File::open(folder)?.sync_all())
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

/// fsync(2): this file system does not sync what was opened. What it is told, it has done; or it is one that nobody writes to,
/// such as squashfs.
fn or_cannot_be_synced(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
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
        self.persist_noclobber(path).map(drop).map_err(|error| error.error)
    }

    fn rename_over(self: Box<Self>, path: &Path) -> io::Result<()> {
        self.persist(path).map(drop).map_err(|error| error.error)
    }
}

impl LockFile for File {
    fn try_lock(&self) -> Result<(), TryLockError> {
        File::try_lock(self)
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

    #[test]
    fn found_files_of_a_file_system_that_cannot_sync_count_as_synced() {
        // procfs has no fsync, like squashfs and iso9660.
        let path = PathBuf::from("/proc/version");
        let error = File::open(&path).and_then(|file| file.sync_all()).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::InvalidInput));
        let synced =
            |paths: &[PathBuf]| -> Vec<bool> { SystemDisk.sync_files(paths).iter().map(Result::is_ok).collect() };
        assert_eq!(synced(std::slice::from_ref(&path)), [true]);
        assert_eq!(synced(&vec![path; 2 * SYNC_THREADS]), [true; 2 * SYNC_THREADS]);
        assert_eq!(synced(&[PathBuf::from("/proc/no such file")]), [false]);
    }

    #[test]
    fn any_other_failure_to_sync_is_one() {
        assert!(or_cannot_be_synced(Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(SystemDisk.sync_folder(Path::new("/proc/no such folder")).is_err());
        // A file of the plugin's own has to be on the disk, also where that cannot be done.
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
