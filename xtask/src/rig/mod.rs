//! A server with the plugin and a KMS of its own, in a folder that is removed at the end: where `demo`, `crash`, `memory`
//! and the others do their work.

mod installation;
mod server;
mod session;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

pub use self::installation::{Installation, default_value};
pub use self::server::{Home, Server};
pub use self::session::{Refusal, Session};
use crate::kms_emulator::{self, Emulator};
use crate::machine::{packages, paths, toolchain};
use crate::{interrupt, terminal};

/// The folder and what is in it.
pub struct Rig {
    /// The KMS.
    pub kms: Emulator,
    /// Where the server runs.
    pub home: Home,
    folder: TempDir,
    keep_after_failure: bool,
}

/// Loads the plugin and insists on it, as lines of a my.cnf.
pub const LOAD: &str = "plugin_load_add = aws_key_management\naws_key_management = FORCE";

/// Installs what is needed to run a server, and builds the plugin.
pub fn prepare() -> Result<PathBuf> {
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    kms_emulator::ensure()?;
    toolchain::build_plugin()
}

impl Rig {
    /// A new one with `plugin` and the server that is installed.
    pub fn new(plugin: &Path) -> Result<Self> {
        Self::of(Installation::of_the_system()?, plugin)
    }

    /// The same with another server.
    pub fn of(installation: Installation, plugin: &Path) -> Result<Self> {
        let folder = paths::temporary_folder()?;
        let kms = Emulator::start(folder.path())?;
        let home = Home::new(installation, folder.path(), plugin)?;
        Ok(Self { kms, home, folder, keep_after_failure: false })
    }

    /// Leaves the folder there when something fails.
    pub fn keep_after_failure(mut self) -> Self {
        self.keep_after_failure = true;
        self
    }

    /// Starts the server with `options`, lines of a my.cnf, and the plugin's variables for this KMS.
    pub fn start(&self, options: &str) -> Result<Server<'_>> {
        self.start_at(&self.home, options)
    }

    /// The same with another server's home.
    pub fn start_at<'home>(&self, home: &'home Home, options: &str) -> Result<Server<'home>> {
        home.start(&format!("{options}\n{}", self.kms.variables()), Some(&self.environment()))
    }

    /// The same with a server that does not load the plugin, but may install it.
    pub fn start_without_plugin(&self) -> Result<Server<'_>> {
        let loose: String = self.kms.variables().lines().map(|line| format!("loose_{line}\n")).collect();
        self.home.start(&loose, Some(&self.environment()))
    }

    /// Does `work`, ends everything and removes the folder. An error shows the end of the server's log.
    pub fn run<T>(mut self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let answer = self.home.explain(work(&self)).inspect_err(|_| {
            if self.keep_after_failure && !interrupt::has_come() {
                self.folder.disable_cleanup(true);
                let kept = self.folder.path().display();
                terminal::detail(format_args!("kept, to be looked at and removed by you: {kept}"));
            }
        })?;
        // Before its folder.
        drop(self.kms);
        self.folder.close().context("removing the temporary folder")?;
        Ok(answer)
    }

    /// A place for files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The whole environment of the server.
    pub fn environment(&self) -> kms_emulator::Environment {
        kms_emulator::server_environment(&self.home.empty_folder())
    }
}
