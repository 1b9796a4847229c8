//! Packages of any Debian release. Nothing of the system changes: apt gets a state of its own, in which no package is
//! installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use duct::{Expression, cmd};
use tempfile::TempDir;

use super::paths;
use crate::run;

/// A state of apt, in a folder that is removed when it is dropped.
pub struct Apt(TempDir);

/// What a state knows of a release.
pub enum Kind {
    /// Packages to be installed.
    Binary,
    /// The sources of packages.
    Source,
}

impl Apt {
    /// One that knows the release `codename`, for this CPU.
    pub fn new(kind: &Kind, codename: &str) -> Result<Self> {
        Self::configured(kind, codename, "")
    }

    /// The same for arm64.
    pub fn for_arm64(kind: &Kind, codename: &str) -> Result<Self> {
        Self::configured(kind, codename, ARM64)
    }

    fn configured(kind: &Kind, codename: &str, more: &str) -> Result<Self> {
        let folder = paths::temporary_folder()?;
        for name in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(folder.path().join(name))?;
        }
        std::fs::write(folder.path().join("status"), "")?;
        let kind = match kind {
            Kind::Binary => "deb",
            Kind::Source => "deb-src",
        };
        let line = format!("{kind} {}{} {codename} main\n", signed_by(), mirror()?);
        std::fs::write(folder.path().join("sources.list"), line)?;
        let configuration = CONFIGURATION.replace("FOLDER", &folder.path().display().to_string());
        std::fs::write(folder.path().join("apt.conf"), configuration + more)?;
        let apt = Self(folder);
        run::quietly("apt-get update", &apt.get(["update"]))?;
        Ok(apt)
    }

    /// An apt-get command.
    pub fn get(&self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
        let own = ["--config-file".into(), self.0.path().join("apt.conf").into_os_string()];
        cmd("apt-get", own.into_iter().chain(words.into_iter().map(Into::into)))
    }

    /// Where it puts packages that are downloaded.
    pub fn archives(&self) -> PathBuf {
        self.0.path().join("cache/archives")
    }

    /// Removes it.
    pub fn close(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

/// Debian's name for the release that this system is.
pub fn codename_of_the_system() -> Result<String> {
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

const CONFIGURATION: &str = include_str!("apt.conf");

const ARM64: &str = "APT::Architecture \"arm64\";\n#clear APT::Architectures;\nAPT::Architectures \"arm64\";\n";
