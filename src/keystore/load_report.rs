//! What came of key files that were to be loaded: which keys may be used, which may encrypt, and which were refused why.

use std::collections::BTreeSet;

use super::files::{Entry, Finding, KeyFiles};
use super::load::NotFromFile;
use super::published::Exposure;
use super::trust::{self, KnownMasterKeys};
use super::{DataKey, KeyId, KeyName, KeyStoreError, NewKeySettings};
use crate::kms::{EncryptionContext, MasterKeyId};

/// What came of some key files.
#[derive(Default)]
pub struct LoadReport {
    /// Keys that may be used.
    pub accepted: Vec<AcceptedKey>,
    /// Keys that may not.
    pub refused: Vec<RefusedKey>,
    /// How far the memory of the keys is protected.
    pub exposure: Exposure,
}

/// A key whose file is as it should be.
pub struct AcceptedKey {
    /// The key itself.
    pub key: DataKey,
    /// What the manifest is to say of it.
    pub entry: Entry,
    /// What is bound into the wrapped key in its file; if that is gone or damaged, into the copy that it is from.
    pub encryption_context: EncryptionContext,
    /// The ARN of the master key with which KMS has unwrapped it, as KMS gave it: that of a copy, if it is from one.
    pub unwrapped_by: Option<String>,
    /// How the entry compares with what the manifest says.
    pub finding: Finding,
    /// Why its key file was not unwrapped, if it is from a copy that another master key wraps.
    pub instead_of: Option<NotFromFile>,
    /// Whether the manifest says otherwise of whether it may encrypt new data, or says that it is not here, or not needed.
    pub has_new_marks: bool,
}

/// A key that cannot be used.
pub struct RefusedKey {
    /// Which.
    pub name: KeyName,
    /// Why.
    pub error: KeyStoreError,
}

impl LoadReport {
    /// The keys to publish: those that may encrypt new data, or the others.
    pub fn keys(&self, trusted: bool) -> Vec<(KeyName, DataKey)> {
        let accepted = self.accepted.iter().filter(|accepted| accepted.entry.is_trusted == trusted);
        accepted.map(|accepted| (accepted.entry.name, accepted.key.clone())).collect()
    }

    /// Whether one of the keys may encrypt new data.
    pub fn has_usable(&self) -> bool {
        self.accepted.iter().any(|accepted| accepted.entry.is_trusted)
    }

    /// Finds out which keys may encrypt new data. What the manifest says otherwise is news.
    pub fn judge(&mut self, files: &KeyFiles, configured: &NewKeySettings) {
        let known = KnownMasterKeys::new(files, configured);
        for accepted in &mut self.accepted {
            accepted.entry.is_trusted = known.trust(files, accepted);
            let name = accepted.entry.name;
            let before = files.entry(name);
            // What an alias stands for, only KMS knows. What has lost its entry is still wrapped by its own.
            let names = |own: &MasterKeyId, arn| trust::names(own, arn) || own.as_str().contains("alias/");
            let is_own = accepted.entry.master_key().is_some_and(|arn| {
                let is_of_all = configured.master_key.as_ref().is_some_and(|of_all| trust::names(of_all, arn));
                !is_of_all && configured.master_keys.of(name.id).is_some_and(|own| names(own, arn))
            });
            let entry = accepted.entry.clone();
            accepted.entry = match is_own {
                true => entry.with_own_master_key(true),
                false => entry.with_own_master_key_of(before.as_ref()),
            };
            let is_judged_anew = |before: Entry| {
                let marks = |entry: &Entry| (entry.is_trusted, entry.has_own_master_key());
                marks(&before) != marks(&accepted.entry)
            };
            accepted.has_new_marks =
                before.is_some_and(is_judged_anew) || files.is_left_behind(name) || files.is_retired(name);
        }
    }

    /// The same for mariadb-backup, and for `--wsrep_recover`, which write nothing down, so that what the manifest says stays. `has_latest` says of
    /// which keys a version may encrypt already. Where there is none that may, all may: to prepare a backup, or to recover, the
    /// server's data needs a latest version, and any does.
    pub fn judge_for_reading(
        &mut self,
        files: &KeyFiles,
        configured: &NewKeySettings,
        has_latest: impl Fn(KeyId) -> bool,
    ) {
        self.judge(files, configured);
        for AcceptedKey { entry, .. } in &mut self.accepted {
            entry.is_trusted &= files.is_trusted(entry.name) != Some(false);
        }
        let trusted = self.accepted.iter().filter(|accepted| accepted.entry.is_trusted);
        let with_trusted: BTreeSet<KeyId> = trusted.map(|accepted| accepted.entry.name.id).collect();
        for AcceptedKey { entry, .. } in &mut self.accepted {
            entry.is_trusted |= !with_trusted.contains(&entry.name.id) && !has_latest(entry.name.id);
        }
    }

    /// What the manifest does not say yet.
    pub fn news(&self) -> impl Iterator<Item = &AcceptedKey> {
        self.accepted.iter().filter(|accepted| accepted.finding != Finding::Same || accepted.has_new_marks)
    }

    /// Compares with the manifest once more, after it has been asked again.
    pub fn check_again(&mut self, files: &KeyFiles) {
        for mut accepted in std::mem::take(&mut self.accepted) {
            match files.check(&accepted.entry) {
                Ok(finding) => {
                    match files.entry(accepted.entry.name).filter(|_| accepted.instead_of.is_some()) {
                        Some(known) => (accepted.entry, accepted.finding) = (known.found_again(), Finding::Same),
                        None => accepted.finding = finding,
                    }
                    self.accepted.push(accepted);
                }
                Err(error) => self.refuse(accepted.entry.name, error),
            }
        }
    }

    /// Keys whose files are gone or damaged, and that are used from copies.
    pub fn without_file(&self) -> impl Iterator<Item = &AcceptedKey> {
        self.accepted.iter().filter(|accepted| accepted.instead_of.as_ref().is_some_and(NotFromFile::is_the_file))
    }

    /// Takes back keys that were accepted.
    pub fn refuse_accepted(&mut self, errors: Vec<(KeyName, KeyStoreError)>) {
        let names: BTreeSet<KeyName> = errors.iter().map(|(name, _)| *name).collect();
        self.accepted.retain(|accepted| !names.contains(&accepted.entry.name));
        errors.into_iter().for_each(|(name, error)| self.refuse(name, error));
    }

    /// The key cannot be used.
    pub fn refuse(&mut self, name: KeyName, error: KeyStoreError) {
        self.refused.push(RefusedKey { name, error });
    }
}
