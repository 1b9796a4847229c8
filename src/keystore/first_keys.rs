//! Keys that a server needs for the first time while it is still starting: it would not start without them, so they are
//! waited for like those that have files.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::KeyStoreError;
use super::messages::Messages;
use super::pauses::Patience;
use crate::kms::{AtStart, KmsError};

/// The wait for all of them together.
pub struct FirstKeys {
    is_starting: fn() -> bool,
    timeout: Duration,
    /// Begins with the first of them.
    until: OnceLock<Instant>,
}

impl FirstKeys {
    /// Waits while the server `is_starting`, for `timeout` at most.
    pub fn new(is_starting: fn() -> bool, timeout: Duration) -> Self {
        Self { is_starting, timeout, until: OnceLock::new() }
    }

    /// Whether the server is still starting.
    pub fn server_is_starting(&self) -> bool {
        (self.is_starting)()
    }

    /// Tries `make` until it works, or fails for a reason that is not worth waiting.
    pub fn wait_for<T>(
        &self,
        messages: &Messages,
        some_are_usable: impl Fn() -> bool,
        make: impl Fn() -> Result<T, KeyStoreError>,
    ) -> Result<T, KeyStoreError> {
        let mut patience: Option<Patience<'_>> = None;
        loop {
            match make() {
                Err(KeyStoreError::Kms(name, error)) if self.is_worth_waiting(&error, &some_are_usable) => {
                    let until = *self.until.get_or_init(|| Instant::now() + self.timeout);
                    let patience = patience.get_or_insert_with(|| Patience::new(until, messages));
                    if patience.is_over() {
                        return Err(KeyStoreError::Kms(name, error));
                    }
                    patience.wait(name, &error)?;
                }
                answer => return answer,
            }
        }
    }

    fn is_worth_waiting(&self, error: &KmsError, some_are_usable: impl Fn() -> bool) -> bool {
        let may_pass = match error.class.at_start() {
            AtStart::WaitThenFailStart | AtStart::WaitThenFailKey => true,
            AtStart::WaitWhileNoneIsUsable => !some_are_usable(),
            AtStart::FailStart | AtStart::FailKey => false,
        };
        may_pass && (self.is_starting)()
    }
}
