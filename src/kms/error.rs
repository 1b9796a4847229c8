//! What can go wrong with a call of KMS, in the classes that call for different remedies.

use std::fmt;

/// A call of KMS that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("KMS {call} failed: {class}{}. {}.{}", self.ids(), class.remedy(*call), self.reason())]
pub struct KmsError {
    /// The call.
    pub call: Call,
    /// What kind of failure it was: decides about retries and about the remedy.
    pub class: Class,
    /// The error code of AWS, such as `AccessDeniedException`, if AWS answered with one.
    pub code: Option<String>,
    /// AWS's id of the request, which its support and CloudTrail know.
    pub request_id: Option<String>,
    /// What AWS or the network said, in one line. Never holds the body of an answer.
    pub detail: String,
}

/// A call of the KMS API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// GenerateDataKeyWithoutPlaintext
    GenerateDataKeyWithoutPlaintext,
    /// Decrypt
    Decrypt,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Class {
    /// Too many requests. Goes away by itself.
    #[error("throttled")]
    Throttled,
    /// No answer, a broken answer or a fault inside KMS. Goes away by itself, if the endpoint is right.
    #[error("KMS could not be reached or did not answer properly")]
    Transient,
    /// No credentials could be found; an instance role may turn up late.
    #[error("no AWS credentials")]
    NoCredentials,
    /// Credentials that AWS does not accept: expired, deleted, or the wrong secret.
    #[error("AWS does not accept the credentials")]
    BadCredentials,
    /// The identity may not do this.
    #[error("access denied")]
    Denied,
    /// The master key is disabled, pending deletion or unavailable.
    #[error("the master key is not usable")]
    Disabled,
    /// The master key does not exist in this account and region.
    #[error("the master key does not exist")]
    NotFound,
    /// The wrapped key belongs to another master key.
    #[error("wrapped by another master key")]
    WrongKey,
    /// The wrapped key is damaged, or was never one of KMS.
    #[error("not a wrapped key, or damaged")]
    Corrupt,
    /// No region is set and none was found, so us-east-1 was asked, which refused: perhaps the wrong region.
    #[error("no AWS region is set or found, and us-east-1 refused")]
    NoRegion,
    /// The plugin's own settings are wrong.
    #[error("wrong settings")]
    Config,
    /// Anything else that AWS refuses.
    #[error("refused")]
    Rejected,
}

impl Class {
    /// Whether the failure has nothing to do with the key that was asked for, and may be gone in a moment: credentials
    /// and the instance's metadata, which tell the region, can turn up late.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient | Self::NoCredentials | Self::BadCredentials | Self::NoRegion)
    }

    fn remedy(self, call: Call) -> &'static str {
        match (self, call) {
            (Self::Throttled, _) => "Try again; if it lasts, ask AWS for a higher KMS request quota",
            (Self::Transient, _) => {
                "Check the network to KMS, aws_key_management_region, aws_key_management_endpoint_url and \
                 aws_key_management_request_timeout"
            }
            (Self::NoCredentials, _) => {
                "Give the server an instance role, or credentials in its environment or in the AWS files of its user"
            }
            (Self::BadCredentials, _) => "Renew the credentials that the server uses, and check the clock",
            (Self::Denied, Call::Decrypt) => {
                "Allow kms:Decrypt on the master key to the server's identity, and check aws_key_management_region"
            }
            (Self::Denied, Call::GenerateDataKeyWithoutPlaintext) => {
                "Allow kms:GenerateDataKeyWithoutPlaintext on the master key to the server's identity"
            }
            (Self::Disabled, _) => "Enable the master key in KMS, or cancel its deletion",
            (Self::NotFound, Call::GenerateDataKeyWithoutPlaintext) => {
                "Check aws_key_management_master_key_id and aws_key_management_region"
            }
            (Self::NotFound, Call::Decrypt) => {
                "Check aws_key_management_region and the account: the master key that wrapped it must be there"
            }
            (Self::WrongKey | Self::Corrupt, _) => {
                "Restore the key file from a backup and restart the server; do not drop the tables that use the key"
            }
            (Self::NoRegion, _) => "Set aws_key_management_region to the master key's region",
            (Self::Config, _) => "Correct the plugin's settings",
            (Self::Rejected, _) => "See the reason that AWS gives",
        }
    }
}

impl KmsError {
    /// The code and the request id, in parentheses.
    fn ids(&self) -> String {
        match (&self.code, &self.request_id) {
            (Some(code), Some(id)) => format!(" ({code}, request {id})"),
            (Some(code), None) => format!(" ({code})"),
            (None, Some(id)) => format!(" (request {id})"),
            (None, None) => String::new(),
        }
    }

    /// What AWS said. Last in the message, as the server cuts long messages at 511 bytes.
    fn reason(&self) -> String {
        if self.detail.is_empty() { String::new() } else { format!(" Reason: {}", self.detail) }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GenerateDataKeyWithoutPlaintext => "GenerateDataKeyWithoutPlaintext",
            Self::Decrypt => "Decrypt",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_call_class_code_request_remedy_and_reason() {
        let error = KmsError {
            call: Call::Decrypt,
            class: Class::Denied,
            code: Some("AccessDeniedException".into()),
            request_id: Some("11-22".into()),
            detail: "User: arn:aws:iam::1:role/db is not authorized".into(),
        };
        assert_eq!(
            error.to_string(),
            "KMS Decrypt failed: access denied (AccessDeniedException, request 11-22). Allow kms:Decrypt on the master \
             key to the server's identity, and check aws_key_management_region. Reason: User: arn:aws:iam::1:role/db is not authorized"
        );
    }
}
