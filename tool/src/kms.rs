//! How KMS is reached: as the plugin reaches it.

use std::time::Duration;

use anyhow::{Context, Result};
use aws_key_management::kms::MasterKeyId;
use aws_key_management::kms::aws::{AwsKms, AwsSettings, Endpoints, Remark};

/// What the plugin's variables of the same names say.
#[derive(clap::Args)]
pub struct Connection {
    /// The AWS region, if the environment and the AWS files do not say it
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Another endpoint of KMS than the region's, such as that of a VPC; also `region=URL`, separated by semicolons
    #[arg(long, value_name = "URL", value_parser = endpoints)]
    pub endpoint_url: Option<(String, Endpoints)>,
    /// How long a connection to KMS and an attempt of a call may take
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub request_timeout: Option<u32>,
    /// How long KMS is given to unwrap all keys
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
}

impl Connection {
    /// Nothing is asked of KMS yet. What is to be looked at goes to stderr. `master_key` is what wraps new keys, if any are made.
    pub fn connect(&self, master_key: Option<&MasterKeyId>) -> Result<AwsKms> {
        let endpoints = self.endpoint_url.clone().unwrap_or_default().1;
        let settings = AwsSettings {
            region: self.region.clone(),
            endpoint_url: endpoints.default,
            region_endpoints: endpoints.of_regions,
            master_key: master_key.cloned(),
            request_timeout: self.request_timeout.map(|time| Duration::from_millis(time.into())),
            ..AwsSettings::default()
        };
        for remark in settings.remarks() {
            match remark {
                Remark::Warning(text) => eprintln!("aws-key-management: warning: {text}"),
                Remark::Note(text) => eprintln!("aws-key-management: note: {text}"),
            }
        }
        AwsKms::new(settings).context("the AWS client could not be started")
    }

    /// How long KMS is given to unwrap all keys.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// As they were written, and what they say.
fn endpoints(text: &str) -> Result<(String, Endpoints), String> {
    Endpoints::parse(text).map(|endpoints| (text.to_owned(), endpoints))
}
