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
    /// For arm64, with their own C library, in an emulator.
    Emulated(PathBuf),
}

impl Programs {
    /// Those of `release`, which has the place `place` among all, on a system that has the place `here`; downloaded if
    /// they are not there yet.
    pub fn of(release: &Release, here: usize) -> Result<Self> {
        let place = debian::RELEASES.iter().position(|other| other.codename == release.codename);
        let packages = [release.server, "mariadb-backup"];
        let unpacked = |leave_out| {
            let with_dependencies = true;
            let wanted =
                Wanted { purpose: "server", packages: &packages, with_dependencies, leave_out, are_for_arm64: false };
            release.unpacked(&wanted)
        };
        Ok(match place.cmp(&Some(here)) {
            std::cmp::Ordering::Equal => Self::OfTheSystem,
            std::cmp::Ordering::Greater => Self::Newer(unpacked(&[])?),
            std::cmp::Ordering::Less => Self::Older(unpacked(C_LIBRARY)?),
        })
    }

    /// Those of the release that this system is, for arm64, with the library that holds the server's AES.
    pub fn for_arm64() -> Result<Self> {
        let release = debian::RELEASES[debian::place_of_the_system()?];
        let packages = [release.server, "mariadb-backup", "libmariadbd19"];
        let wanted = Wanted {
            purpose: "server-arm64",
            packages: &packages,
            with_dependencies: true,
            leave_out: &[],
            are_for_arm64: true,
        };
        release.unpacked(&wanted).map(Self::Emulated)
    }

    /// The server.
    pub fn installation(&self) -> Result<Installation> {
        match self {
            Self::OfTheSystem => Installation::of_the_system(),
            Self::Newer(tree) | Self::Older(tree) => {
                Installation::in_tree(self.words("usr/sbin/mariadbd")?, &tree.join("usr"))
            }
            // The emulator takes memory for what a server only reserves: 8 TB.
            Self::Emulated(tree) => Ok(Installation::in_tree(self.words("usr/sbin/mariadbd")?, &tree.join("usr"))?
                .with_options(&[NO_NATIVE_AIO, "--innodb-buffer-pool-size-max=64M"])),
        }
    }

    /// Where they are unpacked. Fails for those that are installed.
    pub fn tree(&self) -> Result<&Path> {
        match self {
            Self::OfTheSystem => anyhow::bail!("the programs of the system are in no tree"),
            Self::Newer(tree) | Self::Older(tree) | Self::Emulated(tree) => Ok(tree),
        }
    }

    /// The words that run mariadb-backup.
    pub fn mariadb_backup(&self) -> Result<Vec<OsString>> {
        self.words("usr/bin/mariadb-backup")
    }

    /// Options that mariadb-backup needs because of how it runs.
    pub fn backup_options(&self) -> &'static [&'static str] {
        if matches!(self, Self::Emulated(_)) { &[NO_NATIVE_AIO] } else { &[] }
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
            Self::Emulated(tree) => {
                let emulator = [EMULATOR, "-cpu", EMULATED_CPU, "-L"].map(OsString::from);
                Ok(emulator.into_iter().chain([tree.into(), tree.join(program).into()]).collect())
            }
        }
    }
}

/// The packages of the C and C++ libraries, each of which serves programs of older releases too.
const C_LIBRARY: &[&str] = &["libc6", "libgcc-s1", "libstdc++6"];

/// The program that runs those of arm64.
pub const EMULATOR: &str = "qemu-aarch64";

/// The CPU that it shall be, as it calls it: one that has all that there is.
pub const EMULATED_CPU: &str = "max";

/// The emulator has none.
const NO_NATIVE_AIO: &str = "--innodb-use-native-aio=0";
