//! Other copies of a data key than the one in its key file, wrapped by other master keys: what the key file held before it was
//! re-wrapped. They are used when KMS does not unwrap the key file.

use std::collections::BTreeMap;
use std::time::Instant;

use super::KeyName;
use super::files::{KeyFiles, StoredKey};
use super::load::{UnansweredKey, Unwrapped};
use crate::kms::{Kms, WrappedKey};

/// Copies of keys, of each in the order in which they are to be tried.
pub type Copies = BTreeMap<KeyName, Vec<WrappedKey>>;

/// The copies of these keys, as far as there are any.
pub fn of(files: &KeyFiles, stored: &[&StoredKey]) -> Copies {
    let Ok(kept) = files.kept_before_rewrap() else { return Copies::new() };
    let of_stored = stored.iter().filter(|stored| kept.binary_search(&stored.name).is_ok());
    of_stored.filter_map(|stored| Some((stored.name, vec![files.before_rewrap(stored.name)?]))).collect()
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
        let (mut asked, mut others, mut wrapped) = (Vec::new(), Vec::new(), Vec::new());
        for key in unanswered {
            match next(&key) {
                Some(copy) => {
                    wrapped.push(copy);
                    asked.push(key);
                }
                None => others.push(key),
            }
        }
        if asked.is_empty() {
            return others;
        }
        for (key, answer) in asked.into_iter().zip(kms.decrypt_all(&wrapped, deadline)) {
            match answer {
                Ok(plain) => {
                    unwrapped.push(Unwrapped { stored: key.stored, plain, instead_of: Some(key.error) });
                }
                Err(_) => others.push(key),
            }
        }
        unanswered = others;
    }
}
