//! From key files to keys: read, unwrap, compare with the manifest, and put into secret memory. Publishes nothing and
//! tells nobody: what came of it is a report.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use super::copies;
use super::files::{Entry, Finding, KeyFiles, StoredKey, Traits};
use super::published::{Exposure, Hidden, hide};
use super::start::SHORTEST_ROUND;
use super::trust::KnownMasterKeys;
use super::{DataKey, KeyId, KeyName, KeyStoreError, NewKeySettings};
use crate::cipher::Algorithm;
use crate::kms::{EncryptionContext, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// What came of some key files.
#[derive(Default)]
pub struct LoadReport {
    /// Keys that may be used.
    pub accepted: Vec<AcceptedKey>,
    /// Keys that may not.
    pub refused: Vec<RefusedKey>,
    /// How far the memory of the keys is protected.
    pub exposure: Exposure,
}

/// A key whose file is as it should be.
pub struct AcceptedKey {
    /// The key itself.
    pub key: DataKey,
    /// What the manifest is to say of it.
    pub entry: Entry,
    /// What is bound into the wrapped key in its file.
    pub encryption_context: EncryptionContext,
    /// How the entry compares with what the manifest says.
    pub finding: Finding,
    /// Why its key file was not unwrapped, if it is from a copy that another master key wraps.
    pub instead_of: Option<KmsError>,
    /// Whether the manifest says otherwise of whether it may encrypt new data, or says that it is not here, or not needed.
    pub has_new_marks: bool,
}

/// A key that KMS has unwrapped.
pub struct Unwrapped<'a> {
    /// Its file.
    pub stored: &'a StoredKey,
    /// The key.
    pub plain: PlainKey,
    /// What it encrypts with.
    pub algorithm: Algorithm,
    /// Why it is from a copy.
    pub instead_of: Option<KmsError>,
}

/// A key that cannot be used.
pub struct RefusedKey {
    /// Which.
    pub name: KeyName,
    /// Why.
    pub error: KeyStoreError,
}

/// A key that KMS did not unwrap. Its class says whether KMS is worth asking again.
pub struct UnansweredKey<'a> {
    /// Its file.
    pub stored: &'a StoredKey,
    /// Why KMS did not unwrap it.
    pub error: KmsError,
}

/// Loads key files. KMS is asked once for each key, until `deadline`; there is an answer for each name.
pub fn load(files: &KeyFiles, kms: &dyn Kms, names: &[KeyName], deadline: Instant) -> LoadReport {
    let mut report = LoadReport::default();
    let stored = read(files, names, &mut report);
    let unanswered = unwrap(files, kms, &stored.iter().collect::<Vec<_>>(), deadline, &mut report);
    unanswered.into_iter().for_each(|key| report.refuse(key.stored.name, key.failed()));
    report
}

/// Reads key files. Those that cannot be read are refused.
pub fn read(files: &KeyFiles, names: &[KeyName], report: &mut LoadReport) -> Vec<StoredKey> {
    let mut read = Vec::new();
    for name in names.iter().copied() {
        match files.read(name) {
            Ok(stored) => read.push(stored),
            Err(error) => report.refuse(name, error),
        }
    }
    read
}

/// Asks KMS once for each key, until `deadline`. What it unwraps goes into secret memory at once. Answers what it did not
/// unwrap.
pub fn unwrap<'a>(
    files: &KeyFiles,
    kms: &dyn Kms,
    stored: &[&'a StoredKey],
    deadline: Instant,
    report: &mut LoadReport,
) -> Vec<UnansweredKey<'a>> {
    let (unwrapped, unanswered) = ask(files, kms, stored, deadline);
    accept(files, &unwrapped, report);
    unanswered
}

/// The same, but the keys go nowhere: whoever drops the answer wipes them.
pub fn ask<'a>(
    files: &KeyFiles,
    kms: &dyn Kms,
    stored: &[&'a StoredKey],
    deadline: Instant,
) -> (Vec<Unwrapped<'a>>, Vec<UnansweredKey<'a>>) {
    let wrapped =
        stored.iter().map(|stored| stored.file.wrapped.clone().with_master_key(known_master_key(files, stored)));
    let wrapped: Vec<WrappedKey> = wrapped.collect();
    let copies = copies::of(files, stored);
    let until = if copies.is_empty() { deadline } else { halfway_to(deadline) };
    let answers = kms.decrypt_all(&wrapped, until);
    let mut unwrapped = Vec::new();
    let mut unanswered = Vec::new();
    for (stored, answer) in stored.iter().zip(answers) {
        match answer {
            Ok(plain) => {
                let algorithm = stored.file.algorithm;
                unwrapped.push(Unwrapped { stored, plain, algorithm, instead_of: None });
            }
            Err(error) => unanswered.push(UnansweredKey { stored, error }),
        }
    }
    let unanswered = copies::unwrap(kms, copies, unanswered, deadline, &mut unwrapped);
    (unwrapped, unanswered)
}

/// What the manifest says, if that is about this file: one that was wrapped anew, and is not recorded yet, may be wrapped by a
/// master key of another region.
fn known_master_key(files: &KeyFiles, stored: &StoredKey) -> Option<MasterKeyId> {
    let entry = files.entry(stored.name).filter(|entry| entry.is_of(&stored.contents))?;
    MasterKeyId::parse(entry.master_key()?)
}

/// So that there is time for the copies, if KMS does not answer. But the key files get what they need.
fn halfway_to(deadline: Instant) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + (left / 2).max(left.min(SHORTEST_ROUND))
}

/// Checks lengths and the manifest, and puts all good keys into one piece of secret memory.
fn accept(files: &KeyFiles, unwrapped: &[Unwrapped<'_>], report: &mut LoadReport) {
    let now = SystemTime::now();
    let mut secrets = Vec::new();
    let mut good = Vec::new();
    for unwrapped in unwrapped {
        match check(files, unwrapped, now) {
            Ok((entry, finding)) => {
                secrets.push((unwrapped.plain.as_bytes(), unwrapped.algorithm));
                let context = unwrapped.stored.file.wrapped.encryption_context().clone();
                good.push((entry, context, finding, unwrapped.instead_of.clone()));
            }
            Err(error) => report.refuse(unwrapped.stored.name, error),
        }
    }
    match hide(&secrets) {
        Ok(Hidden { keys, exposure }) => {
            report.exposure.join(exposure);
            let accepted = keys.into_iter().zip(good);
            report.accepted.extend(accepted.map(|(key, (entry, encryption_context, finding, instead_of))| {
                AcceptedKey { key, entry, encryption_context, finding, instead_of, has_new_marks: false }
            }));
        }
        Err(_) => good.iter().for_each(|(entry, ..)| report.refuse(entry.name, KeyStoreError::NoMemory(entry.name))),
    }
}

/// Checks the length, and compares with the manifest.
pub fn check(files: &KeyFiles, unwrapped: &Unwrapped<'_>, now: SystemTime) -> Result<(Entry, Finding), KeyStoreError> {
    let Unwrapped { stored, plain, algorithm, instead_of } = unwrapped;
    let (name, bytes) = (stored.name, plain.as_bytes().len());
    if !DataKey::LENGTHS.contains(&bytes) {
        return Err(KeyStoreError::WrongLength { name, bytes });
    }
    let entry = Entry::new(name, &stored.contents, *algorithm, Traits::of(plain), now);
    let finding = files.check(&entry)?;
    // That the copy is good says nothing about the key file: what the manifest says of that stays.
    match files.entry(name).filter(|_| instead_of.is_some()) {
        Some(known) => Ok((known, Finding::Same)),
        None => Ok((entry, finding)),
    }
}

impl UnansweredKey<'_> {
    /// Why the key cannot be used.
    pub fn failed(self) -> KeyStoreError {
        KeyStoreError::Kms(self.stored.name, self.error)
    }
}

impl LoadReport {
    /// The keys to publish: those that may encrypt new data, or the others.
    pub fn keys(&self, trusted: bool) -> Vec<(KeyName, DataKey)> {
        let accepted = self.accepted.iter().filter(|accepted| accepted.entry.is_trusted == trusted);
        accepted.map(|accepted| (accepted.entry.name, accepted.key.clone())).collect()
    }

    /// Whether one of the keys may encrypt new data.
    pub fn has_usable(&self) -> bool {
        self.accepted.iter().any(|accepted| accepted.entry.is_trusted)
    }

    /// Finds out which keys may encrypt new data. What the manifest says otherwise is news.
    pub fn judge(&mut self, files: &KeyFiles, configured: &NewKeySettings) {
        let known = KnownMasterKeys::new(files, configured);
        for accepted in &mut self.accepted {
            accepted.entry.is_trusted = known.trust(files, accepted);
            let name = accepted.entry.name;
            let is_judged_anew = files.is_trusted(name).is_some_and(|before| before != accepted.entry.is_trusted);
            accepted.has_new_marks = is_judged_anew || files.is_left_behind(name) || files.is_retired(name);
        }
    }

    /// The same for mariadb-backup, which writes nothing down, so that what the manifest says stays. `has_latest` says of
    /// which keys a version may encrypt already. Where there is none that may, all may: to prepare a backup, the server's
    /// data needs a latest version, and any does.
    pub fn judge_for_backup(
        &mut self,
        files: &KeyFiles,
        configured: &NewKeySettings,
        has_latest: impl Fn(KeyId) -> bool,
    ) {
        self.judge(files, configured);
        for AcceptedKey { entry, .. } in &mut self.accepted {
            entry.is_trusted &= files.is_trusted(entry.name) != Some(false);
        }
        let trusted = self.accepted.iter().filter(|accepted| accepted.entry.is_trusted);
        let with_trusted: BTreeSet<KeyId> = trusted.map(|accepted| accepted.entry.name.id).collect();
        for AcceptedKey { entry, .. } in &mut self.accepted {
            entry.is_trusted |= !with_trusted.contains(&entry.name.id) && !has_latest(entry.name.id);
        }
    }

    /// What the manifest does not say yet.
    pub fn news(&self) -> impl Iterator<Item = &AcceptedKey> {
        self.accepted.iter().filter(|accepted| accepted.finding != Finding::Same || accepted.has_new_marks)
    }

    /// Compares with the manifest once more, after it has been asked again.
    pub fn check_again(&mut self, files: &KeyFiles) {
        for mut accepted in std::mem::take(&mut self.accepted) {
            match files.check(&accepted.entry) {
                Ok(finding) => {
                    match files.entry(accepted.entry.name).filter(|_| accepted.instead_of.is_some()) {
                        Some(known) => (accepted.entry, accepted.finding) = (known, Finding::Same),
                        None => accepted.finding = finding,
                    }
                    self.accepted.push(accepted);
                }
                Err(error) => self.refuse(accepted.entry.name, error),
            }
        }
    }

    /// Takes back keys that were accepted.
    pub fn refuse_accepted(&mut self, errors: Vec<(KeyName, KeyStoreError)>) {
        let names: BTreeSet<KeyName> = errors.iter().map(|(name, _)| *name).collect();
        self.accepted.retain(|accepted| !names.contains(&accepted.entry.name));
        errors.into_iter().for_each(|(name, error)| self.refuse(name, error));
    }

    /// The key cannot be used.
    pub fn refuse(&mut self, name: KeyName, error: KeyStoreError) {
        self.refused.push(RefusedKey { name, error });
    }
}
