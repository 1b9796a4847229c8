//! The data keys: where they lie, who may make them, and how they reach the callbacks.
//!
//! | | |
//! |---|---|
//! | `published/` | what the callbacks read without waiting |
//! | `files/` | the folder, the formats of what lies in it, the manifest |
//! | `start`, `load`, `adopt`, `create`, `rotate`, `rotate_all`, `rewrap`, `verify` | the operations, on files and KMS: what came of them is data |
//! | `pauses`, `first_keys` | what is waited for while the server starts |
//! | `background`, `retry`, `verify_job`, `rotation_period` | what is done while nobody waits |
//! | `offline/` | the same and a few more, for a tool that works on the files without a server |
//! | `messages` | what of that becomes a line of the log |
//! | `needed` | which versions a restart needs, and which of them this server knows better than the manifest does |
//! | `figures`, `readiness`, `findings`, `version_list` | what an operator can ask for at any time |
//! | this file | [`KeyStore`]: who may do what when, and what is published of it |
//!
//! The operations use the two folders, which know neither each other nor the operations.
//!
//! The rules that it keeps stand in ARCHITECTURE.md, under "What never happens".

#![forbid(unsafe_code)]

mod adopt;
mod allowed_key_ids;
mod background;
mod backoff;
mod copies;
mod create;
mod error;
mod extra_copies;
mod extra_master_keys;
mod failpoints;
mod figures;
mod files;
mod findings;
mod first_keys;
mod folder_errors;
mod in_groups;
mod key_locks;
mod key_name;
mod load;
mod load_report;
mod master_keys;
mod messages;
mod needed;
mod new_keys;
pub mod offline;
mod opening;
mod pauses;
mod published;
mod readiness;
mod retry;
mod rewrap;
mod rotate;
mod rotate_all;
mod rotation_period;
mod start;
#[cfg(test)]
pub(crate) mod test_keys;
#[cfg(all(test, not(feature = "model")))]
mod test_kms;
#[cfg(all(test, not(feature = "model")))]
mod tests;
mod tries;
mod trust;
mod verify;
mod verify_job;
mod verify_now;
mod version_list;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

pub use allowed_key_ids::AllowedKeyIds;
pub use background::{Background, Bell, Job};
pub use error::KeyStoreError;
pub use extra_master_keys::ExtraMasterKeys;
pub use figures::Figures;
pub use key_name::{KeyId, KeyName, KeyVersion};
pub use master_keys::MasterKeysOfIds;
pub use messages::Reporter;
pub use new_keys::{NewKeySettings, NewKeys};
pub use opening::{Opening, Role};
pub use published::{DataKey, PublishedKeys};
pub use readiness::Readiness;
pub use rewrap::AllRewrapped;
pub use verify_now::VerifiedNow;
pub use version_list::{ListedVersion, VersionState};

use crate::kms::Kms;
use crate::waits;
use adopt::Adoption;
use backoff::Backoff;
use create::{Maker, NewVersion};
use failpoints::failpoint;
use files::{Entry, KeyFiles};
use findings::Findings;
use first_keys::FirstKeys;
use key_locks::KeyLocks;
use load_report::{LoadReport, RefusedKey};
use messages::Messages;
use published::Epoch;
use rotate::Beside;
use rotation_period::RotationPeriod;
use verify_job::VerifyInterval;

/// All data keys of one server.
pub struct KeyStore {
    files: KeyFiles,
    kms: Arc<dyn Kms>,
    published: &'static PublishedKeys,
    epoch: Epoch,
    new_keys: NewKeys,
    role: Role,
    messages: Messages,
    locks: KeyLocks,
    failures: Arc<Backoff>,
    /// Counts what may have changed which extra copies there are, other than their making in the background.
    copies_changed: AtomicU64,
    /// Versions without a file that data has asked for.
    asked_for: Mutex<BTreeSet<KeyName>>,
    figures: Arc<Figures>,
    /// On whose behalf the calling thread works.
    who: fn() -> String,
    first_keys: FirstKeys,
    rotation_period: RotationPeriod,
    findings: Findings,
    verify_interval: VerifyInterval,
    /// Rung when there is something new for the background.
    bell: Bell,
}

impl KeyStore {
    /// The latest version of a key. A key that was never used here gets its version 1, which takes two calls of KMS;
    /// for all others see [`PublishedKeys::latest`], which this is the slow companion of.
    pub fn latest_or_new(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        self.failures.check(id, None)?;
        let _lock = self.locks.lock(id).ok_or(KeyStoreError::GivenUp(id))?;
        // Another thread may have been here while this one waited.
        if let Some(version) = self.published.latest(id) {
            return Ok(version);
        }
        self.failures.check(id, None)?;
        let some_are_usable = || self.published.ids().into_iter().any(|id| self.published.latest(id).is_some());
        let found = self.first_keys.wait_for(&self.messages, some_are_usable, || self.load_or_create(id));
        found.map_err(|error| self.or_retired(given_up(id, error))).inspect_err(|error| self.failed(id, None, error))
    }

    /// Makes sure that a version is published, if its key file is there. For versions that were published already see
    /// [`PublishedKeys::with_key`].
    pub fn load(&self, name: KeyName) -> Result<(), KeyStoreError> {
        self.failures.check(name.id, Some(name.version))?;
        let _lock = self.locks.lock(name.id).ok_or(KeyStoreError::GivenUp(name.id))?;
        if self.published.with_key(name, |_| ()).is_some() {
            return Ok(());
        }
        self.failures.check(name.id, Some(name.version))?;
        match self.load_and_publish(&[name]).map(|mut refused| refused.pop()) {
            Ok(None) => Ok(()),
            // It has been noted as a failure of this version.
            Ok(Some(refused)) => {
                if matches!(refused.error, KeyStoreError::Gone(..) | KeyStoreError::Retired(..)) {
                    self.note_asked_for(name);
                    self.note_versions();
                }
                Err(given_up(name.id, refused.error))
            }
            Err(error) => Err(error).inspect_err(|error| self.failed(name.id, Some(name.version), error)),
        }
    }

    /// Fails where keys are only read: the process is without the key that is `missing` then.
    fn maker(&self, missing: impl FnOnce() -> Result<KeyName, KeyStoreError>) -> Result<Maker<'_>, KeyStoreError> {
        Maker::new(self.role, &self.files, &*self.kms, missing)
    }

    fn highest(&self, id: KeyId) -> Result<KeyName, KeyStoreError> {
        rotate::highest_version(&self.files, self.published, id).map(|version| KeyName { id, version })
    }

    /// What new keys are made with; may be changed at any time.
    pub fn new_keys(&self) -> &NewKeys {
        &self.new_keys
    }

    /// Forgets what failed before, so that the next caller tries again at once: after a change of settings.
    pub fn forget_failures(&self) {
        self.failures.end_pauses();
        self.rotation_period.end_pauses();
        self.figures.readiness().set_master_key(self.new_keys.settings().has_master_key());
        self.bell.ring();
    }

    /// What a restart with the master key of now would make different of where KMS is asked, if anything.
    pub fn after_restart(&self) -> Option<String> {
        self.kms.after_restart(&self.new_keys.settings().master_key?)
    }

    /// What there is to know of it in numbers.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Rung when there is something new for the background.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    fn load_or_create(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        let versions = self.files.versions(id)?;
        if !versions.is_empty() {
            return self.load_versions(id, versions);
        }
        let maker = self.maker(|| Ok(KeyName { id, version: KeyVersion::FIRST }))?;
        let made = create::create_first(&maker, &self.new_keys, id);
        self.note_making(made.as_ref().err());
        match made {
            // Another server with the same folder was faster: its key is the key.
            Err(KeyStoreError::Exists(_)) => self.load_versions(id, self.files.versions(id)?),
            made => Ok(self.publish_new(made?)),
        }
    }

    /// Loads key files that were not there at start, or that failed then. Any that works makes the key usable; that the
    /// key is made anew is out of the question.
    fn load_versions(&self, id: KeyId, versions: Vec<KeyVersion>) -> Result<KeyVersion, KeyStoreError> {
        let names: Vec<KeyName> = versions.into_iter().map(|version| KeyName { id, version }).collect();
        let mut refused = self.load_and_publish(&names)?;
        let is_loaded = |name: &KeyName| self.published.with_key(*name, |_| ()).is_some();
        let answer = match self.published.latest(id) {
            Some(version) => Ok(version),
            // All that there is may only be read.
            None if refused.is_empty() && names.iter().any(is_loaded) => self.create_beside(id),
            // There were files, and none was loaded: so one was refused.
            None => Err(refused.pop().map_or(KeyStoreError::NoSuchKey(id), |refused| refused.error)),
        };
        self.messages.refused(&refused);
        answer
    }

    /// Makes a version of a key whose other versions turned up here and are not trusted. The caller holds the lock of the
    /// key id.
    fn create_beside(&self, id: KeyId) -> Result<KeyVersion, KeyStoreError> {
        let maker = self.maker(|| self.highest(id))?;
        if !self.new_keys.allows(id) {
            return Err(KeyStoreError::NotAllowed(id));
        }
        let recipe = self.new_keys.recipe_for(id);
        let made = rotate::create_beside(&maker, self.published, recipe, id);
        self.note_making(made.as_ref().err());
        let (names, configured) = match made? {
            Beside::Made(new) => return Ok(self.publish_new(*new)),
            Beside::UnderConfigured(names, configured) => (names, configured),
        };
        let settings = NewKeySettings {
            master_key: Some(configured.clone()),
            master_keys: MasterKeysOfIds::default(),
            ..self.new_keys.settings()
        };
        let mut refused = self.load_found_under(&settings, &names, LONGEST_LOAD)?;
        let latest = self.published.latest(id).inspect(|latest| {
            self.messages.accepted(KeyName { id, version: *latest }, &configured);
        });
        latest.ok_or_else(|| refused.pop().map_or(KeyStoreError::NoSuchKey(id), |refused| refused.error))
    }

    /// Answers what failed, for whatever reason. The caller holds the lock of the key id.
    fn load_and_publish(&self, names: &[KeyName]) -> Result<Vec<RefusedKey>, KeyStoreError> {
        let refused = self.load_found(names, LONGEST_LOAD)?.into_iter();
        let refused: Vec<RefusedKey> =
            refused.map(|RefusedKey { name, error }| RefusedKey { name, error: self.or_retired(error) }).collect();
        if !waits::must_end() {
            refused.iter().for_each(|RefusedKey { name, error }| self.version_failed(*name, error));
        }
        Ok(refused)
    }

    /// Loads key files and publishes the keys. Answers what failed, for whatever reason.
    fn load_found(&self, names: &[KeyName], longest: Duration) -> Result<Vec<RefusedKey>, KeyStoreError> {
        self.load_found_under(&self.new_keys.settings(), names, longest)
    }

    /// The same; `configured` says which master keys are.
    fn load_found_under(
        &self,
        configured: &NewKeySettings,
        names: &[KeyName],
        longest: Duration,
    ) -> Result<Vec<RefusedKey>, KeyStoreError> {
        self.files.refresh()?;
        let mut report = load::load(&self.files, &*self.kms, names, Instant::now() + longest);
        self.judge(configured, &mut report);
        let adoption = self.adopt(configured, &mut report, &[]);
        let published = self.publish(&report);
        if !published.is_empty() {
            self.bell.ring();
        }
        report.accepted.retain(|accepted| published.contains(&accepted.entry.name));
        let (at_last, loaded): (Vec<_>, Vec<_>) =
            report.accepted.iter().partition(|accepted| self.failures.loaded(accepted.entry.name));
        self.figures.note_memory(report.exposure.to_swap.is_none());
        self.note_versions();
        self.figures.note_loaded();
        report.accepted.iter().for_each(|accepted| self.figures.known_versions().loaded(accepted));
        self.messages.exposure(&report.exposure);
        self.messages.loaded(&loaded);
        self.messages.loaded_at_last(&at_last);
        self.messages.untrusted(&report, &self.files.master_keys(), configured);
        self.messages.loaded_from_copies(&report);
        self.note_loaded_from(&report);
        self.messages.adoption(self.files.path(), &adoption);
        Ok(report.refused)
    }

    fn publish_new(&self, new: NewVersion) -> KeyVersion {
        let (version, new) = (new.name.version, [new]);
        self.record(&new);
        self.publish_all_new(&new);
        version
    }

    fn record(&self, new: &[NewVersion]) {
        if !new.is_empty()
            && let Err(error) = create::record(&self.files, new, &(self.who)())
        {
            self.messages.not_recorded(new, &error);
        }
    }

    /// Publishes versions whose files are on the disk.
    fn publish_all_new(&self, new: &[NewVersion]) {
        if new.is_empty() {
            return;
        }
        failpoint!("before_publish");
        self.published.publish(self.epoch, new.iter().map(|new| (new.name, new.key.clone())).collect());
        new.iter().for_each(|new| self.figures.known_versions().wrapped(new.name, &new.recipe.encryption_context));
        // For their extra copies.
        self.bell.ring();
        self.figures.note_memory(new.iter().all(|new| new.exposure.to_swap.is_none()));
        self.note_versions();
        new.iter().for_each(|new| self.messages.made(new, &self.files.path_of(new.name)));
    }

    /// The keys have been judged. Who only reads takes what it finds, and makes nothing with it that is to last.
    fn adopt(&self, configured: &NewKeySettings, report: &mut LoadReport, left_behind: &[Entry]) -> Adoption {
        match self.role {
            Role::Server => adopt::adopt(&self.files, configured, report, left_behind),
            Role::Recovery | Role::Backup => Adoption::default(),
        }
    }

    /// Finds out which keys may encrypt new data.
    fn judge(&self, configured: &NewKeySettings, report: &mut LoadReport) {
        let has_latest = |id| self.published.latest(id).is_some();
        match self.role {
            Role::Server => report.judge(&self.files, configured),
            Role::Recovery | Role::Backup => report.judge_for_reading(&self.files, configured, has_latest),
        }
    }

    /// Answers what was not published before.
    fn publish(&self, report: &LoadReport) -> BTreeSet<KeyName> {
        let mut published = self.published.publish_for_reading(self.epoch, report.keys(false));
        published.extend(self.published.publish(self.epoch, report.keys(true)));
        published
    }

    fn failed(&self, id: KeyId, version: Option<KeyVersion>, error: &KeyStoreError) {
        // A wait that had to end says nothing about the key.
        if !error.is_given_up() {
            self.failures.failed(id, version, error, Instant::now());
        }
    }

    /// A version that has a file, or once had one, is tried again in the background.
    fn version_failed(&self, name: KeyName, error: &KeyStoreError) {
        self.failed(name.id, Some(name.version), error);
        let is_gone = matches!(error, KeyStoreError::Gone(..) | KeyStoreError::Retired(..));
        let is_needed = !is_gone || self.files.is_recorded(name) || self.files.is_retired(name);
        if self.role.writes() && is_needed {
            self.failures.watch(name);
            self.figures.readiness().set_loaded(SystemTime::now(), false);
            self.bell.ring();
        }
    }
}

/// What KMS says of a call that had to end is not why there is no key.
fn given_up(id: KeyId, error: KeyStoreError) -> KeyStoreError {
    let is_no_answer = matches!(&error, KeyStoreError::Kms(_, error) if error.class.is_no_answer());
    if is_no_answer && waits::must_end() { KeyStoreError::GivenUp(id) } else { error }
}

/// For all versions of a key together, while the server waits for it.
const LONGEST_LOAD: Duration = Duration::from_secs(20);
