//! What the JSON documents beside the wrapped keys have in common: key files of format 2, and the manifest.

use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::cipher::Algorithm;

/// Every document says its format, also those that a later version of the plugin writes.
#[derive(Deserialize)]
pub(super) struct AnyDocument {
    pub(super) format: u32,
}

/// The values of aws_key_management_encryption_algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum AlgorithmName {
    #[serde(rename = "AES_CBC")]
    AesCbc,
    #[serde(rename = "AES_CTR")]
    AesCtr,
}

impl From<Algorithm> for AlgorithmName {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::AesCbc => Self::AesCbc,
            Algorithm::AesCtr => Self::AesCtr,
        }
    }
}

impl From<AlgorithmName> for Algorithm {
    fn from(name: AlgorithmName) -> Self {
        match name {
            AlgorithmName::AesCbc => Self::AesCbc,
            AlgorithmName::AesCtr => Self::AesCtr,
        }
    }
}

/// RFC 3339, in UTC, to the second.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    let date_time = aws_smithy_types::DateTime::from_secs(seconds);
    date_time.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap_or_default()
}

/// The time that [`timestamp`] has written.
pub(super) fn time(timestamp: &str) -> Option<SystemTime> {
    let date_time = aws_smithy_types::DateTime::from_str(timestamp, aws_smithy_types::date_time::Format::DateTime);
    date_time.ok()?.try_into().ok()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A document that a person can read.
pub(super) fn json(document: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(document)?;
    bytes.push(b'\n');
    Ok(bytes)
}
