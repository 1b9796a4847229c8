//! A child process that ends with us: on the ordinary way, after an error, and when this program is killed.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};

use crate::interrupt;

/// A started child. Dropped, it is killed.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`, which gets no standard input unless one was set before.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Waits for the end and does `meanwhile` again and again until then, and once after it.
    /// After Ctrl-C the child is ended and the wait fails.
    pub fn wait(mut self, mut meanwhile: impl FnMut() -> Result<()>) -> Result<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            let status = self.child.try_wait()?;
            meanwhile()?;
            if let Some(status) = status {
                return Ok(status);
            }
            if let Err(interrupted) = interrupt::sleep(pause) {
                self.pass_on_interrupt()?;
                return Err(interrupted);
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end with SIGTERM, and kills it if it has not ended after `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(self.id(), Signal::TERM).with_context(|| format!("ending {}", self.name))?;
        self.wait_or_kill(patience)
    }

    /// Does for a child in a group of its own what the terminal does for those in ours. mysql-test-run takes its servers
    /// along only in this way.
    fn pass_on_interrupt(&mut self) -> Result<ExitStatus> {
        let leads_a_group = getpgid(Some(self.id())).is_ok_and(|group| group == self.id());
        if !leads_a_group {
            return self.terminate(PATIENCE);
        }
        kill_process_group(self.id(), Signal::INT).with_context(|| format!("ending {}", self.name))?;
        self.wait_or_kill(PATIENCE)
    }

    fn wait_or_kill(&mut self, patience: Duration) -> Result<ExitStatus> {
        let asked = Instant::now();
        while asked.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            // Not an interruptible sleep: this is also what happens after an interruption.
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; for an ended child both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command for a process in the background. The kernel kills it when this program dies, however it dies; it is in a
/// group of its own, so that Ctrl-C reaches it only through us.
pub fn background(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null()).process_group(0);
    command
}

const PATIENCE: Duration = Duration::from_secs(10);
