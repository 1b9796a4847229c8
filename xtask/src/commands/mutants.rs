//! `cargo xtask mutants`: cargo-mutants changes the source in one place after the other, and a test must fail each time.
//! A mutant that survives is a test that is missing, or stands in docs/mutants.md with the reason why it is equivalent.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::machine::{packages, paths, toolchain};
use crate::process::background;
use crate::tally::Tally;
use crate::{kms_emulator, run, terminal};

/// What is mutated.
#[derive(clap::Args)]
pub struct Options {
    /// Folders or files below src/keystore, src/kms and src/cipher, such as keystore/files or cipher/gcm.rs (all without it)
    parts: Vec<String>,
    /// How many mutants are tried at the same time; each has a copy of everything that is compiled
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Leaves out what the last run of the same folder caught: goes on after an interruption, or after new tests
    #[arg(long)]
    resume: bool,
}

/// A folder of src/ and the tests that belong to it.
struct Area {
    name: &'static str,
    /// Arguments of `cargo test`: what is built.
    targets: &'static [&'static str],
    /// The tests that are run, all of them without it.
    tests: &'static [&'static str],
}

/// Installs what is missing and tries the mutants. An error if one survives that is not explained.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    let parts: Vec<&str> = match &options.parts[..] {
        [] => AREAS.iter().map(|area| area.name).collect(),
        parts => parts.iter().map(|part| part.trim_matches('/')).collect(),
    };
    let area_of = |part: &str| {
        let is_in = |area: &&Area| part.split('/').next() == Some(area.name);
        let known = AREAS.iter().find(is_in).filter(|_| paths::repository().join("src").join(part).exists());
        known.with_context(|| format!("there is no src/{part}, or it is in none of src/keystore, src/kms, src/cipher"))
    };
    for part in &parts {
        area_of(part)?;
    }
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    kms_emulator::ensure()?;
    let program = toolchain::ensure_tool("cargo-mutants", VERSION)?;
    let explained =
        std::fs::read_to_string(paths::repository().join(LIST)).with_context(|| format!("reading {LIST}"))?;
    let mut explained = explained_in(&explained);
    let mut unexplained = Vec::new();
    for area in &AREAS {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| part.split('/').next() == Some(area.name)).collect();
        if !parts.is_empty() {
            let output = try_area(&program, area, &parts, options)?;
            unexplained.extend(judge(&output, &mut explained, tally)?);
        }
    }
    ensure!(
        unexplained.is_empty(),
        "no test notices these; write one, or say in {LIST} why it is equivalent:\n{}",
        unexplained.join("\n")
    );
    Ok(())
}

/// Runs cargo-mutants on `parts` of `area`, and answers where its results are.
fn try_area(program: &Path, area: &Area, parts: &[&str], options: &Options) -> Result<std::path::PathBuf> {
    let output = paths::target().join("mutants").join(area.name);
    std::fs::create_dir_all(&output)?;
    let mut words: Vec<OsString> = vec![program.into(), "mutants".into(), "--output".into(), output.clone().into()];
    words.extend(
        ["--package=aws_key_management", "--no-shuffle", "--colors=never", "--caught", "--unviable"]
            .map(OsString::from),
    );
    words.push(format!("--jobs={}", options.jobs).into());
    words.extend(options.resume.then(|| "--iterate".into()));
    for part in parts {
        let is_folder = paths::repository().join("src").join(part).is_dir();
        words.push(format!("--file=src/{part}{}", if is_folder { "/**" } else { "" }).into());
    }
    // For building, too, so that nothing else is built.
    words.extend(area.targets.iter().map(|target| format!("--cargo-arg={target}").into()));
    words.push("--".into());
    words.extend(area.tests.iter().map(OsString::from));
    let name = format!("cargo mutants, {}", parts.join(" "));
    terminal::aside(format_args!("$ {name}"));
    // In a group of its own: it has to end the tests that it runs.
    let mut command = background(words)
        .dir(paths::repository())
        .env("KMS_EMULATOR_PYTHON", kms_emulator::python())
        // Nobody looks at them with a debugger, and without it they are linked sooner.
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    if options.jobs == 1 {
        // What the plugin depends on is compiled once, not in each run.
        command = command.env("CARGO_TARGET_DIR", paths::target().join("mutants/build"));
    }
    let status = run::lines(&name, &command, |line| terminal::detail(line))?;
    // Some survived; some took too long.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("{name} failed ({status})");
    }
    Ok(output.join("mutants.out"))
}

/// Counts the results in `folder`; answers what survived and is not among `explained`, from which is taken what is.
fn judge(folder: &Path, explained: &mut Vec<String>, tally: &mut Tally) -> Result<Vec<String>> {
    let names = |file: &str| -> Result<Vec<String>> {
        let text = std::fs::read_to_string(folder.join(file)).with_context(|| format!("reading {file}"))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (caught, timeouts, missed) = (names("caught.txt")?, names("timeout.txt")?, names("missed.txt")?);
    let mut unexplained = Vec::new();
    for mutant in &missed {
        match explained.iter().position(|known| *known == without_place(mutant)) {
            Some(index) => drop(explained.swap_remove(index)),
            None => unexplained.push(mutant.clone()),
        }
    }
    terminal::detail(format_args!(
        "{} caught, {} of them by taking for ever; {} survived, {} of them explained in {LIST}; {} do not compile",
        caught.len() + timeouts.len(),
        timeouts.len(),
        missed.len(),
        missed.len() - unexplained.len(),
        names("unviable.txt")?.len()
    ));
    tally.passed += caught.len() + timeouts.len() + missed.len() - unexplained.len();
    tally.failed += unexplained.len();
    Ok(unexplained)
}

/// The mutants of the list: rows of a table that begin with the mutant's name in backticks, without line and column.
fn explained_in(list: &str) -> Vec<String> {
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.filter(|(_, reason)| reason.chars().any(char::is_alphabetic)).map(|(name, _)| name.to_owned()).collect()
}

/// `src/cipher/gcm.rs:12:34: replace ..` without the numbers, which change with every edit.
fn without_place(mutant: &str) -> String {
    let Some((place, what)) = mutant.split_once(": ") else { return mutant.to_owned() };
    format!("{}: {what}", place.split(':').next().unwrap_or(place))
}

const VERSION: &str = "27.1.0";
const LIST: &str = "docs/mutants.md";

const AREAS: [Area; 3] = [
    Area { name: "keystore", targets: &["--lib", "--features=failpoints"], tests: &["keystore::"] },
    Area {
        name: "kms",
        targets: &["--lib", "--test=kms_aws", "--test=sdk_log"],
        tests: &["--", "--skip=keystore::", "--skip=abi::", "--skip=cipher::"],
    },
    Area {
        name: "cipher",
        targets: &["--lib", "--test=cipher_vectors", "--test=cipher_properties", "--test=cipher_oracle"],
        tests: &["--", "--skip=keystore::", "--skip=abi::", "--skip=kms::"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_are_compared_without_their_place_in_the_file() {
        assert_eq!(
            without_place("src/cipher/gcm.rs:12:34: replace + with - in Gcm::update"),
            "src/cipher/gcm.rs: replace + with - in Gcm::update"
        );
    }

    #[test]
    fn only_rows_with_a_reason_explain_a_mutant() {
        let list = "| mutant | why |\n|---|---|\n| `src/a.rs: replace a with b` | both are 0 |\n| `src/b.rs: x` | |\n";
        assert_eq!(explained_in(list), ["src/a.rs: replace a with b"]);
    }

    #[test]
    fn a_survivor_is_explained_once_for_each_row() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let survivor = "src/a.rs:1:2: replace a with b\n";
        for (file, text) in [
            ("caught.txt", "src/a.rs:9:9: other\n"),
            ("timeout.txt", ""),
            ("unviable.txt", ""),
            ("missed.txt", &survivor.repeat(2)),
        ] {
            std::fs::write(folder.path().join(file), text)?;
        }
        let mut tally = Tally::default();
        let unexplained = judge(folder.path(), &mut vec!["src/a.rs: replace a with b".to_owned()], &mut tally)?;
        assert_eq!(unexplained, [survivor.trim()]);
        assert_eq!(tally, Tally { passed: 2, failed: 1, skipped: 0 });
        Ok(())
    }
}
