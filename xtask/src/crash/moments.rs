//! At what moments the kills came, told by what they left: the proof that the rounds tested something.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::key_files::{self, KeyFiles};
use super::plan::{Killed, Step};
use crate::console;

/// A count for each phase of making a key.
#[derive(Default)]
pub struct Moments {
    rounds: u32,
    /// Nothing of the key on the disk yet: in the calls of KMS, or in front of them.
    calling: u32,
    /// A temporary file was there: of a key, or of the manifest.
    writing: u32,
    /// A key file was there that the manifest did not have.
    unrecorded: u32,
    /// All was on the disk, and the client had not been told yet.
    unanswered: u32,
    /// Of all these: while a table under a new key was made.
    new_key: u32,
    /// Between two statements.
    between: u32,
    key_versions: usize,
    keys: usize,
    reencryption: Duration,
}

impl Moments {
    /// Looks at what the kill left in the data folder; `keys` are those from before the round.
    pub fn count(&mut self, killed: &Killed, keys: &KeyFiles, data: &Path) -> Result<()> {
        self.rounds += 1;
        let Some(during) = &killed.during else {
            self.between += 1;
            return Ok(());
        };
        self.new_key += u32::from(matches!(during, Step::NewKey(_)));
        let (files, manifest) = (key_files::on_disk(data)?, key_files::in_manifest(data)?);
        if files.len() > manifest.len() {
            self.unrecorded += 1;
        } else if key_files::temporary_files(data)? > 0 {
            self.writing += 1;
        } else if files.len() >= keys.count() + all_of_it(killed, keys) {
            self.unanswered += 1;
        } else {
            self.calling += 1;
        }
        Ok(())
    }

    /// How many kills came while a key version was made.
    pub fn in_a_rotation(&self) -> u32 {
        self.rounds - self.between
    }

    /// Takes down what there was at the end.
    pub fn finish(&mut self, keys: &KeyFiles, reencryption: Duration) {
        (self.key_versions, self.keys, self.reencryption) = (keys.count(), keys.ids().len(), reencryption);
    }
}

/// Files that there are more when the steps that the client was told of, and the one after them, are done.
fn all_of_it(killed: &Killed, keys: &KeyFiles) -> usize {
    let mut ids = keys.ids().len();
    let mut files = 0;
    for step in killed.done.iter().chain(&killed.during) {
        match step {
            Step::Rotate(_) => files += 1,
            Step::RotateAll => files += ids,
            Step::NewKey(_) => {
                files += 1;
                ids += 1;
            }
        }
    }
    files
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, calling, writing, unrecorded, unanswered, new_key, between, key_versions, keys, .. } = self;
        writeln!(
            f,
            "{rounds} kills, {} of them while a key version was made ({new_key} of these for a new key): {calling} in a \
             call of KMS, {writing} with a temporary file there, {unrecorded} with a key file that the manifest did not \
             have, {unanswered} with all on the disk and no answer yet; {between} between two statements",
            self.in_a_rotation()
        )?;
        write!(
            f,
            "{key_versions} versions of {keys} keys at the end; every committed row was there after every restart; no page \
             was left two versions behind {} after the last one",
            console::seconds(self.reencryption)
        )
    }
}
