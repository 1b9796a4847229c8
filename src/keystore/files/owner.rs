//! Who owns the files that root makes. The offline tool may be run by root, the server is not: a key file of root's would be out
//! of its reach. What anybody else makes is theirs, and stays as it is made.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use nix::unistd::geteuid;

/// Gives a file of root's to whom the folder belongs.
pub(super) fn give_to_owner_of(file: &File, folder: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let folder = fs::metadata(folder)?;
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

/// Makes the file that root puts in the place of another belong to whom that belongs, and readable for whom that is.
pub(super) fn make_like(file: &File, replaced: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let replaced = match fs::metadata(replaced) {
        Ok(replaced) => replaced,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    fchown(file, Some(replaced.uid()), Some(replaced.gid()))?;
    file.set_permissions(Permissions::from_mode(replaced.mode() & READ_BITS))
}

/// A file that somebody cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who cannot: a user's number.
    pub to: u32,
    /// Whose it is: the numbers of the user and the group.
    pub owner: (u32, u32),
    /// Its mode.
    pub mode: u32,
}

/// Whether whom the folder belongs to may read a file, as far as owners and modes tell.
pub(super) fn closed_to_owner_of(folder: &Path, file: &Path) -> io::Result<Option<Closed>> {
    let (reader, file) = (fs::metadata(folder)?, fs::metadata(file)?);
    let bit = match () {
        () if file.uid() == reader.uid() => 0o400,
        () if file.gid() == reader.gid() => 0o040,
        () => 0o004,
    };
    let may_read = reader.uid() == 0 || file.mode() & bit != 0;
    let closed = Closed { to: reader.uid(), owner: (file.uid(), file.gid()), mode: file.mode() & 0o7777 };
    Ok((!may_read).then_some(closed))
}

/// A key file is writable for nobody.
const READ_BITS: u32 = 0o444;

#[cfg(all(test, not(miri)))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    #[test]
    fn a_file_that_is_not_for_whom_the_folder_belongs_to_is_found_by_owner_and_mode() {
        let dir = tempfile::tempdir().expect("dir");
        let file = File::create(dir.path().join("key")).expect("file");
        let closed = || closed_to_owner_of(dir.path(), &dir.path().join("key")).expect("asked");
        if !geteuid().is_root() {
            file.set_permissions(Permissions::from_mode(0o040)).expect("chmod");
            assert!(closed().is_some());
            return;
        }
        assert_eq!(closed(), None, "root reads all");
        std::os::unix::fs::chown(dir.path(), Some(4711), Some(4712)).expect("chown");
        for (owner, group, mode, may_read) in [
            (0, 0, 0o400, false),
            (4711, 0, 0o400, true),
            (4711, 0, 0o044, false),
            (0, 4712, 0o440, true),
            (0, 4712, 0o404, false),
            (0, 0, 0o444, true),
        ] {
            fchown(&file, Some(owner), Some(group)).expect("chown");
            file.set_permissions(Permissions::from_mode(mode)).expect("chmod");
            let expected = (!may_read).then_some(Closed { to: 4711, owner: (owner, group), mode });
            assert_eq!(closed(), expected, "{owner} {group} {mode:o}");
        }
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_folder_or_the_replaced_file_does() {
        let dir = tempfile::tempdir().expect("dir");
        let path = |name| dir.path().join(name);
        let new = File::create(path("new")).expect("file");
        if !geteuid().is_root() {
            // Others have nothing to give.
            give_to_owner_of(&new, dir.path()).expect("left as it is");
            return;
        }
        std::os::unix::fs::chown(dir.path(), Some(4711), Some(4712)).expect("chown");
        give_to_owner_of(&new, dir.path()).expect("given");
        let of = |file: &File| {
            let metadata = file.metadata().expect("metadata");
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        };
        assert_eq!((of(&new).0, of(&new).1), (4711, 4712));
        let old = File::create(path("old")).expect("file");
        old.set_permissions(Permissions::from_mode(0o640)).expect("chmod");
        fchown(&old, Some(4713), Some(4714)).expect("chown");
        make_like(&new, &path("old")).expect("made");
        assert_eq!(of(&new), (4713, 4714, 0o440));
        make_like(&new, &path("missing")).expect("left as it is");
        assert_eq!(of(&new), (4713, 4714, 0o440));
        assert!(make_like(&new, &path("old/of no folder")).is_err(), "not what it is to be like");
    }
}
