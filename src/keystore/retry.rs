//! Key versions that could not be loaded are tried again in the background, so that they are there when the server asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::background::Job;
use super::load_report::RefusedKey;
use super::{KeyName, KeyStore, KeyStoreError};
use crate::kms::AtStart;
use crate::waits;

/// Tries again what is due.
pub struct Retry {
    store: Arc<KeyStore>,
    /// Digests of files that can't become usable without being changed: KMS is not asked for them again.
    useless: HashMap<KeyName, [u8; 32]>,
}

impl Retry {
    pub fn new(store: Arc<KeyStore>) -> Self {
        Self { store, useless: HashMap::new() }
    }
}

impl Job for Retry {
    fn name(&self) -> &'static str {
        "try keys again that could not be loaded"
    }

    fn run(&mut self, now: Instant) -> Option<Instant> {
        let worth_asking = self.read(now);
        for names in self.by_master_key(worth_asking) {
            self.try_group(names, now);
            if waits::must_end() {
                return None;
            }
        }
        // Many servers whose keys failed at the same moment do not come back at the same moment.
        let jitter = fastrand::f64() / 4.0;
        self.store.failures.next_due().map(|due| due + due.saturating_duration_since(now).mul_f64(jitter))
    }
}

impl Retry {
    /// What is due, and has a file that is worth asking KMS about.
    fn read(&mut self, now: Instant) -> Vec<(KeyName, Option<[u8; 32]>)> {
        let store = &self.store;
        let mut found = Vec::new();
        let with_copies = store.files.with_copies().unwrap_or_default();
        for name in store.failures.due(now) {
            if store.published.with_key(name, |_| ()).is_some() {
                store.failures.loaded(name);
                store.figures.note_loaded();
                continue;
            }
            match store.files.read(name) {
                // Another copy may work though this file does not.
                _ if with_copies.contains(&name) => found.push((name, None)),
                Ok(stored) => {
                    let digest = Sha256::digest(&stored.contents).into();
                    match self.useless.get(&name) {
                        Some(useless) if *useless == digest => store.failures.postpone(name, now),
                        _ => found.push((name, Some(digest))),
                    }
                }
                Err(error) => store.failed_again(name, &error),
            }
        }
        found
    }

    /// Keys of one master key mostly fail together.
    fn by_master_key(&self, names: Vec<(KeyName, Option<[u8; 32]>)>) -> Vec<Vec<(KeyName, Option<[u8; 32]>)>> {
        let mut groups: BTreeMap<Option<String>, Vec<_>> = BTreeMap::new();
        for found in names {
            groups.entry(self.store.files.master_key(found.0)).or_default().push(found);
        }
        groups.into_values().collect()
    }

    /// Tries a few of the keys of one master key, and the others if one of these works: a thousand keys whose master key
    /// is disabled are not a thousand calls a minute.
    fn try_group(&mut self, mut names: Vec<(KeyName, Option<[u8; 32]>)>, now: Instant) {
        fastrand::shuffle(&mut names);
        let mut others = names.split_off(names.len().min(SAMPLE));
        others.sort_unstable();
        if self.ask(&names, now) {
            self.ask(&others, now);
        } else {
            others.into_iter().for_each(|(name, _)| self.store.failures.postpone(name, now));
        }
    }

    /// Answers whether one of them was loaded.
    fn ask(&mut self, names: &[(KeyName, Option<[u8; 32]>)], now: Instant) -> bool {
        if names.is_empty() {
            return false;
        }
        let only_names: Vec<KeyName> = names.iter().map(|(name, _)| *name).collect();
        let Ok(refused) = self.store.retry(&only_names) else {
            // The manifest cannot be read, which says nothing about the keys.
            only_names.iter().for_each(|name| self.store.failures.postpone(*name, now));
            return false;
        };
        let errors: BTreeMap<KeyName, &KeyStoreError> = refused.iter().map(|key| (key.name, &key.error)).collect();
        for (name, digest) in names {
            match errors.get(name) {
                Some(error) if error.is_final_for_this_file() => {
                    digest.map(|digest| self.useless.insert(*name, digest));
                }
                _ => drop(self.useless.remove(name)),
            }
        }
        refused.len() < names.len()
    }
}

impl KeyStore {
    /// The job of this key store: see `Retry`.
    pub fn retry_job(self: &Arc<Self>) -> Box<dyn Job> {
        Box::new(Retry::new(self.clone()))
    }

    /// Answers what failed again. Takes no lock of a key id: no other caller of the key waits for this, and to load a key
    /// twice does no harm.
    fn retry(&self, names: &[KeyName]) -> Result<Vec<RefusedKey>, KeyStoreError> {
        let refused = self.load_found(names, LONGEST_ROUND)?;
        if !waits::must_end() {
            refused.iter().for_each(|RefusedKey { name, error }| self.failed_again(*name, error));
        }
        Ok(refused)
    }

    /// In the log, unless it is the same as before.
    fn failed_again(&self, name: KeyName, error: &KeyStoreError) {
        if self.failures.failed(name.id, Some(name.version), error, Instant::now()) {
            self.messages.not_loaded(error);
        }
    }
}

impl KeyStoreError {
    /// Whether the key will fail as long as its file is as it is.
    fn is_final_for_this_file(&self) -> bool {
        match self {
            Self::Kms(_, error) => error.class.at_start() == AtStart::FailKey,
            Self::WrongLength { .. }
            | Self::NewerKeyFile { .. }
            | Self::OtherName { .. }
            | Self::OtherContext(_)
            | Self::BadKeyFile(_)
            | Self::OtherKey(_)
            | Self::OtherAlgorithm(..) => true,
            _ => false,
        }
    }
}

/// How many keys of one master key are tried before the others.
const SAMPLE: usize = 8;

/// For all keys of one master key together.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
