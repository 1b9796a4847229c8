//! MariaDB of another Debian release, unpacked into the target folder. Nothing of the system changes: apt gets a state
//! of its own, in which no package is installed, so that the C library and all come along.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use duct::cmd;

use crate::machine::paths;
use crate::rig::Installation;
use crate::{run, terminal};

/// A Debian release.
pub struct Release {
    /// Debian's name for it.
    pub codename: &'static str,
    package: &'static str,
    /// Newer than this system: its programs need its own C library. For an older one the system's will do, and the plugin,
    /// which was built here, needs it.
    is_newer: bool,
}

/// The releases other than the one that this system is.
pub fn other_releases() -> Result<Vec<Release>> {
    let here = codename_of_the_system()?;
    let position = RELEASES.iter().position(|(codename, _)| *codename == here).with_context(|| {
        let known = RELEASES.map(|(codename, _)| codename).join(", ");
        format!("servers of other Debian releases can be tried on one of Debian's {known}; this system is {here:?}")
    })?;
    let releases = RELEASES.iter().enumerate().filter(|(index, _)| *index != position);
    Ok(releases.map(|(index, (codename, package))| Release { codename, package, is_newer: index > position }).collect())
}

impl Release {
    /// The server of this release, downloaded and unpacked if it is not there yet.
    pub fn unpacked(&self) -> Result<Installation> {
        let tree = paths::target().join("versions").join(self.codename);
        // Written last, so that an interrupted download is begun anew.
        let done = tree.join("complete");
        if !done.exists() {
            paths::emptied(&tree)?;
            self.unpack_into(&tree).context(
                "downloading it failed. It needs the Debian mirror of this system's apt, once: \
                 after that it lies in target/versions, and no network is needed",
            )?;
            std::fs::write(&done, "")?;
        }
        Installation::in_tree(self.mariadbd(&tree)?, &tree.join("usr"))
    }

    fn unpack_into(&self, tree: &Path) -> Result<()> {
        terminal::detail(format_args!("downloading {} of Debian {}", self.package, self.codename));
        let apt = paths::temporary_folder()?;
        for name in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(apt.path().join(name))?;
        }
        std::fs::write(apt.path().join("status"), "")?;
        std::fs::write(
            apt.path().join("sources.list"),
            format!("deb {}{} {} main\n", signed_by(), mirror()?, self.codename),
        )?;
        let configuration = apt.path().join("apt.conf");
        std::fs::write(&configuration, APT_CONF.replace("FOLDER", &apt.path().display().to_string()))?;
        let update = cmd!("apt-get", "--config-file", &configuration, "update");
        run::quietly("apt-get update", &update)?;
        let install =
            cmd!("apt-get", "--config-file", &configuration, "install", "--yes", "--download-only", self.package);
        run::quietly("apt-get download", &install)?;
        let archives = apt.path().join("cache/archives");
        for file in paths::names_in(&archives)?.iter().filter(|file| file.ends_with(".deb")) {
            let package = file.split('_').next().unwrap_or_default();
            if self.is_newer || !C_LIBRARY.contains(&package) {
                run::quietly("dpkg-deb", &cmd!("dpkg-deb", "--extract", archives.join(file), tree))?;
            }
        }
        Ok(apt.close()?)
    }

    /// The words that run the server in `tree`.
    fn mariadbd(&self, tree: &Path) -> Result<Vec<OsString>> {
        let program = tree.join("usr/sbin/mariadbd").into_os_string();
        let libraries = library_folders(tree)?;
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

fn codename_of_the_system() -> Result<String> {
    let release = std::fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    Ok(codename.trim_matches('"').to_owned())
}

/// Where the system's apt gets its own release from.
fn mirror() -> Result<String> {
    let here = codename_of_the_system()?;
    let format = "$(RELEASE) $(COMPONENT) $(REPO_URI)";
    let command = cmd!("apt-get", "indextargets", "--format", format, "Identifier: Packages");
    let targets = run::output("apt-get indextargets", &command)?;
    let wanted = format!("{here} main ");
    let uri = targets.lines().find_map(|line| line.strip_prefix(&wanted));
    uri.map(str::to_owned).with_context(|| format!("the system's apt has no source for {here} main"))
}

/// The option that names the keys of all Debian releases, if the system has them apart from apt's own.
fn signed_by() -> &'static str {
    if Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
    } else {
        ""
    }
}

/// Codename and package, the oldest first: 10.5, 10.11 and 11.8.
const RELEASES: [(&str, &str); 3] =
    [("bullseye", "mariadb-server-core-10.5"), ("bookworm", "mariadb-server-core"), ("trixie", "mariadb-server-core")];

/// The packages of the C and C++ libraries, each of which serves programs of older releases too.
const C_LIBRARY: [&str; 3] = ["libc6", "libgcc-s1", "libstdc++6"];

const APT_CONF: &str = include_str!("apt.conf");
