//! The KMS emulator, started for one test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs until it is dropped.
pub struct Emulator {
    process: Child,
    url: String,
}

impl Emulator {
    /// With the master key [`MASTER_KEY`] in us-east-1.
    pub fn start() -> Self {
        Self::start_with(MASTER_KEY)
    }

    /// With the master key `key`, an alias or `ALIAS=REGION`.
    pub fn start_with(key: &str) -> Self {
        Self::start_as(&["--key", key])
    }

    /// With HTTPS, and with the options `more`; the certificate of its CA is `FOLDER/ca.pem`. Its control endpoints are
    /// out of reach.
    #[allow(dead_code)] // not every test has HTTPS
    pub fn start_tls(folder: &str, more: &[&str]) -> Self {
        Self::start_as(&[&["--key", MASTER_KEY, "--tls", folder], more].concat())
    }

    fn start_as(options: &[&str]) -> Self {
        let python = std::env::var_os("KMS_EMULATOR_PYTHON").map_or_else(default_python, PathBuf::from);
        assert!(python.exists(), "{} is missing: run `cargo xtask setup`", python.display());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kms_emulator/kms_emulator.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(["--port", "0", "--die-with-parent"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the emulator starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let url = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(url.starts_with("http"), "the emulator said: {line}");
        Self { process, url }
    }

    /// The endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, calls fail in this way; `fault` is JSON, as the emulator's README describes it.
    pub fn fault(&self, fault: &str) {
        self.post("fault", fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        ureq::delete(format!("{}/_emulator/fault", self.url)).call().expect("faults are cleared");
    }

    /// Changes the state of the master key: `Enabled`, `Disabled` or `PendingDeletion`.
    pub fn set_key_state(&self, state: &str) {
        self.post("key", &format!(r#"{{"alias": "{MASTER_KEY}", "state": "{state}"}}"#));
    }

    /// The next data keys are all this one, given in hexadecimal digits.
    pub fn set_marker(&self, hex: &str) {
        self.post("marker", &format!(r#"{{"plaintext_hex": "{hex}"}}"#));
    }

    /// How often an operation was called so far.
    pub fn count(&self, operation: &str) -> usize {
        let url = format!("{}/_emulator/calls?operation={operation}", self.url);
        let calls = ureq::get(url).call().expect("the list of calls").body_mut().read_to_string().expect("text");
        calls.matches("\"operation\"").count()
    }

    /// The access keys that signed the calls so far, in order, each once.
    #[allow(dead_code)] // not every test asks
    pub fn access_keys(&self) -> Vec<String> {
        let url = format!("{}/_emulator/calls", self.url);
        let calls = ureq::get(url).call().expect("the list of calls").body_mut().read_to_string().expect("text");
        let mut keys: Vec<String> = calls
            .split("\"access_key\":")
            .skip(1)
            .filter_map(|rest| Some(rest.split('"').nth(1)?.to_owned()))
            .collect();
        keys.dedup();
        keys
    }

    fn post(&self, what: &str, json: &str) {
        ureq::post(format!("{}/_emulator/{what}", self.url)).send(json).expect("the emulator accepts it");
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The alias of the emulator's master key.
pub const MASTER_KEY: &str = "alias/test";

/// Where `cargo xtask setup` installs it.
fn default_python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    target.join("kms-emulator/bin/python")
}
