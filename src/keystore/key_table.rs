//! The published keys: an immutable table behind one atomic pointer, read without waiting.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::latest_versions::LatestVersions;
use super::name_set::NameSet;
use super::swap::{AtomicBool, Mutex, Swap};
use super::{DataKey, KeyId, KeyName, KeyVersion};
use crate::cipher::Algorithm;

/// Where the callbacks look keys up. Outlives every [`super::KeyStore`], so that a look-up needs no handle to one.
pub struct PublishedKeys {
    /// For most questions after the latest version.
    latest: LatestVersions,
    table: Swap<KeyTable>,
    /// The versions that encrypt with AES_CTR, sorted. Holds no keys, so it stays when the keys are withdrawn: what is under way
    /// then must not be finished with another algorithm than it was begun with.
    ctr_versions: Swap<Vec<KeyName>>,
    /// Whether there are any: most servers have none, and need no look-up.
    has_ctr: AtomicBool,
    /// For most questions after the algorithm.
    ctr_names: NameSet,
    /// Held by who publishes or withdraws. Readers do not know of it.
    writer: Mutex<()>,
}

impl Default for PublishedKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// The time from one init of the plugin to its end. What a call that is still under way wants to publish after it, nobody
/// sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u64);

impl PublishedKeys {
    /// Nothing is published.
    pub const fn new() -> Self {
        Self {
            latest: LatestVersions::new(),
            table: Swap::empty(),
            ctr_versions: Swap::empty(),
            has_ctr: AtomicBool::new(false),
            ctr_names: NameSet::new(),
            writer: Mutex::new(()),
        }
    }

    /// The highest version of a key that was published. Wait-free.
    pub fn latest(&self, id: KeyId) -> Option<KeyVersion> {
        if let Some(version) = self.latest.find(id) {
            return Some(version);
        }
        self.table.read(|table| table.versions(id)?.last().map(|(version, _)| *version))?
    }

    /// Gives `use_key` the key, if it was published. Wait-free.
    pub fn with_key<T>(&self, name: KeyName, use_key: impl FnOnce(&DataKey) -> T) -> Option<T> {
        self.table.read(|table| table.key(name).map(use_key))?
    }

    /// What a version encrypts with; AES_CBC for a version that was never published. Wait-free.
    pub fn algorithm(&self, name: KeyName) -> Algorithm {
        let is_ctr = self.has_ctr.load(Ordering::Acquire)
            && self.ctr_names.contains(name).unwrap_or_else(|| self.is_ctr_version(name));
        if is_ctr { Algorithm::AesCtr } else { Algorithm::AesCbc }
    }

    #[cold]
    fn is_ctr_version(&self, name: KeyName) -> bool {
        self.ctr_versions.read(|versions| versions.binary_search(&name).is_ok()) == Some(true)
    }

    /// Adds keys, all at once, if their epoch has not ended. A version that is there already stays as it is.
    pub fn publish(&self, epoch: Epoch, keys: Vec<(KeyName, DataKey)>) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != epoch {
            return;
        }
        // Each step makes what the next one shows complete: the algorithm, the key, the number of the latest version.
        self.publish_ctr_versions(&keys);
        self.table.update(|now| {
            let mut table = now.cloned().unwrap_or_default();
            for (name, key) in &keys {
                table.insert(*name, key.clone());
            }
            table
        });
        for (name, _) in &keys {
            self.latest.raise(name.id, name.version);
        }
    }

    /// Ends the epoch and withdraws all keys: when the plugin is unloaded.
    pub fn clear(&self) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.withdraw();
    }

    /// Begins an epoch, and forgets the algorithms too: the next one may have another folder.
    pub(super) fn begin(&self) -> Epoch {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.withdraw();
        self.has_ctr.store(false, Ordering::Release);
        self.ctr_names.clear();
        self.ctr_versions.update(|_| Vec::new());
        self.epoch()
    }

    fn withdraw(&self) {
        self.latest.clear();
        let next = Epoch(self.epoch().0 + 1);
        self.table.update(|_| KeyTable { epoch: next, keys: Vec::new() });
    }

    fn epoch(&self) -> Epoch {
        self.table.read(|table| table.epoch).unwrap_or_default()
    }

    /// The ids of all published keys, in order.
    pub fn ids(&self) -> Vec<KeyId> {
        self.table.read(|table| table.keys.iter().map(|key| key.id).collect()).unwrap_or_default()
    }

    fn publish_ctr_versions(&self, keys: &[(KeyName, DataKey)]) {
        let ctr = keys.iter().filter(|(_, key)| key.algorithm() == Algorithm::AesCtr);
        let new: Vec<KeyName> = ctr.map(|(name, _)| *name).collect();
        if new.is_empty() {
            return;
        }
        self.ctr_versions.update(|now| {
            let mut versions = now.cloned().unwrap_or_default();
            versions.extend(&new);
            versions.sort_unstable();
            versions.dedup();
            versions
        });
        for name in &new {
            self.ctr_names.insert(*name);
        }
        self.has_ctr.store(true, Ordering::Release);
    }
}

/// Sorted vectors: a server has a handful of keys, and a search in so few is faster than any hash.
#[derive(Clone, Default)]
struct KeyTable {
    epoch: Epoch,
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    /// Ascending.
    versions: Vec<(KeyVersion, DataKey)>,
}

impl KeyTable {
    fn versions(&self, id: KeyId) -> Option<&[(KeyVersion, DataKey)]> {
        let place = self.keys.binary_search_by_key(&id, |key| key.id).ok()?;
        self.keys.get(place).map(|key| key.versions.as_slice())
    }

    fn key(&self, name: KeyName) -> Option<&DataKey> {
        let versions = self.versions(name.id)?;
        let place = versions.binary_search_by_key(&name.version, |(version, _)| *version).ok()?;
        versions.get(place).map(|(_, key)| key)
    }

    fn insert(&mut self, name: KeyName, data_key: DataKey) {
        let place = match self.keys.binary_search_by_key(&name.id, |key| key.id) {
            Ok(place) => place,
            Err(place) => {
                self.keys.insert(place, Key { id: name.id, versions: Vec::new() });
                place
            }
        };
        if let Some(key) = self.keys.get_mut(place)
            && let Err(place) = key.versions.binary_search_by_key(&name.version, |(version, _)| *version)
        {
            key.versions.insert(place, (name.version, data_key));
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::super::secret_memory::hide;
    use super::super::secret_memory::tests::key;
    use super::super::test_kms::Silent;
    use super::*;

    fn name(id: u32, version: u32) -> KeyName {
        KeyName::new(id, version).expect("a key name")
    }

    #[test]
    fn the_latest_version_is_the_highest_whatever_the_order_of_publishing() {
        let keys = PublishedKeys::new();
        keys.publish(Epoch::default(), vec![(name(7, 3), key(3)), (name(1, 1), key(9)), (name(7, 1), key(1))]);
        keys.publish(Epoch::default(), vec![(name(7, 2), key(2))]);
        assert_eq!(keys.latest(name(7, 1).id), Some(name(7, 3).version));
        assert_eq!(keys.with_key(name(7, 2), |key| key.as_bytes().to_vec()), Some(vec![2; 16]));
        assert_eq!(keys.with_key(name(7, 4), |_| ()), None);
        assert_eq!(keys.latest(name(2, 1).id), None);
        assert_eq!(keys.ids(), [name(1, 1).id, name(7, 1).id]);
    }

    #[test]
    fn the_algorithm_of_a_version_outlives_its_key_until_the_next_start() {
        let keys = PublishedKeys::new();
        keys.publish(Epoch::default(), vec![(name(1, 1), key(1))]);
        assert_eq!(keys.algorithm(name(1, 2)), Algorithm::AesCbc);
        let ctr = hide(&[(&[1; 16], Algorithm::AesCtr)], &Silent).expect("memory").remove(0);
        keys.publish(Epoch::default(), vec![(name(1, 2), ctr)]);
        keys.clear();
        assert_eq!(keys.latest(name(1, 1).id), None);
        assert_eq!([1, 2, 3].map(|version| keys.algorithm(name(1, version))), {
            use Algorithm::{AesCbc, AesCtr};
            [AesCbc, AesCtr, AesCbc]
        });
        keys.begin();
        assert_eq!(keys.algorithm(name(1, 2)), Algorithm::AesCbc);
    }

    #[test]
    fn what_is_published_after_the_end_of_its_epoch_is_seen_by_nobody() {
        let keys = PublishedKeys::new();
        let first = keys.begin();
        keys.publish(first, vec![(name(1, 1), key(1))]);
        keys.clear();
        keys.publish(first, vec![(name(1, 1), key(1))]);
        assert_eq!(keys.latest(name(1, 1).id), None);
        let second = keys.begin();
        let ctr = hide(&[(&[1; 16], Algorithm::AesCtr)], &Silent).expect("memory").remove(0);
        keys.publish(first, vec![(name(1, 1), ctr)]);
        keys.publish(second, vec![(name(1, 1), key(2))]);
        assert_eq!(keys.with_key(name(1, 1), |key| key.as_bytes().to_vec()), Some(vec![2; 16]));
        assert_eq!(keys.algorithm(name(1, 1)), Algorithm::AesCbc);
    }

    #[test]
    fn a_published_version_is_never_replaced() {
        let keys = PublishedKeys::new();
        keys.publish(Epoch::default(), vec![(name(1, 1), key(1))]);
        keys.publish(Epoch::default(), vec![(name(1, 1), key(2))]);
        assert_eq!(keys.with_key(name(1, 1), |key| key.as_bytes().to_vec()), Some(vec![1; 16]));
    }
}
