//! What the AWS SDK says of a failed call, in the classes of [`Class`].

use std::error::Error;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use super::asked::Asked;
use super::client::Connected;
use super::codes::{class_of_code, is_about_the_signature};
use super::text::{causes, one_line};
use super::{certificates, credentials, http};
use crate::kms::{Call, Class, KmsError};

/// The error of a call, which may come from having asked in the wrong region.
pub(super) fn failed<E>(call: Call, client: &Connected, asked: &Asked, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let region = client.region.as_str();
    let mut failure = classify(call, asked, error);
    // STS may have been the one with that certificate.
    if failure.class == Class::UntrustedCa {
        failure.detail = format!("{} ({})", failure.detail, client.trusted);
    }
    if failure.class.is_no_answer() && failure.code.is_none() {
        let endpoint = asked.endpoint().unwrap_or_else(|| "no endpoint".to_owned());
        let proxy = http::proxy_variable(&endpoint).map(|name| format!(", {name} is set")).unwrap_or_default();
        failure.detail = format!("{} (asked {endpoint}, region {region}{proxy})", failure.detail);
    }
    let elsewhere = asked.region().filter(|other| *other != region);
    if failure.code.as_deref().is_some_and(is_about_the_signature) && elsewhere.is_some() {
        failure.class = Class::WrongRegion;
    }
    let may_be_region = matches!(
        failure.class,
        Class::Denied
            | Class::NotFound
            | Class::Disabled
            | Class::InvalidState
            | Class::KeyStore
            | Class::KeyType
            | Class::WrongKey
            | Class::Corrupt
            | Class::WrongRegion
            | Class::Rejected
    );
    if may_be_region && !client.region_is_certain() {
        failure.class = Class::NoRegion;
    }
    failure
}

/// Turns the SDK's error into a class and one line of text.
///
/// The error's `Debug` form and the SDK's `DisplayErrorContext` hold the raw answer with its body, which for Decrypt may
/// be the data key. Only codes, messages of the AWS error and `Display` of the causes are used here, and for an answer
/// that could not be parsed not even those.
fn classify<E>(call: Call, asked: &Asked, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some((class, detail)) = certificates::refused(error) {
        return KmsError::new(call, class, one_line(&detail));
    }
    if let Some(credentials::Failure { class, code, request_id, detail }) = credentials::Failure::behind(error).cloned()
    {
        return KmsError { call, class, code, request_id, detail: one_line(&detail) };
    }
    let request_id = error.request_id().map(str::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let (class, code, detail) = match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => {
                let said = service.err().message().unwrap_or_default();
                (class_of_code(call, code, status), Some(code.to_owned()), said.to_owned())
            }
            None => (Class::Transient, None, not_kms(status)),
        },
        SdkError::ResponseError(_) => (Class::Transient, None, not_kms(status)),
        // Credentials are looked for within the time of each attempt.
        SdkError::TimeoutError(_) if asked.endpoint().is_none() => {
            (Class::NoCredentials, None, "the search for them did not end in time".to_owned())
        }
        SdkError::TimeoutError(_) => (Class::Transient, None, "no answer in time".to_owned()),
        SdkError::DispatchFailure(failure) if failure.is_user() => (Class::Config, None, causes(error)),
        SdkError::ConstructionFailure(_) => (Class::Config, None, causes(error)),
        _ => (Class::Transient, None, causes(error)),
    };
    KmsError { call, class, code, request_id, detail: one_line(&detail) }
}

/// Of an answer without an AWS error code, which is a proxy's, a wrong endpoint's, or one that was damaged on the way. It
/// says nothing about the key, so it counts as no answer.
fn not_kms(status: Option<u16>) -> String {
    let status = status.map_or(String::new(), |status| format!(" (HTTP status {status})"));
    format!("the answer is not one of KMS{status}; check aws_key_management_endpoint_url, and any proxy")
}
