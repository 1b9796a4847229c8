//! Ways to run a command to its end.

use std::io::{BufRead, BufReader, Read};
use std::process::ExitStatus;

use anyhow::{Context, Result, bail};
use duct::Expression;
use tempfile::NamedTempFile;

use crate::process::Process;
use crate::terminal::{self, Progress};

/// Runs a command whose own output is the progress.
pub fn visibly(name: &str, command: &Expression) -> Result<()> {
    terminal::aside(format_args!("$ {name}"));
    let status = Process::start(name, command)?.wait(|| Ok(()))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Runs a command with progress while it takes long, and shows its output only if it fails.
pub fn quietly(name: &str, command: &Expression) -> Result<()> {
    let log = Log::new()?;
    let mut progress = Progress::new(name);
    let status = Process::start(name, &command.stderr_to_stdout().stdout_file(log.writer()?))?.wait(|| {
        progress.tick();
        Ok(())
    })?;
    drop(progress);
    if !status.success() {
        bail!("{name} failed ({status}); it said:\n{}", log.text()?);
    }
    Ok(())
}

/// What a command printed to its standard output; if it fails, an error with what it said.
pub fn output(name: &str, command: &Expression) -> Result<String> {
    let (out, errors) = (Log::new()?, Log::new()?);
    let command = command.stdout_file(out.writer()?).stderr_file(errors.writer()?);
    let status = Process::start(name, &command)?.wait(|| Ok(()))?;
    if !status.success() {
        bail!("{name} failed ({status}): {}", errors.text()?.trim());
    }
    out.text()
}

/// Runs a command and hands over each line of its output as it comes; a failure is for the caller to judge.
pub fn lines(name: &str, command: &Expression, each: impl FnMut(&str)) -> Result<ExitStatus> {
    lines_meanwhile(name, command, each, || {})
}

/// The same with progress, for a command whose lines are not shown as they come.
pub fn lines_with_progress(name: &str, command: &Expression, each: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut progress = Progress::new(name);
    lines_meanwhile(name, command, each, || progress.tick())
}

fn lines_meanwhile(
    name: &str,
    command: &Expression,
    mut each: impl FnMut(&str),
    mut meanwhile: impl FnMut(),
) -> Result<ExitStatus> {
    let log = Log::new()?;
    let mut reader = BufReader::new(log.0.reopen()?);
    let mut line = Vec::new();
    let mut read_on = |to_the_end: bool| -> Result<()> {
        while reader.read_until(b'\n', &mut line)? > 0 {
            if line.ends_with(b"\n") || to_the_end {
                each(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        }
        Ok(())
    };
    let command = command.stderr_to_stdout().stdout_file(log.writer()?);
    let status = Process::start(name, &command)?.wait(|| {
        meanwhile();
        read_on(false)
    })?;
    read_on(true)?;
    Ok(status)
}

/// Where output goes. A file, not a pipe: reading it never waits, so Ctrl-C is noticed even if the command is silent, and
/// a grandchild that lives on holds nothing up.
struct Log(NamedTempFile);

impl Log {
    fn new() -> Result<Self> {
        NamedTempFile::new().map(Self).context("making a temporary file")
    }

    fn writer(&self) -> Result<std::fs::File> {
        Ok(self.0.reopen()?)
    }

    fn text(&self) -> Result<String> {
        let mut bytes = Vec::new();
        self.0.reopen()?.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
