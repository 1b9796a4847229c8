//! What the AWS SDK says of a failed call, in the classes of [`Class`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use super::client::{Connection, RegionalClient};
use crate::kms::{Call, Class, KmsError};

impl Connection {
    /// The error of a call, which may come from having asked in the wrong region.
    pub(super) fn failed<E>(&self, call: Call, client: &RegionalClient, error: &SdkError<E, HttpResponse>) -> KmsError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let mut error = classify(call, error);
        if error.class == Class::Transient && error.code.is_none() {
            let region = client.client.config().region().map_or("unknown", |region| region.as_ref());
            let endpoint = self.settings.endpoint_url.as_deref().unwrap_or("the region's endpoint");
            error.detail = format!("{} (asked {endpoint}, region {region})", error.detail);
        }
        let may_be_region = matches!(
            error.class,
            Class::Denied | Class::NotFound | Class::Disabled | Class::WrongKey | Class::Corrupt | Class::Rejected
        );
        if may_be_region && !client.region_is_certain {
            error.class = Class::NoRegion;
        }
        error
    }
}

/// Turns the SDK's error into a class and one line of text.
///
/// The error's `Debug` form and the SDK's `DisplayErrorContext` hold the raw answer with its body, which for Decrypt may
/// be the data key. Only codes, messages of the AWS error and `Display` of the causes are used here, and for an answer
/// that could not be parsed not even those.
fn classify<E>(call: Call, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let (class, code, detail) = match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => {
                let said = service.err().message().unwrap_or_default();
                (class_of_code(code, status), Some(code.to_owned()), said.to_owned())
            }
            None => (Class::Transient, None, not_kms(status)),
        },
        SdkError::ResponseError(_) => (Class::Transient, None, not_kms(status)),
        SdkError::TimeoutError(_) => (Class::Transient, None, "no answer in time".to_owned()),
        SdkError::DispatchFailure(failure) => {
            let causes = causes(error);
            let class = if is_no_credentials(error) {
                Class::NoCredentials
            } else if failure.is_user() {
                Class::Config
            } else {
                Class::Transient
            };
            (class, None, causes)
        }
        SdkError::ConstructionFailure(_) => (Class::Config, None, causes(error)),
        _ => (Class::Transient, None, causes(error)),
    };
    KmsError { call, class, code, request_id, detail: one_line(&detail) }
}

/// Codes of the KMS API reference ("Errors" of both calls and "Common Errors"). The status says nothing: throttling,
/// for one, is a 400.
fn class_of_code(code: &str, status: Option<u16>) -> Class {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "LimitExceededException" => Class::Throttled,
        "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Class::Transient,
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => Class::Denied,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired" => Class::BadCredentials,
        "DisabledException" | "KMSInvalidStateException" | "KeyUnavailableException" => Class::Disabled,
        "NotFoundException" | "InvalidArnException" => Class::NotFound,
        "IncorrectKeyException" => Class::WrongKey,
        "InvalidCiphertextException" => Class::Corrupt,
        _ if status.is_some_and(|status| status >= 500) => Class::Transient,
        _ => Class::Rejected,
    }
}

/// Of an answer without an AWS error code, which is a proxy's, a wrong endpoint's, or one that was damaged on the way. It
/// says nothing about the key, so it counts as no answer.
fn not_kms(status: Option<u16>) -> String {
    let status = status.map_or(String::new(), |status| format!(" (HTTP status {status})"));
    format!("the answer is not one of KMS{status}; check aws_key_management_endpoint_url, and any proxy")
}

fn is_no_credentials(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<CredentialsError>())
}

/// The causes of `error` below the SDK's own words, which are just "dispatch failure".
fn causes(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> =
        std::iter::successors(error.source(), |&error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
