//! The KMS emulator of `tests/kms_emulator/`: a running one, and what it does besides being a KMS.

mod control;

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use control::Control;

/// A running emulator with one master key. Dropped, it ends; it also does if this program ends in any other way.
pub struct Emulator {
    process: Child,
    control: Control,
}

impl Emulator {
    /// Starts one on a free port, with the interpreter `python` (see [`environment`]) and the master key `key`, an alias or
    /// `ALIAS=REGION`. Its state and what it says go to `folder`, which must outlive it.
    pub fn start(python: &Path, folder: &Path, key: &str) -> Result<Self> {
        let log = folder.join("kms-emulator.log");
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(python);
        command
            .arg(scripts().join("kms_emulator.py"))
            .args(["--port", "0", "--die-with-parent", "--key", key, "--state"])
            .arg(folder.join("kms-emulator.json"))
            .current_dir(folder)
            // Nothing of the machine's AWS settings, and none of Python's.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", folder)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // Ctrl-C is for us, who may still need it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process =
            command.spawn().with_context(|| format!("starting the KMS emulator with {}", python.display()))?;
        let mut emulator = Self { process, control: Control::at(String::new()) };
        emulator.control = Control::at(emulator.wait_until_ready(&log)?);
        Ok(emulator)
    }

    /// Where it answers, as a URL.
    pub fn endpoint(&self) -> &str {
        self.control.endpoint()
    }

    /// What it does besides being a KMS.
    pub fn control(&self) -> &Control {
        &self.control
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<String> {
        let started = Instant::now();
        loop {
            let said = std::fs::read_to_string(log)?;
            if let Some(endpoint) = ready_at(&said) {
                return Ok(endpoint.to_owned());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("the KMS emulator ended ({status}); it said:\n{said}");
            }
            if started.elapsed() > START_DEADLINE {
                bail!("the KMS emulator was not ready after {} s; it said:\n{said}", START_DEADLINE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; what it keeps it replaces whole.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The emulator's sources.
pub fn scripts() -> PathBuf {
    repository().join("tests/kms_emulator")
}

/// The Python environment that `cargo xtask setup` makes for it.
pub fn environment() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    target.map_or_else(|| repository().join("target"), PathBuf::from).join("kms-emulator")
}

/// The interpreter of that environment, or the one that `KMS_EMULATOR_PYTHON` names. An error if it is not there.
pub fn python() -> Result<PathBuf> {
    let named = std::env::var_os("KMS_EMULATOR_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| environment().join("bin/python"));
    if !python.exists() {
        bail!("{} is missing: run `cargo xtask setup`", python.display());
    }
    Ok(python)
}

/// The root of the checkout, in which this crate's folder lies.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
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
