//! What is kept of key files of before a re-wrap: it takes the place of those at fault, or is not needed any more.

use std::collections::BTreeSet;

use super::examine::Examining;
use super::prove::{is_gone_or_damaged, list, prove_copies};
use super::{By, Step};
use crate::keystore::files::{Entry, Finding, StoredKey};
use crate::keystore::offline::is_unanswered;
use crate::keystore::start::Survey;
use crate::keystore::{KeyName, KeyStoreError};

impl Examining<'_> {
    /// Key files at fault, with a copy that may take their place.
    pub(super) fn put_back(
        &mut self,
        survey: &Survey,
        at_fault: Vec<(KeyName, KeyStoreError)>,
        kept: &[KeyName],
        is_known: bool,
    ) {
        let kept: BTreeSet<KeyName> = kept.iter().copied().collect();
        let copy = |name: &KeyName, error: &KeyStoreError| -> Option<StoredKey> {
            let may_be_put_back = is_known && kept.contains(name) && is_gone_or_damaged(error);
            may_be_put_back.then(|| self.files.copy_of_before_rewrap(*name)).flatten()
        };
        let copies: Vec<Option<StoredKey>> = at_fault.iter().map(|(name, error)| copy(name, error)).collect();
        let at_fault = at_fault.into_iter().zip(copies);
        let (with_copy, others): (Vec<_>, Vec<_>) = at_fault.partition(|(_, copy)| copy.is_some());
        for ((name, error), _) in others {
            if is_gone_or_damaged(&error) && !self.files.extra_copies(name).is_empty() {
                const COPY: &str = "a start uses a copy that an extra master key wraps, if KMS unwraps it; rewrap makes the key file of it";
                let remedy = match error {
                    // KMS unwraps the file, so that no start asks for a copy.
                    KeyStoreError::OtherKey(_)
                    | KeyStoreError::OtherAlgorithm(..)
                    | KeyStoreError::WrongLength { .. } => {
                        format!("move the file away: then {COPY}")
                    }
                    _ => COPY.to_owned(),
                };
                self.add(Some(name), error.without_remedy(), By::Operator, remedy);
            } else {
                self.add_error(name, &error);
            }
        }
        let (failed, copies): (Vec<_>, Vec<_>) =
            with_copy.into_iter().filter_map(|(failed, copy)| Some((failed, copy?))).unzip();
        let proofs = prove_copies(&self.files, self.kms, &copies, self.deadline);
        for (((name, error), copy), proof) in failed.into_iter().zip(copies).zip(proofs) {
            match (proof, self.files.held(name)) {
                (Ok((_, Finding::New)), _) => self.add_error(name, &error),
                (Ok((mut entry, _)), Ok(held)) => {
                    entry.is_trusted = self.files.is_trusted(name) == Some(true);
                    // Until a start has proven the key file, the copy stays beside it.
                    let master_key = entry.master_key().map(str::to_owned);
                    let entry = entry.with_former_master_key(master_key);
                    let entries = [vec![entry], self.left_behind(survey)].concat();
                    let remedy = format!(
                        "{} takes its place, which KMS has proven to hold the key that the manifest knows. What is there is kept",
                        name.file_name_before_rewrap()
                    );
                    self.add_step(Some(name), error.without_remedy(), remedy, Step::PutBack { copy, held, entries });
                }
                (Err(of_copy), _) if is_unanswered(&of_copy) => self.add_error(name, &of_copy),
                (Err(of_copy), _) | (_, Err(of_copy)) => {
                    let copy = name.file_name_before_rewrap();
                    let found = format!("{error}. Nor is it to be had from {copy}: {of_copy}");
                    self.add(Some(name), found, By::Operator, "both are left as they are");
                }
            }
        }
    }

    /// What is kept of before a re-wrap.
    pub(super) fn copies(&mut self, proven: Vec<Entry>, kept: &[KeyName], is_known: bool) {
        let is_proven = |name: &KeyName| is_known && proven.iter().any(|entry| entry.name == *name);
        let (mut needed, mut unknown) = (Vec::new(), Vec::new());
        for name in kept.iter().filter(|name| !is_proven(name)) {
            let is_known = self.files.is_recorded(*name) || self.files.contents(*name).is_ok_and(|it| it.is_some());
            if is_known { needed.push(*name) } else { unknown.push(*name) }
        }
        const FOUND: &str = "what key files held before a re-wrap is still kept:";
        if !needed.is_empty() {
            let remedy = "removed by the start of the server that proves the key files themselves";
            self.add(None, format!("{FOUND} {}", list(&needed)), By::NextStart, remedy);
        }
        for name in self.files.with_extra_copies().unwrap_or_default() {
            if !self.files.is_recorded(name) && self.files.contents(name).is_ok_and(|it| it.is_none()) {
                let found = format!(
                    "{} has copies of {name}, and neither a key file nor the manifest knows of it",
                    name.file_name_extra()
                );
                let remedy = "left. If data needs it, restore its key file or the manifest from a backup; otherwise move it away";
                self.add(Some(name), found, By::Operator, remedy);
            }
        }
        for name in unknown {
            let file = name.file_name_before_rewrap();
            let found = format!("{file} is kept, and neither a key file nor the manifest knows of it");
            let remedy = format!("left. If data needs {name}, copy it to {}; otherwise move it away", name.file_name());
            self.add(Some(name), found, By::Operator, remedy);
        }
        if is_known && !proven.is_empty() {
            let names: Vec<KeyName> = proven.iter().map(|entry| entry.name).collect();
            let remedy = "removed, as you say: KMS unwraps the key files themselves";
            self.add_step(None, format!("{FOUND} {}", list(&names)), remedy, Step::ForgetCopies(proven));
        }
    }
}
