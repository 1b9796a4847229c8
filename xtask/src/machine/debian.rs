//! Packages of another Debian release, unpacked into the target folder. For apt no package is installed, so that the C library
//! and all come along.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use duct::cmd;

use super::apt::{Apt, Kind, codename_of_the_system};
use super::paths;
use crate::{run, terminal};

/// A Debian release with a MariaDB.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Debian's name for it.
    pub codename: &'static str,
    /// The first two numbers of its MariaDB.
    pub series: &'static str,
    /// The package with its server, without what starts it with the machine.
    pub server: &'static str,
    /// The version of its C library.
    pub glibc: &'static str,
}

/// The oldest first.
pub const RELEASES: [Release; 3] = [
    Release { codename: "bullseye", series: "10.5", server: "mariadb-server-core-10.5", glibc: "2.31" },
    Release { codename: "bookworm", series: "10.11", server: "mariadb-server-core", glibc: "2.36" },
    Release { codename: "trixie", series: "11.8", server: "mariadb-server-core", glibc: "2.41" },
];

/// The place in [`RELEASES`] of the release that this system is.
pub fn place_of_the_system() -> Result<usize> {
    let here = codename_of_the_system()?;
    RELEASES.iter().position(|release| release.codename == here).with_context(|| {
        let known = RELEASES.map(|release| release.codename).join(", ");
        format!("servers of other Debian releases can be tried on one of Debian's {known}; this system is {here:?}")
    })
}

/// Packages to unpack.
pub struct Wanted<'names> {
    /// What they are for, a part of the folder's name.
    pub purpose: &'static str,
    /// Their names.
    pub packages: &'names [&'names str],
    /// Whether what they depend on comes along.
    pub with_dependencies: bool,
    /// What is not to come along.
    pub leave_out: &'static [&'static str],
    /// Whether they are to be those for arm64, and not for this CPU.
    pub are_for_arm64: bool,
}

impl Release {
    /// The folder with what is `wanted`, downloaded and unpacked if it is not there yet.
    pub fn unpacked(&self, wanted: &Wanted<'_>) -> Result<PathBuf> {
        let tree = paths::target().join("versions").join(format!("{}-{}", self.codename, wanted.purpose));
        // Written last, so that an interrupted download is begun anew, as is one of other packages.
        let (done, packages) = (tree.join("complete"), wanted.packages.join(" "));
        if std::fs::read_to_string(&done).ok().as_ref() != Some(&packages) {
            paths::emptied(&tree)?;
            self.unpack_into(&tree, wanted).context(
                "downloading it failed. It needs the Debian mirror of this system's apt, once: \
                 after that it lies in target/versions, and no network is needed",
            )?;
            std::fs::write(&done, packages)?;
        }
        Ok(tree)
    }

    fn unpack_into(&self, tree: &Path, wanted: &Wanted<'_>) -> Result<()> {
        terminal::detail(format_args!("downloading of Debian {}: {}", self.codename, wanted.packages.join(" ")));
        let apt = match wanted.are_for_arm64 {
            true => Apt::for_arm64(&Kind::Binary, self.codename)?,
            false => Apt::new(&Kind::Binary, self.codename)?,
        };
        let archives = apt.archives();
        let download: &[&str] =
            if wanted.with_dependencies { &["install", "--yes", "--download-only"] } else { &["download"] };
        // `download` puts them where it is started.
        let command = apt.get([download, wanted.packages].concat()).dir(&archives);
        run::quietly("apt-get download", &command)?;
        for file in paths::names_in(&archives)?.iter().filter(|file| file.ends_with(".deb")) {
            let package = file.split('_').next().unwrap_or_default();
            if !wanted.leave_out.contains(&package) {
                run::quietly("dpkg-deb", &cmd!("dpkg-deb", "--extract", archives.join(file), tree))?;
            }
        }
        apt.close()
    }
}

/// `usr/lib/<architecture>` and `lib/<architecture>` of an unpacked tree, as far as they are there.
pub fn library_folders(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"].map(|name| tree.join(name)).iter().filter(|parent| parent.is_dir()) {
        let names = paths::names_in(parent)?;
        folders.extend(names.iter().filter(|name| name.ends_with("-linux-gnu")).map(|name| parent.join(name)));
    }
    Ok(folders)
}

/// The dynamic loader that belongs to the C library in `folders`.
pub fn loader(folders: &[PathBuf]) -> Result<PathBuf> {
    for folder in folders {
        if let Some(name) = paths::names_in(folder)?.iter().find(|name| name.starts_with("ld-linux")) {
            return Ok(folder.join(name));
        }
    }
    anyhow::bail!("there is no dynamic loader in {folders:?}")
}
