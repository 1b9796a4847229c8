//! Other copies of a data key than the one in its key file, wrapped by other master keys: those under the extra master keys, and
//! what the key file held before it was re-wrapped. They are used when KMS does not unwrap the key file, or when the key file
//! itself is gone or damaged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::files::{KeyFile, KeyFiles};
use super::{DataKey, KeyName};
use crate::cipher::Algorithm;
use crate::kms::{Kms, KmsError, PlainKey, WrappedKey};

/// Copies of keys, of each in the order in which they are to be tried.
pub type Copies = BTreeMap<KeyName, Vec<KeyFile>>;

/// A key that is to be had from a copy, and what the caller knows of it.
pub struct Lacking<T> {
    /// Which.
    pub name: KeyName,
    /// What the caller knows.
    pub key: T,
    /// Why KMS did not unwrap a copy of it, if that may pass.
    pub passing: Option<KmsError>,
}

/// A key that was had from a copy.
pub struct FromCopy<'c, T> {
    /// What the caller knows.
    pub key: T,
    /// The key.
    pub plain: PlainKey,
    /// The copy.
    pub copy: &'c KeyFile,
}

/// The copies of these keys, as far as there are any. One that cannot be read says nothing about the key.
pub fn of(files: &KeyFiles, names: impl IntoIterator<Item = KeyName>) -> Copies {
    let of = |name| (name, files.extra_copies(name).into_iter().chain(files.before_rewrap(name)).collect());
    names.into_iter().map(of).filter(|(_, copies): &(_, Vec<_>)| !copies.is_empty()).collect()
}

/// The copies of these keys under extra master keys.
pub fn under_extra_master_keys(files: &KeyFiles, names: &[KeyName]) -> impl Iterator<Item = (KeyName, KeyFile)> {
    names.iter().flat_map(|name| files.extra_copies(*name).into_iter().map(|copy| (*name, copy)))
}

/// Asks KMS to unwrap copies of keys, one after the other, until one holds the key. Each round gets its share of the time: a
/// region that does not answer leaves some for the next. Answers what was unwrapped, and what was not.
pub fn unwrap<'c, T>(
    files: &KeyFiles,
    kms: &dyn Kms,
    copies: &'c Copies,
    lacking: Vec<Lacking<T>>,
    deadline: Instant,
) -> (Vec<FromCopy<'c, T>>, Vec<Lacking<T>>) {
    let (mut found, mut open) = (Vec::new(), lacking);
    let rounds = open.iter().filter_map(|key| copies.get(&key.name)).map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        let (mut asked, mut others) = (Vec::new(), Vec::new());
        for key in open {
            match copies.get(&key.name).and_then(|copies| copies.get(round)) {
                Some(copy) => asked.push((key, copy)),
                None => others.push(key),
            }
        }
        let wrapped: Vec<WrappedKey> = asked.iter().map(|(_, copy)| copy.wrapped.clone()).collect();
        let answers = kms.decrypt_all(&wrapped, share_of(deadline, rounds - round));
        for ((lacking, copy), answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(plain) if is_right(files, lacking.name, copy.algorithm, &plain) => {
                    found.push(FromCopy { key: lacking.key, plain, copy });
                }
                Err(error) if error.class.is_passing() => others.push(Lacking { passing: Some(error), ..lacking }),
                _ => others.push(lacking),
            }
        }
        open = others;
    }
    (found, open)
}

/// Until when the first of so many rounds may take.
pub fn share_of(deadline: Instant, rounds: usize) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + left.checked_div(u32::try_from(rounds).unwrap_or(u32::MAX)).unwrap_or(Duration::ZERO)
}

/// Whether a copy holds the key. Whoever can put a file here can put one that holds another key: it is not used, and the next one may be.
pub fn is_right(files: &KeyFiles, name: KeyName, algorithm: Algorithm, plain: &PlainKey) -> bool {
    let is_known = |entry: super::files::Entry| entry.is_key(plain) && entry.algorithm() == algorithm;
    DataKey::LENGTHS.contains(&plain.as_bytes().len()) && files.entry(name).is_none_or(is_known)
}
