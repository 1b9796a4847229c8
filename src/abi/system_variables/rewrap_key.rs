//! What a SET of rewrap_key does. When in the statement it is done, and what a failure does to that, is in `key_command`.

use super::key_command::Keys;
use crate::abi::error_log::{self, ErrorLog};
use crate::abi::plugin;
use crate::keystore::{AllRewrapped, Reporter};

/// Re-wraps the versions of one key, or of all. An error is what the statement fails with; the key store has logged each
/// failure.
pub(super) fn rewrap(keys: Keys) -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    let AllRewrapped { count, master_keys, retired } = store.rewrap(keys.only()).map_err(|error| error.to_string())?;
    let master_keys = master_keys.into_iter().collect::<Vec<_>>().join(", ");
    let text =
        format!("re-wrapped all {count} key versions that were asked for: they are wrapped by {master_keys} now");
    ErrorLog.note(&text);
    // Who has set another master key in the same statement sees here that it came too late.
    error_log::note_in_statement(&text);
    if let [first, more @ ..] = &retired[..] {
        let text = format!(
            "{first}{} in memory, and retired: left out. If data needs it all the same, SET GLOBAL \
             aws_key_management_rewrap_key = {} makes its file anew",
            match more.len() {
                0 => " is".to_owned(),
                more => format!(" and {more} more are"),
            },
            first.id
        );
        ErrorLog.note(&text);
        error_log::note_in_statement(&text);
    }
    Ok(())
}
