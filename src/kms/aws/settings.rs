//! How KMS is reached.

use std::time::Duration;

/// How KMS is reached. What is not set here, the SDK finds in the environment, the AWS files of the server's user, or
/// the instance's metadata.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// AWS region, such as `eu-central-1`. Without one anywhere, it is us-east-1.
    pub region: Option<String>,
    /// Replaces the endpoint of KMS in the region, such as `https://vpce-1a2b.kms.eu-central-1.vpce.amazonaws.com`.
    pub endpoint_url: Option<String>,
    /// How long a connection may take to be made, and one attempt of a call to be answered.
    pub request_timeout: Option<Duration>,
}

impl AwsSettings {
    pub(super) fn timeouts(&self) -> Timeouts {
        match self.request_timeout {
            Some(timeout) => {
                Timeouts { connect: timeout, attempt: timeout, operation: timeout * 3 + Duration::from_secs(5) }
            }
            None => Timeouts {
                connect: Duration::from_millis(3100),
                attempt: Duration::from_secs(5),
                operation: Duration::from_secs(20),
            },
        }
    }
}

/// How long the SDK waits.
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) attempt: Duration,
    /// All attempts together, with the pauses between them and the search for credentials.
    pub(super) operation: Duration,
}
