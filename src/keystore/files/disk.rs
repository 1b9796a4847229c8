//! What is done with files, as an interface: so that the tests can put a disk behind it that forgets, in a power failure,
//! whatever was not synced. All paths are absolute, but for those given to [`Disk::canonicalize`].

use std::ffi::OsString;
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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

    /// Makes a file in `folder` that nobody else has, with a name that begins with `prefix`. It is locked, if the file system
    /// has locks, which tells other processes that it is in use, and removed when it is dropped, unless it gets a name that
    /// stays.
    fn create(&self, folder: &Path, prefix: &str) -> io::Result<Box<dyn NewFile>>;

    /// Opens a file to lock it. Makes one with no contents, if there is none.
    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn LockFile>>;

    /// Whether another process has locked a file, as far as the file system knows.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;

    /// Gives a file another name, in place of any file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the contents of files last, whoever has written them, if the file system can do that: files that were found may
    /// lie on one that is only read. Answers in their order.
    fn sync_files(&self, paths: &[PathBuf]) -> Vec<io::Result<()>>;

    /// Makes the names in a folder last, if the file system can do that apart.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Whether this process may make files in a folder, as far as that can be told without making one.
    fn check_writable(&self, folder: &Path) -> io::Result<()>;
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

    /// Gives it the name that it keeps. Fails with `AlreadyExists` if something has that name, and as [`super::limits`] says
    /// if the file system cannot make sure of that.
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
