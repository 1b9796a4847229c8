//! `cargo xtask package`: a .deb and a .rpm with the plugin, its option file, the offline tool, and what there is to read. For
//! the machines of whoever builds them: the licences do not allow them to be handed on.
//!
//! They are made by the distributions' own programs (dpkg-deb, rpmbuild) of one laid out tree, so that each package's
//! description is a file that its packagers know, in `packaging/`.

mod contents;
mod deb;
mod inspect;
mod rpm;
mod trial;
mod version;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use indicatif::DecimalBytes;

use self::contents::Built;
use self::version::Version;
use crate::machine::c_library::CLibrary;
use crate::machine::debian::RELEASES;
use crate::machine::toolchain::older;
use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;
use crate::{run, terminal};

/// For what, and whether it is tried.
#[derive(clap::Args)]
pub struct Options {
    /// Installs, upgrades and removes the .deb in a copy of this system that is thrown away, with a server (as root)
    #[arg(long = "try")]
    is_tried: bool,
    /// Builds for systems with this or a newer glibc (2.31 is that of Debian 11); without it, for this system's
    #[arg(long, value_name = "VERSION", value_parser = PossibleValuesParser::new(RELEASES.map(|release| release.glibc)))]
    target_glibc: Option<String>,
    /// Where the server of the .rpm looks for plugins: that of RHEL's and Amazon's packages; MariaDB's own look in
    /// /usr/lib64/mysql/plugin
    #[arg(long, value_name = "DIR", default_value = RPM_PLUGINS)]
    rpm_plugin_dir: PathBuf,
}

/// Builds both packages and looks into them; with `--try`, the trial.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    let made = make(options, tally)?;
    if options.is_tried {
        trial::run(&made, tally)?;
    }
    terminal::line(format_args!("\n{NEXT}"));
    Ok(())
}

/// What was made.
struct Made {
    built: Built,
    version: Version,
    deb: PathBuf,
    rpm: PathBuf,
    rpm_plugins: PathBuf,
    scratch: PathBuf,
}

impl Made {
    /// Packages of the same with a higher version: .deb and .rpm.
    fn next(&self) -> Result<[PathBuf; 2]> {
        let (version, folder) = (self.version.next(), self.scratch.join("next"));
        Ok([
            deb::build(&self.built, &version, &folder, &folder.join("deb"))?,
            rpm::build(&self.built, &version, &self.rpm_plugins, &folder, &folder.join("rpm"))?,
        ])
    }
}

fn make(options: &Options, tally: &mut Tally) -> Result<Made> {
    packages::ensure(&[packages::BUILD, packages::PACKAGE])?;
    let library = options.target_glibc.as_deref().map(CLibrary::of_version).transpose()?;
    let version = Version::of_the_checkout()?;
    terminal::step(format_args!("Building the plugin and the offline tool, {version}"));
    let (plugin, tool) = match &library {
        None => (toolchain::build_plugin()?, toolchain::build_tool()?),
        Some(library) => (older::build_plugin(library)?, older::build_tool(library)?),
    };
    // Without those of earlier commits.
    let folder = paths::emptied(&paths::target().join("package"))?;
    let scratch = paths::emptied(&folder.join("scratch"))?;
    let built = Built::new(plugin, tool, &scratch)?;

    terminal::step("Packing");
    let deb = deb::build(&built, &version, &folder, &scratch.join("deb"))?;
    let rpm = rpm::build(&built, &version, &options.rpm_plugin_dir, &folder, &scratch.join("rpm"))?;
    for package in [&deb, &rpm] {
        let size = std::fs::metadata(package)?.len();
        terminal::detail(format_args!("{} ({})", paths::short(package), DecimalBytes(size)));
    }
    // In folders of other names, as they may be anywhere.
    let again = scratch.join("again");
    for (package, repeated) in [
        (&deb, deb::build(&built, &version, &again, &again.join("deb"))?),
        (&rpm, rpm::build(&built, &version, &options.rpm_plugin_dir, &again, &again.join("rpm"))?),
    ] {
        ensure!(is_same(package, &repeated)?, "packed again, {} has other bytes", paths::short(package));
        tally.passed += 1;
    }
    terminal::detail("packed again, both are the same to the byte");

    terminal::step("Looking into the packages");
    inspect::deb(&deb)?;
    inspect::rpm(&rpm, &options.rpm_plugin_dir)?;
    inspect::drop_in(&scratch)?;
    tally.passed += 3;
    let rpm_plugins = options.rpm_plugin_dir.clone();
    Ok(Made { built, version, deb, rpm, rpm_plugins, scratch })
}

fn is_same(one: &Path, other: &Path) -> Result<bool> {
    Ok(std::fs::read(one)? == std::fs::read(other)?)
}

/// A file of `packaging/`.
fn source(name: &str) -> PathBuf {
    paths::repository().join("packaging").join(name)
}

/// The text of a file of `packaging/`, with each `@NAME@` replaced.
fn filled_in(name: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut text = std::fs::read_to_string(source(name))?;
    for (place, value) in values {
        text = text.replace(&format!("@{place}@"), value);
    }
    let left =
        text.split('@').nth(1).filter(|word| word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_'));
    ensure!(left.is_none(), "packaging/{name} has a place for {}, which has no value", left.unwrap_or_default());
    Ok(text)
}

/// Sets the time of everything below `root`, and rights of folders that do not depend on ours.
fn settle(root: &Path, version: &Version) -> Result<()> {
    let time = format!("--date=@{}", version.epoch());
    run::quietly("chmod", &duct::cmd!("find", root, "-type", "d", "-exec", "chmod", "755", "{}", "+"))?;
    run::quietly("touch", &duct::cmd!("find", root, "-exec", "touch", "--no-dereference", time, "{}", "+"))
}

const RPM_PLUGINS: &str = "/usr/lib64/mariadb/plugin";

const NAME: &str = "mariadb-plugin-aws-key-management";

const NEXT: &str = "\
To install one:  apt install ./FILE.deb  or  dnf install ./FILE.rpm
Then fill in the option file, and restart the server: docs/install.md.

These packages are for your own machines. The licences of what they combine do not allow them to be handed on: README.md.";
