//! `--wsrep_recover` in a datadir that holds nothing, such as one that was emptied for a state transfer of Galera. No key is
//! made for it, so InnoDB, if it is to encrypt, would not start, nor would the node: `galera_recovery` and `mysqld_safe` ask
//! for the position before each start. A datadir without data has none, and to say so is all that this server was started for.

use std::path::Path;

use super::error_log::ErrorLog;
use super::server::Server;
use crate::keystore::{KeyStoreError, Reporter, Role};

/// To be called with what keeps the server from having a key. Ends the process, in the way of a server that has said its
/// position, if this is a recovery and the datadir holds nothing.
pub(super) fn end_if_nothing_is_here(error: &KeyStoreError) {
    let is_refused = matches!(error, KeyStoreError::RecoveryCreatesNothing(..));
    // The server has made its datadir its working directory.
    if !is_refused || Server::current().role() != Role::Recovery || !holds_nothing(Path::new(".")) {
        return;
    }
    ErrorLog
        .note("the datadir holds no data, so no key is made for --wsrep_recover, and there is no position to recover");
    // What the scripts look for: the position is the rest of the line.
    ErrorLog.note(NO_POSITION);
    // SAFETY: a system call. No storage engine but Aria has opened a file yet, and Aria's log has nothing in it.
    unsafe { libc::_exit(0) }
}

/// Whether there is no tablespace, no redo log, and no system table.
fn holds_nothing(datadir: &Path) -> bool {
    ["ibdata1", "ib_logfile0", "mysql"].iter().all(|name| matches!(datadir.join(name).try_exists(), Ok(false)))
}

const NO_POSITION: &str = "WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datadir_holds_something_if_there_is_a_tablespace_or_a_redo_log_or_a_system_table() {
        let datadir = tempfile::tempdir().expect("folder");
        assert!(holds_nothing(datadir.path()));
        std::fs::write(datadir.path().join("aria_log_control"), b"").expect("write");
        assert!(holds_nothing(datadir.path()), "every start makes that one");
        for name in ["ibdata1", "ib_logfile0", "mysql"] {
            std::fs::write(datadir.path().join(name), b"").expect("write");
            assert!(!holds_nothing(datadir.path()), "{name}");
            std::fs::remove_file(datadir.path().join(name)).expect("remove");
        }
    }
}
