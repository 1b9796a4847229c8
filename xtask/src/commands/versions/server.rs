//! The server of a Debian release, unpacked into the target folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::machine::debian::{self, Release, Wanted};
use crate::machine::paths;
use crate::rig::Installation;

/// Server and mariadb-backup of a release.
pub enum Programs {
    /// Those that are installed.
    OfTheSystem,
    /// Of a newer release: they need their own C library.
    Newer(PathBuf),
    /// Of an older release: the system's C library will do, and the plugin, which was built here, needs it.
    Older(PathBuf),
}

impl Programs {
    /// Those of `release`, which has the place `place` among all, on a system that has the place `here`; downloaded if
    /// they are not there yet.
    pub fn of(release: &Release, here: usize) -> Result<Self> {
        let place = debian::RELEASES.iter().position(|other| other.codename == release.codename);
        let packages = [release.server, "mariadb-backup"];
        let unpacked = |leave_out| {
            release.unpacked(&Wanted { purpose: "server", packages: &packages, with_dependencies: true, leave_out })
        };
        Ok(match place.cmp(&Some(here)) {
            std::cmp::Ordering::Equal => Self::OfTheSystem,
            std::cmp::Ordering::Greater => Self::Newer(unpacked(&[])?),
            std::cmp::Ordering::Less => Self::Older(unpacked(C_LIBRARY)?),
        })
    }

    /// The server.
    pub fn installation(&self) -> Result<Installation> {
        match self {
            Self::OfTheSystem => Installation::of_the_system(),
            Self::Newer(tree) | Self::Older(tree) => {
                Installation::in_tree(self.words("usr/sbin/mariadbd")?, &tree.join("usr"))
            }
        }
    }

    /// The words that run mariadb-backup.
    pub fn mariadb_backup(&self) -> Result<Vec<OsString>> {
        self.words("usr/bin/mariadb-backup")
    }

    /// The words that run a program.
    fn words(&self, program: &str) -> Result<Vec<OsString>> {
        match self {
            Self::OfTheSystem => {
                let name = Path::new(program).file_name().unwrap_or_default();
                Ok(vec![paths::program(&name.to_string_lossy()).map_or_else(|| name.into(), PathBuf::into_os_string)])
            }
            Self::Newer(tree) => {
                let libraries = debian::library_folders(tree)?;
                let path = std::env::join_paths(&libraries)?;
                Ok(vec![debian::loader(&libraries)?.into(), "--library-path".into(), path, tree.join(program).into()])
            }
            Self::Older(tree) => {
                let mut setting = OsString::from("LD_LIBRARY_PATH=");
                setting.push(std::env::join_paths(debian::library_folders(tree)?)?);
                Ok(vec!["env".into(), setting, tree.join(program).into()])
            }
        }
    }
}

/// The packages of the C and C++ libraries, each of which serves programs of older releases too.
const C_LIBRARY: &[&str] = &["libc6", "libgcc-s1", "libstdc++6"];
