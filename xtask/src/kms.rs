//! The KMS that a demo's server uses: the emulator, or the real one.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::emulator::Emulator;

/// Where the data keys come from.
pub enum Kms {
    /// A local emulator, and nothing of the machine's AWS settings.
    Emulator(Emulator),
    /// AWS, with the settings that the SDK finds by itself.
    Aws {
        /// ARN, key id or alias of the master key.
        master_key_id: String,
    },
}

impl Kms {
    /// An emulator whose files go to `folder`.
    pub fn emulator(folder: &Path) -> Result<Self> {
        Ok(Self::Emulator(Emulator::start(folder, EMULATED_KEY)?))
    }

    /// The plugin's variables for this KMS, as lines of a my.cnf.
    pub fn variables(&self) -> Vec<String> {
        match self {
            Self::Emulator(emulator) => vec![
                format!("aws_key_management_master_key_id = {EMULATED_KEY}"),
                format!("aws_key_management_endpoint_url = {}", emulator.endpoint()),
            ],
            Self::Aws { master_key_id } => vec![format!("aws_key_management_master_key_id = {master_key_id}")],
        }
    }

    /// The server's whole environment, with `home` as an empty home folder; `None` if it inherits ours.
    pub fn environment(&self, home: &Path) -> Option<Vec<(OsString, OsString)>> {
        match self {
            Self::Aws { .. } => None,
            Self::Emulator(_) => {
                let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
                let fixed = [
                    ("AWS_ACCESS_KEY_ID", "AKIAEMULATOR".into()),
                    ("AWS_SECRET_ACCESS_KEY", "not-a-secret".into()),
                    ("AWS_REGION", "us-east-1".into()),
                    ("AWS_EC2_METADATA_DISABLED", "true".into()),
                    ("HOME", home.into()),
                ];
                Some(path.into_iter().chain(fixed.map(|(name, value)| (name.into(), value))).collect())
            }
        }
    }

    /// Ends an emulator.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Emulator(emulator) => emulator.stop(),
            Self::Aws { .. } => Ok(()),
        }
    }
}

/// The value of `AWS_KMS_MASTER_KEY_ID`, which asks for the real KMS.
pub fn master_key_of_the_environment() -> Option<String> {
    std::env::var("AWS_KMS_MASTER_KEY_ID").ok().filter(|id| !id.is_empty())
}

/// The names of what the SDK may take identity, region and endpoint from on this machine. Names only: values may be secrets.
pub fn settings_of_the_machine() -> Vec<String> {
    let mut found: Vec<String> = std::env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("AWS_") && name != "AWS_KMS_MASTER_KEY_ID")
        .collect();
    found.sort();
    if let Some(home) = std::env::home_dir() {
        let files = ["credentials", "config"].map(|name| home.join(".aws").join(name));
        found.extend(files.iter().filter(|file| file.exists()).map(|file| file.display().to_string()));
    }
    found
}

/// Whether a setting says who we are.
pub fn is_identity(setting: &str) -> bool {
    ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"].contains(&setting)
        || setting.starts_with("AWS_CONTAINER_CREDENTIALS_")
        || setting.ends_with(".aws/credentials")
}

const EMULATED_KEY: &str = "alias/demo";
