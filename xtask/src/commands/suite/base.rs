//! The folders that mysql-test-run needs: a base directory that looks like an installed server, with our plugin, our
//! suites and the emulator in it. Copies of ours, because the user `mysql` may not be able to read the checkout; links
//! for the rest.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use duct::cmd;

use super::system::System;
use crate::commands::install;
use crate::machine::paths;
use crate::{kms_emulator, run};

/// A base directory for mysql-test-run.
pub struct Base {
    folder: PathBuf,
    python: PathBuf,
    /// The folder for mysql-test-run, whose name it insists on.
    tests: PathBuf,
}

impl Base {
    /// Makes one in `folder` for `system`, with the suites of `sources` and no plugin of ours yet.
    pub fn new(folder: &Path, system: &System, sources: &Path) -> Result<Self> {
        let server_tests = system.tests()?;
        let tests = folder.join(server_tests.file_name().context("a name of the server's tests")?);
        for folder in [folder.join("lib/mysql/plugin"), tests.join("plugin"), folder.join("run")] {
            std::fs::create_dir_all(folder)?;
        }
        copy(&kms_emulator::environment(), &folder.join("python"))?;
        copy(&kms_emulator::scripts(), &folder.join("kms_emulator"))?;
        let python = system.python(&folder.join("python"), folder)?;
        let base = Self { folder: folder.to_owned(), python, tests };
        let link_all = |from: &Path, into: &Path, wanted: &dyn Fn(&str) -> bool| link_all(system, from, into, wanted);
        link_all(Path::new("/usr"), folder, &|name| ["bin", "sbin", "share"].contains(&name))?;
        link_all(Path::new("/usr/lib"), &folder.join("lib"), &|name| name.ends_with("-linux-gnu"))?;
        // An installed copy of our own plugin must not take the place of the one that was just built.
        link_all(&system.plugins()?, &folder.join("lib/mysql/plugin"), &|name| {
            name != PLUGIN && name != install::STATEMENTS
        })?;
        link_all(&server_tests, &base.tests, &|name| name != "plugin")?;
        link_all(&server_tests.join("plugin"), &base.tests.join("plugin"), &|name| name != OURS)?;
        copy(sources, &base.suites())?;
        run::output("chmod", &cmd!("chmod", "-R", "a+rX", folder))?;
        if rustix::process::geteuid().is_root() {
            // mysql-test-run writes recorded results beside the tests, and removes and makes its `var`.
            run::output("chown", &cmd!("chown", "-R", format!("{USER}:"), base.suites(), folder.join("run")))?;
        }
        Ok(base)
    }

    /// Tests are run with `plugin` from now on. Beside it lies what `cargo xtask install` puts there.
    pub fn put_plugin(&self, plugin: &Path) -> Result<()> {
        for (file, name) in [(plugin, PLUGIN), (&install::statements_source(), install::STATEMENTS)] {
            let copy = self.folder.join("lib/mysql/plugin").join(name);
            std::fs::copy(file, &copy).with_context(|| format!("copying {}", file.display()))?;
            run::output("chmod", &cmd!("chmod", "a+rX", copy))?;
        }
        Ok(())
    }

    /// Tests find the offline tool there from now on.
    pub fn put_tool(&self, tool: &Path) -> Result<()> {
        let copy = self.tool();
        std::fs::copy(tool, &copy).with_context(|| format!("copying {}", tool.display()))?;
        run::output("chmod", &cmd!("chmod", "a+rx", copy)).map(drop)
    }

    /// Everything of it is below.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where mysql-test-run is started.
    pub fn start_folder(&self) -> PathBuf {
        self.tests.clone()
    }

    /// Where it puts data folders and logs.
    pub fn variable_files(&self) -> PathBuf {
        self.folder.join("run/var")
    }

    /// What the suites' `suite.pm` starts the emulator with, and the offline tool.
    pub fn environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("AWS_KEY_MANAGEMENT_TOOL", self.tool()),
            ("KMS_EMULATOR_PYTHON", self.python.clone()),
            ("KMS_EMULATOR_SCRIPT", self.folder.join("kms_emulator/kms_emulator.py")),
        ]
    }

    /// Copies results that differ from those in `sources` there, and gives their paths.
    pub fn changed_results(&self, sources: &Path) -> Result<Vec<PathBuf>> {
        let mut changed = Vec::new();
        for (file, _) in paths::files_below(&self.suites())? {
            let original = sources.join(file.strip_prefix(self.suites())?);
            let is_result = ["result", "rdiff"].iter().any(|ending| file.extension().is_some_and(|it| it == *ending));
            let new = std::fs::read(&file)?;
            if is_result && std::fs::read(&original).ok().as_ref() != Some(&new) {
                // Written anew rather than copied: the file belongs to whoever works on the checkout.
                if let Some(folder) = original.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                std::fs::write(&original, new)?;
                changed.push(original);
            }
        }
        Ok(changed)
    }

    fn tool(&self) -> PathBuf {
        self.folder.join("aws-key-management")
    }

    fn suites(&self) -> PathBuf {
        self.tests.join("plugin").join(OURS)
    }
}

fn link_all(system: &System, from: &Path, into: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    for name in paths::names_in(&system.outside(from))? {
        if wanted(&name) {
            symlink(from.join(&name), into.join(&name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run::output("cp", &cmd!("cp", "-a", from, to)).map(drop)
}

/// The user that the servers run as if we are root: mysql-test-run skips tests under root.
pub const USER: &str = "mysql";

const PLUGIN: &str = "aws_key_management.so";
/// The folder of our suites among those of other plugins.
const OURS: &str = "aws_key_management";
