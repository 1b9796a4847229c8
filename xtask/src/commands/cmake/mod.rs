//! `cargo xtask cmake`: the plugin built from a MariaDB source tree, as cmake/README.md says: the tree's cmake and make, its
//! headers, its mysql-test-run.

mod build;
mod link;
mod load;
mod source;
mod suite;

use std::path::PathBuf;

use anyhow::Result;

use self::build::Build;
use self::source::Tree;
use crate::machine::{packages, paths};
use crate::tally::Tally;
use crate::{interrupt, kms_emulator, terminal};

/// Which tree, and how much of it.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Only makes the plugin's folder in this MariaDB source tree a link to this checkout
    #[arg(long, value_name = "TREE", conflicts_with_all = ["tree", "release", "whole_suite"])]
    into: Option<PathBuf>,
    /// Works with this source tree, in which the plugin's folder becomes a link (default: Debian's source package)
    #[arg(long, value_name = "TREE", conflicts_with = "release")]
    tree: Option<PathBuf>,
    /// The Debian release whose source package is used (default: this system's)
    #[arg(long, value_name = "CODENAME")]
    release: Option<String>,
    /// Runs all tests of the suite, and not a few
    #[arg(long)]
    whole_suite: bool,
}

/// Builds, installs, loads and tests the plugin; an error at the first failure.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    if let Some(tree) = &options.into {
        let tree = std::path::absolute(tree)?;
        link::into(&tree)?;
        terminal::line(NEXT.replace("TREE", &tree.display().to_string()));
        return Ok(());
    }
    packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST, packages::SOURCE_TREE])?;
    kms_emulator::ensure()?;
    let tree = match &options.tree {
        Some(folder) => Tree::at(&std::path::absolute(folder)?)?,
        None => Tree::of_release(options.release.as_deref())?,
    };
    terminal::step(format_args!("MariaDB {}, in {}", tree.version(), paths::short(tree.folder())));
    link::into(tree.folder())?;
    let build = Build::new(&tree)?;
    build.check_switches()?;
    tally.passed += 1;
    let plugin = build.make()?;
    tally.passed += 1;
    build.check_install()?;
    tally.passed += 1;
    let Some(server) = load::server(&tree)? else {
        tally.skipped += 1;
        terminal::detail(format_args!("not loaded: there is no server of MariaDB {} to be had", tree.series()));
        return Ok(());
    };
    suite::run(&tree, &build, &server, options.whole_suite, tally)?;
    load::check(server, &plugin)?;
    tally.passed += 1;
    Ok(())
}

/// The same with the system's source package, as a part of all tests: a mirror that has packages but not their sources is not
/// the plugin's fault, and is counted as a test that did not run.
pub fn run_if_there(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::SOURCE_TREE])?;
    if let Err(error) = Tree::of_release(None) {
        interrupt::check()?;
        tally.skipped += 1;
        terminal::detail(format_args!("did not run: {error:#}"));
        return Ok(());
    }
    run(&Options::default(), tally)
}

const NEXT: &str = "
Next, in a build folder of your choice (cmake/README.md has more switches):

    cmake -S TREE -B BUILD -DPLUGIN_AWS_KEY_MANAGEMENT=DYNAMIC -DNOT_FOR_DISTRIBUTION=ON
    make -C BUILD/plugin/aws_key_management install";
