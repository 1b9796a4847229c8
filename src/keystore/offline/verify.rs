//! A fire drill: whether a server could start with these key files. Each is read, unwrapped by KMS, and compared with the
//! manifest. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{NOT_TRUSTED, OpenFolder, gone, no_settings};
use crate::keystore::files::{Finding, Needing};
use crate::keystore::{KeyName, KeyStoreError, load, start};
use crate::kms::{AtStart, Class, Kms};

/// What came of all key versions.
pub struct Verification {
    /// Each key version that there is or ever was, in order.
    pub versions: Vec<Verified>,
    /// What of InnoDB's could not be read, and may need a version that was retired.
    pub not_read: Vec<PathBuf>,
    /// Why the memory of a key could not be locked, and may have been written to swap space.
    pub not_locked: Option<std::io::Error>,
}

/// A key version.
pub struct Verified {
    /// Which.
    pub name: KeyName,
    /// The ARN of the master key that wraps it, as KMS or the manifest says. Where only a copy works, of the one that wraps that.
    pub master_key: Option<String>,
    /// What was found.
    pub found: Found,
}

/// What was found of a key version.
#[derive(Debug)]
pub enum Found {
    /// KMS unwraps it, and it is the key that the manifest knows.
    Good,
    /// KMS unwraps it, and the manifest does not know it.
    New,
    /// Not there, and not needed: it was made while the folder was copied.
    LeftBehind,
    /// KMS unwraps it, but it encrypts nothing new: its master key is not known here.
    NotTrusted,
    /// The key cannot be had from the key file, for this reason, but from a copy that another master key wraps: one under an extra
    /// master key, or what the file held before it was re-wrapped.
    OnlyCopy(String),
    /// It was retired, and this file of InnoDB's is encrypted with it.
    RetiredInUse(PathBuf),
    /// Nothing is known of it, and this file of InnoDB's is encrypted with it.
    Unknown(PathBuf),
    /// It cannot be used.
    Wrong(KeyStoreError),
    /// Nothing can be said: KMS could not be reached, or there are no credentials that it accepts.
    Unanswered(KeyStoreError),
}

/// What there is to say of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There are keys, and all are as they should be.
    Good,
    /// At least one is not, or there is none.
    Wrong,
    /// Of at least one, KMS said nothing, and nothing else is wrong.
    Unanswered,
}

impl Found {
    /// In a word or two.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::New => "new",
            Self::LeftBehind => "left behind",
            Self::NotTrusted => "not trusted",
            Self::OnlyCopy(_) => "only a copy",
            Self::RetiredInUse(_) => "retired",
            Self::Unknown(_) => "missing",
            Self::Unanswered(_) => "no answer",
            Self::Wrong(error) => match error {
                KeyStoreError::Gone(..) => "missing",
                KeyStoreError::OtherKey(_)
                | KeyStoreError::OtherAlgorithm(..)
                | KeyStoreError::OtherName { .. }
                | KeyStoreError::OtherContext(_) => "exchanged",
                KeyStoreError::Kms(_, error) if error.class == Class::Corrupt => "damaged",
                KeyStoreError::Kms(..) => "refused by KMS",
                KeyStoreError::EmptyFile(_)
                | KeyStoreError::LargeFile(..)
                | KeyStoreError::WrongLength { .. }
                | KeyStoreError::BadKeyFile(_) => "damaged",
                _ => "unreadable",
            },
        }
    }

    /// What is wrong, and what to do; `None` if nothing is.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Good | Self::New => None,
            Self::LeftBehind => Some(
                "its key file is not in this copy. It was made while the copy was taken, as far as can be told, and no data in the \
                 copy needs it then. If that is so, verify --allow-left-behind accepts it; otherwise the copy is not whole"
                    .to_owned(),
            ),
            Self::NotTrusted => Some(NOT_TRUSTED.to_owned()),
            Self::OnlyCopy(reason) => Some(format!(
                "it cannot be had from its key file, but from a copy beside it that another master key wraps; rewrap makes the key \
                 file anew: {reason}"
            )),
            Self::RetiredInUse(path) => Some(format!(
                "{} is encrypted with it. Put its key file back from where it was kept when it was retired",
                path.display()
            )),
            Self::Unknown(path) => Some(format!(
                "{} is encrypted with it, and nothing is known of it here: its key file is gone, and its entry in the manifest. Restore \
                 both from a backup",
                path.display()
            )),
            Self::Wrong(KeyStoreError::Gone(name, path)) => Some(gone(*name, path)),
            Self::Wrong(error) | Self::Unanswered(error) => Some(error.to_string()),
        }
    }
}

impl Verification {
    /// What there is to say of all of them.
    pub fn verdict(&self) -> Verdict {
        let has = |what: fn(&Found) -> bool| self.versions.iter().any(|version| what(&version.found));
        let is_wrong = |found: &Found| {
            matches!(
                found,
                Found::NotTrusted | Found::OnlyCopy(_) | Found::RetiredInUse(_) | Found::Unknown(_) | Found::Wrong(_)
            )
        };
        match () {
            () if self.versions.is_empty() || has(is_wrong) => Verdict::Wrong,
            () if has(|found| matches!(found, Found::Unanswered(_))) => Verdict::Unanswered,
            () => Verdict::Good,
        }
    }

    /// How many KMS unwraps, as they should be.
    pub fn good(&self) -> usize {
        self.versions.iter().filter(|version| matches!(version.found, Found::Good | Found::New)).count()
    }

    /// Whether versions are missing that are not needed, if they were made while the copy was taken.
    pub fn has_left_behind(&self) -> bool {
        self.versions.iter().any(|version| matches!(version.found, Found::LeftBehind))
    }

    /// How many a server needs.
    pub fn needed(&self) -> usize {
        self.versions.iter().filter(|version| !matches!(version.found, Found::LeftBehind)).count()
    }

    /// The ARNs of all master keys on which a server needs kms:Decrypt.
    pub fn master_keys(&self) -> BTreeSet<&str> {
        let needed = self.versions.iter().filter(|version| !matches!(version.found, Found::LeftBehind));
        needed.filter_map(|version| version.master_key.as_deref()).collect()
    }
}

/// Verifies all key versions. KMS gets `time` to answer.
pub fn verify(folder: &OpenFolder, kms: &dyn Kms, time: Duration) -> Result<Verification, KeyStoreError> {
    let files = &folder.files;
    let mut survey = start::survey(files)?;
    let mut report = load::load(files, kms, &survey.to_load(), Instant::now() + time);
    report.judge(files, &no_settings());
    survey.confirm_left_behind(&report);
    let mut versions: BTreeMap<KeyName, Verified> = BTreeMap::new();
    let mut add = |name, master_key: Option<String>, found| {
        versions.insert(name, Verified { name, master_key: master_key.or_else(|| files.master_key(name)), found });
    };
    for accepted in report.accepted {
        // Of one that is from a copy, the master key that works.
        let of_copy = accepted.unwrapped_by.filter(|_| accepted.instead_of.is_some());
        let found = match accepted.instead_of {
            Some(instead_of) => Found::OnlyCopy(instead_of.to_string()),
            None if !accepted.entry.is_trusted || files.is_trusted(accepted.entry.name) == Some(false) => {
                Found::NotTrusted
            }
            None if accepted.finding == Finding::New => Found::New,
            None => Found::Good,
        };
        add(accepted.entry.name, of_copy.or_else(|| accepted.entry.master_key().map(str::to_owned)), found);
    }
    for refused in report.refused {
        let is_unanswered = is_unanswered(&refused.error);
        let found = if is_unanswered { Found::Unanswered(refused.error) } else { Found::Wrong(refused.error) };
        add(refused.name, None, found);
    }
    for name in survey.missing {
        add(name, None, Found::Wrong(KeyStoreError::Gone(name, files.path_of(name))));
    }
    for entry in survey.left_behind {
        add(entry.name, None, Found::LeftBehind);
    }
    let Needing { needing, mut not_read } = files.needing(folder.path(), &|name| !survey.present.contains(&name));
    for (name, path) in needing {
        match files.is_retired(name) {
            true => add(name, None, Found::RetiredInUse(path)),
            false if !files.is_recorded(name) => add(name, None, Found::Unknown(path)),
            false => {}
        }
    }
    if files.retired().is_empty() {
        not_read.clear();
    }
    Ok(Verification { versions: versions.into_values().collect(), not_read, not_locked: report.exposure.to_swap })
}

/// Whether a failure says nothing about the keys: KMS could not be reached, there are no credentials that it accepts, or the
/// settings of this call are wrong.
pub fn is_unanswered(error: &KeyStoreError) -> bool {
    let KeyStoreError::Kms(_, error) = error else { return false };
    match error.class.at_start() {
        AtStart::WaitThenFailStart | AtStart::FailStart => true,
        AtStart::WaitThenFailKey | AtStart::WaitWhileNoneIsUsable | AtStart::FailKey => false,
    }
}
