//! A MariaDB source tree: one that is there, or Debian's source package.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use duct::cmd;

use crate::machine::apt::{Apt, Kind, codename_of_the_system};
use crate::machine::paths;
use crate::{run, terminal};

/// A source tree.
pub struct Tree {
    folder: PathBuf,
    version: [String; 3],
}

impl Tree {
    /// The one in `folder`.
    pub fn at(folder: &Path) -> Result<Self> {
        let file = folder.join("VERSION");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let version = version(&text).with_context(|| format!("{} does not tell the version", file.display()))?;
        Ok(Self { folder: folder.to_owned(), version })
    }

    /// That of the source package of a Debian release, the system's if there is no `codename`; downloaded and unpacked if it
    /// is not there yet.
    pub fn of_release(codename: Option<&str>) -> Result<Self> {
        let codename = codename.map_or_else(codename_of_the_system, |codename| Ok(codename.to_owned()))?;
        let folder = paths::target().join("cmake").join(&codename);
        let (tree, done) = (folder.join("source"), folder.join("complete"));
        if !done.is_file() {
            paths::emptied(&folder)?;
            unpack_into(&tree, &codename).context(
                "getting the source package failed. It needs the Debian mirror of this system's apt, once: after that it lies \
                 in target/cmake, and no network is needed. Where the mirror has no sources, --tree names a source tree",
            )?;
            // Written last, so that an interrupted download is begun anew.
            std::fs::write(done, "")?;
        }
        Self::at(&tree)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Such as `10.11.19`.
    pub fn version(&self) -> String {
        self.version.join(".")
    }

    /// Such as `10.11`.
    pub fn series(&self) -> String {
        self.version[..2].join(".")
    }
}

fn unpack_into(tree: &Path, codename: &str) -> Result<()> {
    let package = if codename == "bullseye" { "mariadb-10.5" } else { "mariadb" };
    terminal::detail(format_args!("downloading the source package {package} of Debian {codename}"));
    let apt = Apt::new(&Kind::Source, codename)?;
    let download = paths::temporary_folder()?;
    let get = apt.get(["source", "--download-only", package]).dir(download.path());
    run::quietly("apt-get source", &get)?;
    let names = paths::names_in(download.path())?;
    let description = names.iter().find(|name| name.ends_with(".dsc")).context("the package has no file .dsc")?;
    // apt has checked what it downloaded.
    let unpack = cmd!("dpkg-source", "--no-check", "--extract", description, tree).dir(download.path());
    run::quietly("dpkg-source", &unpack)?;
    download.close()?;
    apt.close()
}

/// From lines such as `MYSQL_VERSION_MAJOR=10`.
fn version(text: &str) -> Option<[String; 3]> {
    let part = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("MYSQL_VERSION_")?.strip_prefix(name));
        let number = line?.strip_prefix('=')?.trim();
        number.parse::<u32>().ok().map(|_| number.to_owned())
    };
    Some([part("MAJOR")?, part("MINOR")?, part("PATCH")?])
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_read_from_its_three_lines() {
        let text = "MYSQL_VERSION_MAJOR=10\nMYSQL_VERSION_MINOR=11\nMYSQL_VERSION_PATCH=18\nSERVER_MATURITY=stable\n";
        assert_eq!(version(text), Some(["10", "11", "18"].map(str::to_owned)));
        assert_eq!(version("MYSQL_VERSION_MAJOR=10\nMYSQL_VERSION_MINOR=\nMYSQL_VERSION_PATCH=1\n"), None);
    }
}
