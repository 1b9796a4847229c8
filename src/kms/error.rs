//! A call of KMS that failed, and what is said of it.

use std::fmt;

use super::Class;

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

impl KmsError {
    /// A failure of which AWS has said nothing.
    pub(crate) fn new(call: Call, class: Class, detail: impl fmt::Display) -> Self {
        Self { call, class, code: None, request_id: None, detail: detail.to_string() }
    }

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
