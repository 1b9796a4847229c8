//! The .deb installed, upgraded, removed and purged in a copy of this system, with a server at work; and the .rpm, without one.
//!
//! The copy is an overlay of the root folder, mounted in namespaces of its own: dpkg works with its own database, the triggers of
//! the packages that are installed, and the folders where Debian has them, and nothing of it reaches the system. What it writes
//! lies in memory and is gone with its last process; so are its processes, which see no others.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail};
use duct::Expression;

use super::Made;
use crate::kms_emulator::{self, Emulator};
use crate::machine::{packages, paths};
use crate::tally::Tally;
use crate::{run, terminal};

/// Why it cannot be run here, if it cannot: mounts and namespaces need root's rights, which a container may not give.
fn obstacle() -> Result<Option<&'static str>> {
    let space = paths::temporary_folder()?;
    let can_be_made =
        in_a_copy(space.path(), space.path(), ["true".into()])?.stdout_null().stderr_null().unchecked().run()?;
    Ok((!can_be_made.status.success()).then_some(
        "here, no file systems can be mounted in a namespace of our own, as in a container that is not privileged",
    ))
}

/// Does it, and shows what was checked.
pub fn run(made: &Made, tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::RUN, packages::WHOLE_SERVER])?;
    kms_emulator::ensure()?;
    if let Some(reason) = obstacle()? {
        bail!("{reason}");
    }
    terminal::step("Installing, upgrading and removing them in a copy of this system");
    let folder = paths::temporary_folder()?;
    let packages = paths::emptied(&folder.path().join("packages"))?;
    let kms = Emulator::start(folder.path())?;
    let [next_deb, next_rpm] = made.next()?;
    // Under names that need no quotes.
    for (package, name) in [(&made.deb, "a.deb"), (&next_deb, "b.deb"), (&made.rpm, "a.rpm"), (&next_rpm, "b.rpm")] {
        std::fs::copy(package, packages.join(name)).with_context(|| format!("copying {}", package.display()))?;
    }
    let space = paths::emptied(&folder.path().join("space"))?;
    // Names and values as words of env: sudo lets no variables through.
    let environment =
        kms_emulator::server_environment(Path::new("/nonexistent")).into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
    let trial = ["sh", "-c", TRIAL, "trial", "/tmp/packages", kms.endpoint(), kms.own_master_key()];
    let words = ["env", "-i"].into_iter().map(OsString::from).chain(environment).chain(trial.map(OsString::from));
    let command = in_a_copy(&space, &packages, words)?;
    let mut said = Vec::new();
    let status = run::lines_with_progress("dpkg", &command, |line| match line.strip_prefix("ok ") {
        Some(checked) => {
            terminal::detail(checked);
            tally.passed += 1;
        }
        None => said.push(line.to_owned()),
    })?;
    if !status.success() {
        tally.failed += 1;
        bail!("the trial of the packages failed ({status}); it said:\n{}", said.join("\n"));
    }
    Ok(())
}

/// `words` in a copy of this system, mounted below `space`, in which the folder `packages` is seen.
fn in_a_copy(space: &Path, packages: &Path, words: impl IntoIterator<Item = OsString>) -> Result<Expression> {
    let unshare =
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ROOT, "root"].map(OsString::from);
    let places = [space, packages].map(|place| place.as_os_str().to_owned());
    packages::as_root(unshare.into_iter().chain(places).chain(words))
}

const ROOT: &str = include_str!("root.sh");
const TRIAL: &str = include_str!("trial.sh");
