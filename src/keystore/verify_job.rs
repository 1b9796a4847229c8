//! When it is checked in the background, gently, whether a restart would work, and what becomes of what was found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::adopt::Adoption;
use super::background::Job;
use super::files::Entry;
use super::findings::{News, Scope};
use super::load_report::{AcceptedKey, LoadReport};
use super::messages::Wraps;
use super::verify::{About, Round, Verdict, Verified};
use super::{DataKey, KeyId, KeyName, KeyStore, KeyStoreError, trust};
use crate::kms::{KmsError, MasterKeyId};
use crate::waits;

/// How often all key files are checked, in seconds; 0 for never. May be changed at any time.
pub struct VerifyInterval(AtomicU64);

impl VerifyInterval {
    /// Zero switches the checks off.
    pub fn new(interval: Duration) -> Self {
        Self(AtomicU64::new(interval.as_secs()))
    }

    fn get(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.0.load(Ordering::Relaxed))).filter(|interval| !interval.is_zero())
    }
}

/// Checks all versions once in an interval, one of each master key every hour, and what was found wrong every few minutes.
pub struct VerifyJob {
    store: Arc<KeyStore>,
    /// When all versions, or one of each master key, were checked last.
    last_all: Instant,
    last_sample: Instant,
    /// When what is open is checked again.
    next_open: Instant,
    /// The folder could not be read when a check was due: the next one is about all versions.
    has_lost_folder: bool,
    /// What part of its time a pause lasts: many servers that were started together do not ask together.
    part: f64,
    work: Option<Work>,
}

/// A check that is under way.
struct Work {
    is_all: bool,
    round: Option<Round>,
    /// Under which master keys it is still to be asked whether a key could be made.
    to_ask: Vec<(MasterKeyId, KeyId)>,
    asked: Vec<(String, Result<(), KmsError>)>,
    next_step: Instant,
}

impl VerifyJob {
    /// The start was the first check, at `now`, but for whether keys can be made. That is asked soon where a master key has
    /// failed, so that keys were loaded from copies.
    pub fn new(store: Arc<KeyStore>, now: Instant) -> Self {
        let part = some_part();
        let has_failed = store.findings.has_from_copies();
        let last_sample = if has_failed { now.checked_sub(SAMPLE_EVERY).unwrap_or(now) } else { now };
        let next_open = now + AGAIN.mul_f64(part);
        Self { store, last_all: now, last_sample, next_open, has_lost_folder: false, part, work: None }
    }
}

impl Job for VerifyJob {
    fn name(&self) -> &'static str {
        "check whether a restart would work"
    }

    fn run(&mut self, now: Instant) -> Option<Instant> {
        let interval = self.store.verify_interval.get().filter(|_| self.store.role.writes());
        let Some(interval) = interval else {
            self.work = None;
            return None;
        };
        let mut work = match self.work.take() {
            Some(work) => work,
            None => match self.begin(interval, now) {
                Some(work) => work,
                None => return Some(self.next_due(interval)),
            },
        };
        if now < work.next_step {
            let next = work.next_step;
            self.work = Some(work);
            return Some(next);
        }
        let is_done = self.store.step(&mut work);
        if waits::must_end() {
            // What was not answered says nothing.
            return None;
        }
        if !is_done {
            work.next_step = now + PAUSE.mul_f64(some_part());
            return Some(self.work.insert(work).next_step);
        }
        self.part = some_part();
        self.next_open = now + AGAIN.mul_f64(self.part);
        Some(self.next_due(interval))
    }
}

impl VerifyJob {
    /// What is due, if anything is.
    fn begin(&mut self, interval: Duration, now: Instant) -> Option<Work> {
        if self.has_lost_folder && now < self.next_open {
            return None;
        }
        let (all, sample) = self.due(interval);
        let is_all = now >= all || self.has_lost_folder;
        let is_sample = is_all || now >= sample;
        let findings = &self.store.findings;
        let is_again = findings.is_open() && now >= self.next_open;
        if !is_sample && !is_again {
            return None;
        }
        let names = match self.store.needed(None) {
            Ok(names) => names,
            Err(error) => {
                (self.has_lost_folder, self.next_open) = (true, now + AGAIN.mul_f64(self.part));
                self.store.folder_failed(&error);
                return None;
            }
        };
        self.has_lost_folder = false;
        if is_all {
            self.last_all = now;
        }
        if is_sample {
            self.last_sample = now;
            self.store.mend_manifest();
        }
        findings.keep_only(&names);
        let names = match is_all {
            true => names,
            false => {
                let mut some = findings.open();
                some.retain(|name| names.binary_search(name).is_ok());
                if is_sample {
                    some.extend(self.store.sample(&names, &some));
                }
                some
            }
        };
        let to_ask = self.store.master_keys_of_new_keys();
        Some(Work { is_all, round: Some(Round::new(names)), to_ask, asked: Vec::new(), next_step: now })
    }

    fn due(&self, interval: Duration) -> (Instant, Instant) {
        (self.last_all + interval.mul_f64(self.part), self.last_sample + SAMPLE_EVERY.min(interval).mul_f64(self.part))
    }

    fn next_due(&self, interval: Duration) -> Instant {
        if self.has_lost_folder {
            return self.next_open;
        }
        let (all, sample) = self.due(interval);
        let open = self.store.findings.is_open().then_some(self.next_open);
        open.into_iter().fold(all.min(sample), Instant::min)
    }
}

impl KeyStore {
    /// The job of this key store: see `VerifyJob`.
    pub fn verify_job(self: &Arc<Self>) -> Box<dyn Job> {
        Box::new(VerifyJob::new(self.clone(), Instant::now()))
    }

    /// From now on, all key files are checked so often; never if it is zero.
    pub fn set_verify_interval(&self, interval: Duration) {
        self.verify_interval.0.store(interval.as_secs(), Ordering::Relaxed);
        self.bell.ring();
    }

    /// Makes a manifest anew that is gone or damaged, as the last look at the folder has found: what it said is in memory. At the
    /// next start it would be made of the key files, and a key file that is lost would not be missed.
    pub(super) fn mend_manifest(&self) {
        if !self.files.manifest_is_lost() {
            self.messages.manifest_is_there();
            return;
        }
        if let Err(error) = self.files.begin_adding().and_then(|adding| adding.record(Vec::new())) {
            self.messages.manifest_not_made_anew(&error);
        }
        self.note_versions();
    }

    /// Of these, each has been proven to be good, and so have all its copies, where that is said.
    pub(super) fn proven(&self, names: impl Iterator<Item = (KeyName, bool)>) {
        let good = names.map(|(name, with_all_copies)| Verified {
            copies: with_all_copies.then(Vec::new),
            ..Verified::new(name, self.files.master_key(name), Verdict::Good)
        });
        self.take_verified(good.collect(), Scope { is_all: false, was_asked_for: true });
    }

    /// What was loaded from a copy is a problem of the next start, of which the log says so already.
    pub(super) fn note_loaded_from(&self, report: &LoadReport) {
        let verified = report.accepted.iter().map(|AcceptedKey { entry: Entry { name, .. }, instead_of, .. }| {
            let verdict = instead_of.clone().map_or(Verdict::Good, |instead_of| Verdict::of_copy(*name, instead_of));
            Verified::new(*name, self.files.master_key(*name), verdict)
        });
        let mut news =
            self.findings.verified(verified.collect(), Scope { is_all: false, was_asked_for: true }, |_| false);
        news.retain(|news| matches!(news, News::IsOver(_)));
        self.tell_restart(&news, false);
    }

    /// Answers whether all is done.
    fn step(&self, work: &mut Work) -> bool {
        if let Some(mut round) = work.round.take() {
            let is_done = !self.step_round(&mut round);
            if !is_done {
                work.round = Some(round);
            } else if !waits::must_end() {
                self.take_verified(
                    self.with_retired(round.into_verified()),
                    Scope { is_all: work.is_all, was_asked_for: false },
                );
            }
        } else if let Some((master_key, id)) = work.to_ask.pop() {
            work.asked.push(self.ask_for_new_key(master_key, id));
        }
        let is_done = work.round.is_none() && work.to_ask.is_empty();
        if is_done && !waits::must_end() {
            self.take_asked(std::mem::take(&mut work.asked));
        }
        is_done
    }

    pub(super) fn step_round(&self, round: &mut Round) -> bool {
        let in_memory = |name| self.published.with_key(name, DataKey::clone);
        round.step(&self.files, &*self.kms, &in_memory, Instant::now() + LONGEST_STEP)
    }

    pub(super) fn take_verified(&self, verified: Vec<Verified>, scope: Scope) {
        let in_memory = |name| self.published.with_key(name, |_| ()).is_some();
        let is_good = |verified: &&Verified| !matches!(verified.verdict, Verdict::Failed(_));
        let to_load = verified.iter().filter(is_good).filter(|good| !in_memory(good.name));
        // Who tries failed keys again publishes it.
        if to_load.filter(|good| self.failures.hurry(good.name)).count() > 0 {
            self.bell.ring();
        }
        for verified in &verified {
            let was_unwrapped = matches!(verified.verdict, Verdict::Good);
            self.figures.known_versions().checked(verified.name, was_unwrapped, verified.encryption_context.as_ref());
        }
        self.take_back_retired(&verified);
        let is_known = |name| self.failures.is_watched(name) && !in_memory(name);
        let all_were_asked = verified.iter().all(|verified| match &verified.verdict {
            Verdict::Failed(error) => matches!(About::of(error), About::File | About::MasterKey),
            _ => true,
        });
        let news = self.findings.verified(verified, scope, is_known);
        self.tell_restart(&news, scope.is_all && all_were_asked);
        // What another server, or the tool, has changed meanwhile.
        self.note_versions();
        self.note_copies();
        if scope.is_all {
            // A file with copies that is gone is made anew.
            self.copies_may_have_changed();
        }
    }

    /// A version that was retired and has its file again is needed again, also where that is in memory all the time.
    fn take_back_retired(&self, verified: &[Verified]) {
        let is_good = |verified: &&Verified| matches!(verified.verdict, Verdict::Good);
        let retired = verified.iter().filter(is_good).filter(|verified| self.files.is_retired(verified.name));
        let names: Vec<KeyName> = retired.map(|verified| verified.name).collect();
        if names.is_empty() {
            return;
        }
        let not_recorded = self.take_back(&names).err();
        self.messages.adoption(self.files.path(), &Adoption { not_recorded, not_remembered: None });
        self.copies_may_have_changed();
    }

    /// The folder of the key files could not be read, or is another one.
    pub(super) fn folder_failed(&self, error: &KeyStoreError) {
        let news = self.findings.folder_failed(error);
        self.tell_restart(&news, false);
    }

    fn take_back(&self, names: &[KeyName]) -> Result<(), KeyStoreError> {
        let adding = self.files.begin_adding()?;
        // As they are now: another server may have wrapped one anew since, which is taken over by the next start.
        let as_recorded = |name| self.files.read(name).is_ok_and(|stored| self.files.is_as_recorded(&stored));
        let found = names.iter().filter(|name| self.files.is_retired(**name) && as_recorded(**name));
        let entries: Vec<Entry> = found.filter_map(|name| Some(self.files.entry(*name)?.found_again())).collect();
        if entries.is_empty() { Ok(()) } else { adding.record(entries) }
    }

    pub(super) fn take_asked(&self, asked: Vec<(String, Result<(), KmsError>)>) {
        let all_would = asked.iter().all(|(_, answer)| answer.is_ok());
        let news = self.findings.making(asked);
        self.tell_restart(&news, false);
        let can_make = self.findings.summary().can_make_keys;
        if all_would || !can_make {
            self.figures.readiness().set_kms_makes_keys(can_make);
        }
    }

    fn tell_restart(&self, news: &[News], is_all: bool) {
        let (now, summary, readiness) = (SystemTime::now(), self.findings.summary(), self.figures.readiness());
        match is_all {
            true => readiness.checked(now, summary.would_start),
            false => readiness.set_unwrapped(now, summary.would_start),
        }
        if let Some(is_fully_wrapped) = summary.is_fully_wrapped {
            readiness.set_fully_wrapped(is_fully_wrapped);
        }
        self.figures.known_versions().set_unready(self.findings.unready());
        self.messages.restart_news(news, |arn| self.wrapped_by(arn));
    }

    fn wrapped_by(&self, arn: Option<&str>) -> Wraps {
        let is_same = |name: &KeyName| match (self.files.master_key(*name).as_deref(), arn) {
            (Some(one), Some(other)) => trust::is_same_master_key(one, other),
            (one, other) => one == other,
        };
        let mut names = self.files.recorded();
        names.retain(|name| !self.files.is_left_behind(*name) && is_same(name));
        let own = names.iter().filter(|name| self.files.has_own_master_key(**name)).map(|name| name.id).collect();
        Wraps { count: names.len(), own }
    }

    /// One version of each master key that wraps none of `but`.
    fn sample(&self, names: &[KeyName], but: &[KeyName]) -> Vec<KeyName> {
        let mut by_master_key: BTreeMap<String, Vec<KeyName>> = BTreeMap::new();
        for name in names {
            let master_key = self.files.master_key(*name);
            by_master_key.entry(master_key.unwrap_or_default()).or_default().push(*name);
        }
        let others = by_master_key.into_values().filter(|names| !names.iter().any(|name| but.contains(name)));
        others.filter_map(fastrand::choice).collect()
    }

    /// Each master key that wraps new keys, with a key id that has it.
    pub(super) fn master_keys_of_new_keys(&self) -> Vec<(MasterKeyId, KeyId)> {
        let settings = self.new_keys.settings();
        let of_all = settings.master_key.iter().map(|master_key| (KeyId::DEFAULT, master_key));
        let mut found: Vec<(MasterKeyId, KeyId)> = Vec::new();
        for (id, master_key) in of_all.chain(settings.master_keys.first_ids()) {
            if !found.iter().any(|(other, _)| other == master_key) {
                found.push((master_key.clone(), id));
            }
        }
        found
    }

    pub(super) fn ask_for_new_key(&self, master_key: MasterKeyId, id: KeyId) -> (String, Result<(), KmsError>) {
        let recipe = self.new_keys.recipe_for(id);
        let answer = self.kms.check_can_generate(&master_key, recipe.spec, &recipe.encryption_context);
        (master_key.as_str().to_owned(), answer)
    }
}

/// Between three quarters and all.
fn some_part() -> f64 {
    0.75 + fastrand::f64() / 4.0
}

/// How often one version of each master key is checked.
const SAMPLE_EVERY: Duration = Duration::from_secs(3600);

/// How often it is checked whether what was wrong still is.
const AGAIN: Duration = Duration::from_secs(300);

/// Between two steps of a check: 8 versions each, so 1000 take about a minute.
const PAUSE: Duration = Duration::from_millis(500);

/// What KMS gets to answer one step. Other work of the thread waits meanwhile.
const LONGEST_STEP: Duration = Duration::from_secs(20);
