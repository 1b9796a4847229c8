//! `cargo xtask versions`: the plugin in the servers of other Debian releases.

mod headers;
pub mod server;
pub mod smoke;
mod suite;

use anyhow::Result;

use self::server::Programs;
use crate::machine::debian::{self, RELEASES};
use crate::rig::Installation;
use crate::tally::Tally;

/// What to try.
#[derive(clap::Args)]
pub struct Options {
    /// Runs the tests of mysql-test/ in each, under its own mysql-test-run (as root; an hour)
    #[arg(long)]
    suite: bool,
    /// Builds the plugin with the headers of each version, and tries it in the server of each
    #[arg(long)]
    headers: bool,
    /// Only this release
    #[arg(long, value_name = "CODENAME", value_parser = clap::builder::PossibleValuesParser::new(RELEASES.map(|release| release.codename)))]
    release: Option<String>,
    /// Tests of the suite, with or without their suite (all without it)
    #[arg(requires = "suite")]
    names: Vec<String>,
}

/// Installs what is missing, and does what is asked for; an error at the first version in which something fails.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    let here = debian::place_of_the_system()?;
    let wanted = |codename| options.release.as_deref().is_none_or(|wanted| wanted == codename);
    let others: Vec<_> =
        RELEASES.iter().enumerate().filter(|(place, it)| *place != here && wanted(it.codename)).collect();
    if options.headers {
        headers::run(tally)?;
    }
    if options.suite {
        for (place, release) in &others {
            suite::run(release, *place < here, &options.names, tally)?;
        }
    }
    if options.headers || options.suite {
        return Ok(());
    }
    smoke::run(others.iter().map(|(_, release)| **release), here, tally)
}

/// A server of `series`, such as `11.8`, unpacked from another release, if one has it.
pub fn server_of(series: &str) -> Result<Option<Installation>> {
    let here = debian::place_of_the_system()?;
    let others = RELEASES.iter().enumerate().filter(|(place, _)| *place != here);
    let release = others.map(|(_, release)| release).find(|release| release.series == series);
    release.map(|release| Programs::of(release, here)?.installation()).transpose()
}

/// Tries the plugin, as it is built here, in each version, in short.
pub fn smoke(tally: &mut Tally) -> Result<()> {
    run(&Options { suite: false, headers: false, release: None, names: Vec::new() }, tally)
}
