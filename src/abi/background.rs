//! The plugin's thread for work that nobody waits for, from init to deinit.

use std::sync::{Arc, Mutex, PoisonError};

use super::error_log::ErrorLog;
use super::server::Server;
use super::signals;
use crate::keystore::{Background, Job, KeyStore, Reporter};

/// Starts it. Without it, all goes on but what nobody waits for.
pub(super) fn start(store: &Arc<KeyStore>, server: &Server) {
    if !server.role().writes() {
        return;
    }
    let mut jobs = vec![store.retry_job(), store.verify_job(), store.rotation_job(), store.extra_copies_job()];
    let raises_again = server.is_starting() && !server.never_serves();
    if raises_again {
        jobs.push(Box::new(signals::RaiseWhenStarted) as Box<dyn Job>);
    }
    match Background::start(store.bell(), jobs, &ErrorLog) {
        Ok(background) => {
            *BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
            signals::set_raised_again(raises_again);
        }
        Err(error) => ErrorLog.warning(&format!(
            "no thread could be started for work in the background ({error}): until the server is restarted, keys that failed are \
             tried again only when they are asked for, none is rotated because of its age, no copies are made under extra master \
             keys, and nobody looks whether a restart would work but who sets verify_keys. See TasksMax= of the server's service"
        )),
    }
}

/// Ends it, within a second. The waits of the plugin have to end already: see [`super::waiting::Phase::Ending`].
pub(super) fn end() {
    signals::set_raised_again(false);
    drop(BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner).take());
}

static BACKGROUND: Mutex<Option<Background>> = Mutex::new(None);
