//! Mutants that have no switch: cargo-mutants builds each by itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Found;
use super::list::Mutant;
use crate::machine::{paths, toolchain};
use crate::process::background;
use crate::{kms_emulator, run, terminal};

/// Tries these mutants of a package, with the tests that `targets`, words of cargo, build.
pub fn try_all(program: &Path, package: &str, targets: &[&str], mutants: &[&Mutant]) -> Result<Found> {
    let nextest = match paths::program("cargo-nextest") {
        Some(installed) => installed,
        None => toolchain::ensure_tool("cargo-nextest", NEXTEST_VERSION)?,
    };
    let output = paths::emptied(&paths::target().join("mutants/one-by-one"))?;
    let mut words: Vec<OsString> = vec![program.into(), "mutants".into(), "--output".into(), output.clone().into()];
    words.extend(["--colors=never", "--caught", "--unviable", "--test-tool=nextest"].map(OsString::from));
    words.push(format!("--package={package}").into());
    words.extend(mutants.iter().map(|mutant| format!("--re=^{}$", escaped(&mutant.name)).into()));
    // For building, too, so that nothing else is built; without them, a package whose tests are not run by default has none.
    words.extend(targets.iter().map(|target| format!("--cargo-arg={target}").into()));
    // Most tests wait for something, so there may be many. The first that fails ends the others.
    words.extend(["--", "--test-threads=16", "--max-fail=1:immediate"].map(OsString::from));
    let name = format!("cargo mutants, {} mutants that have no switch", mutants.len());
    terminal::aside(format_args!("$ {name}"));
    let mut path: Vec<PathBuf> = nextest.parent().map(Into::into).into_iter().collect();
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    // In a group of its own: it has to end the tests that it runs.
    let mut command = background(words)
        .dir(paths::repository())
        .env("PATH", std::env::join_paths(path)?)
        .env("KMS_EMULATOR_PYTHON", kms_emulator::python())
        // Nobody looks at them with a debugger, and without it they are linked sooner.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // What the plugin depends on is compiled once, not in each run.
        .env("CARGO_TARGET_DIR", paths::target().join("mutants/build"));
    // In memory, where it costs nothing that the tests bring their files to the disk one by one.
    if Path::new(MEMORY).is_dir() {
        command = command.env("TMPDIR", MEMORY);
    }
    let status = run::lines(&name, &command, |line| terminal::detail(line))?;
    // Some survived; some took too long.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("{name} failed ({status})");
    }
    let output = output.join("mutants.out");
    let names = |file: &str| -> Result<Vec<String>> {
        let text = std::fs::read_to_string(output.join(file)).with_context(|| format!("reading {file}"))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    Ok(Found {
        caught: names("caught.txt")?.len(),
        timeouts: names("timeout.txt")?.len(),
        unviable: names("unviable.txt")?.len(),
        missed: names("missed.txt")?,
    })
}

/// A name as a regular expression that only it matches.
fn escaped(name: &str) -> String {
    let is_special = |character: char| !character.is_alphanumeric() && !" _/:'\"<>=&!%-#@,;`~".contains(character);
    name.chars().flat_map(|character| is_special(character).then_some('\\').into_iter().chain([character])).collect()
}

const NEXTEST_VERSION: &str = "0.9.143";
const MEMORY: &str = "/dev/shm";

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_means_something_in_a_regular_expression_is_escaped() {
        assert_eq!(escaped("src/a.rs:1:2: replace | with ^ in f(x)"), r"src/a\.rs:1:2: replace \| with \^ in f\(x\)");
    }
}
