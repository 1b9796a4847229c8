//! The KMS emulator: its Python environment, and a running one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, Process};
use crate::{command, console, interrupt, paths};

/// A running emulator with one master key. Dropped, it ends.
pub struct Emulator {
    process: Process,
    endpoint: String,
}

impl Emulator {
    /// Starts one with the master key `alias`, on a free port; its files go to `folder`, which may be short-lived.
    pub fn start(folder: &Path, alias: &str) -> Result<Self> {
        let log = folder.join("kms-emulator.log");
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = process::background(python());
        command
            .arg(script())
            .args(["--port", "0", "--key", alias, "--state"])
            .arg(folder.join("kms-emulator.json"))
            .current_dir(folder)
            // Nothing of the machine's AWS settings, and none of Python's.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", folder)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut process = Process::start("the KMS emulator", &mut command)?;
        let started = Instant::now();
        loop {
            let said = std::fs::read_to_string(&log)?;
            if let Some(endpoint) = ready_at(&said) {
                return Ok(Self { process, endpoint: endpoint.to_owned() });
            }
            if let Some(status) = process.ended()? {
                bail!("the KMS emulator ended ({status}); it said:\n{said}");
            }
            if started.elapsed() > START_DEADLINE {
                bail!("the KMS emulator was not ready after {}; it said:\n{said}", console::seconds(START_DEADLINE));
            }
            interrupt::sleep(Duration::from_millis(20))?;
        }
    }

    /// Where it answers, as a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Ends it and waits for the end.
    pub fn stop(mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(5)).map(drop)
    }
}

/// Makes the emulator's Python environment if it is missing or outdated.
pub fn ensure() -> Result<()> {
    let home = environment();
    let requirements = folder().join("requirements.txt");
    let wanted =
        std::fs::read_to_string(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    // Written last, so that an interrupted installation is begun anew.
    let done = home.join("installed-requirements.txt");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    console::step(format_args!("Installing the KMS emulator (moto) into {}", paths::short(&home)));
    if home.exists() {
        std::fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
    }
    // The system's own Python, to which the package python3-venv belongs.
    command::quietly("python3 -m venv", Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&home))?;
    command::quietly(
        "pip install",
        Command::new(python())
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements),
    )?;
    std::fs::write(&done, wanted).with_context(|| format!("writing {}", done.display()))
}

/// The Python environment that the emulator runs in.
pub fn environment() -> PathBuf {
    paths::target().join("kms-emulator")
}

/// That environment's interpreter.
pub fn python() -> PathBuf {
    environment().join("bin/python")
}

/// The emulator's sources.
pub fn folder() -> PathBuf {
    paths::repository().join("tests/kms_emulator")
}

fn script() -> PathBuf {
    folder().join("kms_emulator.py")
}

fn ready_at(said: &str) -> Option<&str> {
    said.split_inclusive('\n')
        .find_map(|line| line.strip_suffix('\n')?.split_once("kms emulator ready on "))
        .map(|(_, endpoint)| endpoint.trim())
}

const START_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::ready_at;

    #[test]
    fn the_endpoint_is_taken_from_a_complete_line() {
        assert_eq!(ready_at("noise\nkms emulator ready on http://127.0.0.1:4100\n"), Some("http://127.0.0.1:4100"));
        assert_eq!(ready_at("kms emulator ready on http://127.0.0.1:41"), None);
    }
}
