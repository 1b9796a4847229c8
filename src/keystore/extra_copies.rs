//! Copies of the keys under the extra master keys are made in the background, so that no statement that makes a key waits for
//! another region.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::background::Job;
use super::files::{Adding, Entry};
use super::{DataKey, ExtraMasterKeys, KeyName, KeyStore, KeyStoreError, MasterKeysOfIds, rewrap};
use crate::kms::{MasterKeyId, WrappedKey};
use crate::waits;

/// Makes what is missing.
pub struct MakeExtraCopies {
    store: Arc<KeyStore>,
    /// Versions that are known to have all their copies, as long as `under` is as it is.
    complete: BTreeSet<KeyName>,
    under: Under,
    /// Versions that get none, though the settings say so: see [`KeyStore::extra_master_keys_of`]. These have been told of.
    kept_apart: Vec<KeyName>,
    /// Master keys under which copies could not be made, or not be written.
    failing: BTreeMap<MasterKeyId, Failing>,
    longest_run: Duration,
}

/// What it depends on which copies there are to be.
#[derive(Default, PartialEq)]
struct Under {
    extra_master_keys: ExtraMasterKeys,
    master_keys: MasterKeysOfIds,
    changes: u64,
}

struct Failing {
    pause: Duration,
    next_try: Instant,
}

/// A copy that is missing.
type Missing = (KeyName, MasterKeyId);

impl MakeExtraCopies {
    pub fn new(store: Arc<KeyStore>) -> Self {
        Self::with_runs_of(store, LONGEST_RUN)
    }

    pub fn with_runs_of(store: Arc<KeyStore>, longest_run: Duration) -> Self {
        let (complete, under, failing) = (BTreeSet::new(), Under::default(), BTreeMap::new());
        Self { store, complete, under, kept_apart: Vec::new(), failing, longest_run }
    }
}

impl Job for MakeExtraCopies {
    fn name(&self) -> &'static str {
        "make copies of keys under the extra master keys"
    }

    fn run(&mut self, now: Instant) -> Option<Instant> {
        let store = self.store.clone();
        if !store.role.writes() {
            return None;
        }
        let settings = store.new_keys.settings();
        let under = Under {
            extra_master_keys: settings.extra_master_keys,
            master_keys: settings.master_keys,
            changes: store.copies_changed.load(Ordering::Relaxed),
        };
        if under != self.under {
            self.complete.clear();
            // What is not wanted any more does not fail any more; and who has changed the settings wants to see what comes of it.
            self.failing.retain(|key, _| under.extra_master_keys.all().contains(key));
            self.failing.values_mut().for_each(|failing| failing.next_try = now);
            self.under = under;
        }
        self.tell_of_kept_apart();
        let missing = self.missing();
        if !missing.is_empty() {
            store.figures.readiness().set_has_all_copies(false);
        }
        let made = self.make(&missing, now);
        if !missing.is_empty() {
            store.note_copies();
        }
        if waits::must_end() {
            return None;
        }
        store.figures.readiness().set_has_all_copies(made == Made::All);
        match made {
            Made::All => None,
            Made::AllThatWork => self.failing.values().map(|failing| failing.next_try).min(),
            // Other jobs have their turn before.
            Made::Some => Some(Instant::now()),
        }
    }
}

/// What became of the copies that were missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// All are there.
    All,
    /// Some cannot be made for now.
    AllThatWork,
    /// There was no time for all.
    Some,
}

impl MakeExtraCopies {
    /// Once, until it is over.
    fn tell_of_kept_apart(&mut self) {
        let store = &self.store;
        let is_any = !self.under.extra_master_keys.all().is_empty();
        let recorded = if is_any { store.files.recorded() } else { Vec::new() };
        let is_kept_apart =
            |name: &KeyName| self.under.master_keys.of(name.id).is_none() && store.files.has_own_master_key(*name);
        let kept_apart: Vec<KeyName> = recorded.into_iter().filter(is_kept_apart).collect();
        if !kept_apart.iter().all(|name| self.kept_apart.contains(name)) {
            store.messages.kept_apart(&kept_apart);
        }
        self.kept_apart = kept_apart;
    }

    /// Those of keys that may encrypt: what has turned up here is not wrapped by a master key of this server.
    fn missing(&mut self) -> Vec<Missing> {
        let store = &self.store;
        let mut missing = Vec::new();
        if self.under.extra_master_keys.all().is_empty() {
            return missing;
        }
        for name in store.files.recorded() {
            let is_usable = || store.published.with_key(name, |_| ()).is_some();
            if self.complete.contains(&name) || store.files.is_trusted(name) != Some(true) || !is_usable() {
                continue;
            }
            let wanted = store.extra_master_keys_of(name);
            let wraps_the_file = store.files.master_key(name);
            // One of a later version of the plugin is left alone; what cannot be read fails when it is written.
            let copies = store.files.extra_copies(name);
            let before = missing.len();
            let is_there = |key: &MasterKeyId| {
                wraps_the_file.as_deref() == Some(key.as_str())
                    || copies.iter().any(|copy| copy.wrapped.master_key() == Some(key))
            };
            missing.extend(wanted.into_iter().filter(|key| !is_there(key)).map(|key| (name, key)));
            if missing.len() == before {
                self.complete.insert(name);
            }
        }
        missing
    }

    /// In the time that other jobs can wait.
    fn make(&mut self, missing: &[Missing], now: Instant) -> Made {
        let until = Instant::now() + self.longest_run;
        let mut are_all_there = true;
        for key in self.under.extra_master_keys.all().to_vec() {
            let of_key: Vec<KeyName> = missing.iter().filter(|(_, of)| *of == key).map(|(name, _)| *name).collect();
            if self.failing.get(&key).is_some_and(|failing| failing.next_try > now) {
                are_all_there &= of_key.is_empty();
                continue;
            }
            let (failed, is_whole) = self.make_under(&key, &of_key, until);
            if waits::must_end() || (failed.is_none() && !is_whole) {
                return Made::Some;
            }
            are_all_there &= failed.is_none();
            self.note(key, failed, now.max(Instant::now()));
        }
        if are_all_there { Made::All } else { Made::AllThatWork }
    }

    /// Answers the last failure, if any, and whether there was time for all. A master key under which two fail one after the
    /// other is not asked for the others.
    fn make_under(
        &self,
        key: &MasterKeyId,
        names: &[KeyName],
        until: Instant,
    ) -> (Option<(KeyName, KeyStoreError)>, bool) {
        let mut last_failure = None;
        let mut in_a_row = 0;
        for (number, group) in names.chunks(GROUP).enumerate() {
            if number > 0 && Instant::now() >= until {
                return (last_failure, false);
            }
            // What cannot be stored is not asked of KMS.
            if let (Some(name), Err(error)) = (group.first(), self.store.files.begin_adding().map(drop)) {
                return (Some((*name, error)), true);
            }
            let mut made = Vec::new();
            for name in group.iter().copied() {
                if waits::must_end() || in_a_row == MOST_IN_A_ROW {
                    break;
                }
                match self.store.make_copy(name, key) {
                    Ok(copy) => {
                        in_a_row = 0;
                        made.push((name, copy));
                    }
                    Err(error) => {
                        in_a_row += 1;
                        last_failure = Some((name, error));
                    }
                }
            }
            match (made.first(), self.store.write_copies(&made)) {
                (Some((name, _)), Err(error)) => return (Some((*name, error)), true),
                (_, Ok(failed)) => last_failure = failed.or(last_failure),
                (None, Err(_)) => {}
            }
        }
        (last_failure, true)
    }

    /// One warning when it begins, and one note when it is over.
    fn note(&mut self, key: MasterKeyId, failed: Option<(KeyName, KeyStoreError)>, now: Instant) {
        let messages = &self.store.messages;
        let Some((name, error)) = failed else {
            if self.failing.remove(&key).is_some() {
                messages.extra_copies_made(&key);
            }
            return;
        };
        let before = self.failing.remove(&key);
        if before.is_none() {
            messages.extra_copies_not_made(name, &key, &error);
        }
        let pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        let jitter = pause.mul_f64(fastrand::f64() / 4.0);
        let next_try = now + pause + jitter;
        self.failing.insert(key, Failing { pause, next_try });
    }
}

impl KeyStore {
    /// The job of this key store: see `MakeExtraCopies`.
    pub fn extra_copies_job(self: &Arc<Self>) -> Box<dyn Job> {
        Box::new(MakeExtraCopies::new(self.clone()))
    }

    /// The master keys that are to wrap copies of a version. None, as long as its file is wrapped by a master key that its key
    /// id had of its own, even if the id has none any more: whose master key is to open his data alone must not lose that with a
    /// line of an option file.
    pub(super) fn extra_master_keys_of(&self, name: KeyName) -> Vec<MasterKeyId> {
        match self.files.has_own_master_key(name) {
            true => Vec::new(),
            false => self.new_keys.extra_master_keys_of(name.id),
        }
    }

    /// What there are copies of may have changed, other than by the job: it looks again.
    pub(super) fn copies_may_have_changed(&self) {
        self.copies_changed.fetch_add(1, Ordering::Relaxed);
        self.bell.ring();
    }

    /// Writes nothing.
    fn make_copy(&self, name: KeyName, master_key: &MasterKeyId) -> Result<Copy, KeyStoreError> {
        let key = self.published.with_key(name, DataKey::clone).ok_or(KeyStoreError::NotInMemory(name))?;
        let context = self.new_keys.recipe_for(name.id).encryption_context;
        let (wrapped, traits) = rewrap::wrap(&*self.kms, master_key, &context, name, key.as_bytes())?;
        let entry = Entry::new(name, &[], key.algorithm(), traits, SystemTime::now());
        Ok(Copy { wrapped, entry })
    }

    /// Under one lock of the folder, which the number of copies keeps short. Fails if that cannot be had. One that cannot be
    /// written, which is answered, keeps no other from it.
    fn write_copies(&self, made: &[(KeyName, Copy)]) -> Result<Option<(KeyName, KeyStoreError)>, KeyStoreError> {
        if made.is_empty() {
            return Ok(None);
        }
        let adding = self.files.begin_adding()?;
        let written = made.iter().map(|(name, copy)| (*name, self.write_copy(&adding, *name, copy)));
        Ok(written.filter_map(|(name, written)| Some((name, written.err()?))).last())
    }

    fn write_copy(
        &self,
        adding: &Adding<'_>,
        name: KeyName,
        Copy { wrapped, entry }: &Copy,
    ) -> Result<(), KeyStoreError> {
        // The manifest on the disk was asked anew: it may know another key, or one that is not to be trusted.
        self.files.check(entry)?;
        let wanted = self.extra_master_keys_of(name);
        let is_wanted = wanted.iter().any(|key| Some(key) == wrapped.master_key());
        if is_wanted && self.files.is_trusted(name) != Some(false) {
            adding.add_extra_copies(name, entry.algorithm(), std::slice::from_ref(wrapped))?;
        }
        Ok(())
    }
}

/// A copy that was proven.
struct Copy {
    wrapped: WrappedKey,
    /// Tells whether the manifest knows the same key.
    entry: Entry,
}

/// After so long, other jobs of the thread have their turn.
const LONGEST_RUN: Duration = Duration::from_secs(10);

/// How many are written under one lock of the folder.
const GROUP: usize = 32;

/// How many copies under one extra master key may fail one after the other: it is not asked for the others then, until the
/// background tries again.
pub(super) const MOST_IN_A_ROW: usize = 2;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
