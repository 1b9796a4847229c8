//! Ctrl-C. A signal only raises a flag: every wait in this program looks at it and returns an error, so that servers
//! are ended and folders removed on the ordinary way out. A second Ctrl-C ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::terminal::{Progress, seconds};

/// From now on a signal raises the flag.
pub fn watch() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order counts: at the second signal the flag is already up and the first handler ends the program.
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_CODE.into(), INTERRUPTED.clone())?;
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

/// An error once a signal has come.
pub fn check() -> Result<()> {
    if has_come() {
        bail!("interrupted");
    }
    Ok(())
}

/// Whether a signal has come.
pub fn has_come() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Sleeps for `pause`, which should be short: a signal is noticed after it.
pub fn sleep(pause: Duration) -> Result<()> {
    std::thread::sleep(pause);
    check()
}

/// Asks `question` until it has an answer, at most for `patience`; `what` says for a person what is waited for.
pub fn wait_for<T>(what: &str, patience: Duration, mut question: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let mut progress = Progress::new(what);
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if started.elapsed() > patience {
            bail!("{what}: not within {}", seconds(patience));
        }
        progress.tick();
        sleep(Duration::from_millis(5))?;
    }
}

/// The exit code of an interrupted program, as shells give it for Ctrl-C.
pub const EXIT_CODE: u8 = 130;

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
