//! What a SET of rewrap_key does. When in the statement it is done, and what a failure does to that, is in `key_command`.

use super::key_command::Keys;
use crate::abi::error_log::ErrorLog;
use crate::abi::plugin;
use crate::keystore::Reporter;

/// Re-wraps the versions of one key, or of all. An error is what the statement fails with; the key store has logged each
/// failure.
pub(super) fn rewrap(keys: Keys) -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    let count = store.rewrap(keys.only()).map_err(|error| error.to_string())?;
    ErrorLog.note(&format!("re-wrapped all {count} key versions that were asked for"));
    Ok(())
}
