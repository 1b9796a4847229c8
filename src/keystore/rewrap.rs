//! Wraps key versions that exist anew, under the master key that is configured now. The data key is in memory, so KMS need not
//! unwrap what is in the key file: the master key that wraps it may be disabled, deleted or out of reach.

use std::time::{Duration, Instant, SystemTime};

use super::files::{Entry, KeyFile, KeyFiles, Traits};
use super::load::LoadReport;
use super::new_keys::Recipe;
use super::tries::Tries;
use super::{DataKey, KeyId, KeyName, KeyStore, KeyStoreError, Role, given_up, verify};
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
}

/// Wraps a key version anew. The new wrapped key is proven, by unwrapping it, before the key file is touched, and what the file
/// held is kept beside it. A key file that is gone or damaged is made whole. The caller holds the lock of the key id.
pub fn rewrap(
    files: &KeyFiles,
    kms: &dyn Kms,
    recipe: &Recipe,
    name: KeyName,
    key: &DataKey,
) -> Result<Rewrapped, KeyStoreError> {
    files.refresh()?;
    files.check_may_add()?;
    check_is_accepted(files, name)?;
    let master_key = recipe.master_key.as_ref().ok_or(KeyStoreError::NoMasterKey(name))?;
    // KMS is not asked for what cannot be stored. The lock is not kept: others may need it while KMS is asked.
    drop(files.begin_adding()?);
    let held = files.contents(name)?;
    let (wrapped, traits) = wrap(kms, master_key, &recipe.encryption_context, name, key.as_bytes())?;
    let now = SystemTime::now();
    let contents = KeyFile { algorithm: key.algorithm(), wrapped }.to_bytes(name, now)?;
    let entry = Entry::new(name, &contents, key.algorithm(), traits, now);
    let adding = files.begin_adding()?;
    // What the manifest on the disk says of the key, and of whether it may encrypt, was asked once more under the lock.
    files.check(&entry)?;
    check_is_accepted(files, name)?;
    let before = files.master_key(name);
    let is_older_kept = adding.replace(name, held.as_deref(), &contents)?;
    let former = match is_older_kept {
        true => files.entry(name).and_then(|entry| entry.former_master_key().map(str::to_owned)),
        false => before.clone(),
    };
    let entry = entry.with_former_master_key(former);
    Ok(Rewrapped { entry, encryption_context: recipe.encryption_context.clone(), before })
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

impl KeyStore {
    /// Wraps all versions of a key anew, or of all keys, under the master keys that are configured now; those that fail do not
    /// keep the others from being tried, unless these would fail like it. The data keys stay as they are. Answers how many
    /// versions there are.
    pub fn rewrap(&self, only: Option<KeyId>) -> Result<usize, KeyStoreError> {
        if self.role == Role::Backup {
            return Err(KeyStoreError::BackupRewrapsNothing);
        }
        let names = verify::needed(&self.files, only)?;
        let told = |error: &KeyStoreError| self.messages.not_rewrapped(error);
        let mut tries = Tries::new(&told);
        let mut done = Vec::new();
        let (mut recorded, mut recorded_at) = (0, Instant::now());
        for name in names.iter().copied() {
            let recipe = self.new_keys.recipe_for(name.id);
            let master_key = recipe.master_key.as_ref();
            if !tries.may_try(master_key) {
                continue;
            }
            match self.rewrap_one(name, &recipe) {
                Ok(rewrapped) => {
                    tries.answered(master_key);
                    done.push(rewrapped);
                }
                Err(error) => tries.failed(master_key, error),
            }
            // A start after a crash finds in the manifest where each key file is to be unwrapped, but for the last few.
            if recorded_at.elapsed() >= RECORDED_EVERY {
                self.record_rewrapped(done.get(recorded..).unwrap_or_default());
                (recorded, recorded_at) = (done.len(), Instant::now());
            }
        }
        self.record_rewrapped(done.get(recorded..).unwrap_or_default());
        self.messages.rewrapped(&done);
        for rewrapped in &done {
            self.figures.known_versions().wrapped(rewrapped.entry.name, &rewrapped.encryption_context);
        }
        self.note_copies();
        self.note_versions();
        self.proven(done.iter().map(|rewrapped| rewrapped.entry.name));
        let result = tries.result(names.len());
        // Each of them was unwrapped.
        if only.is_none() && result.is_ok() {
            self.figures.readiness().set_fully_wrapped(true);
        }
        let count = names.len();
        result.map(|()| count).map_err(|error| match error {
            KeyStoreError::Several { of, skipped, first, .. } => {
                let is_done = |name| done.iter().any(|done: &Rewrapped| done.entry.name == name);
                let names: Vec<KeyName> = names.into_iter().filter(|name| !is_done(*name)).collect();
                KeyStoreError::NotAllRewrapped { of, skipped, names, first }
            }
            error => error,
        })
    }

    fn rewrap_one(&self, name: KeyName, recipe: &Recipe) -> Result<Rewrapped, KeyStoreError> {
        if waits::must_end() {
            return Err(KeyStoreError::GivenUp(name.id));
        }
        let _lock = self.locks.lock(name.id).ok_or(KeyStoreError::GivenUp(name.id))?;
        let key = self.published.with_key(name, DataKey::clone).ok_or(KeyStoreError::NotInMemory(name))?;
        rewrap(&self.files, &*self.kms, recipe, name, &key).map_err(|error| given_up(name.id, error))
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

/// Of a re-wrap of many versions.
const RECORDED_EVERY: Duration = Duration::from_secs(1);
