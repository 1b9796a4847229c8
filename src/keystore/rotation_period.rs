//! Keys that are older than the rotation period get a new version by themselves.
//!
//! One at a time, with pauses, and on a day of their own: the due date is up to a tenth of the period later than the age
//! says, by a hash of the key and the server. So neither do all keys of a server come due on one day, nor the keys of all
//! servers. The age is that of the manifest. A clock that was set says nothing of it, until it has been steady for an hour;
//! what a clock said before the first look is not known, so that goes for the first hour too.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::background::Job;
use super::{KeyId, KeyName, KeyStore, KeyStoreError, KeyVersion, rotate};
use crate::waits;

/// How old keys may become. May be changed at any time.
pub(super) struct RotationPeriod {
    /// 0: as old as they like.
    days: AtomicU32,
    /// How often the settings have changed.
    changes: AtomicU32,
    /// Of this server.
    seed: [u8; 32],
}

impl RotationPeriod {
    /// Off. The path of the datadir and the name of the host tell this server from others, also from its clones.
    pub(super) fn new(datadir: &Path) -> Self {
        // What cannot be found out makes no more of it than another day.
        let datadir = datadir.canonicalize().unwrap_or_default();
        let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        let seed = Sha256::new().chain_update(host).chain_update(datadir.as_os_str().as_encoded_bytes()).finalize();
        Self { days: AtomicU32::new(0), changes: AtomicU32::new(0), seed: seed.into() }
    }

    /// What failed may be tried again.
    pub(super) fn end_pauses(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// `None`: off.
    fn get(&self) -> Option<Duration> {
        match self.days.load(Ordering::Relaxed) {
            0 => None,
            days => Some(DAY * days),
        }
    }

    /// When a key is due whose latest version was made then. A date that cannot be is never reached.
    fn due(&self, period: Duration, id: KeyId, created: SystemTime) -> Option<SystemTime> {
        created.checked_add(period + spread(self.seed, period, id))
    }
}

/// Up to a tenth of the period.
fn spread(seed: [u8; 32], period: Duration, id: KeyId) -> Duration {
    let hash: [u8; 32] = Sha256::new().chain_update(seed).chain_update(id.value().to_be_bytes()).finalize().into();
    let [a, b, c, d, ..] = hash;
    (period / 10).mul_f64(f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX))
}

/// Rotates what is due, a key at a time.
pub(super) struct RotateByAge {
    store: Arc<KeyStore>,
    wall_clock: Box<dyn Fn() -> SystemTime + Send>,
    /// What both clocks said when the wall clock was set last, as far as is known.
    steady_since: Option<(Instant, SystemTime)>,
    not_before: Instant,
    failures: HashMap<KeyId, Failure>,
    /// When keys were rotated by this job: whatever clock and manifest say, no key is again within the period.
    rotated: HashMap<KeyId, Instant>,
    /// Those of the settings that the failures are of.
    changes: u32,
}

struct Failure {
    /// `None`: there was no reason to tell.
    kind: Option<String>,
    pause: Duration,
    next_try: Instant,
}

/// What came of a key that was due.
enum Outcome {
    Rotated,
    /// Another server with the same folder was faster.
    Loaded,
    /// There is a higher version, which cannot be used.
    LeftAlone,
}

impl RotateByAge {
    pub(super) fn new(store: Arc<KeyStore>, wall_clock: Box<dyn Fn() -> SystemTime + Send>) -> Self {
        let not_before = Instant::now();
        let (failures, rotated) = (HashMap::new(), HashMap::new());
        Self { store, wall_clock, steady_since: None, not_before, failures, rotated, changes: 0 }
    }

    /// No key is rotated in the hour after the clock was set, or was looked at first; and then not on all servers at once.
    fn watch_clock(&mut self, now: Instant, wall: SystemTime) {
        let step = self.steady_since.map(|(since, wall_then)| {
            let expected = wall_then + now.saturating_duration_since(since);
            wall.duration_since(expected).unwrap_or_else(|error| error.duration())
        });
        if step.is_some_and(|step| step <= LONGEST_STEP) {
            return;
        }
        if step.is_some() {
            self.store.messages.clock_was_set();
        }
        self.steady_since = Some((now, wall));
        self.not_before = now + STEADY + STEADY.mul_f64(fastrand::f64());
    }

    /// The keys that are due and may be tried, in the order of their due dates.
    fn due(&mut self, period: Duration, now: Instant, wall: SystemTime) -> Vec<KeyName> {
        let store = &self.store;
        let due_of = |id| {
            let name = KeyName { id, version: store.published.latest(id)? };
            Some((store.due(period, name)?, name))
        };
        let due = store.published.ids().into_iter().filter_map(due_of);
        let mut due: BTreeSet<(SystemTime, KeyName)> = due.filter(|(due, _)| *due <= wall).collect();
        // What somebody else has rotated meanwhile has not failed.
        let ids: BTreeSet<KeyId> = due.iter().map(|(_, name)| name.id).collect();
        self.failures.retain(|id, _| ids.contains(id));
        due.retain(|(_, name)| self.failures.get(&name.id).is_none_or(|failure| failure.next_try <= now));
        self.rotated.retain(|_, at| now.saturating_duration_since(*at) < period);
        due.retain(|(_, name)| !self.rotated.contains_key(&name.id));
        due.into_iter().map(|(_, name)| name).collect()
    }

    /// Answers whether KMS was asked, or may have been.
    fn try_one(&mut self, period: Duration, name: KeyName, now: Instant, wall: SystemTime) -> bool {
        match self.store.rotate_if_due(name, |due| due <= wall, period) {
            Ok(outcome @ (Outcome::Rotated | Outcome::Loaded)) => {
                self.failures.remove(&name.id);
                if matches!(outcome, Outcome::Rotated) {
                    self.rotated.insert(name.id, now);
                }
                true
            }
            Ok(Outcome::LeftAlone) => {
                if !self.failures.contains_key(&name.id) {
                    self.store.messages.too_old_and_left_alone(name);
                }
                self.failed(name.id, None, now);
                false
            }
            Err(error) if error.is_given_up() => true,
            Err(error) => {
                let kind = Some(error.kind());
                if self.failures.values().all(|failure| failure.kind != kind) {
                    self.store.messages.rotation_by_age_failed(&error);
                }
                self.failed(name.id, kind, now);
                true
            }
        }
    }

    fn failed(&mut self, id: KeyId, kind: Option<String>, now: Instant) {
        let before = self.failures.get(&id).map(|failure| failure.pause);
        let pause = before.map_or(FIRST_PAUSE, |before| (before * 2).min(LONGEST_PAUSE));
        self.failures.insert(id, Failure { kind, pause, next_try: now + pause });
    }

    /// After a change of settings.
    fn end_pauses(&mut self, now: Instant) {
        let changes = self.store.rotation_period.changes.load(Ordering::Relaxed);
        if changes != self.changes {
            self.changes = changes;
            self.failures.values_mut().for_each(|failure| (failure.pause, failure.next_try) = (FIRST_PAUSE / 2, now));
        }
    }
}

impl Job for RotateByAge {
    fn name(&self) -> &'static str {
        "rotate keys because of their age"
    }

    fn run(&mut self, now: Instant) -> Option<Instant> {
        let period = self.store.rotation_period.get().filter(|_| self.store.role.writes());
        let Some(period) = period else {
            self.steady_since = None;
            return None;
        };
        if self.store.first_keys.server_is_starting() {
            return Some(now + LOOK_AT_START);
        }
        let wall = (self.wall_clock)();
        self.watch_clock(now, wall);
        self.end_pauses(now);
        let next_look = now + LOOK;
        if now < self.not_before {
            return Some(self.not_before.min(next_look));
        }
        for name in self.due(period, now, wall) {
            if waits::must_end() {
                return None;
            }
            if self.try_one(period, name, now, wall) {
                // A period that is short for so many keys is kept all the same.
                let share = period / 10 / u32::try_from(self.store.published.ids().len()).unwrap_or(u32::MAX).max(1);
                self.not_before = now + PAUSE.min(share).mul_f64(0.5 + fastrand::f64());
                return Some(self.not_before.min(next_look));
            }
        }
        Some(next_look)
    }
}

impl KeyStore {
    /// Keys get a new version by themselves after so many days; 0: they do not.
    pub fn set_rotation_period(&self, days: u32) {
        self.rotation_period.days.store(days, Ordering::Relaxed);
        self.bell.ring();
    }

    /// The job of this key store: see `RotateByAge`.
    pub fn rotation_job(self: &Arc<Self>) -> Box<dyn Job> {
        Box::new(RotateByAge::new(self.clone(), Box::new(SystemTime::now)))
    }

    /// When a key is due whose latest version this is; `None` if that is not known, or it may not encrypt.
    fn due(&self, period: Duration, latest: KeyName) -> Option<SystemTime> {
        let may_encrypt = self.files.is_trusted(latest) == Some(true)
            && !self.files.is_retired(latest)
            && self.check_own_master_key(latest.id).is_ok();
        let created = self.files.created(latest).filter(|_| may_encrypt)?;
        self.rotation_period.due(period, latest.id, created)
    }

    /// Gives a key a new version, unless another server with the same folder has done so: then that is loaded.
    fn rotate_if_due(
        &self,
        latest: KeyName,
        is_past: impl Fn(SystemTime) -> bool,
        period: Duration,
    ) -> Result<Outcome, KeyStoreError> {
        let id = latest.id;
        let _lock = self.locks.lock(id).ok_or(KeyStoreError::GivenUp(id))?;
        // Asked before KMS is, and again under the lock of the folder; the manifest is read before.
        let number = || {
            if let Some(newer) = self.newer_in_use(latest)? {
                return Err(KeyStoreError::Exists(self.files.path_of(newer)));
            }
            if !self.due(period, latest).is_some_and(&is_past) {
                return Err(KeyStoreError::Exists(self.files.path_of(latest)));
            }
            // Also of those that were left behind, or are not needed any more: a number is never used twice.
            let highest = rotate::highest_version(&self.files, self.published, id)?;
            highest.next().ok_or(KeyStoreError::NoVersionLeft(id))
        };
        let rotated = match self.make_numbered(id, number) {
            Err(KeyStoreError::Exists(_)) => return self.load_newer(latest),
            rotated => rotated.map(|new| self.publish_new(new)),
        };
        self.count_rotation(rotated.as_ref().err());
        rotated.map(|_| {
            self.messages.rotated(1, &(self.who)());
            Outcome::Rotated
        })
    }

    /// The highest version of the key above `latest` that has a file or a copy, or is missed.
    fn newer_in_use(&self, latest: KeyName) -> Result<Option<KeyName>, KeyStoreError> {
        let missed = self.files.recorded().into_iter().filter(|name| !self.files.is_left_behind(*name));
        let in_use = self.files.in_use()?.into_iter().chain(missed);
        Ok(in_use.filter(|name| name.id == latest.id && *name > latest).max())
    }

    /// Loads versions that another server has made meanwhile; not those that are known to be of no use, which `retry` looks
    /// after. The caller holds the lock of the key id.
    fn load_newer(&self, latest: KeyName) -> Result<Outcome, KeyStoreError> {
        let id = latest.id;
        let is_new = |version: &KeyVersion| {
            let name = KeyName { id, version: *version };
            name > latest
                && self.published.with_key(name, |_| ()).is_none()
                && self.failures.check(id, Some(*version)).is_ok()
        };
        let names: Vec<KeyName> =
            self.files.versions(id)?.into_iter().filter(is_new).map(|version| KeyName { id, version }).collect();
        if !names.is_empty() {
            let refused = self.load_and_publish(&names)?;
            self.messages.refused(&refused);
        }
        match self.published.latest(id) > Some(latest.version) {
            true => Ok(Outcome::Loaded),
            false => Ok(Outcome::LeftAlone),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the clock has to have been steady.
const STEADY: Duration = Duration::from_secs(3600);

/// A clock that is off by more than this, all in all, was set.
const LONGEST_STEP: Duration = Duration::from_secs(300);

/// How often the clock and the ages are looked at.
const LOOK: Duration = Duration::from_secs(600);
const LOOK_AT_START: Duration = Duration::from_secs(60);

/// Between two keys, on average.
const PAUSE: Duration = Duration::from_secs(120);

/// After a failure of a key; each further one doubles it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = DAY;
