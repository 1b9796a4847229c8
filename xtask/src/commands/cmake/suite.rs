//! The suite, run by the tree's own mysql-test-run, which finds it in the tree's folder of the plugin. The server is one that is
//! there, the clients are the system's: all that it takes from the build folder are the plugin and a helper of its own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::build::Build;
use super::source::Tree;
use crate::commands::suite::tests_on_disk::{self, Test};
use crate::commands::suite::{self, mtr};
use crate::machine::{paths, toolchain};
use crate::process::background;
use crate::rig::{self, Installation};
use crate::tally::Tally;
use crate::{kms_emulator, terminal};

/// Runs a few tests with `server`, or the whole suite.
pub fn run(tree: &Tree, build: &Build<'_>, server: &Installation, whole: bool, tally: &mut Tally) -> Result<()> {
    build.target("my_safe_process")?;
    let tool = toolchain::build_tool()?;
    // Results are those of the system's series.
    let few: &[&str] = if server.is_of_the_system() { &FEW } else { &FEW_ELSEWHERE };
    let names = if whole { Vec::new() } else { few.iter().map(|name| (*name).to_owned()).collect() };
    let tests = tests_on_disk::select(&suite::sources(), &names)?;
    let is_root = rustix::process::geteuid().is_root();
    let others = OTHERS.iter().chain(is_root.then_some(&WITHOUT_ROOT));
    let tests: Vec<&Test> = tests.iter().filter(|test| !others.clone().any(|name| test.name == *name)).collect();
    let folder = paths::temporary_folder()?;
    let programs = programs(build, server, &folder.path().join("programs"))?;
    let variable_files = folder.path().join("var");
    let start = tree.folder().join("mysql-test");
    // The second is its name in MariaDB 10.5.
    let name = ["./mariadb-test-run.pl", "./mysql-test-run.pl"].into_iter().find(|name| start.join(name).is_file());
    let name = name.with_context(|| format!("there is no mariadb-test-run.pl in {}", start.display()))?;
    // Interrupted, it takes its servers along.
    let mut words = ["setpriv", "--pdeathsig", "INT", "--", name].map(str::to_owned).to_vec();
    words.push(format!("--vardir={}", variable_files.display()));
    words.extend(["--parallel=2", "--force", "--retry=0", "--max-test-fail=0"].map(str::to_owned));
    words.extend(tests.iter().map(|test| test.full_name()));
    let mut environment = kms_emulator::own_environment(&variable_files);
    let script = kms_emulator::scripts().join("kms_emulator.py");
    environment.extend(
        [
            ("MTR_BINDIR", programs),
            ("AWS_KEY_MANAGEMENT_TOOL", tool),
            ("KMS_EMULATOR_PYTHON", kms_emulator::python()),
            ("KMS_EMULATOR_SCRIPT", script),
        ]
        .map(|(name, value)| (name.into(), value.into())),
    );
    let results = mtr::follow(&background(words).dir(start).full_env(environment))?;
    terminal::detail(results.tally());
    *tally += results.tally();
    let complaints = results.complaints(&tests, false);
    if !complaints.is_empty() {
        suite::keep_logs(&variable_files)?;
    }
    ensure!(
        complaints.is_empty(),
        "{}\nThe servers' logs are in {}",
        complaints.join("\n"),
        paths::short(&suite::logs())
    );
    folder.close().context("removing the temporary folder")
}

/// What a built tree would be: the server and its files, the system's clients and plugins, and our plugin as it was built.
fn programs(build: &Build<'_>, server: &Installation, folder: &Path) -> Result<PathBuf> {
    let others = folder.join("plugin/others");
    for part in ["plugin/others", "mysql-test/lib/My", "sbin", "share"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    symlink("/usr/bin", folder.join("bin"))?;
    symlink(server.share(), folder.join("share/mysql"))?;
    symlink(server.share(), folder.join("scripts"))?;
    let mariadbd = folder.join("sbin/mariadbd");
    let words: Vec<String> = server.program().iter().map(|word| format!("'{}'", word.display())).collect();
    std::fs::write(&mariadbd, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
    std::fs::set_permissions(&mariadbd, PermissionsExt::from_mode(0o755))?;
    let helper = "mysql-test/lib/My/SafeProcess";
    symlink(build.folder().join(helper), folder.join(helper))?;
    if server.is_of_the_system() {
        let installed = PathBuf::from(rig::default_value("plugin-dir")?);
        for name in paths::names_in(&installed)?.iter().filter(|name| !name.starts_with("aws_key_management")) {
            symlink(installed.join(name), others.join(name))?;
        }
    }
    symlink(build.plugin_folder(), folder.join("plugin/aws_key_management"))?;
    Ok(folder.to_owned())
}

/// Tests of different kinds: the plugin's variables, keys, encrypted tables, backups, the tool, the file of statements.
const FEW: [&str; 6] = ["backup", "file_keys_cbc", "innodb_tables", "install", "keys_in_sql", "rotation"];

/// Those that need neither other programs nor plugins of the server's series, and print the same in each.
const FEW_ELSEWHERE: [&str; 2] = ["innodb_tables", "install"];

/// Tests for another build of the plugin, and for an installed server.
const OTHERS: [&str; 2] = ["mock_keys", "first_boot"];

/// A test in which the server must not be root's, who may read every file.
const WITHOUT_ROOT: &str = "key_file_rights";
