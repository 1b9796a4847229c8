//! Ways to run a command to its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::console::{self, Progress};
use crate::process::Process;

/// Runs a command whose own output is the progress.
pub fn visibly(name: &str, command: &mut Command) -> Result<()> {
    console::detail(console::dim(format_args!("$ {name}")));
    let status = Process::start(name, command.stdin(Stdio::null()))?.wait(|| Ok(()))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Runs a command and shows dots while it takes long, and its output only if it fails.
pub fn quietly(name: &str, command: &mut Command) -> Result<()> {
    quietly_fed(name, command, Stdio::null())
}

/// The same, with `input` as its standard input.
pub fn quietly_fed(name: &str, command: &mut Command, input: impl Into<Stdio>) -> Result<()> {
    let log = temporary_file()?;
    let both = log.reopen()?;
    let mut progress = Progress::new(name);
    let command = command.stdin(input).stdout(both.try_clone()?).stderr(both);
    let status = Process::start(name, command)?.wait(|| {
        progress.tick();
        Ok(())
    })?;
    drop(progress);
    if !status.success() {
        bail!("{name} failed ({status}); it said:\n{}", text(&log)?);
    }
    Ok(())
}

/// What a command printed to its standard output; if it fails, an error with what it said.
pub fn output(name: &str, command: &mut Command) -> Result<String> {
    let (out, errors) = (temporary_file()?, temporary_file()?);
    let status = Process::start(name, command.stdin(Stdio::null()).stdout(out.reopen()?).stderr(errors.reopen()?))?
        .wait(|| Ok(()))?;
    if !status.success() {
        bail!("{name} failed ({status}): {}", text(&errors)?.trim());
    }
    text(&out)
}

/// Runs a command and hands over each line of its standard output as it comes; a failure is for the caller to judge.
pub fn lines(name: &str, command: &mut Command, each: impl FnMut(&str)) -> Result<ExitStatus> {
    let log = temporary_file()?;
    follow(name, command.stdout(log.reopen()?), &log, each)
}

/// The same with the lines of its standard error output among them.
pub fn all_lines(name: &str, command: &mut Command, each: impl FnMut(&str)) -> Result<ExitStatus> {
    let log = temporary_file()?;
    let both = log.reopen()?;
    follow(name, command.stdout(both.try_clone()?).stderr(both), &log, each)
}

fn follow(name: &str, command: &mut Command, log: &NamedTempFile, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    // A file, not a pipe: reading it never waits, so Ctrl-C is noticed even if the command is silent.
    let mut reader = BufReader::new(log.reopen()?);
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
    let status = Process::start(name, command.stdin(Stdio::null()))?.wait(|| read_on(false))?;
    read_on(true)?;
    Ok(status)
}

fn temporary_file() -> Result<NamedTempFile> {
    NamedTempFile::new().context("making a temporary file")
}

fn text(file: &NamedTempFile) -> Result<String> {
    let mut bytes = Vec::new();
    file.reopen()?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
