//! `man-pages`: the manual pages of this program. For whoever packs it, and not in its help.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::ending::Ending;

/// Where to.
#[derive(clap::Args)]
pub struct Options {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a page for the program and one for each of its commands.
pub fn run(options: &Options, program: clap::Command) -> Result<Ending> {
    clap_mangen::generate_to(program, &options.folder)
        .with_context(|| format!("writing manual pages to {}", options.folder.display()))?;
    Ok(Ending::Good)
}
