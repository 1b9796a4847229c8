//! Copies of the first few hundred keys that are published, which a look-up reads without holding anything: the table has to be
//! held while it is searched, which takes longer than the search.
//!
//! Each slot is a sequence lock, and all of it is atomic words: a reader takes what it has copied only if the slot's turn was
//! even, and the same before and after. Written by one thread at a time; read without waiting. The words lie in secret memory,
//! and where that cannot be had, nothing lies here.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use zeroize::Zeroize;

use super::secret_memory::{DataKey, secret_words};
use super::swap::{AtomicU64, fence};
use crate::keystore::KeyName;

/// Keys by name. Whoever does not find one here asks the table.
pub(super) struct HotKeys(OnceLock<Option<&'static [AtomicU64]>>);

/// The words of one slot.
struct Slot<'a> {
    /// Odd while the slot is written.
    turn: &'a AtomicU64,
    /// Of the key; 0 if there is none.
    name: &'a AtomicU64,
    /// Of the key, in bytes.
    length: &'a AtomicU64,
    key: &'a [AtomicU64],
}

impl HotKeys {
    pub(super) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Gives `use_key` a copy of the key, which is wiped afterwards, if it is here.
    #[inline]
    pub(super) fn with_key<T>(&self, name: KeyName, use_key: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let words = (*self.0.get()?)?;
        let wanted = name.word();
        let slot = slots(words, wanted).find(|slot| slot.name.load(Ordering::Relaxed) == wanted)?;
        let turn = slot.turn.load(Ordering::Acquire);
        let mut copy = [0_u64; KEY_WORDS];
        for (to, from) in copy.iter_mut().zip(slot.key) {
            *to = from.load(Ordering::Relaxed);
        }
        let (found, length) = (slot.name.load(Ordering::Relaxed), slot.length.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_whole = turn.is_multiple_of(2) && slot.turn.load(Ordering::Relaxed) == turn && found == wanted;
        let answer = is_whole.then(|| bytes(&copy, length as usize).map(use_key)).flatten();
        copy.zeroize();
        answer
    }

    /// Enters a key if there is room for it, and none of its name.
    pub(super) fn insert(&self, name: KeyName, key: &DataKey) {
        let Some(words) = *self.0.get_or_init(|| secret_words(SLOTS * SLOT_WORDS)) else { return };
        let name = name.word();
        for slot in slots(words, name) {
            match slot.name.load(Ordering::Relaxed) {
                0 => return slot.write(name, key.as_bytes()),
                other if other == name => return,
                _ => {}
            }
        }
    }

    /// Wipes all.
    pub(super) fn clear(&self) {
        let Some(words) = self.0.get().copied().flatten() else { return };
        for slot in words.chunks_exact(SLOT_WORDS).filter_map(Slot::of) {
            if slot.name.load(Ordering::Relaxed) != 0 {
                slot.write(0, &[]);
            }
        }
    }
}

impl<'a> Slot<'a> {
    #[inline]
    fn of(words: &'a [AtomicU64]) -> Option<Self> {
        let [turn, name, length, key @ ..] = words else { return None };
        Some(Self { turn, name, length, key: key.get(..KEY_WORDS)? })
    }

    fn write(&self, name: u64, key: &[u8]) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + 1, Ordering::Relaxed);
        // Whoever reads a word that is written from here on sees that the turn is another one.
        fence(Ordering::Release);
        self.name.store(name, Ordering::Relaxed);
        self.length.store(key.len() as u64, Ordering::Relaxed);
        let mut parts = key.chunks(size_of::<u64>());
        for word in self.key {
            let mut part = [0; size_of::<u64>()];
            let bytes = parts.next().unwrap_or_default();
            part[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(part), Ordering::Relaxed);
            part.zeroize();
        }
        self.turn.store(turn + 2, Ordering::Release);
    }
}

/// The slots in which a key with this name may lie, in the order in which they are filled.
#[inline]
fn slots(words: &[AtomicU64], name: u64) -> impl Iterator<Item = Slot<'_>> {
    // Multiplicative hashing (Knuth), which spreads numbers that follow each other.
    let place = (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize;
    let places = (place..place + PROBES).map(|place| place % SLOTS * SLOT_WORDS);
    places.filter_map(|start| Slot::of(words.get(start..start + SLOT_WORDS)?))
}

/// The first `length` bytes of the words.
#[inline]
fn bytes(words: &[u64; KEY_WORDS], length: usize) -> Option<&[u8]> {
    zerocopy::IntoBytes::as_bytes(words).get(..length)
}

/// The longest key has 32 bytes.
const KEY_WORDS: usize = 4;

/// A line of the cache: turn, name, length, key, and one word of nothing.
const SLOT_WORDS: usize = 8;

/// 32 KiB, which is half of what a process may lock where nobody has raised that. More keys than these are found in the table.
#[cfg(not(feature = "model"))]
const SLOTS: usize = 512;
#[cfg(feature = "model")]
const SLOTS: usize = 4;

/// Few, so that a key that is not here is soon not found.
const PROBES: usize = 3;

#[cfg(all(test, not(feature = "model"), not(miri)))] // Miri has no memory of this kind
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::sync::atomic::AtomicBool;

    use super::super::secret_memory::hide;
    use super::*;
    use crate::cipher::Algorithm;

    fn name(id: u32, version: u32) -> KeyName {
        KeyName::new(id, version).expect("a key name")
    }

    fn key(bytes: &[u8]) -> DataKey {
        hide(&[(bytes, Algorithm::AesCbc)]).expect("memory").keys.remove(0)
    }

    fn found(keys: &HotKeys, name: KeyName) -> Option<Vec<u8>> {
        keys.with_key(name, <[u8]>::to_vec)
    }

    #[test]
    fn a_key_is_found_whole_whatever_its_length_and_is_never_replaced() {
        let keys = HotKeys::new();
        assert_eq!(found(&keys, name(1, 1)), None);
        let of = |length: u8| (1..=length).collect::<Vec<u8>>();
        for (id, length) in [(1, 16), (2, 24), (u32::MAX, 32)] {
            keys.insert(name(id, 1), &key(&of(length)));
        }
        keys.insert(name(1, 1), &key(&[9; 16]));
        assert_eq!([1, 2, u32::MAX].map(|id| found(&keys, name(id, 1))), [16, 24, 32].map(|length| Some(of(length))));
        assert_eq!((found(&keys, name(1, 2)), found(&keys, name(3, 1))), (None, None));
    }

    #[test]
    fn what_has_no_room_is_not_found_and_nothing_is_found_wrongly() {
        let keys = HotKeys::new();
        for id in 1..=2000_u32 {
            keys.insert(name(id, 1), &key(&[id as u8; 16]));
        }
        let here: Vec<u32> = (1..=2000).filter(|id| found(&keys, name(*id, 1)).is_some()).collect();
        assert!(here.len() > SLOTS / 2 && here.len() <= SLOTS, "{}", here.len());
        assert!(here.into_iter().all(|id| found(&keys, name(id, 1)) == Some(vec![id as u8; 16])));
    }

    #[test]
    fn what_is_cleared_is_wiped_and_there_is_room_again() {
        let keys = HotKeys::new();
        (1..=100).for_each(|id| keys.insert(name(id, 1), &key(&[0xaa; 32])));
        keys.clear();
        let words = keys.0.get().copied().flatten().expect("memory");
        let held = words.chunks_exact(SLOT_WORDS).flat_map(|slot| &slot[1..]);
        assert!(held.into_iter().all(|word| word.load(Ordering::Relaxed) == 0), "not wiped");
        keys.insert(name(7, 1), &key(&[7; 16]));
        assert_eq!(found(&keys, name(7, 1)), Some(vec![7; 16]));
    }

    #[test]
    fn a_reader_never_sees_a_key_that_is_half_of_one_and_half_of_another() {
        let keys = HotKeys::new();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0_u64;
                while !is_over.load(Ordering::Relaxed) || seen == 0 {
                    if let Some(key) = found(&keys, name(1, 1)) {
                        assert!(key.len() == 32 && key.iter().all(|byte| *byte == key[0] && *byte != 0), "{key:?}");
                        seen += 1;
                    }
                }
                seen
            });
            let versions = [key(&[1; 32]), key(&[2; 32])];
            for round in 0..200_000 {
                keys.insert(name(1, 1), &versions[round % 2]);
                if round % 64 == 0 {
                    std::thread::yield_now();
                }
                keys.clear();
            }
            keys.insert(name(1, 1), &versions[0]);
            is_over.store(true, Ordering::Relaxed);
            assert!(reader.join().expect("no panic") > 0);
        });
    }
}
