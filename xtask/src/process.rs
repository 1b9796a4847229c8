//! A child process that ends with us: on the ordinary way, after an error, and when this program is killed.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use duct::unix::HandleExt;
use duct::{Expression, Handle, cmd};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use signal_hook::consts::SIGTERM;

use crate::interrupt;

/// A started child. Dropped, it is killed, which duct leaves to us.
pub struct Process {
    name: String,
    handle: Handle,
}

impl Process {
    /// Starts `command`, without standard input unless it says otherwise.
    pub fn start(name: &str, command: &Expression) -> Result<Self> {
        let handle = command.stdin_null().unchecked().start().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), handle })
    }

    /// Waits for the end and does `meanwhile` again and again until then, and once after it.
    /// After Ctrl-C the child is ended and the wait fails.
    pub fn wait(&self, mut meanwhile: impl FnMut() -> Result<()>) -> Result<ExitStatus> {
        loop {
            let ended = self.wait_at_most(Duration::from_millis(50))?;
            meanwhile()?;
            if let Some(status) = ended {
                return Ok(status);
            }
            if let Err(interrupted) = interrupt::check() {
                self.pass_on_interrupt()?;
                return Err(interrupted);
            }
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(self.handle.try_wait()?.map(|output| output.status))
    }

    /// Asks it to end with SIGTERM, and kills it if it has not ended after `patience`.
    pub fn terminate(&self, patience: Duration) -> Result<ExitStatus> {
        self.handle.send_signal(SIGTERM).with_context(|| format!("ending {}", self.name))?;
        self.wait_or_kill(patience)
    }

    /// Kills it and waits for the end.
    pub fn kill(&self) -> Result<()> {
        self.handle.kill()?;
        self.handle.wait()?;
        Ok(())
    }

    /// The id of the process.
    pub fn id(&self) -> Result<i32> {
        let id = self.handle.pids().into_iter().next().with_context(|| format!("{} has ended", self.name))?;
        Ok(i32::try_from(id)?)
    }

    /// Does for a child in a group of its own what the terminal does for those in ours. mysql-test-run takes its servers
    /// along only in this way.
    fn pass_on_interrupt(&self) -> Result<ExitStatus> {
        let id = self.id().ok().and_then(Pid::from_raw);
        match id.filter(|id| getpgid(Some(*id)).is_ok_and(|group| group == *id)) {
            None => self.terminate(PATIENCE),
            Some(group) => {
                kill_process_group(group, Signal::INT).with_context(|| format!("ending {}", self.name))?;
                self.wait_or_kill(PATIENCE)
            }
        }
    }

    fn wait_or_kill(&self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.wait_at_most(patience)? {
            return Ok(status);
        }
        self.handle.kill()?;
        Ok(self.handle.wait()?.status)
    }

    fn wait_at_most(&self, time: Duration) -> Result<Option<ExitStatus>> {
        Ok(self.handle.wait_timeout(time)?.map(|output| output.status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; for an ended child both do nothing.
        let _ = self.handle.kill();
        let _ = self.handle.wait();
    }
}

/// A command for a process in the background. The kernel kills it when this program dies, however it dies; it is in a
/// group of its own, so that Ctrl-C reaches it only through us.
pub fn background(words: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
    let setpriv = ["--pdeathsig", "KILL", "--"].map(OsString::from);
    cmd("setpriv", setpriv.into_iter().chain(words.into_iter().map(Into::into))).before_spawn(|command| {
        command.process_group(0);
        Ok(())
    })
}

const PATIENCE: Duration = Duration::from_secs(10);
