//! Other copies of a data key than the one in its key file, wrapped by other master keys: those under the extra master keys, and
//! what the key file held before it was re-wrapped. They are used when KMS does not unwrap the key file, or when the key file
//! itself is gone or damaged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::files::KeyFiles;
use super::{DataKey, KeyName};
use crate::kms::{Kms, PlainKey, WrappedKey};

/// Copies of keys, of each in the order in which they are to be tried.
pub type Copies = BTreeMap<KeyName, Vec<WrappedKey>>;

/// The copies of these keys, as far as there are any. One that cannot be read says nothing about the key.
pub fn of(files: &KeyFiles, names: impl IntoIterator<Item = KeyName>) -> Copies {
    let Ok(with_copies) = files.with_copies() else { return Copies::new() };
    let of_names = names.into_iter().filter(|name| with_copies.contains(name)).map(|name| {
        let extra = files.extra_copies(name).ok().flatten().map(|extra| extra.wrapped()).unwrap_or_default();
        (name, extra.into_iter().chain(files.before_rewrap(name)).collect())
    });
    of_names.filter(|(_, copies): &(_, Vec<_>)| !copies.is_empty()).collect()
}

/// Asks KMS to unwrap copies of keys, one after the other, until one holds the key. Each round gets its share of the time: a
/// region that does not answer leaves some for the next. Answers what was unwrapped, and what was not.
pub fn unwrap<T>(
    files: &KeyFiles,
    kms: &dyn Kms,
    copies: &Copies,
    lacking: Vec<(KeyName, T)>,
    deadline: Instant,
) -> (Vec<(T, PlainKey)>, Vec<T>) {
    let (mut found, mut open) = (Vec::new(), lacking);
    let rounds = open.iter().filter_map(|(name, _)| copies.get(name)).map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        let copy = |name: &KeyName| copies.get(name)?.get(round);
        let (asked, mut others): (Vec<_>, Vec<_>) = open.into_iter().partition(|(name, _)| copy(name).is_some());
        let wrapped: Vec<WrappedKey> = asked.iter().filter_map(|(name, _)| copy(name).cloned()).collect();
        let answers = kms.decrypt_all(&wrapped, share_of(deadline, rounds - round));
        for ((name, key), answer) in asked.into_iter().zip(answers) {
            match answer {
                Ok(plain) if is_right(files, name, &plain) => found.push((key, plain)),
                _ => others.push((name, key)),
            }
        }
        open = others;
    }
    (found, open.into_iter().map(|(_, key)| key).collect())
}

/// Until when the first of so many rounds may take.
pub fn share_of(deadline: Instant, rounds: usize) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    Instant::now() + left.checked_div(u32::try_from(rounds).unwrap_or(u32::MAX)).unwrap_or(Duration::ZERO)
}

/// Whoever can put a file here can put one that holds another key: it is not used, and the next one may be.
fn is_right(files: &KeyFiles, name: KeyName, plain: &PlainKey) -> bool {
    DataKey::LENGTHS.contains(&plain.as_bytes().len()) && files.entry(name).is_none_or(|entry| entry.is_of(plain))
}
