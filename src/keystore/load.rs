//! From key files to keys: read, unwrap, compare with the manifest, and put into secret memory. Publishes nothing and
//! tells nobody: what came of it is a report.

use std::fmt;
use std::time::{Instant, SystemTime};

use super::copies::{self, FromCopy, Lacking};
use super::files::{Entry, Finding, KeyFile, KeyFiles, StoredKey, Traits};
use super::load_report::{AcceptedKey, LoadReport};
use super::published::{Hidden, hide};
use super::start::SHORTEST_ROUND;
use super::{DataKey, KeyName, KeyStoreError};
use crate::cipher::Algorithm;
use crate::kms::{Class, EncryptionContext, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// Why a key is not from its key file.
#[derive(Clone)]
pub enum NotFromFile {
    /// KMS does not unwrap it, for a reason that may be one of the master key.
    MasterKey(KmsError),
    /// KMS says that it is damaged, and it is not the file that the manifest knows.
    Damaged(KmsError),
    /// It is gone, or cannot be read: why, without what to do.
    Unread(String),
}

/// A key that KMS has unwrapped.
pub struct Unwrapped<'a> {
    /// Which.
    pub name: KeyName,
    /// Its file, if it can be read.
    pub stored: Option<&'a StoredKey>,
    /// The key.
    pub plain: PlainKey,
    /// What it encrypts with.
    pub algorithm: Algorithm,
    /// What is bound into the wrapped key in its file; if that is gone or damaged, into the copy.
    encryption_context: EncryptionContext,
    /// Why it is from a copy.
    pub instead_of: Option<NotFromFile>,
}

/// A key whose file is not there, or cannot be read.
pub struct UnreadKey {
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
    /// Whether a copy of it has given no answer, which may pass.
    pub a_copy_may_answer: bool,
}

/// Loads key files. KMS is asked once for each key, until `deadline`; there is an answer for each name.
pub fn load(files: &KeyFiles, kms: &dyn Kms, names: &[KeyName], deadline: Instant) -> LoadReport {
    let mut report = LoadReport::default();
    let (stored, unread) = read(files, names);
    let unanswered = unwrap(files, kms, &stored.iter().collect::<Vec<_>>(), deadline, &mut report);
    unanswered.into_iter().for_each(|key| report.refuse(key.stored.name, key.failed()));
    unwrap_copies_of(files, kms, unread, deadline, &mut report);
    report
}

/// Reads key files. Answers also those that cannot be read.
pub fn read(files: &KeyFiles, names: &[KeyName]) -> (Vec<StoredKey>, Vec<UnreadKey>) {
    let (mut stored, mut unread) = (Vec::new(), Vec::new());
    for name in names.iter().copied() {
        match files.read(name) {
            Ok(file) => stored.push(file),
            Err(error) => unread.push(UnreadKey { name, error }),
        }
    }
    (stored, unread)
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
    let with_copies = files.with_copies().unwrap_or_default();
    let has_copies = |name| with_copies.contains(&name);
    let some_have = stored.iter().any(|stored| has_copies(stored.name));
    let until = if some_have { halfway_to(deadline) } else { deadline };
    let answers = kms.decrypt_all(&wrapped, until);
    let mut unwrapped = Vec::new();
    let (mut unanswered, mut lacking) = (Vec::new(), Vec::new());
    for (stored, answer) in stored.iter().copied().zip(answers) {
        let name = stored.name;
        match answer {
            Ok(plain) => unwrapped.push(Unwrapped::from_file(stored, plain)),
            Err(error) if error.class.may_be_of_the_master_key() && has_copies(name) => {
                let key = UnansweredKey { stored, error, a_copy_may_answer: false };
                lacking.push(Lacking { name, key, passing: None });
            }
            Err(error) => unanswered.push(UnansweredKey { stored, error, a_copy_may_answer: false }),
        }
    }
    let copies = copies::of(files, lacking.iter().map(|lacking| lacking.name));
    let (from_copies, not_found) = copies::unwrap(files, kms, &copies, lacking, deadline);
    // What is wrong is what is wrong with the key file. That a copy gives no answer is no worse than that there is none.
    unanswered.extend(not_found.into_iter().map(
        |Lacking { key: UnansweredKey { stored, error, .. }, passing, .. }| {
            let a_copy_may_answer = passing.is_some();
            let error = passing.into_iter().fold(error, KmsError::and_of_copy);
            UnansweredKey { stored, error, a_copy_may_answer }
        },
    ));
    unwrapped.extend(from_copies.into_iter().map(
        |FromCopy { key: UnansweredKey { stored, error, .. }, plain, copy }| {
            // A file that is as the manifest knows it is not damaged, whatever KMS says of it.
            let is_changed = files.is_recorded(stored.name) && !files.is_as_recorded(stored);
            let instead_of = match is_changed && error.class == Class::Corrupt {
                true => NotFromFile::Damaged(error),
                false => NotFromFile::MasterKey(error),
            };
            Unwrapped::from_copy(stored.name, Some(stored), plain, copy, instead_of)
        },
    ));
    (unwrapped, unanswered)
}

/// Keys whose files are gone or damaged, from copies: only such as the manifest knows. The others are refused.
pub fn unwrap_copies_of(
    files: &KeyFiles,
    kms: &dyn Kms,
    unread: Vec<UnreadKey>,
    deadline: Instant,
    report: &mut LoadReport,
) {
    let (unwrapped, lost) = ask_copies(files, kms, unread, deadline);
    lost.into_iter().for_each(|UnreadKey { name, error }| report.refuse(name, error));
    accept(files, &unwrapped, report);
}

/// The same, but the keys go nowhere. Answers also the others.
pub fn ask_copies(
    files: &KeyFiles,
    kms: &dyn Kms,
    unread: Vec<UnreadKey>,
    deadline: Instant,
) -> (Vec<Unwrapped<'static>>, Vec<UnreadKey>) {
    if unread.is_empty() {
        return (Vec::new(), unread);
    }
    let copies = copies::of(files, unread.iter().map(|unread| unread.name));
    let (known, mut lost): (Vec<_>, Vec<_>) = unread.into_iter().partition(|key| files.is_recorded(key.name));
    let lacking = known.into_iter().map(|key| Lacking { name: key.name, key, passing: None }).collect();
    let (found, not_found) = copies::unwrap(files, kms, &copies, lacking, deadline);
    lost.extend(not_found.into_iter().map(|lacking| lacking.key));
    let unwrapped = found.into_iter().map(|FromCopy { key: UnreadKey { name, error }, plain, copy }| {
        Unwrapped::from_copy(name, None, plain, copy, NotFromFile::Unread(reason(name, &error)))
    });
    (unwrapped.collect(), lost)
}

/// Why a key file cannot be read, without the name of its key.
fn reason(name: KeyName, error: &KeyStoreError) -> String {
    let reason = error.without_remedy();
    reason.strip_prefix(&format!("{name}: ")).unwrap_or(&reason).to_owned()
}

/// What the manifest says, if that is about this file: one that was wrapped anew, and is not recorded yet, may be wrapped by a
/// master key of another region.
pub fn known_master_key(files: &KeyFiles, stored: &StoredKey) -> Option<MasterKeyId> {
    files.is_as_recorded(stored).then(|| files.master_key_of(stored)).flatten()
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
                good.push((entry, unwrapped, finding));
            }
            Err(error) => report.refuse(unwrapped.name, error),
        }
    }
    match hide(&secrets) {
        Ok(Hidden { keys, exposure }) => {
            report.exposure.join(exposure);
            let accepted = keys.into_iter().zip(good);
            report.accepted.extend(accepted.map(|(key, (entry, unwrapped, finding))| AcceptedKey {
                key,
                entry,
                encryption_context: unwrapped.encryption_context.clone(),
                unwrapped_by: unwrapped.plain.master_key().map(str::to_owned),
                finding,
                instead_of: unwrapped.instead_of.clone(),
                has_new_marks: false,
            }));
        }
        Err(_) => good.iter().for_each(|(entry, ..)| report.refuse(entry.name, KeyStoreError::NoMemory(entry.name))),
    }
}

/// Checks the length, and compares with the manifest.
pub fn check(files: &KeyFiles, unwrapped: &Unwrapped<'_>, now: SystemTime) -> Result<(Entry, Finding), KeyStoreError> {
    let Unwrapped { name, stored, plain, algorithm, instead_of, .. } = unwrapped;
    let (name, bytes) = (*name, plain.as_bytes().len());
    if !DataKey::LENGTHS.contains(&bytes) {
        return Err(KeyStoreError::WrongLength { name, bytes });
    }
    let known = files.entry(name).filter(|_| instead_of.is_some());
    let contents = match stored {
        Some(stored) if instead_of.is_none() => &stored.contents[..],
        // Nobody has unwrapped what is in the file: the manifest is not to vouch for it, nor to say by what it is wrapped.
        Some(_) => &[],
        None if known.is_some() => &[],
        None => return Err(KeyStoreError::Gone(name, files.path_of(name))),
    };
    let entry = Entry::new(name, contents, *algorithm, Traits::of(plain), now);
    let finding = files.check(&entry)?;
    // That the copy is good says nothing about the key file: what the manifest says of that stays.
    match known {
        Some(known) => Ok((known.found_again(), Finding::Same)),
        None => Ok((entry, finding)),
    }
}

impl<'a> Unwrapped<'a> {
    /// A key that is in its key file.
    pub fn from_file(stored: &'a StoredKey, plain: PlainKey) -> Self {
        let algorithm = stored.file.algorithm;
        let encryption_context = stored.encryption_context();
        Self { name: stored.name, stored: Some(stored), plain, algorithm, encryption_context, instead_of: None }
    }

    fn from_copy(
        name: KeyName,
        stored: Option<&'a StoredKey>,
        plain: PlainKey,
        copy: &KeyFile,
        instead_of: NotFromFile,
    ) -> Self {
        let encryption_context = match stored {
            Some(stored) if !instead_of.is_the_file() => stored.encryption_context(),
            _ => copy.wrapped.encryption_context().clone(),
        };
        Self { name, stored, plain, algorithm: copy.algorithm, encryption_context, instead_of: Some(instead_of) }
    }
}

impl NotFromFile {
    /// Whether it is the file, which is gone or damaged; otherwise it is the master key that wraps it.
    pub fn is_the_file(&self) -> bool {
        !matches!(self, Self::MasterKey(_))
    }
}

impl fmt::Display for NotFromFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MasterKey(error) => error.fmt(formatter),
            Self::Damaged(error) => formatter.write_str(&error.what()),
            Self::Unread(reason) => formatter.write_str(reason),
        }
    }
}

impl UnansweredKey<'_> {
    /// Why the key cannot be used.
    pub fn failed(self) -> KeyStoreError {
        KeyStoreError::Kms(self.stored.name, self.error)
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use std::sync::Arc;

    use super::super::files::{Folders, SystemDisk};
    use super::*;

    #[test]
    fn a_copy_of_a_key_that_has_no_file_and_is_not_known_is_none() {
        let folder = tempfile::tempdir().expect("folder");
        let keys = folder.path();
        let folders = Folders { keys, also: None, datadir: keys, is_read_only: false };
        let (files, _) = KeyFiles::open(Arc::new(SystemDisk), &folders).expect("open");
        let name = KeyName::new(7, 1).expect("a name");
        let plain = PlainKey::new(vec![1; 16], None);
        let copy = KeyFile { algorithm: Algorithm::AesCbc, wrapped: WrappedKey::new(vec![1]) };
        let unwrapped = Unwrapped::from_copy(name, None, plain, &copy, NotFromFile::Unread(String::new()));
        let checked = check(&files, &unwrapped, SystemTime::now());
        assert!(matches!(checked, Err(KeyStoreError::Gone(gone, _)) if gone == name));
    }
}
