//! The published keys: an immutable table behind one atomic pointer, read without waiting.

use std::sync::atomic::Ordering;

use super::swap::{AtomicBool, Swap};
use super::{DataKey, KeyId, KeyName, KeyVersion};
use crate::cipher::Algorithm;

/// Where the callbacks look keys up. Outlives every [`super::KeyStore`], so that a look-up needs no handle to one.
#[derive(Default)]
pub struct PublishedKeys {
    table: Swap<KeyTable>,
    /// The versions that encrypt with AES_CTR, sorted. Holds no keys, so it stays when the keys are withdrawn: what is
    /// under way then must not be finished with another algorithm than it was begun with.
    ctr_versions: Swap<Vec<KeyName>>,
    /// Whether there are any: most servers have none, and need no look-up.
    has_ctr: AtomicBool,
}

impl PublishedKeys {
    /// Nothing is published.
    pub const fn new() -> Self {
        Self { table: Swap::empty(), ctr_versions: Swap::empty(), has_ctr: AtomicBool::new(false) }
    }

    /// The highest version of a key that was published. Wait-free.
    pub fn latest(&self, id: KeyId) -> Option<KeyVersion> {
        self.table.read(|table| table.versions(id)?.last().map(|(version, _)| *version))?
    }

    /// Gives `use_key` the key, if it was published. Wait-free.
    pub fn with_key<T>(&self, name: KeyName, use_key: impl FnOnce(&DataKey) -> T) -> Option<T> {
        self.table.read(|table| table.key(name).map(use_key))?
    }

    /// What a version encrypts with; AES_CBC for a version that was never published. Wait-free.
    pub fn algorithm(&self, name: KeyName) -> Algorithm {
        let is_ctr = self.has_ctr.load(Ordering::Acquire)
            && self.ctr_versions.read(|versions| versions.binary_search(&name).is_ok()) == Some(true);
        if is_ctr { Algorithm::AesCtr } else { Algorithm::AesCbc }
    }

    /// Adds keys, all at once. A version that is there already stays as it is.
    pub fn publish(&self, keys: Vec<(KeyName, DataKey)>) {
        // Before anybody can see the version, its algorithm is known.
        self.publish_ctr_versions(&keys);
        self.table.update(|now| {
            let mut table = now.cloned().unwrap_or_default();
            for (name, key) in &keys {
                table.insert(*name, key.clone());
            }
            table
        });
    }

    /// The ids of all published keys, in order.
    pub fn ids(&self) -> Vec<KeyId> {
        self.table.read(|table| table.keys.iter().map(|key| key.id).collect()).unwrap_or_default()
    }

    /// How many versions are published, of all keys together.
    pub fn count(&self) -> usize {
        self.table.read(|table| table.keys.iter().map(|key| key.versions.len()).sum()).unwrap_or(0)
    }

    /// Withdraws all keys: when the plugin is unloaded.
    pub fn clear(&self) {
        self.table.clear();
    }

    /// Forgets the algorithms too: before the plugin is initialised anew, perhaps with another folder.
    pub(super) fn reset(&self) {
        self.clear();
        self.has_ctr.store(false, Ordering::Release);
        self.ctr_versions.clear();
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
        self.has_ctr.store(true, Ordering::Release);
    }
}

/// Sorted vectors: a server has a handful of keys, and a search in so few is faster than any hash.
#[derive(Clone, Default)]
struct KeyTable {
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
        keys.publish(vec![(name(7, 3), key(3)), (name(1, 1), key(9)), (name(7, 1), key(1))]);
        keys.publish(vec![(name(7, 2), key(2))]);
        assert_eq!(keys.latest(name(7, 1).id), Some(name(7, 3).version));
        assert_eq!(keys.with_key(name(7, 2), |key| key.as_bytes().to_vec()), Some(vec![2; 16]));
        assert_eq!(keys.with_key(name(7, 4), |_| ()), None);
        assert_eq!(keys.latest(name(2, 1).id), None);
        assert_eq!((keys.count(), keys.ids()), (4, vec![name(1, 1).id, name(7, 1).id]));
    }

    #[test]
    fn the_algorithm_of_a_version_outlives_its_key_until_the_next_start() {
        let keys = PublishedKeys::new();
        keys.publish(vec![(name(1, 1), key(1))]);
        assert_eq!(keys.algorithm(name(1, 2)), Algorithm::AesCbc);
        let ctr = hide(&[(&[1; 16], Algorithm::AesCtr)], &Silent).expect("memory").remove(0);
        keys.publish(vec![(name(1, 2), ctr)]);
        keys.clear();
        assert_eq!(keys.latest(name(1, 1).id), None);
        assert_eq!([1, 2, 3].map(|version| keys.algorithm(name(1, version))), {
            use Algorithm::{AesCbc, AesCtr};
            [AesCbc, AesCtr, AesCbc]
        });
        keys.reset();
        assert_eq!(keys.algorithm(name(1, 2)), Algorithm::AesCbc);
    }

    #[test]
    fn a_published_version_is_never_replaced() {
        let keys = PublishedKeys::new();
        keys.publish(vec![(name(1, 1), key(1))]);
        keys.publish(vec![(name(1, 1), key(2))]);
        assert_eq!(keys.with_key(name(1, 1), |key| key.as_bytes().to_vec()), Some(vec![1; 16]));
    }
}
