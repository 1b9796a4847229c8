//! The version of a package: that of the project, with the time of the commit that it was built from.

use std::fmt;

use anyhow::{Context, Result};
use duct::cmd;

use crate::machine::paths;
use crate::run;

/// A version that is higher the later its commit is.
#[derive(Clone)]
pub struct Version {
    /// Date and time of the commit: `20261127224908`.
    build: String,
    /// Its name, where there is git.
    commit: Option<String>,
    /// That time in seconds since 1970.
    epoch: u64,
}

impl Version {
    /// That of the checkout. `SOURCE_DATE_EPOCH` has the time, where there is no git.
    pub fn of_the_checkout() -> Result<Self> {
        let commit = git(&["log", "-1", "--format=%h"]).ok();
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(given) => given,
            Err(_) => git(&["log", "-1", "--format=%ct"]).context(
                "the time of the commit is needed; where there is no git, set SOURCE_DATE_EPOCH, in seconds since 1970",
            )?,
        };
        let epoch =
            time.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH is no number of seconds: '{time}'"))?;
        let mut build = date(epoch, BUILD)?;
        // What is built then is not what the commit holds.
        if commit.is_some() && !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            build.push_str(".wip");
        }
        Ok(Self { build, commit, epoch })
    }

    /// A higher one.
    pub fn next(&self) -> Self {
        Self { build: format!("{}.1", self.build), ..self.clone() }
    }

    /// As RPM writes it: version and release.
    pub fn for_rpm(&self) -> (&str, String) {
        (PROJECT, format!("1.{}", self.build))
    }

    /// The name of the commit.
    pub fn commit(&self) -> &str {
        self.commit.as_deref().unwrap_or("unknown")
    }

    /// The time of the commit, in seconds since 1970.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// That time, as a changelog has it.
    pub fn date(&self) -> Result<String> {
        date(self.epoch, "--rfc-email")
    }
}

/// As Debian writes it.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PROJECT}+{}", self.build)
    }
}

fn date(epoch: u64, format: &str) -> Result<String> {
    let command = cmd!("date", "--utc", format!("--date=@{epoch}"), format).env("LC_ALL", "C");
    Ok(run::output("date", &command)?.trim().to_owned())
}

fn git(words: &[&str]) -> Result<String> {
    Ok(run::output("git", &cmd("git", words).dir(paths::repository()))?.trim().to_owned())
}

/// A later time is a higher number.
const BUILD: &str = "+%Y%m%d%H%M%S";

/// All packages of the workspace have it.
const PROJECT: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_commit_has_a_higher_version_for_both() -> Result<()> {
        let of = |epoch| -> Result<Version> { Ok(Version { build: date(epoch, BUILD)?, commit: None, epoch }) };
        let (first, second) = (of(1_795_819_748)?, of(1_795_819_749)?);
        assert_eq!(first.build, "20261127224908");
        for (low, high) in [(&first, &second), (&first, &first.next())] {
            let compare = cmd!("dpkg", "--compare-versions", low.to_string(), "lt", high.to_string());
            assert!(compare.unchecked().run()?.status.success(), "{low} {high}");
        }
        assert_eq!(first.for_rpm(), (PROJECT, "1.20261127224908".to_owned()));
        assert_eq!(first.date()?, "Fri, 27 Nov 2026 22:49:08 +0000");
        Ok(())
    }
}
