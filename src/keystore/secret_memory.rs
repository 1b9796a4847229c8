//! Where data keys lie: pages that are locked into memory, left out of core dumps, and wiped before they are returned.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

use super::Reporter;
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

/// Copies `keys` into secret memory of their own. Fails if the operating system has no memory. That memory cannot be
/// locked is no failure, but gets a warning, once.
pub(super) fn hide(keys: &[(&[u8], Algorithm)], reporter: &dyn Reporter) -> io::Result<Vec<DataKey>> {
    let length = keys.iter().map(|(key, _)| key.len()).sum::<usize>().max(1);
    let mut memory = MmapMut::map_anon(length)?;
    // Miri, an interpreter that some of the tests run in, has neither system call.
    if !cfg!(miri) {
        memory.advise(Advice::DontDump)?;
        if let Err(error) = memory.lock() {
            warn_once(&error, reporter);
        }
    }
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
    Ok(places.into_iter().map(|(place, algorithm)| DataKey { pages: pages.clone(), place, algorithm }).collect())
}

struct SecretPages(MmapMut);

impl Drop for SecretPages {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn warn_once(error: &io::Error, reporter: &dyn Reporter) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        reporter.warning(&format!(
            "data keys could not be locked into memory ({error}) and may be written to swap space. Raise the limit of \
             locked memory (LimitMEMLOCK of the service, or ulimit -l)"
        ));
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;
    use crate::keystore::test_kms::Silent;

    /// A key of 16 times the same byte.
    pub(in crate::keystore) fn key(byte: u8) -> DataKey {
        hide(&[(&[byte; 16], Algorithm::AesCbc)], &Silent).expect("memory").pop().expect("one key")
    }

    #[test]
    fn hidden_keys_are_found_again_each_in_its_place() {
        use Algorithm::{AesCbc, AesCtr};
        let keys = hide(&[(&[1; 16], AesCbc), (&[2; 32], AesCtr), (&[3; 24], AesCbc)], &Silent).expect("memory");
        let found: Vec<&[u8]> = keys.iter().map(DataKey::as_bytes).collect();
        assert_eq!(found, [&[1; 16][..], &[2; 32], &[3; 24]]);
        assert_eq!(keys.iter().map(DataKey::bits).collect::<Vec<_>>(), [128, 256, 192]);
        assert_eq!(keys.iter().map(DataKey::algorithm).collect::<Vec<_>>(), [AesCbc, AesCtr, AesCbc]);
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
