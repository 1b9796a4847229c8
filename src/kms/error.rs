//! A call of KMS that failed, and what is said of it.

use std::fmt;

use super::Class;

/// A call of KMS that failed.
///
/// Its text begins with what an operator needs most, in 400 bytes at most: the call, the class, the code, the
/// most telling part of the reason, and the remedy. Then follow the endpoint that was asked, the region and the request
/// id, and the whole reason where there was no room for it. The server cuts messages at 511 bytes, so a longer text
/// takes two lines of the error log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.message())]
pub struct KmsError {
    /// The call.
    pub call: Call,
    /// What kind of failure it was: decides about retries and about the remedy.
    pub class: Class,
    /// The error code of AWS, such as `AccessDeniedException`, if AWS answered with one.
    pub code: Option<Box<str>>,
    /// AWS's id of the request, which its support and CloudTrail know.
    pub request_id: Option<Box<str>>,
    /// The region that requests are signed for, if it was found.
    pub region: Option<Box<str>>,
    /// Scheme, host and port that the request was sent to; `None` if nothing was sent.
    pub endpoint: Option<Box<str>>,
    /// What AWS or the network said, in one line. Never holds the body of an answer.
    pub detail: String,
}

/// A call of the KMS API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// GenerateDataKeyWithoutPlaintext
    GenerateDataKeyWithoutPlaintext,
    /// Encrypt
    Encrypt,
    /// Decrypt
    Decrypt,
}

impl Call {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::GenerateDataKeyWithoutPlaintext, Self::Encrypt, Self::Decrypt];
}

impl KmsError {
    /// A failure of which AWS has said nothing.
    pub(crate) fn new(call: Call, class: Class, detail: impl fmt::Display) -> Self {
        Self { call, class, code: None, request_id: None, region: None, endpoint: None, detail: detail.to_string() }
    }

    /// The same for failures of the same kind: without what differs from call to call.
    pub(crate) fn kind(&self) -> String {
        format!("{} {}", self.class, self.code.as_deref().unwrap_or_default())
    }

    /// What has failed, without why and what to do.
    pub(crate) fn what(&self) -> String {
        let code = self.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        format!("KMS {} failed: {}{code}", self.call, self.class)
    }

    /// The same, of a key that is not to be had from a copy either.
    pub(crate) fn and_of_copy(self, of_copy: Self) -> Self {
        let said =
            if self.detail.is_empty() { String::new() } else { format!("{}. ", self.detail.trim_end_matches('.')) };
        Self { detail: format!("{said}Nor from a copy: {}", of_copy.what()), ..self }
    }

    fn message(&self) -> String {
        let what = self.what();
        let remedy = self.class.remedy(self.call);
        let reason = self.detail.trim_end_matches('.');
        let told = telling_part(reason, FIRST_PART.saturating_sub(what.len() + remedy.len() + ": . .".len()));
        let mut parts = vec![if told.is_empty() { what } else { format!("{what}: {told}") }, remedy.to_owned()];
        parts.push(match (&self.endpoint, &self.region) {
            (Some(endpoint), Some(region)) => format!("Asked {endpoint} in region {region}"),
            (Some(endpoint), None) => format!("Asked {endpoint}"),
            (None, Some(region)) => format!("KMS was not asked; the region is {region}"),
            (None, None) => "KMS was not asked".to_owned(),
        });
        parts.extend(self.request_id.as_ref().map(|id| format!("Request {id}")));
        if told != reason {
            parts.push(format!("In full: {}", cut(reason, FIRST_PART)));
        }
        parts.join(". ")
    }
}

/// What of `reason` is said first, in `room` bytes. Of a denial by IAM, it is why: the identity, the call and the key
/// come before that, with long ARNs.
fn telling_part(reason: &str, room: usize) -> String {
    let why = ["because ", "with an explicit deny"].iter().find_map(|mark| reason.rfind(mark)).map(|at| &reason[at..]);
    match why {
        _ if reason.len() <= room => reason.to_owned(),
        Some(why) if why.len() <= room => why.to_owned(),
        _ => cut(reason, room),
    }
}

/// At most `room` bytes of `text`, up to the end of a word.
fn cut(text: &str, room: usize) -> String {
    if text.len() <= room {
        return text.to_owned();
    }
    let fitting = &text[..text.floor_char_boundary(room.saturating_sub(" ...".len()))];
    format!("{} ...", fitting.rsplit_once(' ').map_or(fitting, |(words, _)| words))
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GenerateDataKeyWithoutPlaintext => "GenerateDataKeyWithoutPlaintext",
            Self::Encrypt => "Encrypt",
            Self::Decrypt => "Decrypt",
        })
    }
}

/// Of a message, in bytes; leaves room in the server's 511 for the name of the plugin, and for the key and what was to be done with it.
const FIRST_PART: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(detail: &str) -> KmsError {
        KmsError {
            code: Some("AccessDeniedException".into()),
            request_id: Some("11-22".into()),
            region: Some("eu-west-1".into()),
            endpoint: Some("https://kms.eu-west-1.amazonaws.com".into()),
            ..KmsError::new(Call::Decrypt, Class::Denied, detail)
        }
    }

    #[test]
    fn a_message_names_call_class_code_reason_remedy_endpoint_region_and_request() {
        assert_eq!(
            denied("User: arn:aws:iam::1:role/db is not authorized.").to_string(),
            "KMS Decrypt failed: access denied (AccessDeniedException): User: arn:aws:iam::1:role/db is not authorized. \
             Allow kms:Decrypt on the master key to the server's identity, and check aws_key_management_region. Asked \
             https://kms.eu-west-1.amazonaws.com in region eu-west-1. Request 11-22"
        );
    }

    #[test]
    fn the_most_telling_part_of_a_long_denial_comes_before_the_remedy_and_the_whole_of_it_at_the_end() {
        let key = format!("arn:aws:kms:eu-west-1:123456789012:key/{}", "0".repeat(36));
        let who = format!("arn:aws:sts::123456789012:assumed-role/{}/i-0123456789abcdef0", "r".repeat(64));
        for why in [
            "with an explicit deny in a VPC endpoint policy",
            "because no identity-based policy allows the kms:Decrypt action",
        ] {
            let reason = format!("User: {who} is not authorized to perform: kms:Decrypt on resource: {key} {why}");
            let message = denied(&reason).to_string();
            let (first, second) = message.split_once(". Asked ").expect("two parts");
            assert!(first.contains(&format!("(AccessDeniedException): {why}. Allow kms:Decrypt")), "{message}");
            assert!(second.ends_with(&format!("In full: {reason}")), "{message}");
        }
    }

    #[test]
    fn a_denial_that_fits_is_said_as_a_whole_and_once() {
        let reason = "role/db is not authorized, because no identity-based policy allows it";
        let message = denied(reason).to_string();
        assert!(message.contains(&format!("(AccessDeniedException): {reason}. Allow kms:Decrypt")), "{message}");
        assert!(!message.contains("In full"), "{message}");
    }

    #[test]
    fn the_first_part_of_every_message_fits_into_a_line_with_the_key_before_it() {
        for class in Class::ALL {
            for call in Call::ALL {
                let why = format!("denied because {}", "word ".repeat(200));
                for detail in ["word ".repeat(200), "x".repeat(1000), "é".repeat(500), why, String::new()] {
                    let error = KmsError {
                        code: Some("CustomKeyStoreInvalidStateException".into()),
                        ..KmsError::new(call, *class, detail)
                    };
                    let message = error.to_string();
                    let first = message.split(". KMS was not asked").next().expect("a part");
                    assert!(first.len() <= FIRST_PART, "{} bytes: {first}", first.len());
                }
            }
        }
    }
}
