//! Wraps key versions that exist anew, under the master key that is configured now. The data key is in memory, so KMS need not
//! unwrap what is in the key file: the master key that wraps it may be disabled, deleted or out of reach.
//!
//! So are its copies under the extra master keys. One that cannot be made is a warning. Copies under other master keys, which are
//! no longer configured, are dropped, but only after the key file and all copies that are to be there have been proven.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use super::extra_copies::MOST_IN_A_ROW;
use super::files::{Adding, Entry, Held, KeyFile, KeyFiles, Traits};
use super::in_groups::{self, LONGEST_HOLD};
use super::load_report::LoadReport;
use super::new_keys::Recipe;
use super::tries::Tries;
use super::{DataKey, KeyId, KeyName, KeyStore, KeyStoreError, given_up, verify};
use crate::kms::{EncryptionContext, Kms, MasterKeyId, WrappedKey};
use crate::waits;

/// A key version that was wrapped anew.
pub struct Rewrapped {
    /// What the manifest is to say of it.
    pub entry: Entry,
    /// What is bound into the wrapped key.
    pub encryption_context: EncryptionContext,
    /// The ARN of the master key that wrapped it before, as far as it is known.
    pub before: Option<String>,
    /// Why its copies are not as they are to be. That keeps no key file from being wrapped anew.
    pub copies_not_written: Option<KeyStoreError>,
    /// Whether it has all copies that there are to be, each of them proven.
    pub has_all_copies: bool,
}

/// What came of a re-wrap in which nothing has failed.
#[derive(Debug, PartialEq, Eq)]
pub struct AllRewrapped {
    /// How many versions there are.
    pub count: usize,
    /// The ARNs of the master keys that wrap them now.
    pub master_keys: BTreeSet<String>,
    /// Versions that are in memory and were left out, since somebody has retired them.
    pub retired: Vec<KeyName>,
    /// Versions that somebody had retired, and that are needed again from now on.
    pub taken_back: Vec<KeyName>,
}

/// What is to be re-wrapped.
struct ToRewrap {
    /// In order.
    names: Vec<KeyName>,
    /// Left out: retired, and in memory.
    retired: Vec<KeyName>,
    /// Those of `names` that were retired.
    taken_back: Vec<KeyName>,
}

/// A key version that KMS has wrapped anew, and proven. Nothing is written yet.
struct Wrapped {
    name: KeyName,
    /// What was in the place of the key file before KMS was asked.
    held: Held,
    contents: Vec<u8>,
    entry: Entry,
    encryption_context: EncryptionContext,
    copies: Vec<WrappedKey>,
    /// Whether these are all that there are to be.
    has_all_copies: bool,
    without_copy: Vec<WithoutCopy>,
}

/// An extra master key under which a copy could not be made, and why.
type WithoutCopy = (MasterKeyId, KeyStoreError);

/// Wraps a key version anew. The new wrapped key is proven, by unwrapping it, before the key file is touched, and what the file
/// held is kept beside it. A key file that is gone or damaged is made whole.
pub fn rewrap(
    files: &KeyFiles,
    kms: &dyn Kms,
    recipe: &Recipe,
    name: KeyName,
    key: &DataKey,
) -> Result<Rewrapped, KeyStoreError> {
    check_can_replace(files)?;
    Wrapped::ask_kms(files, kms, recipe, name, key, |_| true)?.write(files, &files.begin_adding()?)
}

/// KMS is not asked for what cannot be stored. The lock is not kept: others may need it while KMS is asked.
fn check_can_replace(files: &KeyFiles) -> Result<(), KeyStoreError> {
    files.refresh()?;
    files.check_may_add()?;
    files.begin_adding().map(drop)
}

impl Wrapped {
    /// Wraps a key version anew, with its copies under those of the extra master keys that are `worth_asking`. That one of them
    /// fails does not keep the key from being wrapped anew: it may be the rescue. Writes nothing.
    fn ask_kms(
        files: &KeyFiles,
        kms: &dyn Kms,
        recipe: &Recipe,
        name: KeyName,
        key: &DataKey,
        worth_asking: impl Fn(&MasterKeyId) -> bool,
    ) -> Result<Self, KeyStoreError> {
        check_is_accepted(files, name)?;
        let master_key = recipe.master_key.as_ref().ok_or(KeyStoreError::NoMasterKey(name))?;
        let held = files.held(name)?;
        let encryption_context = recipe.encryption_context.clone();
        let (wrapped, traits) = wrap(kms, master_key, &encryption_context, name, key.as_bytes())?;
        let (mut copies, mut without_copy) = (Vec::new(), Vec::new());
        let mut has_all_copies = recipe.extra_master_keys.is_some();
        let extra = recipe.extra_master_keys.iter().flatten();
        for extra in extra.filter(|extra| traits.master_key() != Some(extra.as_str())) {
            if !worth_asking(extra) {
                has_all_copies = false;
                continue;
            }
            match wrap(kms, extra, &encryption_context, name, key.as_bytes()) {
                Ok((copy, _)) => copies.push(copy),
                Err(error) => without_copy.push((extra.clone(), error)),
            }
        }
        has_all_copies &= without_copy.is_empty();
        let now = SystemTime::now();
        let contents = KeyFile { algorithm: key.algorithm(), wrapped }.to_bytes(name, now)?;
        let entry = Entry::new(name, &contents, key.algorithm(), traits, now);
        let entry = match recipe.has_own_master_key {
            Some(is_own) => entry.with_own_master_key(is_own),
            None => entry.with_own_master_key_of(files.entry(name).as_ref()),
        };
        Ok(Self { name, held, contents, entry, encryption_context, copies, has_all_copies, without_copy })
    }

    /// What the file held is kept beside it. A key file that is gone or damaged is made whole.
    fn write(self, files: &KeyFiles, adding: &Adding<'_>) -> Result<Rewrapped, KeyStoreError> {
        let Self { name, held, contents, entry, encryption_context, copies, has_all_copies, .. } = self;
        // What the manifest on the disk says of the key, and of whether it may encrypt, was asked once more under the lock.
        files.check(&entry)?;
        check_is_accepted(files, name)?;
        let before = files.master_key(name);
        // Copies that are there come first: whenever this stops, the key can be unwrapped as before, or anew.
        let added = match copies.is_empty() {
            true => Ok(()),
            false => adding.add_extra_copies(name, entry.algorithm(), &copies),
        };
        let is_older_kept = adding.replace(name, &held, &contents)?;
        let written = match added {
            Ok(()) if has_all_copies => adding.replace_extra_copies(name, entry.algorithm(), &copies),
            added => added,
        };
        let former = match is_older_kept {
            true => files.entry(name).and_then(|entry| entry.former_master_key().map(str::to_owned)),
            false => before.clone(),
        };
        Ok(Rewrapped {
            entry: entry.with_former_master_key(former),
            encryption_context,
            before,
            has_all_copies: has_all_copies && written.is_ok(),
            copies_not_written: written.err(),
        })
    }
}

/// Has KMS wrap a key, and proves, by unwrapping it, that the key can be had back.
pub fn wrap(
    kms: &dyn Kms,
    master_key: &MasterKeyId,
    encryption_context: &EncryptionContext,
    name: KeyName,
    key: &[u8],
) -> Result<(WrappedKey, Traits), KeyStoreError> {
    let failed = |error| KeyStoreError::Kms(name, error);
    let wrapped = kms.encrypt(master_key, key, encryption_context).map_err(failed)?;
    let wrapped = wrapped.with_master_key(Some(master_key.clone()));
    let plain = kms.decrypt(&wrapped).map_err(failed)?;
    match plain.as_bytes() == key {
        true => Ok((wrapped, Traits::of(&plain))),
        false => Err(KeyStoreError::NotTheSameKey(name)),
    }
}

/// Under a master key of this server's, it would be trusted from the next start on.
fn check_is_accepted(files: &KeyFiles, name: KeyName) -> Result<(), KeyStoreError> {
    match files.is_trusted(name) {
        Some(true) => Ok(()),
        _ => Err(KeyStoreError::NotAccepted(name)),
    }
}

/// A re-wrap of many key versions.
struct Rewrap<'a> {
    store: &'a KeyStore,
    tries: Tries<'a>,
    done: Vec<Rewrapped>,
    /// How many copies in a row could not be made under an extra master key.
    failed_copies: BTreeMap<MasterKeyId, usize>,
    longest_hold: Duration,
}

impl Rewrap<'_> {
    /// Asks KMS for a group. Takes no lock of a key id: to hold those of many keys while KMS is asked for each would hold up
    /// their callers. A file that changes meanwhile is left alone.
    fn ask_kms(&mut self, group: &[KeyName]) -> Vec<(KeyId, Wrapped)> {
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
                self.tries.end(KeyStoreError::GivenUp(name.id));
                continue;
            }
            if !std::mem::replace(&mut is_prepared, true)
                && let Err(error) = check_can_replace(&store.files)
            {
                self.tries.end(error);
                continue;
            }
            let key = store.published.with_key(name, DataKey::clone).ok_or(KeyStoreError::NotInMemory(name));
            let worth_asking =
                |extra: &MasterKeyId| self.failed_copies.get(extra).is_none_or(|&failed| failed < MOST_IN_A_ROW);
            let wrapped =
                key.and_then(|key| Wrapped::ask_kms(&store.files, &*store.kms, &recipe, name, &key, worth_asking));
            match wrapped.map_err(|error| given_up(name.id, error)) {
                Ok(wrapped) => {
                    self.tries.answered(master_key);
                    self.note_copies(&wrapped);
                    all.push((name.id, wrapped));
                }
                Err(error) => self.tries.failed(master_key, error),
            }
        }
        all
    }

    fn note_copies(&mut self, Wrapped { name, copies, without_copy, .. }: &Wrapped) {
        for made in copies.iter().filter_map(WrappedKey::master_key) {
            self.failed_copies.remove(made);
        }
        for (extra, error) in without_copy.iter().filter(|_| !waits::must_end()) {
            let failed = self.failed_copies.entry(extra.clone()).or_default();
            *failed += 1;
            if *failed == 1 {
                self.store.messages.extra_copies_not_made(*name, extra, error);
            }
        }
    }

    /// Writes the files of a group, and records them.
    fn write(&mut self, group: Vec<(KeyId, Wrapped)>) {
        let files = &self.store.files;
        let done = &mut self.done;
        let (mut recorded, mut recorded_at) = (done.len(), Instant::now());
        let take = || Ok((files.begin_adding()?, ()));
        in_groups::store_all(group, self.longest_hold, &mut self.tries, take, |adding, (), _, wrapped| {
            let rewrapped = self.store.still_wanted(wrapped).write(files, adding)?;
            if let Some(error) = &rewrapped.copies_not_written {
                self.store.messages.copies_not_written(rewrapped.entry.name, error);
            }
            done.push(rewrapped);
            // A start after a crash finds in the manifest where each key file is to be unwrapped, but for the last few.
            if recorded_at.elapsed() >= self.longest_hold {
                self.store.record_rewrapped(&done[recorded..], |entries| adding.record(entries));
                (recorded, recorded_at) = (done.len(), Instant::now());
            }
            Ok(())
        });
        self.store.record_rewrapped(&done[recorded..], |entries| files.begin_adding()?.record(entries));
    }
}

impl KeyStore {
    /// Wraps all versions of a key anew, or of all keys, under the master keys that are configured now; those that fail do not
    /// keep the others from being tried, unless these would fail like it. The data keys stay as they are.
    ///
    /// Versions that were retired are left out of a re-wrap of all keys. Who names a key gets them back, if they are still in memory:
    /// nobody else could make their files.
    pub fn rewrap(&self, only: Option<KeyId>) -> Result<AllRewrapped, KeyStoreError> {
        self.rewrap_holding(only, LONGEST_HOLD)
    }

    pub(super) fn rewrap_holding(
        &self,
        only: Option<KeyId>,
        longest_hold: Duration,
    ) -> Result<AllRewrapped, KeyStoreError> {
        if !self.role.writes() {
            return Err(KeyStoreError::BackupRewrapsNothing);
        }
        let ToRewrap { names, retired, taken_back } = self.to_rewrap(only)?;
        let told = |error: &KeyStoreError| self.messages.not_rewrapped(error);
        let mut rewrap = Rewrap {
            store: self,
            tries: Tries::new(&told),
            done: Vec::new(),
            failed_copies: BTreeMap::new(),
            longest_hold,
        };
        for group in in_groups::groups(&names) {
            let wrapped = rewrap.ask_kms(group);
            rewrap.write(wrapped);
        }
        let Rewrap { tries, done, .. } = rewrap;
        self.messages.rewrapped(&done);
        for rewrapped in &done {
            self.figures.known_versions().wrapped(rewrapped.entry.name, &rewrapped.encryption_context);
        }
        self.note_copies();
        self.note_versions();
        self.proven(done.iter().map(|rewrapped| (rewrapped.entry.name, rewrapped.has_all_copies)));
        let result = tries.result(names.len());
        // Each of them was unwrapped.
        if only.is_none() && result.is_ok() && done.iter().all(|rewrapped| rewrapped.has_all_copies) {
            self.figures.readiness().set_fully_wrapped(true);
        }
        self.copies_may_have_changed();
        let master_keys = done.iter().filter_map(|done| done.entry.master_key().map(str::to_owned)).collect();
        result.map(|()| AllRewrapped { count: names.len(), master_keys, retired, taken_back }).map_err(|error| {
            match error {
                KeyStoreError::Several { of, skipped, first, .. } => {
                    let is_done = |name| done.iter().any(|done: &Rewrapped| done.entry.name == name);
                    let names: Vec<KeyName> = names.into_iter().filter(|name| !is_done(*name)).collect();
                    KeyStoreError::NotAllRewrapped { of, skipped, names, first }
                }
                error => error,
            }
        })
    }

    fn to_rewrap(&self, only: Option<KeyId>) -> Result<ToRewrap, KeyStoreError> {
        let needed = verify::needed(&self.files, only);
        // What has its file again is needed, whatever the manifest says.
        let is_new = |names: &[KeyName], name: &KeyName| names.binary_search(name).is_err();
        let Some(id) = only else {
            let names = needed?;
            let retired = self.retired_in_memory().into_iter().filter(|name| is_new(&names, name)).collect();
            return Ok(ToRewrap { names, retired, taken_back: Vec::new() });
        };
        let mut names = match needed {
            // All of them are retired.
            Err(KeyStoreError::NoSuchKey(_)) => Vec::new(),
            needed => needed?,
        };
        let mut taken_back = self.retired_in_memory();
        taken_back.retain(|name| name.id == id && is_new(&names, name));
        names.extend(&taken_back);
        names.sort();
        match names.is_empty() {
            true => Err(KeyStoreError::NoSuchKey(id)),
            false => Ok(ToRewrap { names, retired: Vec::new(), taken_back }),
        }
    }

    /// Without copies under master keys that are not to wrap any since KMS was asked. Those of others, which are to wrap some since
    /// then, are missing.
    fn still_wanted(&self, mut wrapped: Wrapped) -> Wrapped {
        // The entry says what its recipe said: whether the master key that wraps it now is that of its key id alone.
        let wanted = match wrapped.entry.has_own_master_key() {
            true => Vec::new(),
            false => self.new_keys.extra_master_keys_of(wrapped.name.id),
        };
        wrapped.copies.retain(|copy| copy.master_key().is_some_and(|master_key| wanted.contains(master_key)));
        let is_there = |extra: &MasterKeyId| {
            wrapped.entry.master_key() == Some(extra.as_str())
                || wrapped.copies.iter().any(|copy| copy.master_key() == Some(extra))
        };
        wrapped.has_all_copies &= wanted.iter().all(is_there);
        wrapped
    }

    /// At a good start, what was kept of before a re-wrap is of no use any more: the key files themselves have proven good.
    pub(super) fn forget_before_rewrap(&self, report: &LoadReport) {
        let Ok(kept) = self.files.kept_before_rewrap() else { return };
        let from_files = report.accepted.iter().filter(|accepted| accepted.instead_of.is_none());
        let of_kept = from_files.filter(|accepted| kept.binary_search(&accepted.entry.name).is_ok());
        let proven: Vec<&Entry> = of_kept.map(|accepted| &accepted.entry).collect();
        if proven.is_empty() {
            return;
        }
        let forgotten = self.files.begin_adding().and_then(|adding| adding.forget_before_rewrap(&proven));
        self.messages.forgot_before_rewrap(&forgotten);
    }

    /// If it fails, the manifest is brought up to date at the next start: it knows the data keys.
    fn record_rewrapped(&self, done: &[Rewrapped], record: impl FnOnce(Vec<Entry>) -> Result<(), KeyStoreError>) {
        let entries: Vec<Entry> = done.iter().map(|rewrapped| rewrapped.entry.clone()).collect();
        if entries.is_empty() {
            return;
        }
        self.files.note(entries.clone());
        if let Err(error) = record(entries) {
            self.messages.rewrap_not_recorded(&error);
        }
    }
}
