//! What is done with many keys at a time.
//!
//! To look what there is, in the folder and in the manifest, takes a time that grows with the number of keys. So it is not
//! done for each key: the keys are taken in groups, of which there are a few, however many keys there are. For each group,
//! KMS is asked for all its keys, and no lock is held meanwhile. Then their files are written under one lock of the folder.

use std::slice::Chunks;
use std::time::{Duration, Instant};

use super::files::Adding;
use super::tries::Tries;
use super::{KeyId, KeyStoreError};
use crate::waits;

/// All of these, in groups.
pub fn groups<T>(all: &[T]) -> Chunks<'_, T> {
    all.chunks(all.len().div_ceil(GROUPS).max(1))
}

/// The lock of the folder, held for a while, and what was found since it is held.
struct Hold<'a, L> {
    adding: Adding<'a>,
    found: L,
    until: Instant,
}

/// Writes what KMS has given out for a group, under the lock of the folder, which is given up and taken again after
/// `longest_hold`: `take` takes it and looks what there is. What fails is told to `tries`. The first is written also if the
/// statement is killed.
pub fn store_all<'a, T, L>(
    group: Vec<(KeyId, T)>,
    longest_hold: Duration,
    tries: &mut Tries<'_>,
    take: impl Fn() -> Result<(Adding<'a>, L), KeyStoreError>,
    mut store: impl FnMut(&Adding<'a>, &L, KeyId, T) -> Result<(), KeyStoreError>,
) {
    let mut held: Option<Hold<'a, L>> = None;
    let mut rest = group.into_iter();
    let mut is_first = true;
    while let Some((id, item)) = rest.next() {
        let stored = match waits::must_end() && !is_first {
            true => Err(KeyStoreError::GivenUp(id)),
            false => {
                hold(&mut held, id, longest_hold, &take).and_then(|hold| store(&hold.adding, &hold.found, id, item))
            }
        };
        is_first = false;
        match stored {
            Ok(()) => {}
            // Also where it could not be had.
            Err(error) if held.is_none() => tries.end(error),
            Err(error) => tries.failed_to_store(error),
        }
        if tries.no_more_can_be_stored() {
            tries.skip(rest.len());
            return;
        }
    }
}

fn hold<'h, 'a, L>(
    held: &'h mut Option<Hold<'a, L>>,
    id: KeyId,
    longest: Duration,
    take: impl Fn() -> Result<(Adding<'a>, L), KeyStoreError>,
) -> Result<&'h Hold<'a, L>, KeyStoreError> {
    if held.take_if(|hold| Instant::now() >= hold.until).is_some() && !waits::pause(PAUSE) {
        return Err(KeyStoreError::GivenUp(id));
    }
    match held {
        Some(hold) => Ok(hold),
        None => {
            let (adding, found) = take()?;
            Ok(held.insert(Hold { adding, found, until: Instant::now() + longest }))
        }
    }
}

/// The more there are, the less is lost when the work is interrupted; but for each the folder is listed and the manifest
/// read, twice.
const GROUPS: usize = 16;

/// A fraction of what another server waits for the lock: see `files/lock.rs`.
pub const LONGEST_HOLD: Duration = Duration::from_secs(2);

/// Longer than another server that waits for the lock of the folder pauses.
const PAUSE: Duration = Duration::from_millis(20);
