//! Keys that are wrapped anew, and those that were loaded from other copies than their key files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{MOST_LINES, Messages};
use crate::keystore::load::NotFromFile;
use crate::keystore::load_report::{AcceptedKey, LoadReport};
use crate::keystore::rewrap::Rewrapped;
use crate::keystore::{KeyName, KeyStoreError};
use crate::kms::{KmsError, MasterKeyId};

impl Messages {
    /// Keys whose files KMS did not unwrap, or that are gone, though it unwrapped a copy.
    pub fn loaded_from_copies(&self, report: &LoadReport) {
        for AcceptedKey { entry, instead_of, .. } in report.without_file() {
            let reason = instead_of.as_ref().map(ToString::to_string).unwrap_or_default();
            let (name, id) = (entry.name, entry.name.id);
            self.0.error(&format!(
                "{name} has no key file that can be used, and is used from a copy that another master key wraps: {reason}. SET \
                 GLOBAL aws_key_management_rewrap_key = {id} makes the key file anew"
            ));
        }
        let from_copies = report.accepted.iter().filter_map(|accepted| Some((accepted, accepted.instead_of.as_ref()?)));
        let mut alike = BTreeMap::<_, Vec<(KeyName, &KmsError)>>::new();
        for (AcceptedKey { entry, .. }, reason) in from_copies {
            if let NotFromFile::MasterKey(error) = reason {
                alike.entry((entry.master_key(), error.kind())).or_default().push((entry.name, error));
            }
        }
        for keys in alike.values().take(MOST_LINES) {
            let [(name, reason), more @ ..] = &keys[..] else { continue };
            let more = if more.is_empty() {
                String::new()
            } else {
                format!(", and so are {} more key version(s)", more.len())
            };
            self.0.warning(&format!(
                "{name} is used from a copy that another master key wraps{more}, since its key file could not be unwrapped: {reason}"
            ));
        }
        if alike.len() > MOST_LINES {
            let more: usize = alike.values().skip(MOST_LINES).map(Vec::len).sum();
            self.0.warning(&format!("{more} more key version(s) are used from copies, under other master keys"));
        }
    }

    /// Copies of keys of which nothing else tells.
    pub fn copies_of_unknown(&self, files: &[PathBuf]) {
        for file in files.iter().take(MOST_LINES) {
            self.0.warning(&format!(
                "{} holds copies of a key version that has no key file, and that the manifest does not know: it is not loaded, and \
                 its number is not used again. If data needs it, restore its key file or the manifest from a backup; otherwise \
                 move the copies away",
                file.display()
            ));
        }
    }

    /// Versions that get no copies under the extra master keys, though their key ids have no master key of their own any more.
    pub fn kept_apart(&self, names: &[KeyName]) {
        let Some(first) = names.first() else { return };
        let more = match names.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more key version(s)"),
        };
        self.0.warning(&format!(
            "no copies under the extra master keys are made of {first}{more}: wrapped by a master key that the key id had of its own \
             in aws_key_management_master_keys, where it has none any more. To keep it apart, write the entry again; to make the key \
             one like all others, SET GLOBAL aws_key_management_rewrap_key = {}",
            first.id
        ));
    }

    /// Copies under an extra master key cannot be made: once, until they can.
    pub fn extra_copies_not_made(&self, name: KeyName, master_key: &MasterKeyId, error: &KeyStoreError) {
        self.0.warning(&format!(
            "{name}, and perhaps others, has no copy yet under the extra master key {master_key}, and only its key file: {error}. \
             It is tried again in the background"
        ));
    }

    /// A re-wrap could not write the copies of a key, or could not drop older ones.
    pub fn copies_not_written(&self, name: KeyName, error: &KeyStoreError) {
        self.0.warning(&format!(
            "{name} is re-wrapped, but its copies under the extra master keys are not as they should be: {error}"
        ));
    }

    /// They could be made at last.
    pub fn extra_copies_made(&self, master_key: &MasterKeyId) {
        self.0.note(&format!("all keys have their copies under the extra master key {master_key} now"));
    }

    /// Key versions that were re-wrapped.
    pub fn rewrapped(&self, done: &[Rewrapped]) {
        for Rewrapped { entry, before, .. } in done.iter().take(MOST_LINES) {
            let by = |arn: Option<&str>| arn.unwrap_or("a master key that is not known").to_owned();
            self.0.note(&format!(
                "re-wrapped {}: by {}, before by {}",
                entry.name,
                by(entry.master_key()),
                by(before.as_deref())
            ));
        }
        if done.len() > MOST_LINES {
            self.0.note(&format!("re-wrapped {} more key versions", done.len() - MOST_LINES));
        }
    }

    /// A key version could not be re-wrapped.
    pub fn not_rewrapped(&self, error: &KeyStoreError) {
        self.0.error(&format!("not re-wrapped: {error}"));
    }

    /// The manifest does not know of a re-wrap.
    pub fn rewrap_not_recorded(&self, error: &KeyStoreError) {
        self.0.warning(&format!(
            "the manifest does not say yet what was re-wrapped: repeat the statement; otherwise the next start finds out: {error}"
        ));
    }

    /// What was kept of some key files of before a re-wrap was removed, or not.
    pub fn forgot_before_rewrap(&self, forgotten: &Result<usize, KeyStoreError>) {
        match forgotten {
            Ok(0) => {}
            Ok(count) => self.0.note(&format!(
                "removed the old files of {count} key version(s), kept since they were re-wrapped: the new ones have proven good"
            )),
            Err(error) => self.0.note(&format!("the old files of re-wrapped keys are still kept: {error}")),
        }
    }
}
