//! Every key version that there is or ever was, from the files alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{ManifestState, NOT_TRUSTED, OpenFolder, gone};
use crate::cipher::Algorithm;
use crate::keystore::files::KeyFiles;
use crate::keystore::{KeyId, KeyName, KeyStoreError, start};

/// All that a folder holds.
pub struct Listing {
    /// Every key version, in order.
    pub versions: Vec<Listed>,
    /// Files like those of the plugin that a server which runs well does not need, in order.
    pub other_files: Vec<String>,
}

/// A key version.
pub struct Listed {
    /// Which.
    pub name: KeyName,
    /// How its file is.
    pub state: State,
    /// What is wrong with it, and what to do.
    pub reason: Option<String>,
    /// Whether new data is encrypted with it, as far as the files tell: only KMS knows whether it can be unwrapped.
    pub is_latest: bool,
    /// What it encrypts with, as its file or the manifest says.
    pub algorithm: Option<Algorithm>,
    /// When it was made or first seen, as the manifest says: RFC 3339, in UTC.
    pub created: Option<String>,
    /// The ARN of the master key that wraps it, as the manifest says.
    pub master_key: Option<String>,
    /// The format of its file: 1 or 2.
    pub format: Option<u32>,
    /// What is bound into the wrapped key.
    pub encryption_context: BTreeMap<String, String>,
    /// Whether what its file held before a re-wrap is kept beside it.
    pub is_kept_before_rewrap: bool,
    /// The ARNs of the master keys that wrap copies of it, which lie beside its file.
    pub extra_master_keys: Vec<String>,
}

/// How a key file is, as far as it can be told without KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As the manifest says.
    Ok,
    /// The manifest does not know it.
    New,
    /// Another file than the manifest says: it was wrapped anew elsewhere, or exchanged.
    Changed,
    /// It may not encrypt new data: it turned up under a master key that nobody knew.
    NotTrusted,
    /// Not there, and not needed: it was made while the folder was copied.
    LeftBehind,
    /// Not there, and nothing needs it any more, as somebody has said.
    Retired,
    /// Not there.
    Missing,
    /// There, and no key file.
    Unreadable,
}

impl State {
    /// Whether somebody has to look at it.
    pub fn is_wrong(self) -> bool {
        match self {
            Self::Ok | Self::New | Self::LeftBehind | Self::Retired => false,
            Self::Changed | Self::NotTrusted | Self::Missing | Self::Unreadable => true,
        }
    }

    /// In a word or two.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::New => "new",
            Self::Changed => "changed",
            Self::NotTrusted => "not trusted",
            Self::LeftBehind => "left behind",
            Self::Retired => "retired",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Lists all key versions. KMS is not asked.
pub fn list(folder: &OpenFolder) -> Result<Listing, KeyStoreError> {
    let files = &folder.files;
    let survey = start::survey(files)?;
    let kept: BTreeSet<KeyName> = files.kept_before_rewrap()?.into_iter().collect();
    let mut names: BTreeSet<KeyName> = survey.to_load().into_iter().chain(survey.missing).collect();
    names.extend(survey.left_behind.iter().map(|entry| entry.name));
    names.extend(files.retired());
    let left_behind: BTreeSet<KeyName> = survey.left_behind.into_iter().map(|entry| entry.name).collect();
    let is_present = |name| survey.present.binary_search(&name).is_ok();
    let mut versions: Vec<Listed> = names
        .into_iter()
        .map(|name| {
            let entry = files.entry(name);
            let mut listed = Listed {
                name,
                state: match () {
                    () if left_behind.contains(&name) => State::LeftBehind,
                    () if files.is_retired(name) => State::Retired,
                    () => State::Missing,
                },
                reason: None,
                is_latest: false,
                algorithm: entry.as_ref().map(|entry| entry.algorithm()),
                created: entry.as_ref().map(|entry| entry.created_text().to_owned()),
                master_key: entry.as_ref().and_then(|entry| entry.master_key().map(str::to_owned)),
                format: None,
                encryption_context: BTreeMap::new(),
                is_kept_before_rewrap: kept.contains(&name),
                extra_master_keys: extra_master_keys(files, name),
            };
            if !is_present(name) {
                let is_missing = listed.state == State::Missing;
                listed.reason = is_missing.then(|| gone(name, &files.path_of(name)));
                return listed;
            }
            match files.read(name) {
                Ok(stored) => {
                    let wrapped = &stored.file.wrapped;
                    listed.format = Some(if wrapped.as_bytes() == stored.contents { 1 } else { 2 });
                    listed.encryption_context = wrapped.encryption_context().pairs().clone();
                    listed.algorithm = Some(stored.file.algorithm);
                    listed.state = match &entry {
                        None => State::New,
                        Some(entry) if !entry.is_of(&stored.contents) => State::Changed,
                        Some(entry) if !entry.is_trusted => State::NotTrusted,
                        Some(_) => State::Ok,
                    };
                    listed.reason = reason(listed.state).map(str::to_owned);
                }
                Err(error) => {
                    listed.state = State::Unreadable;
                    listed.reason = Some(match &entry {
                        // Where all that it could know can be read.
                        None if folder.manifest() == (ManifestState::Good { unreadable: 0 }) => format!(
                            "{}. The manifest does not know this version: if no data needs it, move the file away",
                            error.without_remedy()
                        ),
                        _ => error.to_string(),
                    });
                }
            }
            listed
        })
        .collect();
    mark_latest(&mut versions);
    let is_listed = |name: KeyName| versions.iter().any(|listed| listed.name == name);
    let is_of_a_key = |name: &str| KeyName::parse_before_rewrap(name).is_some_and(is_listed);
    let mut other_files = files.other_names()?;
    other_files.retain(|name| !is_of_a_key(name));
    Ok(Listing { versions, other_files })
}

fn reason(state: State) -> Option<&'static str> {
    match state {
        State::Changed => Some(
            "the file is not the one that the manifest knows: the key was wrapped anew elsewhere, or the file was exchanged. \
             `verify` tells",
        ),
        State::NotTrusted => Some(NOT_TRUSTED),
        _ => None,
    }
}

fn extra_master_keys(files: &KeyFiles, name: KeyName) -> Vec<String> {
    let copies = files.extra_copies(name).into_iter();
    copies.filter_map(|copy| Some(copy.wrapped.master_key()?.to_string())).collect()
}

/// The highest version of each key that may encrypt new data.
fn mark_latest(versions: &mut [Listed]) {
    let mut latest: BTreeMap<KeyId, usize> = BTreeMap::new();
    for (place, listed) in versions.iter().enumerate() {
        if matches!(listed.state, State::Ok | State::New | State::Changed) {
            latest.insert(listed.name.id, place);
        }
    }
    for place in latest.into_values() {
        versions[place].is_latest = true;
    }
}
