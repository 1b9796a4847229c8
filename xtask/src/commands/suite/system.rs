//! The system that the suite runs on: this one, or one unpacked into a folder.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::base::USER;
use crate::machine::{debian, paths};
use crate::{kms_emulator, rig};

/// Where a server, its tests and mysql-test-run are installed.
pub struct System {
    /// Its root folder, seen from outside.
    root: PathBuf,
}

impl System {
    /// This one.
    pub fn this() -> Self {
        Self { root: "/".into() }
    }

    /// One of Debian packages that were unpacked into `tree`, of which none has been configured. Programs run in it as in a
    /// system of its own (chroot), with its own C library.
    pub fn unpacked(tree: &Path) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "the suite of another release runs in a root folder of its own (chroot), which needs root's rights"
        );
        let here = std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
        let user = here.lines().find(|line| line.starts_with(&format!("{USER}:")));
        let user = user.with_context(|| format!("this system has no user {USER}"))?;
        let group = user.split(':').nth(3).context("the group of the user mysql")?;
        std::fs::create_dir_all(tree.join("etc"))?;
        std::fs::write(tree.join("etc/passwd"), format!("root:x:0:0:root:/root:/bin/sh\n{user}\n"))?;
        std::fs::write(tree.join("etc/group"), format!("root:x:0:\n{USER}:x:{group}:\n"))?;
        std::fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n")?;
        // What update-alternatives makes when a package is configured.
        let awk = tree.join("usr/bin/awk");
        if !awk.exists() {
            std::os::unix::fs::symlink("mawk", awk)?;
        }
        Ok(Self { root: tree.to_owned() })
    }

    /// Where `path` of it is, seen from outside.
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The server's own tests.
    pub fn tests(&self) -> Result<PathBuf> {
        let folders = ["/usr/share/mysql/mysql-test", "/usr/share/mariadb/mariadb-test"].map(PathBuf::from);
        let found = folders.into_iter().find(|folder| self.outside(folder).join("mysql-test-run.pl").exists());
        found.with_context(|| format!("there is no mysql-test-run.pl in {}", self.root.display()))
    }

    /// The server's plugins.
    pub fn plugins(&self) -> Result<PathBuf> {
        if self.is_this() {
            return Ok(rig::default_value("plugin-dir")?.into());
        }
        // As Debian builds each of them.
        Ok("/usr/lib/mysql/plugin".into())
    }

    /// A program that is the emulator's Python, whose environment was copied to `environment`; `folder` is a place for it.
    pub fn python(&self, environment: &Path, folder: &Path) -> Result<PathBuf> {
        if self.is_this() {
            return Ok(environment.join("bin/python"));
        }
        // This system's Python with this system's libraries, which are there as /host.
        let libraries = debian::library_folders(Path::new("/"))?;
        let loader = debian::loader(&libraries)?;
        let path = libraries.iter().map(|folder| format!("{HOST}{}", folder.display())).collect::<Vec<_>>().join(":");
        let interpreter = std::fs::canonicalize(kms_emulator::python())?;
        let packages = paths::names_in(&environment.join("lib"))?;
        let packages = packages.iter().find(|name| name.starts_with("python3")).context("the emulator's packages")?;
        let script = format!(
            "#!/bin/sh\nexport PYTHONHOME={HOST}/usr PYTHONPATH={}\nexec {HOST}{} --library-path {path} {HOST}{} \"$@\"\n",
            environment.join("lib").join(packages).join("site-packages").display(),
            loader.display(),
            interpreter.display(),
        );
        let file = folder.join("python.sh");
        std::fs::write(&file, script)?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755))?;
        Ok(file)
    }

    /// The words that come before those of a program of it, which can use `folder` under its own name, and what they
    /// need of the environment.
    pub fn words(&self, folder: &Path) -> Vec<OsString> {
        if self.is_this() {
            return Vec::new();
        }
        let words = ["unshare", "--mount", "--", "sh", "-c", ENTER, "sh"].map(OsString::from);
        words.into_iter().chain([self.root.clone().into(), folder.into()]).collect()
    }

    /// `PATH`, where it is another one than here.
    pub fn path(&self) -> Option<&'static str> {
        (!self.is_this()).then_some("/usr/sbin:/usr/bin:/sbin:/bin")
    }

    fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }
}

/// Where this system's files are in another one.
const HOST: &str = "/host";

const ENTER: &str = include_str!("enter.sh");
