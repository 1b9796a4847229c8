//! Keys that are wrapped anew, and those that were loaded from other copies than their key files.

use super::{MOST_LINES, Messages};
use crate::keystore::KeyStoreError;
use crate::keystore::load::{AcceptedKey, LoadReport};
use crate::keystore::rewrap::Rewrapped;

impl Messages {
    /// Keys whose files KMS did not unwrap, though it did so with a copy.
    pub fn loaded_from_copies(&self, report: &LoadReport) {
        let from_copies = report.accepted.iter().filter_map(|accepted| Some((accepted, accepted.instead_of.as_ref()?)));
        let from_copies: Vec<_> = from_copies.collect();
        for (AcceptedKey { entry, .. }, error) in from_copies.iter().take(MOST_LINES) {
            self.0.warning(&format!(
                "{} is used from a copy that another master key wraps, since its key file could not be unwrapped: {error}",
                entry.name
            ));
        }
        if from_copies.len() > MOST_LINES {
            self.0.warning(&format!("{} more key versions are used from copies", from_copies.len() - MOST_LINES));
        }
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
