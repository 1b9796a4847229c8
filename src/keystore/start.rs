//! What happens once, before the first look-up: all key files are read and all keys unwrapped. Publishes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::files::{Entry, KeyFiles, StoredKey};
use super::load::{self, UnansweredKey, UnreadKey};
use super::load_report::LoadReport;
use super::pauses::Patience;
use super::{KeyId, KeyName, KeyStoreError};
use crate::kms::{AtStart, Kms, KmsError};
use crate::waits;

/// What lies in the folder, and what should.
pub struct Survey {
    /// All that has the name of a key file, in order.
    pub present: Vec<KeyName>,
    /// What the manifest knows of and has no key file, but another copy.
    pub copied: Vec<KeyName>,
    /// Files with copies of versions that have no key file, and that the manifest does not know.
    pub unknown_copies: Vec<PathBuf>,
    /// What the manifest knows of, but the folder does not hold, in order.
    pub missing: Vec<KeyName>,
    /// What is missing too, but was left behind when the datadir was copied, and is not needed. Marked as such.
    pub left_behind: Vec<Entry>,
    /// Whether that was not known before.
    pub has_newly_left_behind: bool,
}

impl Survey {
    /// What is to be loaded, in order.
    pub fn to_load(&self) -> Vec<KeyName> {
        let mut names = [&self.present[..], &self.copied].concat();
        names.sort_unstable();
        names
    }

    /// What is to have a key file, and has none, in order.
    pub fn without_file(&self) -> Vec<KeyName> {
        let mut names = [&self.missing[..], &self.copied].concat();
        names.sort_unstable();
        names
    }

    /// How many versions there should be.
    pub fn count(&self) -> usize {
        self.present.len() + self.copied.len() + self.missing.len()
    }

    /// Now that the keys are loaded: a version is not needed only if one of the same key may encrypt without it. Answers what
    /// is missed after all.
    pub fn confirm_left_behind(&mut self, report: &LoadReport) -> Vec<KeyName> {
        let usable: BTreeSet<KeyId> = report.keys(true).into_iter().map(|(name, _)| name.id).collect();
        let missed = self.left_behind.extract_if(.., |entry| !usable.contains(&entry.name.id));
        let missed: Vec<KeyName> = missed.map(|entry| entry.name).collect();
        self.missing.extend(&missed);
        self.missing.sort_unstable();
        self.has_newly_left_behind &= !self.left_behind.is_empty();
        missed
    }
}

/// Looks what there is, without KMS.
pub fn survey(files: &KeyFiles) -> Result<Survey, KeyStoreError> {
    let present = files.present()?;
    let mut missing = files.recorded();
    missing.retain(|name| present.binary_search(name).is_err());
    let with_copies = files.with_copies()?;
    let mut left_behind = files.left_behind(&missing, &present);
    // Whoever has copied the folder has copied its copies, so it was there.
    left_behind.retain(|entry| !with_copies.contains(&entry.name));
    // Nor was it made too late for the data that names it.
    if !left_behind.is_empty() {
        let is_left_behind = |name: KeyName| left_behind.iter().any(|entry| entry.name == name);
        let needing = files.needing(files.path(), &is_left_behind).needing;
        left_behind.retain(|entry| !needing.contains_key(&entry.name));
    }
    // In the same order.
    missing.retain(|name| left_behind.binary_search_by_key(name, |entry| entry.name).is_err());
    let is_unknown = |name: &&KeyName| present.binary_search(name).is_err() && !files.is_recorded(**name);
    let unknown = with_copies.iter().filter(is_unknown).map(|name| files.path_of_copy(*name));
    let unknown_copies = unknown.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let copied = missing.extract_if(.., |name| with_copies.contains(name)).collect();
    let has_newly_left_behind = left_behind.iter().any(|entry| !entry.is_left_behind);
    left_behind.iter_mut().for_each(|entry| entry.is_left_behind = true);
    Ok(Survey { present, copied, unknown_copies, missing, left_behind, has_newly_left_behind })
}

/// Loads key files. What a key's failure means, its class says: see [`AtStart`]. What is waited for is tried again until
/// the patience is over, or as long as KMS gets the start any further. `judge` says which keys may encrypt new data: the
/// others do not count as usable. All that is accepted has been judged at the end.
///
/// Fails if KMS could not be reached for one of the keys, if there are no credentials, or if the folder did not answer: a server that went on would
/// refuse its tables until it is restarted. A key that fails for a reason of its own is in the report, and the others are
/// loaded.
pub fn load_all(
    files: &KeyFiles,
    kms: &dyn Kms,
    names: &[KeyName],
    patience: &mut Patience<'_>,
    judge: impl Fn(&mut LoadReport),
) -> Result<LoadReport, KeyStoreError> {
    let mut report = LoadReport::default();
    let (stored, unread) = read(files, names, patience)?;
    let mut open: Vec<&StoredKey> = stored.iter().collect();
    let mut before: BTreeMap<KeyName, KmsError> = BTreeMap::new();
    while !open.is_empty() {
        // Even a start without any patience asks once.
        let deadline = patience.until().max(Instant::now() + SHORTEST_ROUND);
        let mut unanswered = load::unwrap(files, kms, &open, deadline, &mut report);
        judge(&mut report);
        let Some(first) = unanswered.first() else { break };
        if waits::must_end() {
            return Err(KeyStoreError::GivenUp(first.stored.name.id));
        }
        let is_over = patience.is_over() && unanswered.len() == open.len();
        if is_over {
            recall(&mut unanswered, before);
        }
        let (waiting, lost) = sort(unanswered, is_over, report.has_usable())?;
        lost.into_iter().for_each(|lost| report.refuse(lost.stored.name, lost.failed()));
        let Some(UnansweredKey { stored, error, .. }) = waiting.first() else { break };
        patience.wait(stored.name, error)?;
        open = waiting.iter().map(|waiting| waiting.stored).collect();
        before = waiting.into_iter().map(|waiting| (waiting.stored.name, waiting.error)).collect();
    }
    // By now, KMS answers if it is going to.
    let deadline = patience.until().max(Instant::now() + SHORTEST_ROUND);
    load::unwrap_copies_of(files, kms, unread, deadline, &mut report);
    judge(&mut report);
    Ok(report)
}

/// Reads key files. A folder that does not answer is waited for; but a key file of whose key there is a copy beside it need not be
/// read in the end.
fn read(
    files: &KeyFiles,
    names: &[KeyName],
    patience: &mut Patience<'_>,
) -> Result<(Vec<StoredKey>, Vec<UnreadKey>), KeyStoreError> {
    let (mut stored, mut unread) = (Vec::new(), Vec::new());
    let has_copy = |name| files.with_copies().is_ok_and(|with_copies| with_copies.contains(&name));
    for name in names.iter().copied() {
        match patience.read(|| files.read(name)) {
            Ok(Ok(file)) => stored.push(file),
            Err(error) if !error.is_given_up() && has_copy(name) => unread.push(UnreadKey { name, error }),
            Ok(Err(error)) => unread.push(UnreadKey { name, error }),
            Err(error) => return Err(error),
        }
    }
    Ok((stored, unread))
}

/// Fails if no key version can be used, but at most to read, although there is or was one: a server that went on would call each of its tables
/// corrupted.
pub fn check_any_is_usable(files: &KeyFiles, survey: &Survey, report: &LoadReport) -> Result<(), KeyStoreError> {
    let of = survey.count();
    if of == 0 || report.has_usable() {
        return Ok(());
    }
    let refused = report.refused.iter().min_by_key(|refused| refused.name).map(|refused| refused.error.to_string());
    let missing = survey.missing.first().map(|name| KeyStoreError::Gone(*name, files.path_of(*name)).to_string());
    let folder = files.path().to_owned();
    Err(KeyStoreError::NoneUsable { of, folder, first: refused.or(missing).unwrap_or_default() })
}

/// Tells what is waited for from what fails now. Fails if the start does.
fn sort(
    unanswered: Vec<UnansweredKey<'_>>,
    is_over: bool,
    some_are_usable: bool,
) -> Result<(Vec<UnansweredKey<'_>>, Vec<UnansweredKey<'_>>), KeyStoreError> {
    let (mut waiting, mut lost) = (Vec::new(), Vec::new());
    for key in unanswered {
        match key.error.class.at_start() {
            AtStart::FailStart => return Err(key.failed()),
            AtStart::WaitThenFailStart if is_over => return Err(key.failed()),
            AtStart::WaitThenFailKey | AtStart::WaitWhileNoneIsUsable | AtStart::FailKey if is_over => lost.push(key),
            _ if key.a_copy_may_answer => waiting.push(key),
            AtStart::WaitWhileNoneIsUsable if some_are_usable => lost.push(key),
            AtStart::FailKey => lost.push(key),
            AtStart::WaitThenFailStart | AtStart::WaitThenFailKey | AtStart::WaitWhileNoneIsUsable => waiting.push(key),
        }
    }
    Ok((waiting, lost))
}

/// A round that was cut short says only that there was no answer in time; the one before says why.
fn recall(unanswered: &mut [UnansweredKey<'_>], mut before: BTreeMap<KeyName, KmsError>) {
    for key in unanswered {
        if let Some(error) = before.remove(&key.stored.name) {
            key.error = error;
        }
    }
}

/// What KMS gets at least, to answer all keys that are waiting.
pub const SHORTEST_ROUND: Duration = Duration::from_secs(5);
