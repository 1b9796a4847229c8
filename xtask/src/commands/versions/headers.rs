//! Headers of one version, server of another: each plugin in each server.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::server::Programs;
use super::smoke;
use crate::machine::debian::{self, RELEASES, Release, Wanted};
use crate::machine::{packages, paths, toolchain};
use crate::rig::{self, Rig};
use crate::tally::Tally;
use crate::{kms_emulator, terminal};

/// Builds the plugin with the headers of each release, and tries each in the server of each.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST])?;
    kms_emulator::ensure()?;
    let here = debian::place_of_the_system()?;
    let target = paths::target().join("headers");
    for of_headers in &RELEASES {
        let headers = headers(of_headers)?;
        let plugin = toolchain::build_plugin_with_headers(&headers, &target)?;
        for release in &RELEASES {
            let installation = Programs::of(release, here)?.installation()?;
            let version = installation.version()?;
            let in_words = format!("headers of Debian {}, MariaDB {version}", of_headers.codename);
            Rig::of(installation, &plugin)?.run(exercise).with_context(|| in_words.clone())?;
            terminal::detail(format_args!("{in_words}: loads, lists its variables, encrypts, rotates, reads back"));
            tally.passed += 1;
        }
    }
    Ok(())
}

fn exercise(rig: &Rig) -> Result<()> {
    let server = rig.start_without_plugin()?;
    smoke::install(&server)?;
    let rows = smoke::fill_tables(&server)?;
    server.stop()?;
    let server = rig.start(rig::LOAD)?;
    smoke::rotate(rig, &server)?;
    ensure!(server.sql(smoke::ROWS)? == rows, "after a rotation and a restart the rows are not what they were");
    server.stop()
}

/// The folder of the headers of `release`.
fn headers(release: &Release) -> Result<PathBuf> {
    let tree = release.unpacked(&Wanted {
        purpose: "headers",
        packages: &["libmariadb-dev", "libmariadbd-dev"],
        with_dependencies: false,
        leave_out: &[],
        are_for_arm64: false,
    })?;
    Ok(tree.join("usr/include/mariadb/server"))
}
