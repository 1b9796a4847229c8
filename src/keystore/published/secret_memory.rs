//! Where data keys lie: pages that are locked into memory, left out of core dumps, and wiped before they are returned.

use std::io;
use std::ops::{DerefMut, Range};
use std::sync::Arc;

use memmap2::{Advice, MmapMut};
#[cfg(not(feature = "model"))]
use zerocopy::FromBytes;
use zeroize::Zeroize;

use super::swap::AtomicU64;
use crate::cipher::Algorithm;

/// A data key in the clear. Cloning it shares the memory. Has no `Debug`.
#[derive(Clone)]
pub struct DataKey {
    pages: Arc<SecretPages>,
    place: Range<usize>,
    algorithm: Algorithm,
}

impl DataKey {
    /// Lengths of AES keys, in bytes.
    pub const LENGTHS: [usize; 3] = [16, 24, 32];

    /// The key. Whoever copies it wipes the copy.
    pub fn as_bytes(&self) -> &[u8] {
        // The place was inside the pages when the key was made, and the pages do not change.
        self.pages.0.get(self.place.clone()).unwrap_or_default()
    }

    /// What is encrypted with this key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's length in bits.
    pub fn bits(&self) -> usize {
        self.place.len() * 8
    }
}

/// Keys in secret memory.
pub struct Hidden {
    /// In the order in which they were given.
    pub keys: Vec<DataKey>,
    /// How far the memory is protected.
    pub exposure: Exposure,
}

/// What the operating system did not do to protect the memory of keys, which are used all the same.
#[derive(Default)]
pub struct Exposure {
    /// Why the memory could not be locked, and may be written to swap space.
    pub to_swap: Option<io::Error>,
    /// Why the memory could not be left out of core dumps.
    pub to_core_dumps: Option<io::Error>,
}

impl Exposure {
    /// Of two pieces of memory together.
    pub fn join(&mut self, other: Self) {
        self.to_swap = self.to_swap.take().or(other.to_swap);
        self.to_core_dumps = self.to_core_dumps.take().or(other.to_core_dumps);
    }
}

/// Copies `keys` into secret memory of their own. Fails if the operating system has no memory.
pub fn hide(keys: &[(&[u8], Algorithm)]) -> io::Result<Hidden> {
    let length = keys.iter().map(|(key, _)| key.len()).sum::<usize>().max(1);
    let mut memory = MmapMut::map_anon(length)?;
    // Before there is a key in it.
    let exposure = protect(&memory);
    let mut places = Vec::with_capacity(keys.len());
    let mut rest = &mut memory[..];
    let mut start = 0;
    for (key, algorithm) in keys {
        // `length` is the sum of all lengths, so the rest is never shorter than a key.
        let (place, behind) = rest.split_at_mut(key.len());
        place.copy_from_slice(key);
        places.push((start..start + key.len(), *algorithm));
        start += key.len();
        rest = behind;
    }
    let pages = Arc::new(SecretPages(memory));
    let key = |(place, algorithm)| DataKey { pages: pages.clone(), place, algorithm };
    Ok(Hidden { keys: places.into_iter().map(key).collect(), exposure })
}

/// So many words of 0 in secret memory of their own, for good; `None` if the operating system does not protect them.
#[cfg(not(feature = "model"))]
pub(super) fn secret_words(count: usize) -> Option<&'static [AtomicU64]> {
    // Miri, an interpreter that some of the tests run in, protects none.
    if cfg!(miri) {
        return None;
    }
    let memory = MmapMut::map_anon(count * size_of::<u64>()).ok()?;
    let Exposure { to_swap: None, to_core_dumps: None } = protect(&memory) else { return None };
    let memory: &'static mut MmapMut = Box::leak(Box::new(memory));
    let words = <[AtomicU64]>::mut_from_bytes(&mut memory[..]).ok()?;
    Some(words)
}

/// The same for the model, whose words are not those of the machine.
#[cfg(feature = "model")]
pub(super) fn secret_words(count: usize) -> Option<&'static [AtomicU64]> {
    Some(Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect()))
}

/// What is refused is no reason to go without a key: old kernels and sandboxes know no MADV_DONTDUMP, and the memory that a
/// process may lock is limited.
fn protect(memory: &MmapMut) -> Exposure {
    Exposure {
        to_swap: attempt(|| memory.lock()).err(),
        to_core_dumps: attempt(|| memory.advise(Advice::DontDump)).err(),
    }
}

fn attempt(call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    #[cfg(test)]
    if let Some(code) = tests::REFUSED_WITH.get() {
        return Err(io::Error::from_raw_os_error(code));
    }
    // Miri, an interpreter that some of the tests run in, has neither system call.
    if cfg!(miri) { Ok(()) } else { call() }
}

/// Memory that is wiped before it is returned. Of another kind only in a test, which looks at what is returned.
struct SecretPages<M: DerefMut<Target = [u8]> = MmapMut>(M);

impl<M: DerefMut<Target = [u8]>> Drop for SecretPages<M> {
    fn drop(&mut self) {
        self.0.deref_mut().zeroize();
    }
}

#[cfg(test)]
pub(in crate::keystore) mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::cell::{Cell, RefCell};
    use std::ops::Deref;

    use super::*;

    thread_local! {
        /// The system refuses this thread all protection of memory, with this number of an error.
        pub(in crate::keystore) static REFUSED_WITH: Cell<Option<i32>> = const { Cell::new(None) };
    }

    /// A key of 16 times the same byte.
    pub fn key(byte: u8) -> DataKey {
        hide(&[(&[byte; 16], Algorithm::AesCbc)]).expect("memory").keys.pop().expect("one key")
    }

    #[test]
    fn hidden_keys_are_found_again_each_in_its_place() {
        use Algorithm::{AesCbc, AesCtr};
        let keys = hide(&[(&[1; 16], AesCbc), (&[2; 32], AesCtr), (&[3; 24], AesCbc)]).expect("memory").keys;
        let found: Vec<&[u8]> = keys.iter().map(DataKey::as_bytes).collect();
        assert_eq!(found, [&[1; 16][..], &[2; 32], &[3; 24]]);
        assert_eq!(keys.iter().map(DataKey::bits).collect::<Vec<_>>(), [128, 256, 192]);
        assert_eq!(keys.iter().map(DataKey::algorithm).collect::<Vec<_>>(), [AesCbc, AesCtr, AesCbc]);
    }

    /// Shows what is in it when it is returned.
    struct Inspected<'a>(Vec<u8>, &'a RefCell<Vec<u8>>);

    impl Deref for Inspected<'_> {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl DerefMut for Inspected<'_> {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    impl Drop for Inspected<'_> {
        fn drop(&mut self) {
            self.1.borrow_mut().extend(&self.0);
        }
    }

    #[test]
    fn memory_of_keys_is_wiped_before_it_is_returned() {
        let returned = RefCell::default();
        drop(SecretPages(Inspected(vec![7; 40], &returned)));
        assert_eq!(returned.into_inner(), [0; 40]);
    }

    #[test]
    fn keys_lie_in_memory_that_is_locked_and_left_out_of_core_dumps() {
        let key = key(7);
        let address = key.as_bytes().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
        let mut inside = false;
        for line in maps.lines() {
            if let Some((from, to)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')) {
                let bounds = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16));
                if let (Ok(from), Ok(to)) = bounds {
                    inside = (from..to).contains(&address);
                }
            }
            if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
                let flags: Vec<&str> = flags.split_whitespace().collect();
                assert!(flags.contains(&"lo") && flags.contains(&"dd"), "{flags:?}");
                return;
            }
        }
        panic!("the key's memory is not in smaps");
    }
}
