//! The KMS emulator of tests/kms_emulator: its Python environment, and a running one.

mod python;

use std::ops::Deref;
use std::path::Path;

use ::kms_emulator::Control;
use anyhow::Result;
use serde_json::json;

pub use self::python::{ensure, environment, python};
pub use ::kms_emulator::scripts;

/// A running emulator with one master key, which does all that [`Control`] can. Dropped, it ends.
pub struct Emulator(::kms_emulator::Emulator);

impl Emulator {
    /// Starts one on a free port; its files go to `folder`, which may be short-lived.
    pub fn start(folder: &Path) -> Result<Self> {
        ::kms_emulator::Emulator::start(&python(), folder, MASTER_KEY).map(Self)
    }

    /// The plugin's variables for it, as lines of a my.cnf.
    pub fn variables(&self) -> String {
        format!(
            "aws_key_management_master_key_id = {MASTER_KEY}\naws_key_management_endpoint_url = {}\n",
            self.endpoint()
        )
    }

    /// The name of its master key.
    pub fn own_master_key(&self) -> &'static str {
        MASTER_KEY
    }

    /// From now on, or for that many `times`, `operation` is answered as the `kind` of fault says.
    pub fn refuse(&self, operation: &str, kind: &str, times: Option<u32>) -> Result<()> {
        self.fault(&json!({"operation": operation, "kind": kind, "times": times}))
    }

    /// A new data key of 128 bits, as a key file holds it.
    pub fn new_wrapped_key(&self) -> Result<Vec<u8>> {
        self.wrapped_key(MASTER_KEY)
    }
}

impl Deref for Emulator {
    type Target = Control;

    fn deref(&self) -> &Control {
        self.0.control()
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

const MASTER_KEY: &str = "alias/demo";
