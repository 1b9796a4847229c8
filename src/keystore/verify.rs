//! Would a restart work? Key files are read and unwrapped anew, and compared with what is known of them and with the keys in
//! memory. Writes nothing, publishes nothing and keeps no key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use subtle::ConstantTimeEq;

use super::copies;
use super::files::{KeyFile, KeyFiles, StoredKey};
use super::load::{self, NotFromFile, Unwrapped};
use super::{DataKey, KeyId, KeyName, KeyStoreError};
use crate::kms::{AtStart, Class, EncryptionContext, Kms, KmsError, WrappedKey};

/// What came of one key version.
pub struct Verified {
    /// Which.
    pub name: KeyName,
    /// The ARN of the master key that wraps it, as far as the manifest knows.
    pub master_key: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// Whether the server has it in memory, as far as the check has asked for that: then its file can be made anew.
    pub is_in_memory: bool,
    /// What is bound into the wrapped key in its file, if that was read.
    pub encryption_context: Option<EncryptionContext>,
    /// What came of its copies under extra master keys. `None` if they were not checked.
    pub copies: Option<Vec<CheckedCopy>>,
}

/// A copy of a key under an extra master key.
pub struct CheckedCopy {
    /// The ARN of the master key.
    pub master_key: String,
    /// Why it is of no use, if it is not.
    pub failed: Option<CopyFailure>,
}

/// Why a copy is of no use.
#[derive(Clone, Debug)]
pub enum CopyFailure {
    /// KMS does not unwrap it.
    Kms(KmsError),
    /// It holds another key.
    OtherKey,
    /// Nothing was found out: others under the same master key have failed.
    NotAsked,
}

/// Whether a start would find a key version.
pub enum Verdict {
    /// From its key file.
    Good,
    /// From another copy only, and why KMS did not unwrap the key file, though that is as it should be.
    FromCopy(KmsError),
    /// Not at all.
    Failed(KeyStoreError),
}

/// What a failure is about, and so which others would fail like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The file.
    File,
    /// The master key.
    MasterKey,
    /// Whether KMS can be asked: nothing is known of the key.
    Asking,
    /// The same, but it may well be gone in a moment.
    NoAnswer,
}

/// All versions that a start needs: those that there are or were, but for those that were left behind when the folder was
/// copied. Fails if the folder cannot be read, or is another one.
pub fn needed(files: &KeyFiles, only: Option<KeyId>) -> Result<Vec<KeyName>, KeyStoreError> {
    files.refresh()?;
    let mut names: BTreeSet<KeyName> = files.present()?.into_iter().chain(files.recorded()).collect();
    names.retain(|name| only.is_none_or(|id| name.id == id) && !files.is_left_behind(*name));
    match only {
        Some(id) if names.is_empty() => Err(KeyStoreError::NoSuchKey(id)),
        _ => Ok(names.into_iter().collect()),
    }
}

/// Reads these key files and has KMS unwrap them, until `deadline`, and their copies under those of the extra master keys that are
/// worth it. There is an answer for each name, in order.
pub fn verify(
    files: &KeyFiles,
    kms: &dyn Kms,
    in_memory: &dyn Fn(KeyName) -> Option<DataKey>,
    names: &[KeyName],
    deadline: Instant,
    is_worth_asking: &dyn Fn(&str) -> bool,
) -> Vec<Verified> {
    let (mut verified, changed) = once(files, kms, in_memory, names, deadline);
    if !changed.is_empty() {
        // By a re-wrap, or by who restored them.
        verified.retain(|verified| !changed.contains(&verified.name));
        verified.extend(once(files, kms, in_memory, &changed, deadline).0);
    }
    verified.sort_by_key(|verified| verified.name);
    if Instant::now() >= deadline {
        return verified;
    }
    let mut copies = check_copies(files, kms, names, deadline, is_worth_asking);
    for verified in &mut verified {
        verified.copies = Some(copies.remove(&verified.name).unwrap_or_default());
    }
    verified
}

fn check_copies(
    files: &KeyFiles,
    kms: &dyn Kms,
    names: &[KeyName],
    deadline: Instant,
    is_worth_asking: &dyn Fn(&str) -> bool,
) -> BTreeMap<KeyName, Vec<CheckedCopy>> {
    let mut checked: BTreeMap<KeyName, Vec<CheckedCopy>> = BTreeMap::new();
    let mut of_master_keys: BTreeMap<String, Vec<(KeyName, KeyFile)>> = BTreeMap::new();
    for (name, copy) in copies::under_extra_master_keys(files, names) {
        let Some(arn) = copy.wrapped.master_key().map(ToString::to_string) else { continue };
        if is_worth_asking(&arn) {
            of_master_keys.entry(arn).or_default().push((name, copy));
        } else {
            let copy = CheckedCopy { master_key: arn, failed: Some(CopyFailure::NotAsked) };
            checked.entry(name).or_default().push(copy);
        }
    }
    let mut rounds = of_master_keys.len();
    for (master_key, copies) in of_master_keys {
        let wrapped: Vec<WrappedKey> = copies.iter().map(|(_, copy)| copy.wrapped.clone()).collect();
        // One that does not answer leaves some time for the others.
        let answers = kms.decrypt_all(&wrapped, copies::share_of(deadline, rounds));
        rounds -= 1;
        for ((name, copy), answer) in copies.into_iter().zip(answers) {
            let failed = match answer {
                Ok(plain) if copies::is_right(files, name, copy.algorithm, &plain) => None,
                Ok(_) => Some(CopyFailure::OtherKey),
                Err(error) => Some(CopyFailure::Kms(error)),
            };
            checked.entry(name).or_default().push(CheckedCopy { master_key: master_key.clone(), failed });
        }
    }
    checked
}

/// Answers also which of the files that failed are others by now.
fn once(
    files: &KeyFiles,
    kms: &dyn Kms,
    in_memory: &dyn Fn(KeyName) -> Option<DataKey>,
    names: &[KeyName],
    deadline: Instant,
) -> (Vec<Verified>, Vec<KeyName>) {
    let (stored, unread) = load::read(files, names);
    let (mut unwrapped, unanswered) = load::ask(files, kms, &stored.iter().collect::<Vec<_>>(), deadline);
    let (from_copies, unread) = load::ask_copies(files, kms, unread, deadline);
    unwrapped.extend(from_copies);
    let now = SystemTime::now();
    let of_unwrapped = unwrapped.iter().map(|unwrapped| {
        let verdict = match (compare(files, in_memory, unwrapped, now), unwrapped.instead_of.clone()) {
            (Err(error), _) => Verdict::Failed(error),
            (Ok(()), Some(instead_of)) => Verdict::of_copy(unwrapped.name, instead_of),
            (Ok(()), None) => Verdict::Good,
        };
        (unwrapped.name, verdict)
    });
    let of_unanswered = unanswered.into_iter().map(|key| (key.stored.name, Verdict::Failed(key.failed())));
    let of_unread = unread.into_iter().map(|unread| (unread.name, Verdict::Failed(unread.error)));
    let verdicts = of_unwrapped.chain(of_unanswered).chain(of_unread);
    let context_of = |name| stored.iter().find(|stored| stored.name == name).map(StoredKey::encryption_context);
    let verified = verdicts.map(|(name, verdict)| Verified {
        encryption_context: context_of(name),
        is_in_memory: in_memory(name).is_some(),
        ..Verified::new(name, files.master_key(name), verdict)
    });
    let verified: Vec<Verified> = verified.collect();
    let is_another = |name: KeyName| {
        let before = stored.iter().find(|stored| stored.name == name);
        before.is_some_and(|before| files.contents(name).is_ok_and(|now| now.as_ref() != Some(&before.contents)))
    };
    let not_good = verified.iter().filter(|verified| !matches!(verified.verdict, Verdict::Good));
    let changed = not_good.map(|verified| verified.name).filter(|name| is_another(*name)).collect();
    (verified, changed)
}

fn compare(
    files: &KeyFiles,
    in_memory: &dyn Fn(KeyName) -> Option<DataKey>,
    unwrapped: &Unwrapped<'_>,
    now: SystemTime,
) -> Result<(), KeyStoreError> {
    let (name, algorithm) = (unwrapped.name, unwrapped.algorithm);
    load::check(files, unwrapped, now)?;
    match in_memory(name) {
        Some(key) if !bool::from(key.as_bytes().ct_eq(unwrapped.plain.as_bytes())) => {
            Err(KeyStoreError::OtherKey(name))
        }
        Some(key) if key.algorithm() != algorithm => Err(KeyStoreError::OtherAlgorithm(name, algorithm)),
        _ => Ok(()),
    }
}

impl Verified {
    /// What came of a version whose copies were not checked.
    pub fn new(name: KeyName, master_key: Option<String>, verdict: Verdict) -> Self {
        Self { name, master_key, verdict, is_in_memory: false, encryption_context: None, copies: None }
    }
}

impl CheckedCopy {
    /// Whether nothing was found out.
    pub fn is_undecided(&self) -> bool {
        match &self.failed {
            Some(CopyFailure::Kms(error)) => About::of_class(error.class) == About::NoAnswer,
            Some(CopyFailure::NotAsked) => true,
            Some(CopyFailure::OtherKey) | None => false,
        }
    }
}

impl CopyFailure {
    fn is_of_the_master_key(&self) -> bool {
        matches!(self, Self::Kms(error) if About::of_class(error.class) != About::File)
    }
}

impl Verdict {
    /// Of a version that was unwrapped from a copy.
    pub fn of_copy(name: KeyName, instead_of: NotFromFile) -> Self {
        match instead_of {
            NotFromFile::MasterKey(error) => Self::FromCopy(error),
            instead_of => Self::Failed(KeyStoreError::OnlyCopy { name, reason: instead_of.to_string() }),
        }
    }
}

impl About {
    /// What a failure of KMS is about.
    pub fn of_class(class: Class) -> Self {
        match class.at_start() {
            _ if class.is_no_answer() || class == Class::Throttled => Self::NoAnswer,
            // The instance's metadata, or STS, that do not answer for a moment.
            _ if class == Class::NoCredentials => Self::NoAnswer,
            AtStart::WaitThenFailKey => Self::NoAnswer,
            AtStart::FailStart | AtStart::WaitThenFailStart => Self::Asking,
            AtStart::WaitWhileNoneIsUsable => Self::MasterKey,
            AtStart::FailKey => Self::File,
        }
    }

    /// What a failure of a key version is about.
    pub fn of(error: &KeyStoreError) -> Self {
        match error {
            KeyStoreError::Kms(_, error) => Self::of_class(error.class),
            _ => Self::File,
        }
    }
}

/// A check of many versions, a few at a time. What would fail like others is not asked of KMS.
pub struct Round {
    left: Vec<KeyName>,
    done: Vec<Verified>,
    /// Extra master keys that have unwrapped nothing: their other copies would fail likewise.
    failed_extra: BTreeSet<String>,
}

impl Round {
    /// Of these, in this order.
    pub fn new(mut names: Vec<KeyName>) -> Self {
        names.reverse();
        Self { left: names, done: Vec::new(), failed_extra: BTreeSet::new() }
    }

    /// Checks a few, until `deadline`. Answers whether there are more.
    pub fn step(
        &mut self,
        files: &KeyFiles,
        kms: &dyn Kms,
        in_memory: &dyn Fn(KeyName) -> Option<DataKey>,
        deadline: Instant,
    ) -> bool {
        let mut names = self.left.split_off(self.left.len().saturating_sub(STEP));
        names.reverse();
        let is_worth_asking = |extra: &str| !self.failed_extra.contains(extra);
        let verified = verify(files, kms, in_memory, &names, deadline, &is_worth_asking);
        let copies = verified.iter().flat_map(|verified| verified.copies.iter().flatten());
        let failed = copies.filter(|copy| copy.failed.as_ref().is_some_and(CopyFailure::is_of_the_master_key));
        self.failed_extra.extend(failed.map(|copy| copy.master_key.clone()));
        self.leave_out(files, &verified);
        self.done.extend(verified);
        !self.left.is_empty()
    }

    /// What came of all of them.
    pub fn into_verified(self) -> Vec<Verified> {
        self.done
    }

    fn leave_out(&mut self, files: &KeyFiles, verified: &[Verified]) {
        let failed = |verified: &Verified| match &verified.verdict {
            Verdict::Failed(KeyStoreError::Kms(_, error)) => Some((About::of_class(error.class), error.clone())),
            _ => None,
        };
        let mut by_master_key = BTreeMap::<_, Vec<_>>::new();
        for verified in verified {
            by_master_key.entry(verified.master_key.as_deref()).or_default().push(failed(verified));
        }
        // That one call got no answer says little; two say that the others would hold up the check, as in a region that hangs.
        let of_master_key = |failed: Vec<Option<(About, KmsError)>>| {
            let is_silent =
                |(about, error): &(About, KmsError)| *about == About::NoAnswer && error.class.is_no_answer();
            let are_silent = failed.len() > 1;
            let is_alike =
                |failed: &(About, KmsError)| failed.0 == About::MasterKey || (are_silent && is_silent(failed));
            let all_are = failed.iter().all(|failed| failed.as_ref().is_some_and(is_alike));
            failed.into_iter().next().flatten().filter(|_| all_are).map(|(_, error)| error)
        };
        let by_master_key: BTreeMap<Option<&str>, Option<KmsError>> =
            by_master_key.into_iter().map(|(master_key, failed)| (master_key, of_master_key(failed))).collect();
        // What was not asked of KMS, as the file could not be read, says nothing of KMS.
        let was_asked = |verified: &&Verified| match &verified.verdict {
            Verdict::Failed(error) => About::of(error) != About::File,
            _ => true,
        };
        let asking: Vec<_> = verified.iter().filter(was_asked).map(failed).collect();
        let is_about_asking = |(about, _): &(About, KmsError)| matches!(about, About::Asking | About::NoAnswer);
        let all_are = asking.iter().all(|failed| failed.as_ref().is_some_and(is_about_asking));
        let of_all = asking.first().cloned().flatten().filter(|_| all_are).map(|(_, error)| error);
        let alike = |name: KeyName| {
            let of_master_key = || by_master_key.get(&Some(files.master_key(name)?.as_str())).cloned().flatten();
            of_all.clone().or_else(of_master_key)
        };
        for name in std::mem::take(&mut self.left) {
            match alike(name) {
                Some(error) => {
                    let verdict = Verdict::Failed(KeyStoreError::Kms(name, error));
                    self.done.push(Verified::new(name, files.master_key(name), verdict));
                }
                None => self.left.push(name),
            }
        }
    }
}

/// How many versions are checked at a time.
const STEP: usize = 8;
