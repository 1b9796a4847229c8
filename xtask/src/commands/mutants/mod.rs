//! `cargo xtask mutants`: the source is changed in one place after the other, and a test must fail each time. A mutant that survives
//! is a test that is missing, or stands in docs/mutants.md with the reason why it is equivalent.
//!
//! cargo-mutants says which mutants there are. It builds each of them by itself, which for some three thousand takes more hours
//! than a night has. So all of them are compiled at once, each behind a switch ([`weave`], [`woven_tree`]); a run of every test finds
//! out which mutants it reaches ([`reach`]); and each mutant is tried with those tests only ([`attempt`]). What came of each is written down at once ([`record`]). The few that have no
//! switch are left to cargo-mutants ([`one_by_one`]).

mod attempt;
mod judge;
mod list;
mod one_by_one;
mod reach;
mod record;
mod weave;
mod woven_tree;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use self::attempt::Outcome;
use self::judge::{LIST, explained_in, judge};
use self::list::Mutant;
use self::reach::Reach;
use self::record::Record;
use self::woven_tree::{Build, WovenTree};
use crate::machine::{packages, paths, toolchain};
use crate::tally::Tally;
use crate::{kms_emulator, terminal};

/// What is mutated.
#[derive(clap::Args)]
pub struct Options {
    /// Folders or files below src/keystore, src/kms and src/cipher, such as keystore/files or cipher/gcm.rs (all without it)
    parts: Vec<String>,
    /// How many mutants are tried at the same time: most tests wait for something
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Go on from an earlier run: leave out what it caught in files that are the same since
    #[arg(long)]
    resume: bool,
    /// Only those that have a switch, and not the few that need a build of their own
    #[arg(long)]
    only_switched: bool,
}

/// A crate that has folders of src/.
struct Area {
    name: &'static str,
    folders: &'static [&'static str],
    package: &'static str,
    build: Build<'static>,
    /// Tests that say nothing of these folders, or that cannot run so.
    left_out: &'static [&'static str],
}

/// Installs what is missing and tries the mutants. An error if one survives that is not explained.
pub fn run(options: &Options, tally: &mut Tally) -> Result<()> {
    let parts: Vec<&str> = match &options.parts[..] {
        [] => AREAS.iter().flat_map(|area| area.folders).copied().collect(),
        parts => parts.iter().map(|part| part.trim_matches('/')).collect(),
    };
    for part in &parts {
        let is_known = AREAS.iter().any(|area| area.has(part)) && paths::repository().join("src").join(part).exists();
        ensure!(is_known, "there is no src/{part}, or it is in none of src/keystore, src/kms, src/cipher");
    }
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    kms_emulator::ensure()?;
    let program = toolchain::ensure_tool("cargo-mutants", VERSION)?;
    let list = std::fs::read_to_string(paths::repository().join(LIST)).with_context(|| format!("reading {LIST}"))?;
    let mut explained = explained_in(&list);
    let mut unexplained = Vec::new();
    for area in &AREAS {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| area.has(part)).collect();
        if !parts.is_empty() {
            let found = area.try_all(&program, &parts, options)?;
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

impl Area {
    fn has(&self, part: &str) -> bool {
        self.folders.iter().any(|folder| part.split('/').next() == Some(folder))
    }

    fn try_all(&self, program: &Path, parts: &[&str], options: &Options) -> Result<Found> {
        let files: Vec<String> = parts.iter().map(|part| pattern(part)).collect();
        let mutants = list::mutants(program, self.package, &files)?;
        terminal::step(format_args!("{} mutants of {}", mutants.len(), parts.join(", ")));
        let tree = WovenTree::new(self.name, &self.build, &mutants)?;
        let programs = tree.programs(&self.build)?;
        let workers = options.jobs as usize;
        let reach = Reach::find(&programs, |test| self.left_out.iter().any(|part| test.contains(part)), workers)?;
        let of = |number: &u32| mutants.get(*number as usize).context("a number that no mutant has");
        let path = paths::target().join("mutants").join(format!("{}.record", self.name));
        let record = Record::open(&path, paths::repository(), &mutants, options.resume)?;
        let mut found = Found { unviable: tree.unviable.len(), ..Found::default() };
        let mut report = String::new();
        let mut numbers = Vec::new();
        for number in &tree.woven {
            let mutant = of(number)?;
            if record.was_caught(mutant) {
                found.caught += 1;
                report += &format!("{}\tcaught before\n", mutant.name);
            } else {
                numbers.push(*number);
            }
        }
        terminal::detail(format_args!(
            "{} mutants, each with the tests that reach it; {} were caught before",
            numbers.len(),
            found.caught
        ));
        let outcomes =
            attempt::try_all(&reach, &numbers, workers, |number, outcome| record.add(of(&number)?, outcome))?;
        for (number, outcome) in numbers.iter().zip(outcomes) {
            let Some(mutant) = mutants.get(*number as usize) else { continue };
            report += &format!("{}\t{outcome:?}\n", mutant.name);
            match outcome {
                Outcome::Caught(_) => found.caught += 1,
                Outcome::TookTooLong(_) => found.timeouts += 1,
                Outcome::Survived(_) => found.missed.push(mutant.name.clone()),
            }
        }
        let has_switch = |number: u32| tree.woven.contains(&number) || tree.unviable.contains(&number);
        let others: Vec<&Mutant> =
            (0..).zip(&mutants).filter(|(number, _)| !has_switch(*number)).map(|(_, mutant)| mutant).collect();
        for mutant in &others {
            report += &format!("{}\tno switch\n", mutant.name);
        }
        for number in &tree.unviable {
            report += &format!("{}\tdoes not compile\n", mutants[*number as usize].name);
        }
        let path = paths::target().join("mutants").join(format!("{}.txt", self.name));
        std::fs::write(&path, report).with_context(|| format!("writing {}", path.display()))?;
        terminal::detail(format_args!("what came of each: {}", path.display()));
        if !options.only_switched && !others.is_empty() {
            found.add(one_by_one::try_all(program, self.package, self.build.quick, &others)?);
        }
        Ok(found)
    }
}

/// A folder or a file of src/, as cargo-mutants sees it: a package of its own sees it as `tests/portable/../../src/cipher`.
fn pattern(part: &str) -> String {
    let is_folder = paths::repository().join("src").join(part).is_dir();
    format!("**/src/{part}{}", if is_folder { "/**" } else { "" })
}

/// What came of the mutants of an area.
#[derive(Default)]
pub struct Found {
    /// By a test that failed.
    caught: usize,
    /// By tests that took for ever.
    timeouts: usize,
    unviable: usize,
    missed: Vec<String>,
}

impl Found {
    fn add(&mut self, more: Self) {
        self.caught += more.caught;
        self.timeouts += more.timeouts;
        self.unviable += more.unviable;
        self.missed.extend(more.missed);
    }
}

const VERSION: &str = "27.1.0";

const AREAS: [Area; 2] = [
    Area {
        name: "plugin",
        folders: &["keystore", "kms"],
        package: "aws_key_management",
        build: Build {
            root: "src/lib.rs",
            opt_level: "0",
            check: &["test", "--no-run", "--package=aws_key_management", "--lib", "--features=mock,failpoints"],
            quick: &["--lib", "--features=mock,failpoints"],
            tests: &[
                &["--package=aws_key_management", "--lib", "--features=mock,failpoints"],
                // The tests against the emulator, and those of the tool, which is another way to the key store.
                &["--package=aws_key_management", "--test=kms_aws", "--test=sdk_log"],
                &["--package=aws-key-management-tool"],
            ],
        },
        left_out: &["cipher::", "abi::encryption"],
    },
    Area {
        name: "cipher",
        folders: &["cipher"],
        package: "portable_cipher",
        build: Build {
            root: "tests/portable/lib.rs",
            // Its tests are many messages.
            opt_level: "1",
            check: &["build", "--package=portable_cipher", "--lib"],
            quick: &["--lib", "--test=portable_cipher"],
            tests: &[&["--package=portable_cipher", "--lib", "--test=portable_cipher"]],
        },
        left_out: &[],
    },
];
