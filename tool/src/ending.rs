//! How the program ends.

use std::process::ExitCode;

use aws_key_management::keystore::KeyStoreError;
use aws_key_management::keystore::offline::is_unanswered;

/// How the program ends. The numbers are those that `--help` and docs/tool.md tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is well, or was done.
    Good = 0,
    /// Something is missing or wrong, or could not be done.
    Wrong = 1,
    /// The command is wrong.
    Usage = 2,
    /// KMS said nothing of the keys.
    Unanswered = 3,
    /// There is something to repair, and nothing has changed.
    ToRepair = 4,
}

/// The command is wrong, in a way that only shows when the files are looked at.
#[derive(Debug)]
pub struct WrongUsage(pub String);

impl Ending {
    /// After an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<WrongUsage>() {
            return Self::Usage;
        }
        match error.downcast_ref::<KeyStoreError>() {
            Some(error) if is_unanswered(error) => Self::Unanswered,
            _ => Self::Wrong,
        }
    }
}

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending as u8)
    }
}
