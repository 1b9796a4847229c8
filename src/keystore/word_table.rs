//! A fixed table of numbers, for look-ups of what is no secret and fits into a word: a load or two, where a larger structure
//! has to be held while it is searched. Written by one thread at a time; read without waiting.

use std::sync::atomic::Ordering;

use super::swap::AtomicU64;

/// Open addressing: a word lies at its place or one of the next. 0 is an empty slot.
pub(super) struct WordTable([AtomicU64; SLOTS]);

impl WordTable {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; SLOTS])
    }

    /// The slots in which something with this number may lie, in the order in which they are filled.
    #[inline]
    pub(super) fn slots(&self, number: u64) -> impl Iterator<Item = &AtomicU64> {
        // Multiplicative hashing (Knuth), which spreads numbers that follow each other.
        let place = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize;
        (place..place + PROBES).filter_map(|place| self.0.get(place % SLOTS))
    }

    pub(super) fn clear(&self) {
        for slot in &self.0 {
            slot.store(0, Ordering::Release);
        }
    }
}

/// More than the keys of any server that we know of, and the versions that it has in years; 16 KiB.
#[cfg(not(feature = "model"))]
const SLOTS: usize = 2048;
#[cfg(feature = "model")]
const SLOTS: usize = 4;

const PROBES: usize = if SLOTS < 8 { SLOTS } else { 8 };
