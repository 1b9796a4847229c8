//! `cargo xtask mutants`: cargo-mutants changes the source in one place after the other, and a test must fail each time.
//! A mutant that survives is a test that is missing, or stands in docs/mutants.md with the reason why it is equivalent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    /// The package that is built, which may be a small one that has the folder too.
    package: &'static str,
    /// Each mutant that survives the tests of the first is tried again with those of the next.
    stages: &'static [Stage],
}

/// Some of the tests of an area.
struct Stage {
    /// Arguments of `cargo`: what is built.
    targets: &'static [&'static str],
    /// The tests that are run, as a filter of nextest.
    tests: &'static str,
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
    let nextest = match paths::program("cargo-nextest") {
        Some(installed) => installed,
        None => toolchain::ensure_tool("cargo-nextest", NEXTEST_VERSION)?,
    };
    let explained =
        std::fs::read_to_string(paths::repository().join(LIST)).with_context(|| format!("reading {LIST}"))?;
    let mut explained = explained_in(&explained);
    let mut unexplained = Vec::new();
    for area in &AREAS {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| part.split('/').next() == Some(area.name)).collect();
        if !parts.is_empty() {
            let mut found = Found::default();
            for (number, stage) in area.stages.iter().enumerate() {
                let output = try_stage([&program, &nextest], area, stage, &parts, options, number > 0)?;
                found.add(&output)?;
            }
            unexplained.extend(judge(&found, &mut explained, tally));
        }
    }
    ensure!(
        unexplained.is_empty(),
        "no test notices these; write one, or say in {LIST} why it is equivalent:\n{}",
        unexplained.join("\n")
    );
    Ok(())
}

/// Runs cargo-mutants on `parts` of `area`, and answers where its results are. `goes_on`: only with what was not caught
/// before.
fn try_stage(
    [program, nextest]: [&Path; 2],
    area: &Area,
    stage: &Stage,
    parts: &[&str],
    options: &Options,
    goes_on: bool,
) -> Result<PathBuf> {
    let output = paths::target().join("mutants").join(area.name);
    std::fs::create_dir_all(&output)?;
    let mut words: Vec<OsString> = vec![program.into(), "mutants".into(), "--output".into(), output.clone().into()];
    words.extend(["--colors=never", "--caught", "--unviable", "--test-tool=nextest"].map(OsString::from));
    words.extend([format!("--package={}", area.package), format!("--jobs={}", options.jobs)].map(OsString::from));
    words.extend((goes_on || options.resume).then(|| "--iterate".into()));
    for part in parts {
        let is_folder = paths::repository().join("src").join(part).is_dir();
        // A package of its own sees it as `tests/portable/../../src/cipher`.
        words.push(format!("--file=**/src/{part}{}", if is_folder { "/**" } else { "" }).into());
    }
    // For building, too, so that nothing else is built.
    words.extend(stage.targets.iter().map(|target| format!("--cargo-arg={target}").into()));
    // Most tests wait for something, so there may be many. The first that fails ends the others.
    words.extend(["--", "--test-threads=16", "--max-fail=1:immediate", "-E", stage.tests].map(OsString::from));
    let name = format!("cargo mutants, {}, {}", parts.join(" "), stage.tests);
    terminal::aside(format_args!("$ {name}"));
    let mut path: Vec<PathBuf> = nextest.parent().map(Into::into).into_iter().collect();
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    // In a group of its own: it has to end the tests that it runs.
    let mut command = background(words)
        .dir(paths::repository())
        .env("PATH", std::env::join_paths(path)?)
        .env("KMS_EMULATOR_PYTHON", kms_emulator::python())
        // Nobody looks at them with a debugger, and without it they are linked sooner.
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    if options.jobs == 1 {
        // What the plugin depends on is compiled once, not in each run.
        command = command.env("CARGO_TARGET_DIR", paths::target().join("mutants/build"));
        // In memory, where it costs nothing that the tests bring their files to the disk one by one.
        if Path::new(MEMORY).is_dir() {
            command = command.env("TMPDIR", MEMORY);
        }
    }
    let status = run::lines(&name, &command, |line| terminal::detail(line))?;
    // Some survived; some took too long.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        bail!("{name} failed ({status})");
    }
    Ok(output.join("mutants.out"))
}

/// What came of the mutants of an area.
#[derive(Default)]
struct Found {
    /// By a test that failed.
    caught: usize,
    /// By tests that took for ever.
    timeouts: usize,
    unviable: usize,
    missed: Vec<String>,
}

impl Found {
    /// Adds the results in `folder`, of a stage that tried again what no test had failed for in the stages before.
    fn add(&mut self, folder: &Path) -> Result<()> {
        let names = |file: &str| -> Result<Vec<String>> {
            let text = std::fs::read_to_string(folder.join(file)).with_context(|| format!("reading {file}"))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        self.caught += names("caught.txt")?.len();
        self.timeouts = names("timeout.txt")?.len();
        self.unviable += names("unviable.txt")?.len();
        self.missed = names("missed.txt")?;
        Ok(())
    }
}

/// Counts the results; answers what survived and is not among `explained`, from which is taken what is.
fn judge(found: &Found, explained: &mut Vec<String>, tally: &mut Tally) -> Vec<String> {
    let mut unexplained = Vec::new();
    for mutant in &found.missed {
        match explained.iter().position(|known| *known == without_place(mutant)) {
            Some(index) => drop(explained.swap_remove(index)),
            None => unexplained.push(mutant.clone()),
        }
    }
    let Found { caught, timeouts, unviable, missed } = found;
    let (caught, missed, known) = (caught + timeouts, missed.len(), missed.len() - unexplained.len());
    terminal::detail(format_args!(
        "{caught} caught, {timeouts} of them by taking for ever; {missed} survived, {known} of them explained in {LIST}; \
         {unviable} do not compile"
    ));
    tally.passed += caught + known;
    tally.failed += unexplained.len();
    unexplained
}

/// The mutants of the list: rows of a table that begin with the mutant's name in backticks, without line and column. A `|` in
/// it is escaped, since it would end the cell.
fn explained_in(list: &str) -> Vec<String> {
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.filter(|(_, reason)| reason.chars().any(char::is_alphabetic))
        .map(|(name, _)| name.replace("\\|", "|"))
        .collect()
}

/// `src/cipher/gcm.rs:12:34: replace ..` without the numbers, which change with every edit.
fn without_place(mutant: &str) -> String {
    let Some((place, what)) = mutant.split_once(": ") else { return mutant.to_owned() };
    let file = place.split(':').next().unwrap_or(place);
    format!("{}: {what}", file.rsplit("../").next().unwrap_or(file))
}

const VERSION: &str = "27.1.0";
const NEXTEST_VERSION: &str = "0.9.143";
const MEMORY: &str = "/dev/shm";
const LIST: &str = "docs/mutants.md";

const AREAS: [Area; 3] = [
    Area {
        name: "keystore",
        package: "aws_key_management",
        stages: &[Stage { targets: &["--lib", "--features=failpoints"], tests: "test(/^keystore::/)" }],
    },
    Area {
        name: "kms",
        package: "aws_key_management",
        // The tests against the emulator take long, and so does linking them.
        stages: &[
            Stage { targets: &["--lib"], tests: "test(/^kms::/)" },
            Stage { targets: &["--lib", "--test=kms_aws", "--test=sdk_log"], tests: "not test(/^(abi|cipher)::/)" },
        ],
    },
    Area {
        name: "cipher",
        // It has nothing else, so it is built in seconds.
        package: "portable_cipher",
        // Those that try every length and every split take a minute in the dev profile.
        stages: &[
            Stage {
                targets: &["--lib", "--test=portable_cipher"],
                tests: "not test(/cipher_oracle::|cipher_crates::|batches_of_any_length/)",
            },
            Stage { targets: &["--lib", "--test=portable_cipher"], tests: "all()" },
        ],
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
        assert_eq!(without_place("tests/portable/../../src/cipher/gcm.rs:1:2: x"), "src/cipher/gcm.rs: x");
    }

    #[test]
    fn only_rows_with_a_reason_explain_a_mutant() {
        let list =
            "| mutant | why |\n|---|---|\n| `src/a.rs: replace \\| with ^` | both are 0 |\n| `src/b.rs: x` | |\n";
        assert_eq!(explained_in(list), ["src/a.rs: replace | with ^"]);
    }

    #[test]
    fn a_survivor_is_explained_once_for_each_row() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let write = |caught: &str, timeout: &str, missed: &str| -> Result<()> {
            let texts =
                [("caught.txt", caught), ("timeout.txt", timeout), ("unviable.txt", ""), ("missed.txt", missed)];
            Ok(texts.into_iter().try_for_each(|(file, text)| std::fs::write(folder.path().join(file), text))?)
        };
        let survivor = "src/a.rs:1:2: replace a with b\n";
        let mut found = Found::default();
        write(
            "src/a.rs:9:9: other\n",
            "src/a.rs:5:5: loop\n",
            &format!("{}src/a.rs:3:3: third\n", survivor.repeat(2)),
        )?;
        found.add(folder.path())?;
        // The second stage, which tries again what survived or took for ever.
        write("src/a.rs:3:3: third\n", "src/a.rs:5:5: loop\n", &survivor.repeat(2))?;
        found.add(folder.path())?;
        let mut tally = Tally::default();
        let unexplained = judge(&found, &mut vec!["src/a.rs: replace a with b".to_owned()], &mut tally);
        assert_eq!(unexplained, [survivor.trim()]);
        assert_eq!(tally, Tally { passed: 4, failed: 1, skipped: 0 });
        Ok(())
    }
}
