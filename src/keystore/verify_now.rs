//! Somebody asks whether a restart would work.

use super::findings::Scope;
use super::messages::verified_text;
use super::verify::{Round, Verdict, Verified};
use super::{KeyId, KeyStore, KeyStoreError};
use crate::kms::KmsError;
use crate::waits;

/// What somebody is told who has asked.
pub struct VerifiedNow {
    /// A line for each version and each master key of new keys, what failed first.
    pub lines: Vec<String>,
    /// How many versions there are.
    pub result: Result<usize, KeyStoreError>,
}

impl KeyStore {
    /// Checks at once whether a start would find the versions of a key, or all, and, for all, whether keys could be made. What
    /// is loaded stays as it is, whatever is found.
    pub fn verify(&self, only: Option<KeyId>) -> VerifiedNow {
        self.verify_now(only).unwrap_or_else(|error| VerifiedNow { lines: Vec::new(), result: Err(error) })
    }

    fn verify_now(&self, only: Option<KeyId>) -> Result<VerifiedNow, KeyStoreError> {
        if !self.role.writes() {
            return Err(KeyStoreError::BackupVerifiesNothing);
        }
        let names = self.needed(only).inspect_err(|error| {
            // The same as the background finds out.
            if !matches!(error, KeyStoreError::NoSuchKey(_)) {
                self.folder_failed(error);
            }
        })?;
        self.mend_manifest();
        let given_up = || KeyStoreError::GivenUp(only.or(names.first().map(|name| name.id)).unwrap_or(KeyId::DEFAULT));
        let mut round = Round::new(names.clone());
        while self.step_round(&mut round) {
            if waits::must_end() {
                return Err(given_up());
            }
        }
        let mut asked = Vec::new();
        for (master_key, id) in self.master_keys_of_new_keys().into_iter().filter(|_| only.is_none()) {
            if waits::must_end() {
                return Err(given_up());
            }
            asked.push(self.ask_for_new_key(master_key, id));
        }
        if waits::must_end() {
            return Err(given_up());
        }
        let verified = self.with_retired(round.into_verified());
        let after_restart = if only.is_none() { self.after_restart() } else { None };
        let told = VerifiedNow::of(&verified, &asked, after_restart);
        self.take_verified(verified, Scope { is_all: only.is_none(), was_asked_for: true });
        if only.is_none() {
            self.take_asked(asked);
        }
        Ok(told)
    }
}

impl VerifiedNow {
    fn of(verified: &[Verified], asked: &[(String, Result<(), KmsError>)], after_restart: Option<String>) -> Self {
        let has_failed = |verified: &&Verified| matches!(verified.verdict, Verdict::Failed(_));
        let mut sorted: Vec<&Verified> = verified.iter().collect();
        sorted.sort_by_key(|verified| match verified.verdict {
            Verdict::Failed(_) => (0, verified.name),
            Verdict::FromCopy(_) => (1, verified.name),
            Verdict::Good => (2, verified.name),
        });
        let failed: Vec<&Verified> = sorted.iter().copied().filter(has_failed).collect();
        let new_keys = asked.iter().map(|(name, answer)| match answer {
            Ok(()) => format!("new keys: could be made under master key {name}"),
            Err(error) => format!("new keys: none could be made under master key {name}: {error}"),
        });
        let (bad, good) = sorted.split_at(failed.len());
        let bad = bad.iter().map(|bad| verified_text(bad));
        let lines = bad.chain(after_restart).chain(new_keys).chain(good.iter().map(|good| verified_text(good)));
        let first = failed.first().map(|failed| verified_text(failed));
        let result = first.map_or(Ok(verified.len()), |first| {
            Err(KeyStoreError::NotAllVerified {
                failed: failed.len(),
                of: verified.len(),
                names: failed.iter().map(|failed| failed.name).collect(),
                first,
            })
        });
        Self { lines: lines.collect(), result }
    }
}
