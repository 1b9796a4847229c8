//! The published keys: an immutable table behind one atomic pointer, read without waiting.

use arc_swap::{ArcSwapOption, Guard};
use std::sync::Arc;

use super::{DataKey, KeyId, KeyName, KeyVersion};

/// Where the callbacks look keys up. Outlives every [`super::KeyStore`], so that a look-up needs no handle to one.
#[derive(Default)]
pub struct PublishedKeys(ArcSwapOption<KeyTable>);

impl PublishedKeys {
    /// Nothing is published.
    pub const fn new() -> Self {
        Self(ArcSwapOption::const_empty())
    }

    /// The highest version of a key that was published. Wait-free.
    pub fn latest(&self, id: KeyId) -> Option<KeyVersion> {
        self.0.load().as_ref()?.versions(id)?.last().map(|(version, _)| *version)
    }

    /// Gives `use_key` the key, if it was published. Wait-free.
    pub fn with_key<T>(&self, name: KeyName, use_key: impl FnOnce(&DataKey) -> T) -> Option<T> {
        self.0.load().as_ref()?.key(name).map(use_key)
    }

    /// Adds keys, all at once. A version that is there already stays as it is.
    pub fn publish(&self, keys: Vec<(KeyName, DataKey)>) {
        self.0.rcu(|now: &Option<Arc<KeyTable>>| {
            let mut table = now.as_deref().cloned().unwrap_or_default();
            for (name, key) in &keys {
                table.insert(*name, key.clone());
            }
            Some(Arc::new(table))
        });
    }

    /// The ids of all published keys, in order.
    pub fn ids(&self) -> Vec<KeyId> {
        let table: Guard<_> = self.0.load();
        table.as_ref().map(|table| table.keys.iter().map(|key| key.id).collect()).unwrap_or_default()
    }

    /// How many versions are published, of all keys together.
    pub fn count(&self) -> usize {
        self.0.load().as_ref().map_or(0, |table| table.keys.iter().map(|key| key.versions.len()).sum())
    }

    /// Withdraws everything: when the plugin is unloaded.
    pub fn clear(&self) {
        self.0.store(None);
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

#[cfg(test)]
mod tests {
    use super::super::secret_memory::tests::key;
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
    fn a_published_version_is_never_replaced() {
        let keys = PublishedKeys::new();
        keys.publish(vec![(name(1, 1), key(1))]);
        keys.publish(vec![(name(1, 1), key(2))]);
        assert_eq!(keys.with_key(name(1, 1), |key| key.as_bytes().to_vec()), Some(vec![1; 16]));
    }
}
