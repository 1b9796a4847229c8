//! Wraps key versions that exist anew, under the master key that is configured now. The data key is in memory, so KMS need not
//! unwrap what is in the key file: the master key that wraps it may be disabled, deleted or out of reach.
//!
//! So are its copies under the extra master keys. Those under other master keys, which are no longer configured, are dropped, but
//! only after the key file and all copies that are to be there have been proven.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::files::{Adding, Entry, KeyFile, KeyFiles, Traits};
use super::in_groups::{self, LONGEST_HOLD};
use super::load::LoadReport;
use super::new_keys::Recipe;
use super::tries::Tries;
use super::{DataKey, KeyId, KeyName, KeyStore, KeyStoreError, Role, given_up};
use crate::kms::{EncryptionContext, Kms, MasterKeyId, PlainKey, WrappedKey};
use crate::waits;

/// A key version that was wrapped anew.
pub struct Rewrapped {
    /// What the manifest is to say of it.
    pub entry: Entry,
    /// The ARN of the master key that wrapped it before, as far as it is known.
    pub before: Option<String>,
}

/// A key version that KMS has wrapped anew, and proven. Nothing is written yet.
struct Wrapped {
    name: KeyName,
    /// What the key file held before KMS was asked.
    held: Option<Vec<u8>>,
    contents: Vec<u8>,
    entry: Entry,
    copies: Vec<WrappedKey>,
}

/// Asks KMS to wrap a key under a master key, and proves it: what KMS unwraps again is the key.
pub fn wrap_proven(
    kms: &dyn Kms,
    name: KeyName,
    key: &DataKey,
    master_key: &MasterKeyId,
    context: &EncryptionContext,
) -> Result<(WrappedKey, PlainKey), KeyStoreError> {
    let kms_failed = |error| KeyStoreError::Kms(name, error);
    let wrapped = kms.encrypt(master_key, key.as_bytes(), context).map_err(kms_failed)?;
    let wrapped = wrapped.with_master_key(Some(master_key.clone()));
    let plain = kms.decrypt(&wrapped).map_err(kms_failed)?;
    if plain.as_bytes() != key.as_bytes() {
        return Err(KeyStoreError::NotTheSameKey(name));
    }
    Ok((wrapped, plain))
}

/// Wraps a key version anew, with its copies. Writes nothing.
fn wrap(
    files: &KeyFiles,
    kms: &dyn Kms,
    recipe: &Recipe,
    name: KeyName,
    key: &DataKey,
) -> Result<Wrapped, KeyStoreError> {
    check_is_accepted(files, name)?;
    let master_key = recipe.master_key.as_ref().ok_or(KeyStoreError::NoMasterKey(name))?;
    let held = files.contents(name)?;
    let context = &recipe.encryption_context;
    let (wrapped, plain) = wrap_proven(kms, name, key, master_key, context)?;
    let mut copies = Vec::new();
    for extra in recipe.extra_master_keys.iter().filter(|extra| plain.master_key() != Some(extra.as_str())) {
        let failed = |error| KeyStoreError::ExtraCopy { name, arn: extra.to_string(), error: Box::new(error) };
        copies.push(wrap_proven(kms, name, key, extra, context).map_err(failed)?.0);
    }
    let now = SystemTime::now();
    let contents = KeyFile { algorithm: key.algorithm(), wrapped }.to_bytes(name, now)?;
    let entry = Entry::new(name, &contents, key.algorithm(), Traits::of(&plain), now);
    Ok(Wrapped { name, held, contents, entry, copies })
}

impl Wrapped {
    /// What the file held is kept beside it. A key file that is gone or damaged is made whole.
    fn write(self, files: &KeyFiles, adding: &Adding<'_>) -> Result<Rewrapped, KeyStoreError> {
        let Self { name, held, contents, entry, copies } = self;
        // What the manifest on the disk says of the key, and of whether it may encrypt, was asked once more under the lock.
        files.check(&entry)?;
        check_is_accepted(files, name)?;
        let before = files.master_key(name);
        // Copies that are there come first: whenever this stops, the key can be unwrapped as before, or anew.
        if !copies.is_empty() {
            adding.add_extra_copies(name, &copies)?;
        }
        adding.replace(name, held.as_deref(), &contents)?;
        adding.replace_extra_copies(name, &copies)?;
        Ok(Rewrapped { entry, before })
    }
}

/// Under a master key of this server's, it would be trusted from the next start on.
fn check_is_accepted(files: &KeyFiles, name: KeyName) -> Result<(), KeyStoreError> {
    match files.is_trusted(name) {
        Some(false) => Err(KeyStoreError::NotAccepted(name)),
        _ => Ok(()),
    }
}

/// A re-wrap of many key versions.
struct Rewrap<'a> {
    store: &'a KeyStore,
    tries: Tries<'a>,
    done: Vec<Rewrapped>,
    failed: Vec<KeyName>,
    longest_hold: Duration,
}

impl Rewrap<'_> {
    /// Asks KMS for a group. Takes no lock of a key id: to hold those of many keys while KMS is asked for each would hold up
    /// their callers. A file that changes meanwhile is left alone.
    fn wrap(&mut self, group: &[KeyName]) -> Vec<(KeyId, Wrapped)> {
        let store = self.store;
        let mut all = Vec::new();
        let mut is_prepared = false;
        for name in group.iter().copied() {
            let recipe = store.new_keys.recipe_for(name.id);
            let master_key = recipe.master_key.as_ref();
            if !self.tries.may_try(master_key) {
                continue;
            }
            if waits::must_end() {
                self.failed.push(name);
                self.tries.end(KeyStoreError::GivenUp(name.id));
                continue;
            }
            if !std::mem::replace(&mut is_prepared, true)
                && let Err(error) = store.check_can_replace()
            {
                self.failed.push(name);
                self.tries.end(error);
                continue;
            }
            let key = store.published.with_key(name, DataKey::clone).ok_or(KeyStoreError::NotInMemory(name));
            let wrapped = key.and_then(|key| wrap(&store.files, &*store.kms, &recipe, name, &key));
            match wrapped.map_err(|error| given_up(name.id, error)) {
                Ok(wrapped) => {
                    self.tries.answered(master_key);
                    all.push((name.id, wrapped));
                }
                Err(error) => {
                    self.failed.push(name);
                    self.tries.failed(master_key, error);
                }
            }
        }
        all
    }

    /// Writes the files of a group.
    fn write(&mut self, group: Vec<(KeyId, Wrapped)>) {
        let files = &self.store.files;
        let (done, failed) = (&mut self.done, &mut self.failed);
        let mut names: Vec<KeyName> = group.iter().map(|(_, wrapped)| wrapped.name).collect();
        let before = done.len();
        let take = || Ok((files.begin_adding()?, ()));
        in_groups::store_all(group, self.longest_hold, &mut self.tries, take, |adding, (), _, wrapped| {
            done.push(wrapped.write(files, adding)?);
            Ok(())
        });
        names.retain(|name| !done[before..].iter().any(|done| done.entry.name == *name));
        failed.extend(names);
    }
}

impl KeyStore {
    /// Wraps all versions of a key anew, or of all keys, under the master keys that are configured now; those that fail do not
    /// keep the others from being tried, unless these would fail like it. The data keys stay as they are. Answers how many
    /// versions there are.
    pub fn rewrap(&self, only: Option<KeyId>) -> Result<usize, KeyStoreError> {
        self.rewrap_holding(only, LONGEST_HOLD)
    }

    pub(super) fn rewrap_holding(&self, only: Option<KeyId>, longest_hold: Duration) -> Result<usize, KeyStoreError> {
        if self.role == Role::Backup {
            return Err(KeyStoreError::BackupRewrapsNothing);
        }
        let names = self.names_to_rewrap(only)?;
        let told = |error: &KeyStoreError| self.messages.not_rewrapped(error);
        let (done, failed) = (Vec::new(), Vec::new());
        let mut rewrap = Rewrap { store: self, tries: Tries::new(&told), done, failed, longest_hold };
        for group in in_groups::groups(&names) {
            let wrapped = rewrap.wrap(group);
            rewrap.write(wrapped);
        }
        let Rewrap { tries, done, mut failed, .. } = rewrap;
        failed.sort_unstable();
        self.record_rewrapped(&done);
        self.messages.rewrapped(&done);
        self.note_versions();
        if self.copies_in_use.are_whole(done.iter().map(|done| &done.entry.name)) {
            self.figures.readiness().set_files_are_whole(SystemTime::now(), true);
        }
        let result = tries.result(names.len());
        // Each of them was unwrapped.
        if only.is_none() && result.is_ok() {
            self.figures.readiness().set_fully_wrapped(true);
        }
        // What there are copies of may have changed.
        self.copies_changed.fetch_add(1, Ordering::Relaxed);
        self.bell.ring();
        result.map(|()| names.len()).map_err(|error| match error {
            KeyStoreError::Several { failed: count, of, skipped, first } => {
                KeyStoreError::NotAllRewrapped { failed: count, of, skipped, names: failed, first }
            }
            error => error,
        })
    }

    /// KMS is not asked for what cannot be stored. The lock is not kept: others may need it while KMS is asked.
    fn check_can_replace(&self) -> Result<(), KeyStoreError> {
        self.files.refresh()?;
        self.files.check_may_add()?;
        self.files.begin_adding().map(drop)
    }

    /// All versions that there are or were, but for those that were left behind when the folder was copied.
    fn names_to_rewrap(&self, only: Option<KeyId>) -> Result<Vec<KeyName>, KeyStoreError> {
        self.files.refresh()?;
        let mut names: BTreeSet<KeyName> = self.files.present()?.into_iter().chain(self.files.recorded()).collect();
        names.retain(|name| only.is_none_or(|id| name.id == id) && !self.files.is_left_behind(*name));
        match only {
            Some(id) if names.is_empty() => Err(KeyStoreError::NoSuchKey(id)),
            _ => Ok(names.into_iter().collect()),
        }
    }

    /// At a good start, what was kept of before a re-wrap is of no use any more: the key files themselves have proven good.
    pub(super) fn forget_before_rewrap(&self, report: &LoadReport) {
        let Ok(mut kept) = self.files.kept_before_rewrap() else { return };
        let proven = |name| {
            let mut accepted = report.accepted.iter();
            accepted.any(|accepted| accepted.entry.name == name && accepted.instead_of.is_none())
        };
        kept.retain(|name| proven(*name));
        if kept.is_empty() {
            return;
        }
        let forgotten = self.files.begin_adding().and_then(|adding| adding.forget_before_rewrap(&kept));
        self.messages.forgot_before_rewrap(kept.len(), &forgotten);
    }

    /// If it fails, the manifest is brought up to date at the next start: it knows the data keys.
    fn record_rewrapped(&self, done: &[Rewrapped]) {
        let entries: Vec<Entry> = done.iter().map(|rewrapped| rewrapped.entry.clone()).collect();
        if entries.is_empty() {
            return;
        }
        self.files.note(entries.clone());
        if let Err(error) = self.files.begin_adding().and_then(|adding| adding.record(entries)) {
            self.messages.rewrap_not_recorded(&error);
        }
    }
}
