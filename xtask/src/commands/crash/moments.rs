//! At what moments the kills came, told by what they left: the proof that the rounds tested something.

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::load::{self, Attempt, KeyFiles, Step};

/// A phase of making a key version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Between two statements.
    Between,
    /// Nothing of the key on the disk yet: in the calls of KMS, or in front of them.
    Calling,
    /// A temporary file was there: of a key, or of the manifest.
    Writing,
    /// A key file was there that the manifest did not have.
    Unrecorded,
    /// All was on the disk, and the client had not been told yet.
    Unanswered,
}

/// The moment of each kill, and whether it came while a table under a new key was made.
#[derive(Default)]
pub struct Moments(Vec<(Moment, bool)>);

impl Moments {
    /// Looks at what the kill left in the data folder; `keys` are those from before the round.
    pub fn add(&mut self, attempts: &[Attempt], keys: &KeyFiles, data: &Path) -> Result<()> {
        let under_way = attempts.last().filter(|last| !last.is_done);
        let (files, manifest) = (load::on_disk(data)?, load::in_manifest(data)?);
        let all: u32 = keys.most_versions(attempts).values().sum();
        let moment = match under_way {
            None => Moment::Between,
            Some(_) if files.len() > manifest.len() => Moment::Unrecorded,
            Some(_) if load::temporary_files(data)? > 0 => Moment::Writing,
            Some(_) if files.len() >= usize::try_from(all)? => Moment::Unanswered,
            Some(_) => Moment::Calling,
        };
        self.0.push((moment, under_way.is_some_and(|it| matches!(it.step, Step::NewKey(_)))));
        Ok(())
    }

    /// How many kills came while a key version was made.
    pub fn in_a_rotation(&self) -> usize {
        self.0.len() - self.count(Moment::Between)
    }

    fn count(&self, moment: Moment) -> usize {
        self.0.iter().filter(|(it, _)| *it == moment).count()
    }
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} of them while a key version was made ({} of these for a new key): {} in a call of KMS, {} with \
             a temporary file there, {} with a key file that the manifest did not have, {} with all on the disk and no \
             answer yet; {} between two statements",
            self.0.len(),
            self.in_a_rotation(),
            self.0.iter().filter(|(_, is_new)| *is_new).count(),
            self.count(Moment::Calling),
            self.count(Moment::Writing),
            self.count(Moment::Unrecorded),
            self.count(Moment::Unanswered),
            self.count(Moment::Between),
        )
    }
}
