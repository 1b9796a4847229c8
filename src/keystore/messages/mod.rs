//! What the key store tells the operator: the one place that turns what was found or done into lines of the error log.

mod machine;
mod restart;
mod rewrap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::adopt::Adoption;
use super::create::NewVersion;
use super::files::{Finding, FoundManifest, LostManifest};
use super::load_report::{AcceptedKey, LoadReport, RefusedKey};
use super::start::Survey;
use super::{KeyName, KeyStoreError, NewKeySettings};
use crate::kms::{KmsError, MasterKeyId};
use machine::Told;
pub use restart::{Wraps, verified_text};

/// Takes what an operator has to know. Called on the server's threads, and on the plugin's own.
pub trait Reporter: Send + Sync {
    /// A normal event.
    fn note(&self, text: &str);
    /// Something to look at, while everything goes on.
    fn warning(&self, text: &str);
    /// Something that does not work.
    fn error(&self, text: &str);
}

/// The lines of the log.
pub struct Messages(&'static dyn Reporter, Told);

impl Messages {
    /// Lines that `reporter` takes.
    pub fn new(reporter: &'static dyn Reporter) -> Self {
        Self(reporter, Told::default())
    }

    /// What the manifest of `folder` was found to be.
    pub fn manifest(&self, folder: &Path, found: &FoundManifest) {
        match found {
            FoundManifest::Good { unreadable: 0 } | FoundManifest::Missing => {}
            FoundManifest::Good { unreadable } => self.0.warning(&format!(
                "{unreadable} entries of the manifest of the key files in {} cannot be read, and are kept as they are: they are \
                 damaged, or of a later version of the plugin",
                folder.display()
            )),
            FoundManifest::Damaged { reason, not_put_aside } => {
                self.0.warning(&format!(
                    "the manifest of the key files in {} is damaged ({reason}) and is made anew from the key files; \
                     that a key file was lost or exchanged before can't be noticed",
                    folder.display()
                ));
                if let Some(error) = not_put_aside {
                    self.0.warning(&error.to_string());
                }
            }
            FoundManifest::Newer(format) => self.0.warning(&KeyStoreError::NewerManifest(*format).to_string()),
        }
    }

    /// The manifest of `folder` was lost while the server ran, and was made anew of what is in memory.
    pub fn manifest_made_anew(&self, folder: &Path, lost: &LostManifest) {
        self.1.manifest_is_lost.store(false, Ordering::Relaxed);
        let what = match lost {
            LostManifest::Gone => "was gone".to_owned(),
            LostManifest::Damaged(reason) => {
                format!(
                    "was damaged ({reason}). It is kept as aws-kms-key.manifest.damaged, or with a number after that"
                )
            }
        };
        self.0.warning(&format!(
            "the manifest of the key files in {} {what}. It was made anew of what the server knew of its keys: nothing is lost, but \
             find out who has touched the folder",
            folder.display()
        ));
    }

    /// It is there: if it is lost once more, that is told once more.
    pub fn manifest_is_there(&self) {
        self.1.manifest_is_lost.store(false, Ordering::Relaxed);
    }

    /// The same, but it could not be: told once.
    pub fn manifest_not_made_anew(&self, error: &KeyStoreError) {
        if self.1.manifest_is_lost.swap(true, Ordering::Relaxed) {
            return;
        }
        self.0.warning(&format!(
            "the manifest of the key files is gone or damaged, and could not be made anew: {error}. Each check tries it again, and \
             so does SET GLOBAL aws_key_management_verify_keys = -1. Do not restart the server before: that a key file is lost would \
             not be noticed then"
        ));
    }

    /// How many temporary files were removed from `folder`.
    pub fn leftovers(&self, folder: &Path, removed: &Result<usize, KeyStoreError>) {
        match removed {
            Ok(0) => {}
            Ok(count) => self.0.note(&format!(
                "removed {count} temporary file(s) that an interrupted server had left in {}",
                folder.display()
            )),
            Err(error) => self.0.warning(&error.to_string()),
        }
    }

    /// What was found before KMS is asked; a missing file belongs at `path_of` its name.
    pub fn survey(&self, folder: &Path, survey: &Survey, path_of: impl Fn(KeyName) -> PathBuf) {
        for name in &survey.missing {
            self.not_loaded(&KeyStoreError::Gone(*name, path_of(*name)));
        }
        if survey.present.is_empty() && survey.copied.is_empty() {
            let next = if survey.missing.is_empty() { "; otherwise, a key is made when it is first used" } else { "" };
            self.0.note(&format!(
                "no key files in {}. If this server has encrypted data, stop it and restore its aws-kms-key.* files, \
                 or correct aws_key_management_keyfile_dir{next}",
                folder.display()
            ));
        }
    }

    /// What was left behind, once.
    pub fn left_behind(&self, survey: &Survey) {
        if survey.has_newly_left_behind {
            let names: Vec<String> = survey.left_behind.iter().map(|entry| entry.name.to_string()).collect();
            self.0.note(&format!(
                "these key files were copied here without {}: made when the copy was taken, as far as can be told, so that no data \
                 in it needs that. If a table is called corrupted, restore the file. Its number is not used again",
                names.join(", ")
            ));
        }
    }

    /// The start waits for KMS, for `left` at most.
    pub fn waiting(&self, left: Duration, name: KeyName, error: &KmsError) {
        self.0.note(&format!("waiting for KMS, for up to {} s more: {name}: {error}", left.as_secs() + 1));
    }

    /// The start waits for the folder, for `left` at most.
    pub fn waiting_for_folder(&self, left: Duration, error: &KeyStoreError) {
        self.0.note(&format!("waiting for the key files, for up to {} s more: {error}", left.as_secs() + 1));
    }

    /// What came of all key files. `keys` is how many keys can be used now.
    pub fn started(&self, folder: &Path, survey: &Survey, report: &LoadReport, keys: usize, took: Duration) {
        self.exposure(&report.exposure);
        self.not_loaded_at_start(report.refused.iter().collect());
        self.0.note(&format!(
            "loaded {} of {} key versions ({keys} keys) from {} in {:.1} s",
            report.accepted.len(),
            survey.count(),
            folder.display(),
            took.as_secs_f32()
        ));
    }

    /// What the manifest, which was found to be `manifest`, did not know.
    pub fn adopted(&self, folder: &Path, manifest: &FoundManifest, report: &LoadReport) {
        let count = report.news().count();
        if matches!(manifest, FoundManifest::Missing) && count > 0 {
            self.0.warning(&format!(
                "there is no manifest of the key files in {}, so it is made from the {count} that are there. This is normal \
                 at the first start after another plugin; otherwise see that no key file is missing",
                folder.display()
            ));
            return;
        }
        if count > MOST_LINES {
            self.0.note(&format!(
                "adopted {count} key versions: their files were copied here, wrapped anew elsewhere, or written by another \
                 version of the plugin"
            ));
            return;
        }
        for AcceptedKey { entry, finding, .. } in report.news() {
            let name = entry.name;
            match finding {
                _ if !entry.is_trusted => {}
                Finding::New => self.0.note(&format!(
                    "adopted {name}: its file was copied here, or written by another version of the plugin"
                )),
                Finding::Rewrapped => {
                    self.0.note(&format!("adopted the new file of {name}: the same data key, wrapped anew elsewhere"))
                }
                Finding::Same | Finding::OtherKey | Finding::OtherAlgorithm => {}
            }
        }
    }

    /// Keys that may not encrypt new data, at every start and whenever they are loaded.
    pub fn untrusted(&self, report: &LoadReport, known: &BTreeSet<String>, settings: &NewKeySettings) {
        for AcceptedKey { entry, .. } in report.accepted.iter().filter(|accepted| !accepted.entry.is_trusted) {
            let arn = entry.master_key().unwrap_or_default();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let setting = match settings.master_keys.of(entry.name.id) {
                Some(_) => "the key id's entry in aws_key_management_master_keys",
                None => "aws_key_management_master_key_id",
            };
            self.0.warning(&format!(
                "{}: its file has turned up here, wrapped by master key {arn}, while the keys of this server are wrapped by \
                 {}. It is used to read, but never for new data. If you have put it here, set {setting} to {arn} for one \
                 start to accept it; otherwise find out who has",
                entry.name,
                known.join(", ")
            ));
        }
    }

    /// A key that was not trusted may encrypt new data from now on.
    pub fn accepted(&self, name: KeyName, configured: &MasterKeyId) {
        self.0.note(&format!(
            "{name} is accepted for new data: aws_key_management_master_key_id stands for {configured}, which wraps its file"
        ));
    }

    /// Keys that were loaded while the server runs.
    pub fn loaded(&self, keys: &[&AcceptedKey]) {
        for AcceptedKey { key, entry, .. } in keys {
            self.0.note(&format!("loaded {} ({} bits, {})", entry.name, key.bits(), key.algorithm()));
        }
    }

    /// Keys that were loaded while the server runs, and had failed before.
    pub fn loaded_at_last(&self, keys: &[&AcceptedKey]) {
        match keys {
            [first, .., last] if keys.len() > MOST_LINES => self.0.note(&format!(
                "loaded {} key versions that had failed before, from {} to {}. {AFTERWARDS}",
                keys.len(),
                first.entry.name,
                last.entry.name
            )),
            _ => keys.iter().for_each(|AcceptedKey { key, entry, .. }| {
                let (name, bits, algorithm) = (entry.name, key.bits(), key.algorithm());
                self.0
                    .note(&format!("loaded {name} ({bits} bits, {algorithm}), which had failed before. {AFTERWARDS}"));
            }),
        }
    }

    /// Keys that could not be loaded while the server runs, though others of the same id could.
    pub fn refused(&self, refused: &[RefusedKey]) {
        refused.iter().for_each(|refused| self.0.error(&refused.error.to_string()));
    }

    /// A key version that was made, in the file `path`.
    pub fn made(&self, new: &NewVersion, path: &Path) {
        let NewVersion { name, recipe, exposure, .. } = new;
        self.exposure(exposure);
        let by = recipe.master_key.as_ref().map_or_else(String::new, |id| format!(", wrapped by master key {id}"));
        self.0.note(&format!("made {name} ({}, {}){by}, in file {}", recipe.spec, recipe.algorithm, path.display()));
    }

    /// Versions that were made, and are not in the manifest yet.
    pub fn not_recorded(&self, new: &[NewVersion], error: &KeyStoreError) {
        match new {
            [] => {}
            [only] => self.0.warning(&format!("{} is not in the manifest of the key files yet: {error}", only.name)),
            [first, more @ ..] => self.0.warning(&format!(
                "{} and {} more key versions are not in the manifest of the key files yet: {error}",
                first.name,
                more.len()
            )),
        }
    }

    /// What could not be written down of keys that are used all the same: so this is no more than a warning.
    pub fn adoption(&self, folder: &Path, adoption: &Adoption) {
        if let Some(error) = &adoption.not_recorded {
            self.0.warning(&format!("the manifest of the key files is not up to date: {error}"));
        }
        if let Some(error) = &adoption.not_remembered {
            self.0.warning(&format!(
                "the datadir cannot remember that its keys lie in {}, so an empty or exchanged folder would not be noticed: \
                 {error}",
                folder.display()
            ));
        }
    }

    /// So many keys have a new version, because of `who`. What was made, [`Messages::made`] has said.
    pub fn rotated(&self, keys: usize, who: &str) {
        let what = if keys == 1 { "key" } else { "keys" };
        self.0.note(&format!(
            "rotated {keys} {what}, asked for by {who}. InnoDB's background threads now encrypt pages anew whose version is more \
             than innodb_encryption_rotate_key_age below the latest"
        ));
    }

    /// A key is too old, and is not rotated, since there is a higher version that is not the latest.
    pub fn too_old_and_left_alone(&self, latest: KeyName) {
        self.0.warning(&format!(
            "{latest} is older than aws_key_management_rotation_period, but is not rotated by itself: there is a higher version \
             which is not loaded, or not trusted (see STATE and ERROR of the function aws_key_management_keys). SET GLOBAL \
             aws_key_management_rotate_key = {} rotates it all the same",
            latest.id
        ));
    }

    /// A key is too old, and could not be rotated.
    pub fn rotation_by_age_failed(&self, error: &KeyStoreError) {
        self.0.error(&format!("rotation failed: {error}. It is tried again, after pauses of a minute to a day"));
    }

    /// The system's clock does not say how old keys are.
    pub fn clock_was_set(&self) {
        self.0.note(
            "the system's clock was set: no key is rotated because of its age until the clock has been steady for an hour",
        );
    }

    /// One key of many could not be rotated.
    pub fn rotation_failed(&self, error: &KeyStoreError) {
        self.0.error(&format!("rotation failed: {error}"));
    }

    /// Those that fail alike are told in so many lines at most.
    fn not_loaded_at_start(&self, mut refused: Vec<&RefusedKey>) {
        refused.sort_by_key(|refused| refused.name);
        let mut alike: BTreeMap<String, Vec<&KeyStoreError>> = BTreeMap::new();
        for RefusedKey { error, .. } in refused {
            alike.entry(error.kind()).or_default().push(error);
        }
        for errors in alike.values() {
            let (told, rest) = errors.split_at(errors.len().min(MOST_LINES));
            let (last, others) = told.split_last().map_or((None, told), |(last, others)| (Some(last), others));
            others.iter().for_each(|error| self.not_loaded(error));
            match (last, rest.len()) {
                (Some(last), 0) => self.not_loaded(last),
                (Some(last), more) => {
                    self.0.error(&format!("key not loaded, and {more} more that fail like it: {last}"))
                }
                (None, _) => {}
            }
        }
    }

    /// A key version cannot be used.
    pub fn not_loaded(&self, error: &KeyStoreError) {
        self.0.error(&format!("key not loaded: {error}"));
    }
}

/// More keys, or problems, than this are told in one line.
const MOST_LINES: usize = 10;

/// Tried on 10.11: what InnoDB has called corrupted it opens again after a restart only; the rest can be used at once.
const AFTERWARDS: &str = "Its tables can be used; those that InnoDB has called corrupted meanwhile are whole, and can be \
                          used after a restart of the server. Do not drop them";
