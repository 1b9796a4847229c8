//! Puts right what a start refuses, or complains of each time: what ties the datadir to its keys, the manifest, key files that are
//! gone or damaged while a good copy is kept, and leftovers.
//!
//! It says first what it finds and what it is going to do. It never removes a key file, makes no key, and trusts no version that was
//! not trusted, unless the operator names its master key. Whatever is replaced is kept under another name. Each step is whole by
//! itself: after a stop at any time, a start finds what it can use, and a second repair goes on.

mod copies;
mod examine;
mod prove;

use std::path::Path;

pub use examine::examine;
#[cfg(all(test, not(feature = "model")))]
pub(in crate::keystore) use examine::examine_on;

use crate::keystore::files::{BrokenTie, Entry, FoundFolders, Held, StoredKey};
use crate::keystore::trust::names;
use crate::keystore::{KeyId, KeyName, KeyStoreError, MasterKeysOfIds};
use crate::kms::MasterKeyId;

/// What the operator says that the files cannot tell.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// That the key files in the folder are those of the datadir.
    pub folder_is_right: bool,
    /// By which master keys the operator's own key versions are wrapped.
    pub master_keys: Vec<OwnMasterKey>,
    /// That what key files held before a re-wrap is not needed any more, where KMS unwraps the key files for whoever asks here:
    /// whether it does for the server, only a start of the server proves.
    pub forgets_copies: bool,
}

/// A master key of the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnMasterKey {
    /// For all key ids.
    OfAll(MasterKeyId),
    /// For some.
    OfIds(MasterKeysOfIds),
}

/// What there is to say of a folder.
pub struct Examination {
    folders: FoundFolders,
    findings: Vec<Finding>,
}

/// Something that is not as it should be.
pub struct Finding {
    /// Of which key version, if it is about one.
    pub name: Option<KeyName>,
    /// What was found.
    pub found: String,
    /// Who puts it right.
    pub by: By,
    /// What is done about it, or is to be done.
    pub remedy: String,
    step: Option<Step>,
}

/// Who puts something right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The repair.
    Repair,
    /// The next start of the server, by itself.
    NextStart,
    /// The operator.
    Operator,
    /// Nobody can say: KMS could not be reached, or there are no credentials that it accepts.
    Nobody,
}

/// What came of a finding.
#[derive(Debug)]
pub enum Outcome {
    /// It was none of the repair's.
    Left,
    /// It is repaired. What was there is kept in files with these names.
    Repaired(Vec<String>),
    /// It could not be.
    Failed(KeyStoreError),
    /// It was not tried, since something before it failed.
    NotTried,
}

/// What a repair does at a time, whole or not at all.
enum Step {
    Tie(BrokenTie),
    Manifest(Vec<Entry>),
    /// The first of the entries is that of the copy.
    PutBack {
        copy: StoredKey,
        held: Held,
        entries: Vec<Entry>,
    },
    ForgetCopies(Vec<Entry>),
    RemoveTemporaryFiles,
}

impl OwnMasterKey {
    /// `ARN`, or `IDS=ARN` for a key id or a range of them. Fails with what is wrong. What an alias stands for, only KMS knows.
    pub fn parse(text: &str) -> Result<Self, String> {
        let own = match text.contains('=') {
            true => Self::OfIds(MasterKeysOfIds::parse(text)?),
            false => Self::OfAll(MasterKeyId::parse(text).ok_or_else(|| "no KMS key has this name".to_owned())?),
        };
        let is_alias = |key: &MasterKeyId| key.as_str().contains("alias/");
        match &own {
            Self::OfAll(key) if is_alias(key) => Err(ALIAS.to_owned()),
            Self::OfIds(keys) if keys.all().any(is_alias) => Err(ALIAS.to_owned()),
            _ => Ok(own),
        }
    }

    fn wraps(&self, id: KeyId, arn: &str) -> bool {
        match self {
            Self::OfAll(own) => names(own, arn),
            Self::OfIds(own) => own.of(id).is_some_and(|own| names(own, arn)),
        }
    }
}

impl Statement {
    /// Whether the operator has named the master key of a version.
    fn names(&self, entry: &Entry) -> bool {
        entry.master_key().is_some_and(|arn| self.master_keys.iter().any(|own| own.wraps(entry.name.id, arn)))
    }
}

impl Examination {
    /// The absolute path of the folder of the key files.
    pub fn path(&self) -> &Path {
        self.folders.path()
    }

    /// The absolute path of the datadir.
    pub fn datadir(&self) -> &Path {
        self.folders.datadir()
    }

    /// All that is not as it should be, in the order in which it is repaired.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Repairs what can be repaired, up to the first failure. Answers what came of each finding. What is not any more what was
    /// looked at is left alone, and is a failure.
    pub fn repair(&self) -> Vec<Outcome> {
        let mut has_failed = false;
        let outcome = |finding: &Finding| match &finding.step {
            None => Outcome::Left,
            Some(_) if has_failed => Outcome::NotTried,
            Some(step) => match self.take(step) {
                Ok(kept) => Outcome::Repaired(kept),
                Err(error) => {
                    has_failed = true;
                    Outcome::Failed(error)
                }
            },
        };
        self.findings.iter().map(outcome).collect()
    }

    fn take(&self, step: &Step) -> Result<Vec<String>, KeyStoreError> {
        let folders = &self.folders;
        match step {
            Step::Tie(tie) => folders.mend(tie),
            Step::Manifest(entries) => folders.replace_manifest(entries).map(|kept| kept.into_iter().collect()),
            Step::PutBack { copy, held, entries } => {
                let files = folders.to_write()?;
                let adding = files.begin_adding()?;
                adding.check_may_put_back(copy, held)?;
                // First, which fails if the manifest on the disk says that it is another key. The key file is at fault until it is
                // replaced, whatever the manifest says of it.
                adding.record(entries.clone())?;
                adding.put_back(copy, held).map(|kept| kept.into_iter().collect())
            }
            Step::ForgetCopies(proven) => {
                let files = folders.to_write()?;
                files.begin_adding()?.forget_before_rewrap(&proven.iter().collect::<Vec<_>>())?;
                Ok(Vec::new())
            }
            Step::RemoveTemporaryFiles => folders.remove_temporary_files().map(|()| Vec::new()),
        }
    }
}

const ALIAS: &str = "what an alias stands for, the key files do not tell: give the ARN of the master key, or its id";
