//! What a SET of rewrap_key does. When in the statement it is done, and what a failure does to that, is in `key_command`.

use super::key_command::Keys;
use crate::abi::error_log::{self, ErrorLog};
use crate::abi::plugin;
use crate::keystore::{AllRewrapped, KeyName, Reporter};

/// Re-wraps the versions of one key, or of all. An error is what the statement fails with; the key store has logged each
/// failure.
pub(super) fn rewrap(keys: Keys) -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    let AllRewrapped { count, master_keys, retired, taken_back } =
        store.rewrap(keys.only()).map_err(|error| error.to_string())?;
    let master_keys = master_keys.into_iter().collect::<Vec<_>>().join(", ");
    let by = match master_keys.is_empty() {
        true => String::new(),
        false => format!(": they are wrapped by {master_keys} now"),
    };
    // Who has set another master key in the same statement sees here that it came too late.
    tell(&format!("re-wrapped all {count} key versions that were asked for{by}"));
    if let [first, ..] = &retired[..] {
        let id = first.id;
        tell(&format!(
            "{}: in memory, and retired: left out. If data needs that all the same, SET GLOBAL aws_key_management_rewrap_key = {id} makes \
             the file anew",
            names(&retired)
        ));
    }
    if !taken_back.is_empty() {
        let text = format!(
            "{}: retired before, and needed again from now on: its file was made anew of what is in memory. If that was not meant, \
             retire it again, and restart the server before the next re-wrap of its key",
            names(&taken_back)
        );
        ErrorLog.warning(&text);
        error_log::warn_statement(&text);
    }
    Ok(())
}

/// In the log, and to who waits.
fn tell(text: &str) {
    ErrorLog.note(text);
    error_log::note_in_statement(text);
}

/// The first one, and how many more there are.
fn names(names: &[KeyName]) -> String {
    match names {
        [] => String::new(),
        [only] => only.to_string(),
        [first, more @ ..] => format!("{first}, and {} more", more.len()),
    }
}
