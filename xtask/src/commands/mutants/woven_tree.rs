//! A copy of the checkout with all mutants in it, and the programs of its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use duct::cmd;
use serde_json::Value;

use super::list::Mutant;
use super::weave;
use crate::machine::paths;
use crate::{run, terminal};

/// The tree, and what is in it.
pub struct WovenTree {
    folder: PathBuf,
    target: PathBuf,
    opt_level: &'static str,
    /// The mutants that have a switch.
    pub woven: BTreeSet<u32>,
    /// Those that the compiler refuses, at their own text.
    pub unviable: BTreeSet<u32>,
    /// Those that stand in the way of the compiler together with others.
    pub entangled: BTreeSet<u32>,
}

/// What is built.
pub struct Build<'a> {
    /// The root of the crate that has them, below the checkout.
    pub root: &'a str,
    /// How well the tests are to be optimized: 0 where they wait more than they work.
    pub opt_level: &'static str,
    /// Words of `cargo`: what shows the compiler's errors soonest.
    pub check: &'a [&'a str],
    /// Words of `cargo`: those of the tests that a mutant is tried with which is built by itself.
    pub quick: &'a [&'a str],
    /// The same of `cargo test`: sets of tests.
    pub tests: &'a [&'a [&'a str]],
}

/// A program of tests.
pub struct Program {
    /// What is run.
    pub path: PathBuf,
    /// Where it is run.
    pub folder: PathBuf,
}

impl WovenTree {
    /// Copies the checkout and weaves as many of `mutants` in as the compiler takes; a mutant's number is its place.
    pub fn new(name: &str, build: &Build<'_>, mutants: &[Mutant]) -> Result<Self> {
        let folder = paths::target().join("mutants").join(format!("woven-{name}"));
        let target = paths::target().join(format!("mutants/woven-target-{}", build.opt_level));
        copy_checkout(&folder)?;
        let mut tree = Self {
            folder,
            target,
            opt_level: build.opt_level,
            woven: BTreeSet::new(),
            unviable: BTreeSet::new(),
            entangled: BTreeSet::new(),
        };
        let root = tree.folder.join(build.root);
        let text = std::fs::read_to_string(&root)?;
        std::fs::write(&root, text + "\npub mod mutant_switch;\n")?;
        std::fs::write(root.with_file_name("mutant_switch.rs"), include_str!("switch.rs.txt"))?;
        let mut left: BTreeSet<u32> = (0..).zip(mutants).map(|(number, _)| number).collect();
        for _ in 0..MOST_BUILDS {
            tree.weave(mutants, &left)?;
            let refused = tree.refused(build, mutants)?;
            if refused.is_empty() {
                return Ok(tree);
            }
            terminal::detail(format_args!("the compiler refuses {} of {} mutants", refused.len(), tree.woven.len()));
            left.retain(|number| !refused.contains(number));
        }
        bail!("the compiler still refuses some after {MOST_BUILDS} tries")
    }

    fn weave(&mut self, mutants: &[Mutant], left: &BTreeSet<u32>) -> Result<()> {
        let mut by_file: BTreeMap<PathBuf, Vec<(u32, &Mutant)>> = BTreeMap::new();
        for (number, mutant) in (0..).zip(mutants) {
            // One of a file that has none left is written as it is.
            let of_file = by_file.entry(mutant.below_checkout()).or_default();
            of_file.extend(left.contains(&number).then_some((number, mutant)));
        }
        self.woven.clear();
        for (file, mutants) in by_file {
            let text = std::fs::read_to_string(paths::repository().join(&file))?;
            let woven = weave::weave(&text, &mutants).with_context(|| format!("weaving {}", file.display()))?;
            self.woven.extend(woven.numbers);
            let place = self.folder.join(&file);
            // What has not changed is not compiled again.
            if std::fs::read_to_string(&place)? != woven.text {
                std::fs::write(place, woven.text)?;
            }
        }
        Ok(())
    }

    /// Which mutants the compiler refuses.
    fn refused(&mut self, build: &Build<'_>, mutants: &[Mutant]) -> Result<BTreeSet<u32>> {
        let words = [build.check, &["--message-format=json", "--quiet"]].concat();
        let said = self.cargo(&words).unchecked().stderr_null().stdout_capture().run()?;
        let mut refused = BTreeSet::new();
        for message in String::from_utf8_lossy(&said.stdout).lines() {
            let message: Value = serde_json::from_str(message)?;
            let message = &message["message"];
            if message["level"] != "error" {
                continue;
            }
            let spans = message["spans"].as_array().into_iter().flatten();
            let primary = spans.filter(|span| span["is_primary"] == true);
            let mut found = false;
            for span in primary {
                let (Some(file), Some(byte)) = (span["file_name"].as_str(), span["byte_start"].as_u64()) else {
                    continue;
                };
                let file = self.folder.join(build.root).parent().map(Path::to_owned).unwrap_or_default().join(file);
                let file =
                    if file.exists() { file } else { self.folder.join(span["file_name"].as_str().unwrap_or_default()) };
                let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                let numbers = weave::at(&text, usize::try_from(byte)?);
                found |= !numbers.is_empty();
                match &numbers[..] {
                    [only] => drop(self.unviable.insert(*only)),
                    several => self.entangled.extend(several),
                }
                refused.extend(numbers);
            }
            let rendered = message["rendered"].as_str().unwrap_or_default();
            let is_summary = message["spans"].as_array().is_none_or(Vec::is_empty);
            ensure!(found || is_summary, "an error that is in no mutant:\n{rendered}");
        }
        ensure!(
            said.status.success() || !refused.is_empty(),
            "the woven source cannot be checked; see {}",
            self.folder.display()
        );
        let named = |numbers: &BTreeSet<u32>| numbers.iter().all(|number| mutants.get(*number as usize).is_some());
        ensure!(named(&refused), "a number that no mutant has");
        Ok(refused)
    }

    /// Builds the tests. Answers their programs.
    pub fn programs(&self, build: &Build<'_>) -> Result<Vec<Program>> {
        let mut programs = Vec::new();
        for words in build.tests {
            let words = [&["test", "--no-run", "--message-format=json", "--quiet"], *words].concat();
            let said = run::output("cargo test --no-run", &self.cargo(&words))?;
            for message in said.lines() {
                let message: Value = serde_json::from_str(message)?;
                let Some(path) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true) else {
                    continue;
                };
                let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
                let folder = manifest.parent().context("a manifest without a folder")?.to_owned();
                programs.push(Program { path: path.into(), folder });
            }
        }
        ensure!(!programs.is_empty(), "there are no tests");
        Ok(programs)
    }

    fn cargo(&self, words: &[&str]) -> duct::Expression {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let cargo = cmd(cargo, words).dir(&self.folder).env("CARGO_TARGET_DIR", &self.target);
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", self.opt_level)
    }
}

fn copy_checkout(folder: &Path) -> Result<()> {
    let folder = paths::emptied(folder)?;
    let listed = run::output(
        "git ls-files",
        &cmd!("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").dir(paths::repository()),
    )?;
    for file in listed.split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (paths::repository().join(file), folder.join(file));
        if from.is_file() {
            std::fs::create_dir_all(to.parent().context("a file without a folder")?)?;
            std::fs::copy(&from, &to).with_context(|| format!("copying {file}"))?;
        }
    }
    Ok(())
}

/// The errors of types come before those of loans, and hide them.
const MOST_BUILDS: usize = 12;
