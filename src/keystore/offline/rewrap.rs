//! Wraps the key versions of a folder anew, under another master key: by the plugin's own operation, with the data keys as KMS
//! unwraps them.

use std::time::{Duration, Instant};

use super::{ManifestState, OfflineError, OpenFolder, no_settings, recipe};
use crate::keystore::adopt::adopt;
use crate::keystore::files::{Entry, KeyFiles};
use crate::keystore::in_groups::groups;
use crate::keystore::load_report::AcceptedKey;
use crate::keystore::rewrap::{self, Rewrapped};
use crate::keystore::tries::Tries;
use crate::keystore::{KeyId, KeyName, KeyStoreError, load, start};
use crate::kms::{Kms, MasterKeyId};

/// What came of a re-wrap.
pub struct Rewrapping {
    /// The versions that were wrapped anew, with the ARN of the master key that wrapped each before, and of the one that does
    /// now, as far as they are known.
    pub done: Vec<(KeyName, Option<String>, Option<String>)>,
    /// Those of them that were wrapped by a master key that their key ids had of their own.
    pub of_own_master_keys: Vec<KeyName>,
    /// The versions that are as they were, and why.
    pub failed: Vec<(KeyName, KeyStoreError)>,
    /// Those that were not tried, since they would have failed like the others.
    pub not_tried: Vec<KeyName>,
    /// Why it could not be recorded in the manifest: the next start does it.
    pub not_recorded: Option<KeyStoreError>,
}

/// Wraps all versions of a key anew, or of all keys. KMS gets `time` to unwrap them. What is bound into a wrapped key stays
/// bound. Those that fail are as they were.
pub fn rewrap(
    folder: &OpenFolder,
    kms: &dyn Kms,
    master_key: &MasterKeyId,
    only: Option<KeyId>,
    time: Duration,
) -> Result<Rewrapping, KeyStoreError> {
    let files = &folder.files;
    let mut survey = start::survey(files)?;
    let is_wanted = |name: &KeyName| only.is_none_or(|id| name.id == id);
    if let (Some(id), false) = (only, survey.to_load().iter().chain(&survey.missing).any(is_wanted)) {
        return Err(KeyStoreError::NoSuchKey(id));
    }
    // KMS is not asked for what cannot be stored.
    drop(files.begin_adding()?);
    // All of them, for the manifest: see below.
    let mut report = load::load(files, kms, &survey.to_load(), Instant::now() + time);
    // The settings are not known here. So what a server has not trusted stays so, and what it has not seen yet is left to it.
    let accepted = std::mem::take(&mut report.accepted);
    let (mut not_seen, mut not_trusted) = (Vec::new(), Vec::new());
    for accepted in accepted {
        let name = accepted.entry.name;
        match files.is_trusted(name) {
            Some(true) => report.accepted.push(accepted),
            Some(false) => not_trusted.push(name),
            None if folder.manifest() == ManifestState::Missing => report.accepted.push(accepted),
            None => not_seen.push(name),
        }
    }
    report.judge(files, &no_settings());
    survey.confirm_left_behind(&report);
    // As a start does it: a version that stays as it is must not be the only one under a master key that the manifest does not
    // know then.
    let adoption = adopt(files, &no_settings(), &mut report, &survey.left_behind);
    if let Some(error) = adoption.not_recorded {
        return Err(error);
    }
    let mut failed: Vec<_> = report.refused.into_iter().map(|refused| (refused.name, refused.error)).collect();
    failed.extend(survey.missing.iter().map(|name| (*name, KeyStoreError::Gone(*name, files.path_of(*name)))));
    failed.extend(not_trusted.into_iter().map(|name| (name, KeyStoreError::NotAccepted(name))));
    failed.extend(not_seen.into_iter().map(|name| (name, OfflineError::NotSeenYet(name).into())));
    failed.retain(|(name, _)| is_wanted(name));
    let wanted = report.accepted.into_iter().filter(|accepted| is_wanted(&accepted.entry.name));
    let wanted: Vec<AcceptedKey> = wanted.collect();
    let (mut done, mut of_own_master_keys, mut not_recorded) = (Vec::new(), Vec::new(), None);
    let (mut not_tried, ignored) = (Vec::new(), |_: &KeyStoreError| {});
    let mut tries = Tries::new(&ignored);
    for group in groups(&wanted) {
        let mut entries = Vec::new();
        for accepted in group {
            let name = accepted.entry.name;
            if !tries.may_try(Some(master_key)) {
                not_tried.push(name);
                continue;
            }
            match rewrap_one(files, kms, master_key, accepted) {
                Ok(rewrapped) => {
                    tries.answered(Some(master_key));
                    let before = rewrapped.before.or_else(|| accepted.entry.master_key().map(str::to_owned));
                    of_own_master_keys.extend(accepted.entry.has_own_master_key().then_some(name));
                    done.push((name, before, rewrapped.entry.master_key().map(str::to_owned)));
                    entries.push(rewrapped.entry);
                }
                Err(error) => {
                    tries.learn(Some(master_key), &error);
                    failed.push((name, error));
                }
            }
        }
        // So that who stops this in the middle has a manifest that says where most key files are to be unwrapped.
        if !entries.is_empty() {
            not_recorded = files.begin_adding().and_then(|adding| adding.record(entries)).err();
        }
    }
    failed.sort_by_key(|(name, _)| *name);
    Ok(Rewrapping { done, of_own_master_keys, failed, not_tried, not_recorded })
}

fn rewrap_one(
    files: &KeyFiles,
    kms: &dyn Kms,
    master_key: &MasterKeyId,
    accepted: &AcceptedKey,
) -> Result<Rewrapped, KeyStoreError> {
    let Entry { name, is_trusted, .. } = accepted.entry;
    if !is_trusted {
        return Err(KeyStoreError::NotAccepted(name));
    }
    let recipe = recipe(master_key, accepted.encryption_context.clone());
    rewrap::rewrap(files, kms, &recipe, name, &accepted.key)
}
