//! MariaDB of another Debian release, unpacked into the target folder. For apt no package is installed, so that the C library
//! and all come along.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use duct::cmd;

use crate::machine::apt::{Apt, Kind, codename_of_the_system};
use crate::machine::paths;
use crate::rig::Installation;
use crate::{run, terminal};

/// A Debian release.
pub struct Release {
    /// Debian's name for it.
    pub codename: &'static str,
    /// The first two numbers of its MariaDB.
    pub series: &'static str,
    packages: [&'static str; 2],
    /// Newer than this system: its programs need its own C library. For an older one the system's will do, and the plugin,
    /// which was built here, needs it.
    is_newer: bool,
}

/// The releases other than the one that this system is.
pub fn other_releases() -> Result<Vec<Release>> {
    let here = codename_of_the_system()?;
    let position = RELEASES.iter().position(|(codename, ..)| *codename == here).with_context(|| {
        let known = RELEASES.map(|(codename, ..)| codename).join(", ");
        format!("servers of other Debian releases can be tried on one of Debian's {known}; this system is {here:?}")
    })?;
    let releases = RELEASES.iter().enumerate().filter(|(index, _)| *index != position);
    Ok(releases
        .map(|(index, (codename, series, server))| {
            let packages = [*server, "mariadb-backup"];
            Release { codename, series, packages, is_newer: index > position }
        })
        .collect())
}

impl Release {
    /// The server of this release, downloaded and unpacked if it is not there yet.
    pub fn unpacked(&self) -> Result<Installation> {
        let tree = self.tree();
        // Written last, so that an interrupted download is begun anew, as is one of other packages.
        let (done, packages) = (tree.join("complete"), self.packages.join(" "));
        if std::fs::read_to_string(&done).ok().as_ref() != Some(&packages) {
            paths::emptied(&tree)?;
            self.unpack_into(&tree).context(
                "downloading it failed. It needs the Debian mirror of this system's apt, once: \
                 after that it lies in target/versions, and no network is needed",
            )?;
            std::fs::write(&done, packages)?;
        }
        Installation::in_tree(self.words("usr/sbin/mariadbd")?, &tree.join("usr"))
    }

    /// The words that run mariadb-backup of this release, after [`Release::unpacked`].
    pub fn mariadb_backup(&self) -> Result<Vec<OsString>> {
        self.words("usr/bin/mariadb-backup")
    }

    fn tree(&self) -> PathBuf {
        paths::target().join("versions").join(self.codename)
    }

    fn unpack_into(&self, tree: &Path) -> Result<()> {
        terminal::detail(format_args!("downloading {} of Debian {}", self.packages.join(" and "), self.codename));
        let apt = Apt::new(&Kind::Binary, self.codename)?;
        let [server, backup] = self.packages;
        run::quietly("apt-get download", &apt.get(["install", "--yes", "--download-only", server, backup]))?;
        let archives = apt.archives();
        for file in paths::names_in(&archives)?.iter().filter(|file| file.ends_with(".deb")) {
            let package = file.split('_').next().unwrap_or_default();
            if self.is_newer || !C_LIBRARY.contains(&package) {
                run::quietly("dpkg-deb", &cmd!("dpkg-deb", "--extract", archives.join(file), tree))?;
            }
        }
        apt.close()
    }

    /// The words that run a program of the tree.
    fn words(&self, program: &str) -> Result<Vec<OsString>> {
        let tree = self.tree();
        let program = tree.join(program).into_os_string();
        let libraries = library_folders(&tree)?;
        let path = std::env::join_paths(&libraries)?;
        if self.is_newer {
            return Ok(vec![loader(&libraries)?.into(), "--library-path".into(), path, program]);
        }
        let mut setting = OsString::from("LD_LIBRARY_PATH=");
        setting.push(path);
        Ok(vec!["env".into(), setting, program])
    }
}

/// `usr/lib/<architecture>` and `lib/<architecture>`, as far as they are there.
fn library_folders(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for parent in ["usr/lib", "lib"].map(|name| tree.join(name)).iter().filter(|parent| parent.is_dir()) {
        let names = paths::names_in(parent)?;
        folders.extend(names.iter().filter(|name| name.ends_with("-linux-gnu")).map(|name| parent.join(name)));
    }
    Ok(folders)
}

/// The dynamic loader that belongs to the C library in `folders`.
fn loader(folders: &[PathBuf]) -> Result<PathBuf> {
    for folder in folders {
        if let Some(name) = paths::names_in(folder)?.iter().find(|name| name.starts_with("ld-linux")) {
            return Ok(folder.join(name));
        }
    }
    bail!("the unpacked packages contain no dynamic loader")
}

/// Codename, series and package, the oldest first.
const RELEASES: [(&str, &str, &str); 3] = [
    ("bullseye", "10.5", "mariadb-server-core-10.5"),
    ("bookworm", "10.11", "mariadb-server-core"),
    ("trixie", "11.8", "mariadb-server-core"),
];

/// The packages of the C and C++ libraries, each of which serves programs of older releases too.
const C_LIBRARY: [&str; 3] = ["libc6", "libgcc-s1", "libstdc++6"];
