//! The folders that mysql-test-run needs: a base directory that looks like an installed server, with our plugin, our
//! suites and the emulator in it. Copies of ours, because the user `mysql` may not be able to read the checkout; links
//! for the rest.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::flavour::Flavour;
use super::tests_on_disk::Test;
use crate::{command, emulator, installation, paths};

/// What all flavours share.
pub struct Workshop {
    folder: PathBuf,
    plugins_of_the_server: PathBuf,
}

impl Workshop {
    /// Copies the emulator into `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        let mariadbd = paths::program("mariadbd").context("there is no program mariadbd")?;
        let plugins_of_the_server = installation::default_values(&mariadbd)?.value("plugin-dir")?.into();
        copy(&emulator::environment(), &folder.join("python"))?;
        copy(&emulator::folder(), &folder.join("kms_emulator"))?;
        make_readable(folder)?;
        Ok(Self { folder: folder.to_owned(), plugins_of_the_server })
    }

    /// Makes the base directory of a flavour, with no other tests than `tests` in it.
    pub fn base(&self, flavour: Flavour, plugin: &Path, sources: &Path, tests: &[&Test]) -> Result<Base> {
        let folder = self.folder.join(flavour.word());
        let plugins = folder.join("lib/mysql/plugin");
        let suites = folder.join("mysql-test/plugin");
        std::fs::create_dir_all(&plugins)?;
        std::fs::create_dir_all(&suites)?;
        link_all(Path::new("/usr"), &folder, |name| ["bin", "sbin", "share"].contains(&name))?;
        link_all(Path::new("/usr/lib"), &folder.join("lib"), |name| name.ends_with("-linux-gnu"))?;
        // An installed copy of our own plugin must not take the place of the one that was just built.
        link_all(&self.plugins_of_the_server, &plugins, |name| name != PLUGIN)?;
        std::fs::copy(plugin, plugins.join(PLUGIN)).with_context(|| format!("copying {}", plugin.display()))?;
        link_all(Path::new(SERVER_TESTS), &folder.join("mysql-test"), |name| name != "plugin")?;
        link_all(&Path::new(SERVER_TESTS).join("plugin"), &suites, |name| name != OURS)?;
        copy(sources, &suites.join(OURS))?;
        // mysql-test-run removes and makes its `var`, so it must own the folder above.
        let writable = folder.join("run");
        std::fs::create_dir(&writable)?;
        let base = Base { folder, workshop: self.folder.clone() };
        base.keep_only(tests)?;
        make_readable(&base.folder)?;
        if rustix::process::geteuid().is_root() {
            // mysql-test-run writes recorded results beside the tests.
            let mut chown = Command::new("chown");
            chown.args(["-R", &format!("{USER}:")]).arg(base.suites()).arg(&writable);
            command::output("chown", &mut chown)?;
        }
        Ok(base)
    }
}

/// A base directory for mysql-test-run.
pub struct Base {
    folder: PathBuf,
    workshop: PathBuf,
}

impl Base {
    /// Where mysql-test-run is started.
    pub fn start_folder(&self) -> PathBuf {
        self.folder.join("mysql-test")
    }

    /// Where it puts data folders and logs.
    pub fn variable_files(&self) -> PathBuf {
        self.folder.join("run/var")
    }

    /// What the suites' `suite.pm` starts the emulator with.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("KMS_EMULATOR_PYTHON", self.workshop.join("python/bin/python")),
            ("KMS_EMULATOR_SCRIPT", self.workshop.join("kms_emulator/kms_emulator.py")),
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

    fn suites(&self) -> PathBuf {
        self.folder.join("mysql-test/plugin").join(OURS)
    }

    /// Removes the files of tests other than `tests`, so that mysql-test-run can be told to run everything.
    fn keep_only(&self, tests: &[&Test]) -> Result<()> {
        for suite in paths::names_in(&self.suites())? {
            let folder = self.suites().join(&suite).join("t");
            if !folder.is_dir() {
                continue;
            }
            for file in paths::names_in(&folder)? {
                let name = file.strip_suffix(".test");
                if name.is_some_and(|name| !tests.iter().any(|test| test.suite == suite && test.name == name)) {
                    std::fs::remove_file(folder.join(&file))?;
                }
            }
        }
        Ok(())
    }
}

fn link_all(from: &Path, into: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for name in paths::names_in(from)? {
        if wanted(&name) {
            symlink(from.join(&name), into.join(&name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    command::output("cp", Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

fn make_readable(folder: &Path) -> Result<()> {
    command::output("chmod", Command::new("chmod").args(["-R", "a+rX"]).arg(folder)).map(drop)
}

/// The user that the servers run as if we are root: mysql-test-run skips tests under root.
pub const USER: &str = "mysql";

const SERVER_TESTS: &str = "/usr/share/mysql/mysql-test";
const PLUGIN: &str = "aws_key_management.so";
/// The folder of our suites among those of other plugins.
const OURS: &str = "aws_key_management";
