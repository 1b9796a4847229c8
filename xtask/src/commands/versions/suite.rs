//! The tests of `mysql-test/` in another release's server, under its own mysql-test-run.

use std::rc::Rc;

use anyhow::{Context, Result};

use crate::commands::suite::{self, Build, Subject, System};
use crate::machine::c_library::CLibrary;
use crate::machine::debian::{Release, Wanted};
use crate::machine::toolchain::{self, older};
use crate::tally::Tally;
use crate::terminal;

/// Runs the tests of `names`, or all; where the release `is_older` than this system, with a build for its C library.
pub fn run(release: &Release, is_older: bool, names: &[String], tally: &mut Tally) -> Result<()> {
    terminal::step(format_args!("The suite in the MariaDB of Debian {}", release.codename));
    let packages = [PACKAGES, ESSENTIAL].concat();
    let wanted =
        Wanted { purpose: "suite", packages: &packages, with_dependencies: true, leave_out: &[], are_for_arm64: false };
    let system = System::unpacked(&release.unpacked(&wanted)?)?;
    let subject = if is_older {
        let library = Rc::new(CLibrary::of(release)?);
        let build = |with: fn(&CLibrary) -> Result<_>| -> Build {
            let library = Rc::clone(&library);
            Box::new(move || with(&library))
        };
        Subject {
            system,
            plugin: build(older::build_plugin),
            mock_plugin: build(older::build_mock_plugin),
            tool: build(older::build_tool),
            may_leave_out: true,
        }
    } else {
        Subject {
            system,
            plugin: Box::new(toolchain::build_plugin),
            mock_plugin: Box::new(toolchain::build_mock_plugin),
            tool: Box::new(toolchain::build_tool),
            may_leave_out: true,
        }
    };
    let request = suite::Options { names: names.to_vec(), ..suite::Options::default() };
    suite::run_with(&subject, &request, tally)
        .with_context(|| format!("with the MariaDB of Debian {}", release.codename))
}

/// As for the suite of this system, and what the tests call.
const PACKAGES: &[&str] = &["mariadb-server", "mariadb-test", "mariadb-backup", "patch", "tinyproxy-bin", "util-linux"];

/// What every Debian system has, so that no package names it.
const ESSENTIAL: &[&str] = &[
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "grep",
    "hostname",
    "mawk",
    "perl",
    "procps",
    "sed",
];
