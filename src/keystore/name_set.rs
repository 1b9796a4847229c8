//! A set of key names: which versions encrypt with AES_CTR, what every message asks.

use std::sync::atomic::Ordering;

use super::KeyName;
use super::word_table::WordTable;

/// Words of an id, above, and a version. Ids are above 0.
pub(super) struct NameSet(WordTable);

impl NameSet {
    pub(super) const fn new() -> Self {
        Self(WordTable::new())
    }

    /// `None` if that cannot be told, because the name would have found no slot.
    #[inline]
    pub(super) fn contains(&self, name: KeyName) -> Option<bool> {
        let wanted = word(name);
        for slot in self.0.slots(wanted) {
            match slot.load(Ordering::Acquire) {
                0 => return Some(false),
                word if word == wanted => return Some(true),
                _ => {}
            }
        }
        None
    }

    /// Enters a name if there is room.
    pub(super) fn insert(&self, name: KeyName) {
        let new = word(name);
        for slot in self.0.slots(new) {
            if [0, new].contains(&slot.load(Ordering::Relaxed)) {
                return slot.store(new, Ordering::Release);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

fn word(name: KeyName) -> u64 {
    u64::from(name.id.value()) << 32 | u64::from(name.version.value())
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn name(id: u32, version: u32) -> KeyName {
        KeyName::new(id, version).expect("a key name")
    }

    #[test]
    fn a_name_is_in_the_set_from_insert_to_clear() {
        let set = NameSet::new();
        set.insert(name(7, 2));
        let answers = || [name(7, 2), name(7, 1), name(2, 7)].map(|name| set.contains(name));
        assert_eq!(answers(), [Some(true), Some(false), Some(false)]);
        set.clear();
        assert_eq!(answers(), [Some(false); 3]);
    }

    #[test]
    fn no_name_that_was_inserted_is_denied_however_full_the_set_is() {
        let set = NameSet::new();
        let names = || (1..=100).flat_map(|id| (1..=100).map(move |version| name(id, version)));
        names().for_each(|name| set.insert(name));
        assert!(names().all(|name| set.contains(name) != Some(false)));
        assert!(names().filter(|name| set.contains(*name) == Some(true)).count() > 1500);
        assert!((101..=200).all(|id| set.contains(name(id, 1)) != Some(true)));
    }
}
