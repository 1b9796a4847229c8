//! Keys for the tests of other modules.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers

use super::published::{Epoch, hide};
use super::{KeyName, PublishedKeys};
use crate::cipher::Algorithm;

/// Publishes a key with these bytes.
pub(crate) fn publish(keys: &PublishedKeys, id: u32, version: u32, bytes: &[u8], algorithm: Algorithm) {
    let name = KeyName::new(id, version).expect("a name");
    let mut hidden = hide(&[(bytes, algorithm)]).expect("memory").keys;
    keys.publish(Epoch::default(), vec![(name, hidden.remove(0))]);
}
