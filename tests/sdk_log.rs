//! What the AWS SDK logs, at its most talkative, when the token service answers what it cannot read.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "support/child.rs"]
mod child;
#[path = "support/http_stub.rs"]
mod http_stub;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;

use aws_key_management::kms::aws::{AwsKms, AwsSettings, sdk_log};
use aws_key_management::kms::{Class, Kms, WrappedKey};
use child::{with_environment, with_raw_environment};
use tracing::Level;
use tracing::level_filters::LevelFilter;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn sink(level: Level, line: &str) {
    LINES.lock().unwrap().push(format!("{level} {line}"));
}

#[test]
fn an_answer_of_the_token_service_that_cannot_be_read_is_in_no_line_of_the_log() {
    let name = "an_answer_of_the_token_service_that_cannot_be_read_is_in_no_line_of_the_log";
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "SECRETWEBIDENTITY").unwrap();
    // The child runs this line too, but asks the parent's service, which its environment names.
    let endpoint = format!("http://{}", http_stub::serve("127.0.0.1:0", |_| (200, UNREADABLE.to_owned())));
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/database"),
        ("AWS_ENDPOINT_URL_STS", &endpoint),
        ("AWS_REGION", "us-east-1"),
        ("LOG_SENSITIVE_BODIES", "true"),
    ];
    with_environment(name, &environment, || {
        sdk_log::install(sink);
        sdk_log::set_level(LevelFilter::TRACE);
        let kms =
            AwsKms::new(AwsSettings { endpoint_url: Some("http://127.0.0.1:9".into()), ..AwsSettings::default() });
        let error = kms.unwrap().decrypt(&WrappedKey::new(vec![1; 100])).err().expect("no credentials");
        assert_eq!(error.class, Class::NoCredentials, "{error}");
        let lines = LINES.lock().unwrap().join("\n");
        assert!(lines.contains("aws_config::web_identity_token"), "the provider spoke:\n{lines}");
        assert!(lines.contains("left out, as it may hold secrets"), "the answer was printed, and left out:\n{lines}");
        for text in [&lines, &error.to_string(), &format!("{error:?}")] {
            for secret in ["SECRET", "U0VDUkVU"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    });
}

#[test]
fn the_value_of_a_variable_that_is_not_unicode_is_in_no_line_of_the_log() {
    let name = "the_value_of_a_variable_that_is_not_unicode_is_in_no_line_of_the_log";
    let environment =
        [("AWS_ACCESS_KEY_ID", OsStr::new("AKIAEXAMPLE")), ("SECRET_ACCESS_KEY", OsStr::from_bytes(b"SECRET\xff"))];
    with_raw_environment(name, &environment, || {
        sdk_log::install(sink);
        sdk_log::set_level(LevelFilter::TRACE);
        let settings = AwsSettings {
            region: Some("us-east-1".into()),
            endpoint_url: Some("http://127.0.0.1:9".into()),
            ..AwsSettings::default()
        };
        let error =
            AwsKms::new(settings).unwrap().decrypt(&WrappedKey::new(vec![1; 100])).err().expect("no credentials");
        assert_eq!(error.class, Class::NoCredentials, "{error}");
        let lines = LINES.lock().unwrap().join("\n");
        let left_out = lines.lines().find(|line| line.starts_with("WARN") && line.contains("left out"));
        assert!(left_out.is_some_and(|line| line.contains("aws_config")), "the provider warned:\n{lines}");
        for text in [&lines, &error.to_string(), &format!("{error:?}")] {
            assert!(!text.contains("SECRET"), "{text}");
        }
    });
}

#[test]
fn neither_the_credentials_of_a_call_nor_its_answer_are_in_a_line_of_the_log() {
    let name = "neither_the_credentials_of_a_call_nor_its_answer_are_in_a_line_of_the_log";
    // In base64: SECRETSECRETSECR.
    let answer = r#"{"KeyId": "arn:aws:kms:us-east-1:123456789012:key/1", "Plaintext": "U0VDUkVUU0VDUkVUU0VDUg=="}"#;
    let endpoint = format!("http://{}", http_stub::serve("127.0.0.1:0", move |_| (200, answer.to_owned())));
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "SECRETACCESSKEY"),
        ("AWS_SESSION_TOKEN", "SECRETSESSION"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_KMS", &endpoint),
        ("LOG_SENSITIVE_BODIES", "true"),
    ];
    with_environment(name, &environment, || {
        sdk_log::install(sink);
        sdk_log::set_level(LevelFilter::TRACE);
        let kms = AwsKms::new(AwsSettings::default()).unwrap();
        let key = kms.decrypt(&WrappedKey::new(vec![1; 100])).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(key.as_bytes(), b"SECRETSECRETSECR");
        let lines = LINES.lock().unwrap().join("\n");
        assert!(lines.contains("TRACE aws_smithy_runtime::client"), "the client spoke:\n{lines}");
        // They print headers and bodies. That these are left out of other lines is not all that hides them.
        for silent in ["aws_sigv4", "client::orchestrator"] {
            assert!(!lines.contains(silent), "{silent} spoke:\n{lines}");
        }
        for secret in ["SECRET", "U0VDUkVU", "83, 69, 67, 82", "53454352"] {
            assert!(!lines.contains(secret), "{secret}:\n{lines}");
        }
    });
}

#[test]
fn lines_are_of_the_level_that_is_set_or_worse_and_name_their_part_and_their_values() {
    let name = "lines_are_of_the_level_that_is_set_or_worse_and_name_their_part_and_their_values";
    with_environment(name, &[], || {
        let speak = || {
            tracing::error!(target: "aws_config", "an error");
            tracing::warn!(target: "aws_config::profile", attempt = 2, "a\nwarning");
            tracing::info!(target: "aws_config", "good to know");
            tracing::debug!(target: "aws_config", "for debugging");
            tracing::trace!(target: "aws_config", "each step");
            tracing::error!(target: "aws_configuration", "another part");
            let _entered = tracing::error_span!(target: "aws_config", "a span").entered();
            LINES.lock().unwrap().drain(..).collect::<Vec<_>>()
        };
        sdk_log::install(sink);
        assert!(speak().is_empty(), "nothing before a level is set");
        let lines = [
            "ERROR aws_config: an error",
            "WARN aws_config::profile: a warning attempt=2",
            "INFO aws_config: good to know",
            "DEBUG aws_config: for debugging",
            "TRACE aws_config: each step",
        ];
        let levels = [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        // Up and down again.
        for (number, level) in levels.into_iter().enumerate().chain(levels.into_iter().enumerate().rev()) {
            sdk_log::set_level(level);
            assert_eq!(speak(), lines[..number], "{level}");
        }
    });
}

#[test]
fn a_line_has_2000_bytes_at_most() {
    with_environment("a_line_has_2000_bytes_at_most", &[], || {
        sdk_log::install(sink);
        sdk_log::set_level(LevelFilter::ERROR);
        let (head, long) = ("ERROR aws_config: ", "é".repeat(5000));
        tracing::error!(target: "aws_config", after = "it", "{long}");
        let line = LINES.lock().unwrap().remove(0);
        let most = "aws_config: ".len() + (2000 - "aws_config: ".len()) / 2 * 2;
        assert_eq!(line.strip_prefix("ERROR ").map(str::len), Some(most));
        assert_eq!(line.strip_prefix(head).map(|text| text.trim_matches('é')), Some(""));
    });
}

/// As STS answers, but with a date that is none.
const UNREADABLE: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
    <AssumeRoleWithWebIdentityResult><Credentials><SessionToken>SECRETTOKEN</SessionToken>\
    <SecretAccessKey>SECRETKEY</SecretAccessKey><Expiration>yesterday</Expiration>\
    <AccessKeyId>ASIAEXAMPLE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>\
    </AssumeRoleWithWebIdentityResponse>";
