//! What came of each mutant, written down as soon as it is known: a run that is interrupted can go on from there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::attempt::Outcome;
use super::list::Mutant;

/// A file with a line for each mutant that was tried: a digest of the source file that it is in, its name, what came of it.
pub struct Record {
    file: Mutex<std::fs::File>,
    /// By source file.
    digests: BTreeMap<PathBuf, String>,
    caught: BTreeSet<(String, String)>,
}

impl Record {
    /// Opens the record at `path` for mutants of files below `root`. It begins anew unless `resume`.
    pub fn open(path: &Path, root: &Path, mutants: &[Mutant], resume: bool) -> Result<Self> {
        let mut digests = BTreeMap::new();
        for place in mutants.iter().map(Mutant::below_checkout) {
            if let Entry::Vacant(vacant) = digests.entry(place) {
                let place = vacant.key();
                let text = std::fs::read(root.join(place)).with_context(|| format!("reading {}", place.display()))?;
                vacant.insert(hex(&text));
            }
        }
        let mut caught = BTreeSet::new();
        if resume && path.exists() {
            for line in std::fs::read_to_string(path)?.lines() {
                let mut cells = line.split('\t');
                if let (Some(digest), Some(name), Some(CAUGHT)) = (cells.next(), cells.next(), cells.next()) {
                    caught.insert((digest.to_owned(), name.to_owned()));
                }
            }
        }
        let mut options = std::fs::OpenOptions::new();
        options.create(true);
        let options = if resume { options.append(true) } else { options.write(true).truncate(true) };
        let file = options.open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { file: Mutex::new(file), digests, caught })
    }

    /// Whether a test caught it before, and its file is the same since. What survived, or took too long, is tried again: there
    /// may be a test for it by now, and the machine may have been busy.
    pub fn was_caught(&self, mutant: &Mutant) -> bool {
        self.caught.contains(&(self.digest(mutant).to_owned(), mutant.name.clone()))
    }

    /// Writes down what came of a mutant.
    pub fn add(&self, mutant: &Mutant, outcome: &Outcome) -> Result<()> {
        let what = match outcome {
            Outcome::Caught(test) => format!("{CAUGHT}\t{test}"),
            Outcome::TookTooLong(test) => format!("took too long\t{test}"),
            Outcome::Survived(tests) => format!("survived\t{tests} tests"),
        };
        let line = format!("{}\t{}\t{what}\n", self.digest(mutant), mutant.name);
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(line.as_bytes()).context("writing what came of a mutant")
    }

    fn digest(&self, mutant: &Mutant) -> &str {
        self.digests.get(&mutant.below_checkout()).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const CAUGHT: &str = "caught";

#[cfg(test)]
mod tests {
    use super::super::list::Genre;
    use super::*;

    #[test]
    fn what_was_caught_is_known_until_its_file_changes_and_nothing_else_is() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (source, path) = (folder.path().join("a.rs"), folder.path().join("record"));
        std::fs::write(&source, "one")?;
        let mutant = |name: &str| Mutant {
            name: name.into(),
            file: "tests/../a.rs".into(),
            genre: Genre::FnValue,
            span: [(1, 1), (1, 2)],
            replacement: String::new(),
        };
        let all = [mutant("caught"), mutant("slow"), mutant("alive"), mutant("untried")];
        let record = Record::open(&path, folder.path(), &all, false)?;
        record.add(&all[0], &Outcome::Caught("test".into()))?;
        record.add(&all[1], &Outcome::TookTooLong("test".into()))?;
        record.add(&all[2], &Outcome::Survived(3))?;
        let known = |resume: bool| -> Result<Vec<bool>> {
            let record = Record::open(&path, folder.path(), &all, resume)?;
            Ok(all.iter().map(|mutant| record.was_caught(mutant)).collect())
        };
        assert_eq!(known(true)?, [true, false, false, false]);
        std::fs::write(&source, "two")?;
        assert_eq!(known(true)?, [false; 4]);
        std::fs::write(&source, "one")?;
        assert_eq!(known(false)?, [false; 4]);
        assert_eq!(known(true)?, [false; 4], "it has begun anew");
        Ok(())
    }
}
