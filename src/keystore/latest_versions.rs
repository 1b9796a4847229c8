//! The latest version of each key: what InnoDB asks on every page write.

use std::sync::atomic::Ordering;

use super::word_table::WordTable;
use super::{KeyId, KeyVersion};

/// Words of an id, above, and its latest version. Ids are above 0.
pub(super) struct LatestVersions(WordTable);

impl LatestVersions {
    pub(super) const fn new() -> Self {
        Self(WordTable::new())
    }

    /// `None` if the key has no version, or found no slot: then the table of keys knows.
    #[inline]
    pub(super) fn find(&self, id: KeyId) -> Option<KeyVersion> {
        for slot in self.0.slots(id.value().into()) {
            let word = slot.load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            if word >> 32 == u64::from(id.value()) {
                return KeyVersion::new(word as u32);
            }
        }
        None
    }

    /// Enters a version if there is room, and none that is higher.
    pub(super) fn raise(&self, id: KeyId, version: KeyVersion) {
        let new = u64::from(id.value()) << 32 | u64::from(version.value());
        for slot in self.0.slots(id.value().into()) {
            let word = slot.load(Ordering::Relaxed);
            if word == 0 || word >> 32 == new >> 32 {
                // Whoever reads the number finds the key, which was published before.
                return slot.store(word.max(new), Ordering::Release);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId::new(number).expect("an id")
    }

    fn version(number: u32) -> KeyVersion {
        KeyVersion::new(number).expect("a version")
    }

    #[test]
    fn a_version_is_found_and_only_rises() {
        let latest = LatestVersions::new();
        for (raised, found) in [(2, 2), (1, 2), (3, 3)] {
            latest.raise(id(7), version(raised));
            assert_eq!(latest.find(id(7)), Some(version(found)));
        }
        latest.raise(id(u32::MAX), version(u32::MAX - 1));
        assert_eq!(latest.find(id(u32::MAX)), Some(version(u32::MAX - 1)));
        assert_eq!(latest.find(id(8)), None);
        latest.clear();
        assert_eq!(latest.find(id(7)), None);
    }

    #[test]
    fn a_thousand_keys_have_room_and_what_has_none_is_not_found_wrongly() {
        let latest = LatestVersions::new();
        for number in 1..=1000 {
            latest.raise(id(number), version(number));
        }
        assert!((1..=1000).all(|number| latest.find(id(number)) == Some(version(number))));
        for number in 1..=10_000 {
            latest.raise(id(number * 4099), version(5));
        }
        let right = |number: u32| [None, Some(version(5))].contains(&latest.find(id(number * 4099)));
        assert!((1..=10_000).all(right));
    }
}
