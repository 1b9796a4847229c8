//! The KMS emulator of tests/kms_emulator: its Python environment, and a running one.

mod control;
mod python;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

pub use self::python::{ensure, environment, python, sources};
use crate::interrupt;
use crate::process::{Process, background};

/// A running emulator with one master key. Dropped, it ends.
pub struct Emulator {
    process: Process,
    endpoint: String,
}

impl Emulator {
    /// Starts one on a free port; its files go to `folder`, which may be short-lived.
    pub fn start(folder: &Path) -> Result<Self> {
        let log = folder.join("kms-emulator.log");
        let state = folder.join("kms-emulator.json");
        let words = [
            python().into_os_string(),
            sources().join("kms_emulator.py").into(),
            "--port=0".into(),
            format!("--key={MASTER_KEY}").into(),
            "--state".into(),
            state.into(),
        ];
        // Nothing of the machine's AWS settings, and none of Python's.
        let mut environment = own_environment(folder);
        environment.push(("PYTHONUNBUFFERED".into(), "1".into()));
        let command = background(words).dir(folder).full_env(environment);
        let process = Process::start("the KMS emulator", &command.stderr_to_stdout().stdout_path(&log))?;
        let endpoint = interrupt::wait_for("the KMS emulator gets ready", START_PATIENCE, || {
            let said = std::fs::read_to_string(&log)?;
            match (endpoint_in(&said), process.ended()?) {
                (Some(endpoint), _) => Ok(Some(endpoint.to_owned())),
                (None, Some(status)) => bail!("the KMS emulator ended ({status}); it said:\n{said}"),
                (None, None) => Ok(None),
            }
        })?;
        Ok(Self { process, endpoint })
    }

    /// Where it answers, as a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The plugin's variables for it, as lines of a my.cnf.
    pub fn variables(&self) -> String {
        format!(
            "aws_key_management_master_key_id = {MASTER_KEY}\naws_key_management_endpoint_url = {}\n",
            self.endpoint
        )
    }

    /// Ends it and waits for the end.
    pub fn stop(self) -> Result<()> {
        self.process.terminate(Duration::from_secs(5)).map(drop)
    }
}

/// The whole environment of a server that uses the emulator, with `home` as an empty home folder.
pub fn server_environment(home: &Path) -> Environment {
    let settings = [
        ("AWS_ACCESS_KEY_ID", "AKIAEMULATOR"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    own_environment(home).into_iter().chain(settings.map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Names and values.
pub type Environment = Vec<(std::ffi::OsString, std::ffi::OsString)>;

/// `PATH` and nothing else of this process.
pub fn own_environment(home: &Path) -> Environment {
    let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
    path.into_iter().chain([("HOME".into(), home.into())]).collect()
}

fn endpoint_in(said: &str) -> Option<&str> {
    said.split_inclusive('\n')
        .find_map(|line| line.strip_suffix('\n')?.split_once("kms emulator ready on "))
        .map(|(_, endpoint)| endpoint.trim())
}

const MASTER_KEY: &str = "alias/demo";
const START_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::endpoint_in;

    #[test]
    fn the_endpoint_is_taken_from_a_complete_line() {
        assert_eq!(endpoint_in("noise\nkms emulator ready on http://127.0.0.1:4100\n"), Some("http://127.0.0.1:4100"));
        assert_eq!(endpoint_in("kms emulator ready on http://127.0.0.1:41"), None);
    }
}
