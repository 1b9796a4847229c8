//! How a key store is opened: all that happens at start, in order.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::background::Bell;
use super::backoff::Backoff;
use super::error::DataWithoutKeys;
use super::figures::Figures;
use super::files::{Disk, Folders, FoundManifest, KeyFiles, SystemDisk, encrypted_file};
use super::findings::Findings;
use super::first_keys::FirstKeys;
use super::key_locks::KeyLocks;
use super::load_report::{AcceptedKey, RefusedKey};
use super::messages::Messages;
use super::pauses::Patience;
use super::rotation_period::RotationPeriod;
use super::verify_job::VerifyInterval;
use super::{KeyStore, KeyStoreError, NewKeys, PublishedKeys, Reporter, start};
use crate::kms::Kms;

/// What a key store is opened with.
pub struct Opening<'a> {
    /// Where the key files lie.
    pub folder: &'a Path,
    /// The server's datadir, which remembers with which folder its keys lie.
    pub datadir: &'a Path,
    /// Where key files may lie too: mariadb-backup's folder of an incremental backup, while it is prepared.
    pub also: Option<&'a Path>,
    /// Who unwraps them.
    pub kms: Arc<dyn Kms>,
    /// Where the keys are published.
    pub published: &'static PublishedKeys,
    /// What new keys are made with.
    pub new_keys: NewKeys,
    /// In whose process this is.
    pub role: Role,
    /// Whether the datadir may come from another node of a Galera cluster by rsync, which copies no key files.
    pub is_filled_by_rsync: bool,
    /// How long KMS and the folders are tried, if they do not answer.
    pub startup_timeout: Duration,
    /// How often it is checked whether all key files could still be unwrapped; never if it is zero.
    pub verify_interval: Duration,
    /// Whether the server is still starting: then a new key is waited for, too.
    pub is_starting: fn() -> bool,
    /// On whose behalf the calling thread works, for the record of rotations.
    pub who: fn() -> String,
    /// Who is told.
    pub reporter: &'static dyn Reporter,
}

/// In whose process the plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server, which makes keys.
    Server,
    /// A server that only says at which position of its Galera cluster it was (`--wsrep_recover`), and reads keys for that.
    Recovery,
    /// mariadb-backup, which only reads them.
    Backup,
}

impl Role {
    /// Whether it makes keys, and writes anything at all.
    pub fn writes(self) -> bool {
        self == Self::Server
    }
}

impl KeyStore {
    /// Loads all keys and publishes them. Without key files, nothing is asked of KMS. Fails if the datadir has keys that lie
    /// in another folder.
    ///
    /// Fails if KMS could not be reached for one of the keys, if there are no credentials, if the folder did not answer, or if not one of the key versions
    /// that there are or were can be used; nothing is published then. A key that fails for a reason of its own is reported,
    /// and the others are loaded.
    pub fn open(opening: Opening<'_>) -> Result<Self, KeyStoreError> {
        Self::open_on(Arc::new(SystemDisk), opening)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, opening: Opening<'_>) -> Result<Self, KeyStoreError> {
        let Opening {
            folder,
            datadir,
            also,
            kms,
            published,
            new_keys,
            role,
            is_filled_by_rsync,
            startup_timeout,
            verify_interval,
            is_starting,
            who,
            reporter,
        } = opening;
        let began = Instant::now();
        let until = began + startup_timeout;
        let epoch = published.begin();
        let messages = Messages::new(reporter);
        let folders = Folders { keys: folder, also, datadir, is_read_only: !role.writes() };
        let mut patience = Patience::new(until, &messages);
        let (files, manifest) = patience.read(|| KeyFiles::open(disk.clone(), &folders))??;
        messages.manifest(files.path(), &manifest);
        if role.writes() {
            messages.leftovers(files.path(), &files.remove_leftovers());
            messages.writable(files.path(), files.check_writable());
        }
        let failures = Arc::<Backoff>::default();
        let store = Self {
            files,
            kms,
            published,
            epoch,
            new_keys,
            role,
            messages,
            locks: KeyLocks::default(),
            figures: Arc::new(Figures::new(published, failures.clone())),
            failures,
            copies_changed: AtomicU64::default(),
            asked_for: Mutex::default(),
            who,
            first_keys: FirstKeys::new(is_starting, startup_timeout),
            rotation_period: RotationPeriod::new(datadir),
            findings: Findings::default(),
            verify_interval: VerifyInterval::new(verify_interval),
            bell: Bell::default(),
        };
        if role != Role::Backup && store.files.entries().is_empty() {
            store.check_data(&*disk, datadir, is_filled_by_rsync, until)?;
        }
        store.load_at_start(began, until, &manifest)?;
        let now = SystemTime::now();
        store.note_versions();
        store.figures.note_loaded();
        store.figures.readiness().checked(now, store.findings.summary().would_start);
        store.figures.readiness().set_master_key(store.new_keys.settings().has_master_key());
        store.figures.started(began.elapsed());
        Ok(store)
    }

    /// Fails if there is encrypted data, and no key file, nor an entry of one: a key that was made now would not open it, and
    /// would stand in the way of the one that does.
    fn check_data(
        &self,
        disk: &dyn Disk,
        datadir: &Path,
        is_filled_by_rsync: bool,
        until: Instant,
    ) -> Result<(), KeyStoreError> {
        let mut patience = Patience::new(until, &self.messages);
        if !patience.read(|| self.files.present())??.is_empty() {
            return Ok(());
        }
        let data = encrypted_file(disk, datadir).map(|file| disk.canonicalize(&file).unwrap_or(file));
        let folder = self.files.path().to_owned();
        data.map_or(Ok(()), |data| {
            Err(KeyStoreError::DataWithoutKeys(DataWithoutKeys { data, folder, is_filled_by_rsync }))
        })
    }

    fn load_at_start(&self, began: Instant, until: Instant, manifest: &FoundManifest) -> Result<(), KeyStoreError> {
        let Self { files, messages, published, role, .. } = self;
        let mut patience = Patience::new(until, messages);
        let mut survey = patience.read(|| start::survey(files))??;
        messages.survey(files.path(), &survey, |name| files.path_of(name));
        let configured = self.new_keys.settings();
        let judge = |report: &mut _| self.judge(&configured, report);
        let mut report = start::load_all(files, &*self.kms, &survey.to_load(), &mut patience, judge)?;
        // It may have gone while KMS was waited for. What else is wrong with it, shows when the keys are adopted.
        let _ = patience.read(|| files.refresh())?;
        for name in survey.confirm_left_behind(&report) {
            messages.not_loaded(&KeyStoreError::Gone(name, files.path_of(name)));
        }
        messages.left_behind(&survey);
        let adoption = self.adopt(&configured, &mut report, &survey.left_behind);
        start::check_any_is_usable(files, &survey, &report)?;
        messages.copies_of_unknown(&survey.unknown_copies);
        if survey.present.is_empty() && survey.copied.is_empty() {
            return Ok(());
        }
        self.publish(&report);
        report.accepted.iter().for_each(|accepted| self.figures.known_versions().loaded(accepted));
        self.figures.note_memory(report.exposure.to_swap.is_none());
        messages.started(files.path(), &survey, &report, published.ids().len(), began.elapsed());
        for RefusedKey { name, error } in &report.refused {
            self.version_failed(*name, error);
            if published.latest(name.id).is_none() {
                self.failed(name.id, None, error);
            }
        }
        for name in survey.missing.iter().copied() {
            self.version_failed(name, &KeyStoreError::Gone(name, files.path_of(name)));
        }
        if role.writes() {
            messages.adopted(files.path(), manifest, &report);
            messages.untrusted(&report, &files.master_keys(), &configured);
        }
        messages.adoption(files.path(), &adoption);
        messages.loaded_from_copies(&report);
        self.note_loaded_from(&report);
        let is_from_its_file = |accepted: &AcceptedKey| accepted.instead_of.is_none();
        self.figures.readiness().set_fully_wrapped(report.accepted.iter().all(is_from_its_file));
        if role.writes() {
            self.forget_before_rewrap(&report);
            self.note_copies();
        }
        Ok(())
    }
}
