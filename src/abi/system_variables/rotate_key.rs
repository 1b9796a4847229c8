//! What a SET of rotate_key does. When in the statement it is done, and what a failure does to that, is in `key_command`.

use super::key_command::Keys;
use crate::abi::error_log::ErrorLog;
use crate::abi::plugin;
use crate::keystore::Reporter;

/// Rotates one key, or all of them. An error is what the statement fails with.
pub(super) fn rotate(keys: Keys) -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    match keys {
        Keys::One(id) => store.rotate(id).map(|_| ()).map_err(|error| {
            let text = format!("rotation failed: {error}");
            ErrorLog.error(&text);
            text
        }),
        Keys::All => {
            // The key store has logged each failure, and how many were rotated.
            store.rotate_all().map(|_| ()).map_err(|error| format!("rotation failed: {error}"))
        }
    }
}
