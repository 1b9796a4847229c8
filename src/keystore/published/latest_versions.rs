//! The latest version of each key, which InnoDB asks on every page write; and, in a second table of the same kind, which
//! versions encrypt with AES_CTR.
//!
//! A fixed table of key ids and versions, one word each: a load or two answers, where a larger structure has to be held
//! while it is searched. Written by one thread at a time; read without waiting.

use std::sync::atomic::Ordering;

use super::swap::AtomicU64;
use crate::keystore::{KeyId, KeyName, KeyVersion};

/// Each word is an id, above, and a version. Ids are above 0, so 0 is an empty slot.
///
/// A table answers one of two questions: which is the latest version of an id ([`VersionWords::version_of`],
/// [`VersionWords::raise`]), or whether a name is in it ([`VersionWords::contains`], [`VersionWords::insert`]).
pub(super) struct VersionWords([AtomicU64; SLOTS]);

impl VersionWords {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; SLOTS])
    }

    /// `None` if the id has no version here, be it for want of room.
    #[inline]
    pub(super) fn version_of(&self, id: KeyId) -> Option<KeyVersion> {
        let id = u64::from(id.value());
        // The version of an empty slot would be 0, which is none.
        KeyVersion::new(self.find(id, |word| word >> 32 == id)? as u32)
    }

    /// Enters a version if there is room, and none that is higher.
    pub(super) fn raise(&self, id: KeyId, version: KeyVersion) {
        let new = KeyName { id, version }.word();
        self.enter(id.value().into(), new, |word| word >> 32 == new >> 32);
    }

    /// `None` if that cannot be told, because the name would have found no room.
    #[inline]
    pub(super) fn contains(&self, name: KeyName) -> Option<bool> {
        let wanted = name.word();
        Some(self.find(wanted, |word| word == wanted)? == wanted)
    }

    /// Enters a name if there is room.
    pub(super) fn insert(&self, name: KeyName) {
        let new = name.word();
        self.enter(new, new, |word| word == new);
    }

    pub(super) fn clear(&self) {
        for slot in &self.0 {
            slot.store(0, Ordering::Release);
        }
    }

    /// The word that is searched for, or 0 if it is not here; `None` if it may have found no room.
    #[inline]
    fn find(&self, number: u64, is_it: impl Fn(u64) -> bool) -> Option<u64> {
        self.slots(number).map(|slot| slot.load(Ordering::Acquire)).find(|word| *word == 0 || is_it(*word))
    }

    /// Puts a word into the first slot that is empty or holds what it takes the place of, unless that is higher.
    fn enter(&self, number: u64, new: u64, replaces: impl Fn(u64) -> bool) {
        for slot in self.slots(number) {
            let word = slot.load(Ordering::Relaxed);
            if word == 0 || replaces(word) {
                // Whoever reads the word finds what was published before it.
                return slot.store(word.max(new), Ordering::Release);
            }
        }
    }

    /// The slots in which something with this number may lie, in the order in which they are filled.
    #[inline]
    fn slots(&self, number: u64) -> impl Iterator<Item = &AtomicU64> {
        // Multiplicative hashing (Knuth), which spreads numbers that follow each other.
        let place = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize;
        (place..place + PROBES).filter_map(|place| self.0.get(place % SLOTS))
    }
}

/// More than the keys of any server that we know of, and the versions that it has in years; 16 KiB.
#[cfg(not(feature = "model"))]
const SLOTS: usize = 2048;
#[cfg(feature = "model")]
const SLOTS: usize = 4;

const PROBES: usize = if SLOTS < 8 { SLOTS } else { 8 };

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

    fn name(id: u32, version: u32) -> KeyName {
        KeyName::new(id, version).expect("a key name")
    }

    #[test]
    fn a_version_is_found_and_only_rises() {
        let latest = VersionWords::new();
        for (raised, found) in [(2, 2), (1, 2), (3, 3)] {
            latest.raise(id(7), version(raised));
            assert_eq!(latest.version_of(id(7)), Some(version(found)));
        }
        latest.raise(id(u32::MAX), version(u32::MAX - 1));
        assert_eq!(latest.version_of(id(u32::MAX)), Some(version(u32::MAX - 1)));
        assert_eq!(latest.version_of(id(8)), None);
        latest.clear();
        assert_eq!(latest.version_of(id(7)), None);
    }

    #[test]
    fn a_thousand_keys_have_room_and_what_has_none_is_not_found_wrongly() {
        let latest = VersionWords::new();
        for number in 1..=1000 {
            latest.raise(id(number), version(number));
        }
        assert!((1..=1000).all(|number| latest.version_of(id(number)) == Some(version(number))));
        for number in 1..=10_000 {
            latest.raise(id(number * 4099), version(5));
        }
        let right = |number: u32| [None, Some(version(5))].contains(&latest.version_of(id(number * 4099)));
        assert!((1..=10_000).all(right));
    }

    #[test]
    fn a_name_is_in_the_set_from_insert_to_clear() {
        let set = VersionWords::new();
        set.insert(name(7, 2));
        let answers = || [name(7, 2), name(7, 1), name(2, 7)].map(|name| set.contains(name));
        assert_eq!(answers(), [Some(true), Some(false), Some(false)]);
        set.clear();
        assert_eq!(answers(), [Some(false); 3]);
    }

    #[test]
    fn a_name_takes_the_place_of_no_other() {
        let set = VersionWords::new();
        // Some of them would lie in the same place.
        let names = || (1..=400).map(|id| name(id * id, 1));
        names().for_each(|name| set.insert(name));
        assert!(names().all(|name| set.contains(name) == Some(true)));
    }

    #[test]
    fn no_name_that_was_inserted_is_denied_however_full_the_set_is() {
        let set = VersionWords::new();
        let names = || (1..=100).flat_map(|id| (1..=100).map(move |version| name(id, version)));
        names().for_each(|name| set.insert(name));
        assert!(names().all(|name| set.contains(name) != Some(false)));
        assert!(names().filter(|name| set.contains(*name) == Some(true)).count() > 1500);
        assert!((101..=200).all(|id| set.contains(name(id, 1)) != Some(true)));
    }
}
