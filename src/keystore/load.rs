//! From key files to keys: read, unwrap, compare with the manifest, and put into secret memory. Publishes nothing and
//! tells nobody: what came of it is a report.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use super::copies;
use super::files::{Entry, Finding, KeyFiles, StoredKey, Traits};
use super::published::{Exposure, Hidden, hide};
use super::trust::KnownMasterKeys;
use super::{DataKey, KeyId, KeyName, KeyStoreError, NewKeySettings};
use crate::kms::{Class, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

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
    /// How that compares with what the manifest says.
    pub finding: Finding,
    /// Why it is not from its key file, if it is from a copy that another master key wraps.
    pub instead_of: Option<NotFromFile>,
    /// Whether the manifest says otherwise of whether it may encrypt new data, or says that it is not here.
    pub has_new_marks: bool,
}

/// Why a key is not from its key file.
#[derive(Clone)]
pub struct NotFromFile {
    /// What is wrong, for a message.
    pub reason: String,
    /// Whether that is the file, which is gone or damaged; otherwise it is the master key that wraps it.
    pub is_the_file: bool,
}

/// A key that KMS has unwrapped.
struct Unwrapped<'a> {
    name: KeyName,
    /// Its file, if it can be read.
    stored: Option<&'a StoredKey>,
    plain: PlainKey,
    /// Why it is from a copy.
    instead_of: Option<NotFromFile>,
}

/// A key whose file is not there, or cannot be read.
pub struct UnreadKey {
    /// Which.
    pub name: KeyName,
    /// Why.
    pub error: KeyStoreError,
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
    let (mut stored, mut unread) = (Vec::new(), Vec::new());
    for name in names.iter().copied() {
        match files.read(name) {
            Ok(file) => stored.push(file),
            Err(error) => unread.push(UnreadKey { name, error }),
        }
    }
    let unanswered = unwrap(files, kms, &stored.iter().collect::<Vec<_>>(), deadline, &mut report);
    unanswered.into_iter().for_each(|key| report.refuse(key.stored.name, key.failed()));
    unwrap_copies_of(files, kms, unread, deadline, &mut report);
    report
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
    let master_key = |name| files.master_key(name).as_deref().and_then(MasterKeyId::parse);
    let wrapped = stored.iter().map(|stored| stored.file.wrapped.clone().with_master_key(master_key(stored.name)));
    let wrapped: Vec<WrappedKey> = wrapped.collect();
    let copies = copies::of(files, stored.iter().map(|stored| stored.name));
    // So that there is time for the copies, if KMS does not answer.
    let until = if copies.is_empty() { deadline } else { copies::share_of(deadline, 2) };
    let answers = kms.decrypt_all(&wrapped, until);
    let mut unwrapped = Vec::new();
    let (mut unanswered, mut lacking) = (Vec::new(), Vec::new());
    for (stored, answer) in stored.iter().copied().zip(answers) {
        let name = stored.name;
        match answer {
            Ok(plain) => unwrapped.push(Unwrapped { name, stored: Some(stored), plain, instead_of: None }),
            Err(error) if error.class.may_be_of_the_master_key() && copies.contains_key(&name) => {
                lacking.push((name, UnansweredKey { stored, error }));
            }
            Err(error) => unanswered.push(UnansweredKey { stored, error }),
        }
    }
    let (from_copies, not_found) = copies::unwrap(files, kms, &copies, lacking, deadline);
    unanswered.extend(not_found);
    unwrapped.extend(from_copies.into_iter().map(|(UnansweredKey { stored, error }, plain)| {
        // A file that is as the manifest knows it is not damaged, whatever KMS says of it.
        let is_changed = files.entry(stored.name).is_some_and(|entry| !entry.is_of_file(&stored.contents));
        let is_the_file = is_changed && error.class == Class::Corrupt;
        let instead_of = NotFromFile { reason: error.to_string(), is_the_file };
        Unwrapped { name: stored.name, stored: Some(stored), plain, instead_of: Some(instead_of) }
    }));
    accept(files, &unwrapped, report);
    unanswered
}

/// Keys whose files are gone or damaged, from copies: only such as the manifest knows, which says what they encrypt with. The
/// others are refused.
pub fn unwrap_copies_of(
    files: &KeyFiles,
    kms: &dyn Kms,
    unread: Vec<UnreadKey>,
    deadline: Instant,
    report: &mut LoadReport,
) {
    if unread.is_empty() {
        return;
    }
    let copies = copies::of(files, unread.iter().map(|unread| unread.name));
    let (known, mut lost): (Vec<_>, Vec<_>) = unread.into_iter().partition(|key| files.is_recorded(key.name));
    let lacking = known.into_iter().map(|key| (key.name, key)).collect();
    let (found, not_found) = copies::unwrap(files, kms, &copies, lacking, deadline);
    lost.extend(not_found);
    lost.into_iter().for_each(|UnreadKey { name, error }| report.refuse(name, error));
    let unwrapped = found.into_iter().map(|(UnreadKey { name, error }, plain)| {
        let instead_of = NotFromFile { reason: error.to_string(), is_the_file: true };
        Unwrapped { name, stored: None, plain, instead_of: Some(instead_of) }
    });
    accept(files, &unwrapped.collect::<Vec<_>>(), report);
}

/// Checks lengths and the manifest, and puts all good keys into one piece of secret memory.
fn accept(files: &KeyFiles, unwrapped: &[Unwrapped<'_>], report: &mut LoadReport) {
    let now = SystemTime::now();
    let mut secrets = Vec::new();
    let mut good = Vec::new();
    for unwrapped in unwrapped {
        match check(files, unwrapped, now) {
            Ok((entry, finding)) => {
                secrets.push((unwrapped.plain.as_bytes(), entry.algorithm()));
                good.push((entry, finding, unwrapped.instead_of.clone()));
            }
            Err(error) => report.refuse(unwrapped.name, error),
        }
    }
    match hide(&secrets) {
        Ok(Hidden { keys, exposure }) => {
            report.exposure.join(exposure);
            let accepted = keys.into_iter().zip(good);
            report.accepted.extend(accepted.map(|(key, (entry, finding, instead_of))| AcceptedKey {
                key,
                entry,
                finding,
                instead_of,
                has_new_marks: false,
            }));
        }
        Err(_) => good.iter().for_each(|(entry, ..)| report.refuse(entry.name, KeyStoreError::NoMemory(entry.name))),
    }
}

fn check(files: &KeyFiles, unwrapped: &Unwrapped<'_>, now: SystemTime) -> Result<(Entry, Finding), KeyStoreError> {
    let Unwrapped { name, stored, plain, instead_of } = unwrapped;
    let (name, bytes) = (*name, plain.as_bytes().len());
    if !DataKey::LENGTHS.contains(&bytes) {
        return Err(KeyStoreError::WrongLength { name, bytes });
    }
    // What the manifest says is about the key file, not about the copy, which has shown only that it holds the same key.
    if instead_of.is_some()
        && let Some(recorded) = files.entry(name)
    {
        let is_same = recorded.is_of(plain);
        return if is_same { Ok((recorded.found_again(), Finding::Same)) } else { Err(KeyStoreError::OtherKey(name)) };
    }
    let stored = stored.ok_or_else(|| KeyStoreError::Gone(name, files.path_of(name)))?;
    let entry = Entry::new(name, &stored.contents, stored.file.algorithm, Traits::of(plain), now);
    let finding = files.check(&entry)?;
    Ok((entry, finding))
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
            accepted.has_new_marks = is_judged_anew || files.is_left_behind(name);
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
                    accepted.finding = finding;
                    self.accepted.push(accepted);
                }
                Err(error) => self.refuse(accepted.entry.name, error),
            }
        }
    }

    /// Keys whose files are gone or damaged, and that are used from copies.
    pub fn without_file(&self) -> impl Iterator<Item = &AcceptedKey> {
        let is_the_file = |instead_of: &NotFromFile| instead_of.is_the_file;
        self.accepted.iter().filter(move |accepted| accepted.instead_of.as_ref().is_some_and(is_the_file))
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
