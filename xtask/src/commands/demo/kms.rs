//! The KMS that the demo's server uses: the emulator, or the real one.

use std::path::Path;

use anyhow::Result;

use crate::kms_emulator::{Emulator, Environment, server_environment};
use crate::terminal::detail;

/// Where the data keys come from.
pub enum Kms {
    /// A local emulator, and nothing of the machine's AWS settings.
    Emulator(Box<Emulator>),
    /// AWS, with the settings that the SDK finds by itself, and this master key: its ARN, id or alias.
    Aws(String),
}

impl Kms {
    /// The real one for `master_key`, else an emulator whose files go to `folder`; says which.
    pub fn choose(folder: &Path, master_key: Option<String>) -> Result<Self> {
        let settings = settings_of_the_machine();
        let Some(master_key) = master_key else {
            let emulator = Emulator::start(folder)?;
            detail(format_args!("An emulator of AWS KMS on this machine, {}; nothing leaves it.", emulator.endpoint()));
            if settings.iter().any(|setting| is_identity(setting)) {
                detail(
                    "AWS credentials were found and are not used: for the real KMS set AWS_KMS_MASTER_KEY_ID \
                     to a key's ARN, id or alias/name.",
                );
            }
            return Ok(Self::Emulator(Box::new(emulator)));
        };
        detail(format_args!("The real AWS KMS, with the master key {master_key} (AWS_KMS_MASTER_KEY_ID)."));
        detail(if settings.is_empty() {
            "No AWS settings in the environment or ~/.aws: the SDK looks for an instance or container role.".to_owned()
        } else {
            format!("AWS settings found here: {}", settings.join(", "))
        });
        Ok(Self::Aws(master_key))
    }

    /// The plugin's variables for this KMS, as lines of a my.cnf.
    pub fn variables(&self) -> String {
        match self {
            Self::Emulator(emulator) => emulator.variables(),
            Self::Aws(master_key) => format!("aws_key_management_master_key_id = {master_key}\n"),
        }
    }

    /// The server's whole environment, with `home` as an empty home folder; `None` if it inherits ours.
    pub fn environment(&self, home: &Path) -> Option<Environment> {
        matches!(self, Self::Emulator(_)).then(|| server_environment(home))
    }
}

/// The value of `AWS_KMS_MASTER_KEY_ID`, which asks for the real KMS.
pub fn master_key_of_the_environment() -> Option<String> {
    std::env::var("AWS_KMS_MASTER_KEY_ID").ok().filter(|id| !id.is_empty())
}

/// The names of what the SDK may take identity, region and endpoint from on this machine. Names only: values may be secrets.
fn settings_of_the_machine() -> Vec<String> {
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
fn is_identity(setting: &str) -> bool {
    ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"].contains(&setting)
        || setting.starts_with("AWS_CONTAINER_CREDENTIALS_")
        || setting.ends_with(".aws/credentials")
}
