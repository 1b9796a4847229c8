//! In whose process the plugin is: a server makes keys, mariadb-backup only reads them.

use std::sync::atomic::Ordering;

use super::symbols::{
    ERROR_HANDLER_HOOK, MY_MESSAGE_SQL, MY_MESSAGE_STDERR, MYSQLD_SERVER_INITIALIZED, OF_MARIADB_BACKUP, Symbols,
};
use crate::keystore::Role;

/// The role, if all signs agree on it. To be asked in init: a server sets some of the signs while it starts.
pub(super) fn from_signs(symbols: Symbols) -> Option<Role> {
    let of_a_server = [hook_is_the_servers(symbols), is_initialised(symbols)];
    let of_a_backup = OF_MARIADB_BACKUP.iter().any(|symbol| symbols.has(symbol));
    match (of_a_server.contains(&Some(true)), of_a_server.contains(&Some(false)), of_a_backup) {
        (true, false, false) => Some(Role::Server),
        (false, _, true) => Some(Role::Backup),
        _ => None,
    }
}

/// Who gets errors: a server's own function, or mariadb-backup's.
fn hook_is_the_servers(symbols: Symbols) -> Option<bool> {
    let hook = symbols.variable(&ERROR_HANDLER_HOOK)?.load(Ordering::Relaxed);
    let is = |symbol| symbols.has(symbol) && symbols.address(symbol) == hook;
    match (is(&MY_MESSAGE_SQL), is(&MY_MESSAGE_STDERR)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

fn is_initialised(symbols: Symbols) -> Option<bool> {
    symbols.variable(&MYSQLD_SERVER_INITIALIZED).map(|is| is.load(Ordering::Relaxed) != 0)
}
