//! All published keys as one value, which is replaced as a whole.

use super::{DataKey, Epoch};
use crate::cipher::Algorithm;
use crate::keystore::{KeyId, KeyName, KeyVersion};

/// Sorted vectors: a server has a handful of keys, and a search in so few is faster than any hash.
#[derive(Clone, Default)]
pub(super) struct KeyTable {
    epoch: Epoch,
    keys: Vec<Key>,
    /// The versions that encrypt with AES_CTR, sorted: no secret, so they outlive the keys.
    ctr_versions: Vec<KeyName>,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    /// The highest version that may be the latest.
    latest: Option<KeyVersion>,
    /// Ascending.
    versions: Vec<(KeyVersion, DataKey)>,
}

impl KeyTable {
    /// Nothing is published.
    pub(super) fn empty(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The same without the keys, but with the algorithms of their versions.
    pub(super) fn without_keys(&self, epoch: Epoch) -> Self {
        Self { epoch, keys: Vec::new(), ctr_versions: self.ctr_versions.clone() }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// In order.
    pub(super) fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| key.id).collect()
    }

    /// In order.
    pub(super) fn names(&self) -> Vec<KeyName> {
        let of = |key: &Key| -> Vec<KeyName> {
            key.versions.iter().map(|(version, _)| KeyName { id: key.id, version: *version }).collect()
        };
        self.keys.iter().flat_map(of).collect()
    }

    /// How many keys and how many versions there are.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.iter().map(|key| key.versions.len()).sum())
    }

    pub(super) fn latest(&self, id: KeyId) -> Option<KeyVersion> {
        let place = self.keys.binary_search_by_key(&id, |key| key.id).ok()?;
        self.keys.get(place)?.latest
    }

    pub(super) fn key(&self, name: KeyName) -> Option<&DataKey> {
        let versions = self.versions(name.id)?;
        let place = versions.binary_search_by_key(&name.version, |(version, _)| *version).ok()?;
        versions.get(place).map(|(_, key)| key)
    }

    pub(super) fn is_ctr(&self, name: KeyName) -> bool {
        self.ctr_versions.binary_search(&name).is_ok()
    }

    /// Adds a key, for reading, unless its version is there already.
    pub(super) fn insert(&mut self, name: KeyName, data_key: DataKey) {
        let place = match self.keys.binary_search_by_key(&name.id, |key| key.id) {
            Ok(place) => place,
            Err(place) => {
                self.keys.insert(place, Key { id: name.id, latest: None, versions: Vec::new() });
                place
            }
        };
        let Some(key) = self.keys.get_mut(place) else { return };
        let Err(place) = key.versions.binary_search_by_key(&name.version, |(version, _)| *version) else { return };
        if data_key.algorithm() == Algorithm::AesCtr
            && let Err(place) = self.ctr_versions.binary_search(&name)
        {
            self.ctr_versions.insert(place, name);
        }
        key.versions.insert(place, (name.version, data_key));
    }

    /// From now on a version that is there may be the latest.
    pub(super) fn raise(&mut self, name: KeyName) {
        if let Ok(place) = self.keys.binary_search_by_key(&name.id, |key| key.id)
            && let Some(key) = self.keys.get_mut(place)
        {
            key.latest = key.latest.max(Some(name.version));
        }
    }

    fn versions(&self, id: KeyId) -> Option<&[(KeyVersion, DataKey)]> {
        let place = self.keys.binary_search_by_key(&id, |key| key.id).ok()?;
        self.keys.get(place).map(|key| key.versions.as_slice())
    }
}
