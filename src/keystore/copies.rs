//! Other copies of a data key than the one in its key file, wrapped by other master keys: what the key file held before it was
//! re-wrapped. They are used when KMS does not unwrap the key file.

use std::collections::BTreeMap;
use std::time::Instant;

use super::KeyName;
use super::files::{KeyFile, KeyFiles, StoredKey};
use super::load::{UnansweredKey, Unwrapped};
use crate::kms::{Kms, MasterKeyId, WrappedKey};

/// Copies of keys, of each in the order in which they are to be tried.
pub type Copies = BTreeMap<KeyName, Vec<KeyFile>>;

/// The copies of these keys, as far as there are any.
pub fn of(files: &KeyFiles, stored: &[&StoredKey]) -> Copies {
    let Ok(kept) = files.kept_before_rewrap() else { return Copies::new() };
    let of_stored = stored.iter().filter(|stored| kept.binary_search(&stored.name).is_ok());
    of_stored.filter_map(|stored| Some((stored.name, vec![before_rewrap(files, stored.name)?]))).collect()
}

fn before_rewrap(files: &KeyFiles, name: KeyName) -> Option<KeyFile> {
    let KeyFile { algorithm, wrapped } = files.before_rewrap(name)?;
    let former = files.entry(name).and_then(|entry| MasterKeyId::parse(entry.former_master_key()?));
    Some(KeyFile { algorithm, wrapped: wrapped.with_master_key(former) })
}

/// Asks KMS to unwrap copies of the keys that it did not unwrap, as long as there are any. Answers what it did not unwrap at
/// all, with why it did not unwrap the key file.
pub fn unwrap<'a>(
    kms: &dyn Kms,
    mut copies: Copies,
    mut unanswered: Vec<UnansweredKey<'a>>,
    deadline: Instant,
    unwrapped: &mut Vec<Unwrapped<'a>>,
) -> Vec<UnansweredKey<'a>> {
    copies.values_mut().for_each(|copies| copies.reverse());
    loop {
        let mut next = |key: &UnansweredKey<'_>| {
            let copy = key.error.class.may_be_of_the_master_key().then(|| copies.get_mut(&key.stored.name)?.pop());
            copy.flatten()
        };
        let (mut asked, mut others, mut wrapped): (Vec<_>, Vec<_>, Vec<WrappedKey>) = Default::default();
        for key in unanswered {
            match next(&key) {
                Some(copy) => {
                    wrapped.push(copy.wrapped);
                    asked.push((key, copy.algorithm));
                }
                None => others.push(key),
            }
        }
        if asked.is_empty() {
            return others;
        }
        for ((key, algorithm), answer) in asked.into_iter().zip(kms.decrypt_all(&wrapped, deadline)) {
            match answer {
                Ok(plain) => {
                    unwrapped.push(Unwrapped { stored: key.stored, plain, algorithm, instead_of: Some(key.error) });
                }
                // The key is not lost as long as that may pass.
                Err(error) if error.class.is_passing() => others.push(UnansweredKey { error, ..key }),
                Err(_) => others.push(key),
            }
        }
        unanswered = others;
    }
}
