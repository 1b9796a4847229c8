//! What a SET of verify_keys does. When in the statement it is done, and what a failure does to that, is in `key_command`.

use super::key_command::Keys;
use crate::abi::error_log::{self, ErrorLog};
use crate::abi::plugin;
use crate::keystore::{Reporter, VerifiedNow};

/// Checks whether a restart would find the versions of one key, or of all. SHOW WARNINGS has a note for each, what failed
/// first. An error is what the statement fails with; the key store has logged each problem.
pub(super) fn verify(keys: Keys) -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    let VerifiedNow { lines, result } = store.verify(keys.only());
    lines.iter().take(MOST_NOTES).for_each(|line| error_log::note_in_statement(line));
    if lines.len() > MOST_NOTES {
        error_log::note_in_statement(&format!("{} more", lines.len() - MOST_NOTES));
    }
    let count = result.map_err(|error| error.to_string())?;
    ErrorLog.note(&format!("verified all {count} key versions that were asked for: a restart would find them"));
    Ok(())
}

/// The server keeps 64 (max_error_count), and some take two.
const MOST_NOTES: usize = 50;
