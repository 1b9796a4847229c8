//! What happens once, before the first look-up: all key files are read and all keys unwrapped. Publishes nothing, and
//! writes nothing to the log.

use std::time::{Duration, Instant};

use super::files::{KeyFiles, StoredKey};
use super::load::{self, LoadReport, UnansweredKey};
use super::{KeyName, KeyStoreError};
use crate::kms::{Class, Kms, KmsError};

/// What lies in the folder, and what should.
pub struct Survey {
    /// All that has the name of a key file, in order.
    pub present: Vec<KeyName>,
    /// What the manifest knows of, but the folder does not hold, in order.
    pub missing: Vec<KeyName>,
}

/// A start that waits for KMS.
pub struct Waiting<'a> {
    /// For how long at most.
    pub left: Duration,
    /// A key that waits.
    pub name: KeyName,
    /// Why KMS did not unwrap it.
    pub error: &'a KmsError,
}

/// Looks what there is, without KMS.
pub fn survey(files: &KeyFiles) -> Result<Survey, KeyStoreError> {
    let present = files.present()?;
    let mut missing = files.recorded();
    missing.retain(|name| present.binary_search(name).is_err());
    Ok(Survey { present, missing })
}

/// Loads key files; what fails for a passing reason is tried again, until `until` or as long as KMS gets the start any
/// further. `waiting` is told now and then.
///
/// Fails if KMS could not be reached for one of the keys, or if there are no credentials: a server that went on would
/// refuse its tables until it is restarted. A key that fails for a reason of its own is in the report, and the others are
/// loaded.
pub fn load_all(
    files: &KeyFiles,
    kms: &dyn Kms,
    names: &[KeyName],
    until: Instant,
    waiting: &dyn Fn(Waiting<'_>),
) -> Result<LoadReport, KeyStoreError> {
    let mut report = LoadReport::default();
    let stored = load::read(files, names, &mut report);
    let mut open: Vec<&StoredKey> = stored.iter().collect();
    let mut pause = FIRST_PAUSE;
    let mut next_note = Instant::now();
    let mut reason: Option<KeyStoreError> = None;
    while !open.is_empty() {
        // Even a start without any patience asks once.
        let deadline = until.max(Instant::now() + SHORTEST_ROUND);
        let unanswered = load::unwrap(files, kms, &open, deadline, &mut report);
        let Some(UnansweredKey { stored, error }) = unanswered.first() else { break };
        let failed = || KeyStoreError::Kms(stored.name, error.clone());
        if error.class == Class::Config {
            return Err(failed());
        }
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        if left.is_zero() && unanswered.len() == open.len() {
            // A round that was cut short says only that there was no answer in time; the one before says why.
            return Err(reason.unwrap_or_else(failed));
        }
        if now >= next_note {
            waiting(Waiting { left, name: stored.name, error });
            next_note = now + NOTE_EVERY;
        }
        reason = Some(failed());
        open = unanswered.into_iter().map(|unanswered| unanswered.stored).collect();
        std::thread::sleep(jittered(pause).min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(report)
}

/// How often a start that waits says so.
const NOTE_EVERY: Duration = Duration::from_secs(15);

/// What KMS gets at least, to answer all keys that are waiting.
const SHORTEST_ROUND: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Between half of `pause` and all of it, so that many servers do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
