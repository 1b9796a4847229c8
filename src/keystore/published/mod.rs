//! What the callbacks read, and never wait for: the keys, the number of each key's latest version, and which versions
//! encrypt with AES_CTR. Knows no file and no KMS.

mod hot_keys;
mod key_table;
mod latest_versions;
#[cfg(all(test, feature = "model"))]
mod model;
mod secret_memory;
mod swap;

use std::collections::BTreeSet;
use std::sync::PoisonError;

pub use secret_memory::DataKey;
#[cfg(all(test, not(feature = "model")))]
pub(super) use secret_memory::tests::REFUSED_WITH;
pub(super) use secret_memory::{Exposure, Hidden, hide};

use super::{KeyId, KeyName, KeyVersion};
use crate::cipher::Algorithm;
use hot_keys::HotKeys;
use key_table::KeyTable;
use latest_versions::VersionWords;
use swap::{Mutex, Swap};

/// Where the callbacks look keys up. Outlives every [`super::KeyStore`], so that a look-up needs no handle to one.
///
/// The table has all the answers; it takes some 15 ns to hold it while it is searched. The words, and the copies of keys, answer
/// most questions in less than half of that, and leave the others to the table.
pub struct PublishedKeys {
    table: Swap<KeyTable>,
    /// The latest version of an id: what InnoDB asks on every page write.
    latest: VersionWords,
    /// The versions that encrypt with AES_CTR: what every message asks.
    ctr_versions: VersionWords,
    hot_keys: HotKeys,
    /// Held by who publishes or withdraws. Readers do not know of it.
    writer: Mutex<()>,
}

/// The time from one init of the plugin to its end. What a call that is still under way wants to publish after it, nobody
/// sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u64);

impl PublishedKeys {
    /// Nothing is published.
    pub const fn new() -> Self {
        Self {
            table: Swap::empty(),
            latest: VersionWords::new(),
            ctr_versions: VersionWords::new(),
            hot_keys: HotKeys::new(),
            writer: Mutex::new(()),
        }
    }

    /// The highest version of a key that was published. Wait-free.
    pub fn latest(&self, id: KeyId) -> Option<KeyVersion> {
        if let Some(version) = self.latest.version_of(id) {
            return Some(version);
        }
        self.table.read(|table| table.latest(id))?
    }

    /// Gives `use_key` the key, if it was published. Wait-free.
    pub fn with_key<T>(&self, name: KeyName, use_key: impl FnOnce(&DataKey) -> T) -> Option<T> {
        self.table.read(|table| table.key(name).map(use_key))?
    }

    /// Gives `use_key` the bytes of the key, if it was published. Faster. Wait-free.
    #[inline]
    pub fn with_key_bytes<T>(&self, name: KeyName, mut use_key: impl FnMut(&[u8]) -> T) -> Option<T> {
        let answer = self.hot_keys.with_key(name, &mut use_key);
        answer.or_else(|| self.with_key(name, |key| use_key(key.as_bytes())))
    }

    /// What a version encrypts with; AES_CBC for a version that was never published. Outlives the key, since what is under
    /// way must not be finished with another algorithm than it was begun with. Wait-free.
    pub fn algorithm(&self, name: KeyName) -> Algorithm {
        if self.ctr_versions.contains(name).unwrap_or_else(|| self.is_ctr_version(name)) {
            Algorithm::AesCtr
        } else {
            Algorithm::AesCbc
        }
    }

    #[cold]
    fn is_ctr_version(&self, name: KeyName) -> bool {
        self.table.read(|table| table.is_ctr(name)) == Some(true)
    }

    /// The ids of all published keys, in order.
    pub fn ids(&self) -> Vec<KeyId> {
        self.table.read(KeyTable::ids).unwrap_or_default()
    }

    /// The names of all published versions, in order.
    pub fn names(&self) -> Vec<KeyName> {
        self.table.read(KeyTable::names).unwrap_or_default()
    }

    /// How many keys and how many versions are published.
    pub fn count(&self) -> (usize, usize) {
        self.table.read(KeyTable::count).unwrap_or_default()
    }

    /// Adds keys, all at once, if their epoch has not ended. A version that is there already stays as it is, but one that was
    /// there for reading may be the latest from now on. Answers those that were not there.
    pub fn publish(&self, epoch: Epoch, keys: Vec<(KeyName, DataKey)>) -> BTreeSet<KeyName> {
        self.add(epoch, keys, true)
    }

    /// The same, but none of these is the latest version of its key.
    pub fn publish_for_reading(&self, epoch: Epoch, keys: Vec<(KeyName, DataKey)>) -> BTreeSet<KeyName> {
        self.add(epoch, keys, false)
    }

    fn add(&self, epoch: Epoch, keys: Vec<(KeyName, DataKey)>, may_be_latest: bool) -> BTreeSet<KeyName> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != epoch {
            return BTreeSet::new();
        }
        let (keys, there): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|(name, _)| self.with_key(*name, |_| ()).is_none());
        let is_same =
            |key: &DataKey, other: &DataKey| key.as_bytes() == other.as_bytes() && key.algorithm() == other.algorithm();
        let there = there.iter().filter(|(name, key)| self.with_key(*name, |is| is_same(is, key)) == Some(true));
        let new = keys.iter().map(|(name, _)| *name);
        let latest: Vec<KeyName> =
            if may_be_latest { new.chain(there.map(|(name, _)| *name)).collect() } else { Vec::new() };
        // Each step makes what the next one shows complete: the algorithm, the key, the number of the latest version.
        for (name, key) in &keys {
            if key.algorithm() == Algorithm::AesCtr {
                self.ctr_versions.insert(*name);
            }
        }
        self.table.update(|now| {
            let mut table = now.cloned().unwrap_or_default();
            for (name, key) in &keys {
                table.insert(*name, key.clone());
            }
            latest.iter().for_each(|name| table.raise(*name));
            table
        });
        keys.iter().for_each(|(name, key)| self.hot_keys.insert(*name, key));
        latest.iter().for_each(|name| self.latest.raise(name.id, name.version));
        keys.into_iter().map(|(name, _)| name).collect()
    }

    /// Ends the epoch and withdraws all keys: when the plugin is unloaded.
    pub fn clear(&self) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.latest.clear();
        self.hot_keys.clear();
        let next = self.next_epoch();
        self.table.update(|now| now.map_or_else(|| KeyTable::empty(next), |table| table.without_keys(next)));
    }

    /// Begins an epoch, and forgets the algorithms too: the next one may have another folder.
    pub(super) fn begin(&self) -> Epoch {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.latest.clear();
        self.hot_keys.clear();
        self.ctr_versions.clear();
        let next = self.next_epoch();
        self.table.update(|_| KeyTable::empty(next));
        next
    }

    fn epoch(&self) -> Epoch {
        self.table.read(KeyTable::epoch).unwrap_or_default()
    }

    fn next_epoch(&self) -> Epoch {
        Epoch(self.epoch().0 + 1)
    }
}

impl Default for PublishedKeys {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::secret_memory::tests::key;
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
        assert_eq!(keys.count(), (2, 4));
        keys.clear();
        assert_eq!(keys.count(), (0, 0));
    }

    #[test]
    fn a_version_that_is_there_for_reading_is_never_the_latest() {
        let keys = PublishedKeys::new();
        keys.publish_for_reading(Epoch::default(), vec![(name(7, 9), key(9))]);
        assert_eq!(keys.latest(name(7, 9).id), None);
        keys.publish(Epoch::default(), vec![(name(7, 2), key(2))]);
        assert_eq!(keys.latest(name(7, 9).id), Some(name(7, 2).version));
        assert_eq!(keys.with_key(name(7, 9), |key| key.as_bytes().to_vec()), Some(vec![9; 16]));
        // Nor where the words have no room for an id.
        for id in 1..=3000 {
            keys.publish(Epoch::default(), vec![(name(id * 4099, 1), key(1))]);
            keys.publish_for_reading(Epoch::default(), vec![(name(id * 4099, 2), key(2))]);
        }
        assert!((1..=3000).all(|id| keys.latest(name(id * 4099, 1).id) == Some(name(1, 1).version)));
    }

    #[test]
    fn a_version_that_was_there_for_reading_becomes_the_latest_when_it_may() {
        let keys = PublishedKeys::new();
        // 3000 ids: the words have no room for all of them.
        let names = || (1..=3000).map(|id| name(id * 4099, 2));
        keys.publish_for_reading(Epoch::default(), names().map(|name| (name, key(2))).collect());
        keys.publish(Epoch::default(), names().map(|name| (name, key(3))).collect());
        assert!(names().all(|name| keys.latest(name.id).is_none()), "it is another key");
        let new = keys.publish(Epoch::default(), names().map(|name| (name, key(2))).collect());
        assert!(new.is_empty(), "they were there");
        assert!(names().all(|name| keys.latest(name.id) == Some(name.version)));
        assert!(names().all(|name| keys.with_key(name, |key| key.as_bytes().to_vec()) == Some(vec![2; 16])));
    }

    #[test]
    fn the_algorithm_of_a_version_outlives_its_key_until_the_next_start() {
        let keys = PublishedKeys::new();
        keys.publish(Epoch::default(), vec![(name(1, 1), key(1))]);
        assert_eq!(keys.algorithm(name(1, 2)), Algorithm::AesCbc);
        let ctr = hide(&[(&[1; 16], Algorithm::AesCtr)]).expect("memory").keys.remove(0);
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
    fn the_algorithm_is_known_also_where_the_words_have_no_room_for_a_version() {
        let keys = PublishedKeys::new();
        let names = || (1..=3000).map(|id| name(id * 4099, 1));
        let ctr = hide(&[(&[1; 16], Algorithm::AesCtr)]).expect("memory").keys.remove(0);
        keys.publish(Epoch::default(), names().map(|name| (name, ctr.clone())).collect());
        assert!(names().all(|name| keys.algorithm(name) == Algorithm::AesCtr));
        let others = || (1..=3000).map(|id| name(id * 4099, 2));
        assert!(others().all(|name| keys.algorithm(name) == Algorithm::AesCbc), "never published");
        keys.publish(Epoch::default(), others().map(|name| (name, key(2))).collect());
        assert!(others().all(|name| keys.algorithm(name) == Algorithm::AesCbc));
    }

    #[test]
    fn the_bytes_of_a_key_are_those_of_the_key() {
        let keys = PublishedKeys::new();
        // More than the copies of keys have room for.
        let names = || (1..=3000).map(|id| name(id, 1));
        keys.publish(Epoch::default(), names().map(|name| (name, key(name.id.value() as u8))).collect());
        for name in names() {
            assert_eq!(keys.with_key_bytes(name, <[u8]>::to_vec), Some(vec![name.id.value() as u8; 16]), "{name}");
        }
        assert_eq!(keys.with_key_bytes(name(1, 2), |_| ()), None);
        assert!(keys.names().into_iter().eq(names()));
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
        let ctr = hide(&[(&[1; 16], Algorithm::AesCtr)]).expect("memory").keys.remove(0);
        keys.publish(first, vec![(name(1, 1), ctr)]);
        keys.publish(second, vec![(name(1, 1), key(2))]);
        assert_eq!(keys.with_key(name(1, 1), |key| key.as_bytes().to_vec()), Some(vec![2; 16]));
        assert_eq!(keys.algorithm(name(1, 1)), Algorithm::AesCbc);
    }

    #[test]
    fn a_published_version_is_never_replaced_nor_is_its_algorithm() {
        let keys = PublishedKeys::new();
        keys.publish(Epoch::default(), vec![(name(1, 1), key(1))]);
        let ctr = hide(&[(&[2; 16], Algorithm::AesCtr)]).expect("memory").keys.remove(0);
        for other in [key(2), ctr] {
            keys.publish(Epoch::default(), vec![(name(1, 1), other)]);
            assert_eq!(keys.with_key(name(1, 1), |key| key.as_bytes().to_vec()), Some(vec![1; 16]));
            assert_eq!(keys.algorithm(name(1, 1)), Algorithm::AesCbc);
        }
    }
}
