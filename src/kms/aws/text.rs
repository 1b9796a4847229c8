//! What may be said of an error: texts of AWS, of proxies and of the network, which anybody may have written.

use std::error::Error;
use std::io;

/// An error and its causes. An `io::Error` leaves out the error that it holds when it is asked for its source, so that
/// one is asked for apart.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The causes of `error` below the SDK's own words, which are just "dispatch failure".
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> =
        std::iter::successors(error.source(), |&error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

/// `text` in one line, without what looks like a secret.
pub(super) fn presentable(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let lower = text.to_ascii_lowercase();
    let end = REQUEST_MARKS.iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(text.len());
    let words = text[..end].split_whitespace().map(|word| if is_token(word) { "(left out)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// A name that AWS gives, such as an error code or the id of a request; it comes from the head of an answer.
pub(super) fn identifier(text: &str) -> Box<str> {
    let usable = text.chars().filter(|c| c.is_ascii_alphanumeric() || "._:-/".contains(*c));
    usable.take(LONGEST_IDENTIFIER).collect()
}

/// Where the message of a wrong signature begins to repeat the request, whose headers hold the session token.
const REQUEST_MARKS: &[&str] = &[
    "the canonical string",
    "canonical request",
    "the string-to-sign",
    "string to sign",
    "x-amz-",
    "aws4-hmac-sha256",
];

/// Session tokens and tokens of web identities are hundreds of characters of base64, in one or the other alphabet. Names,
/// ARNs and addresses have other characters more often.
fn is_token(word: &str) -> bool {
    let longest = |other: &[char]| {
        word.split(|c: char| !c.is_ascii_alphanumeric() && !other.contains(&c)).map(str::len).max().unwrap_or(0)
    };
    longest(&['+', '/', '=']).max(longest(&['-', '_', '.', '='])) >= SHORTEST_TOKEN
}

const SHORTEST_TOKEN: usize = 160;
const LONGEST_IDENTIFIER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_without_control_characters() {
        assert_eq!(presentable("a\n\tb\0 \u{1b}[31m\u{85}c"), "a b [31m c");
        assert_eq!(&*identifier("1a-2b\r\n\u{1b}[31m é"), "1a-2b31m");
        assert_eq!(identifier(&"a".repeat(1000)).len(), LONGEST_IDENTIFIER);
    }

    #[test]
    fn the_request_that_a_wrong_signature_repeats_is_left_out() {
        let message = "The request signature we calculated does not match the signature you provided.\n\nThe Canonical \
                       String for this request should have been\n'POST\n/\n\nx-amz-security-token:SECRET\n'\n\nThe \
                       String-to-Sign should have been\n'AWS4-HMAC-SHA256\nSECRET'";
        assert_eq!(
            presentable(message),
            "The request signature we calculated does not match the signature you provided."
        );
        assert_eq!(presentable("header X-Amz-Security-Token: SECRET is wrong"), "header");
    }

    #[test]
    fn tokens_are_left_out_and_names_are_not() {
        let session = "IQoJb3JpZ2luX2VjE+/".repeat(20);
        let web_identity = format!("{}.{}.{}", "eyJhbGciOi-J_".repeat(9), "eyJpc3MiOi".repeat(20), "sig-_".repeat(40));
        for token in [session, web_identity] {
            assert_eq!(presentable(&format!("token {token} expired")), "token (left out) expired");
            assert_eq!(presentable(&format!("'{token}'")), "(left out)");
        }
        for name in [
            format!("arn:aws:sts::123456789012:assumed-role/{}/{}", "r".repeat(64), "s".repeat(64)),
            format!("arn:aws:kms:eu-west-1:123456789012:key/{}", "0".repeat(36)),
            "https://vpce-0123456789abcdef0-abcdefgh.kms.eu-central-1.vpce.amazonaws.com:443".to_owned(),
            format!("/{}/credentials", "a/long/path".repeat(8)),
            ["[2001:db8::1]:443"; 20].join(","),
        ] {
            assert_eq!(presentable(&name), name);
        }
    }
}
