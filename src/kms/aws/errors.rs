//! What the AWS SDK says of a failed call, in the classes of [`Class`].

use std::error::Error;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;

use super::asked::Asked;
use super::codes::{class_of_code, is_about_the_signature};
use super::region_and_credentials::Connected;
use super::text::{causes, identifier, presentable};
use super::{certificates, credential_failures, http, local_obstacles};
use crate::kms::{Call, Class, KmsError};

/// The error of a call, with what was asked where.
pub(super) fn failed<E>(call: Call, client: &Connected, asked: &Asked, error: &SdkError<E, HttpResponse>) -> KmsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Reason { mut class, code, request_id, mut detail } = reason(call, asked, error);
    let endpoint = asked.endpoint();
    // STS may have been the one with that certificate.
    if class == Class::UntrustedCa {
        detail = format!("{detail} ({})", client.trusted);
    }
    if let (Class::Transient, Some(name)) = (class, endpoint.as_deref().and_then(http::proxy_variable)) {
        detail = format!("{detail} ({name} is set)");
    }
    if code.as_deref().is_some_and(is_about_the_signature) && asked.region().is_some_and(|other| other != client.region)
    {
        class = Class::WrongRegion;
    }
    if may_be_region(class) && !client.region_is_certain() {
        class = Class::NoRegion;
    }
    KmsError {
        call,
        class,
        code: code.as_deref().map(identifier),
        request_id: request_id.as_deref().map(identifier),
        region: Some(identifier(&client.region)),
        endpoint,
        detail: presentable(&detail),
    }
}

/// Whether a refusal may come from having asked in the wrong region.
fn may_be_region(class: Class) -> bool {
    matches!(
        class,
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
    )
}

/// Why something failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Reason {
    pub(super) class: Class,
    pub(super) code: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) detail: String,
}

impl Reason {
    /// Without an answer of AWS.
    pub(super) fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, code: None, request_id: None, detail: detail.into() }
    }
}

/// The reason for the SDK's error.
///
/// The error's `Debug` form and the SDK's `DisplayErrorContext` hold the raw answer with its body, which for Decrypt may
/// be the data key. Only codes, messages of the AWS error and `Display` of the causes are used here, and for an answer
/// that could not be parsed not even those.
fn reason<E>(call: Call, asked: &Asked, error: &SdkError<E, HttpResponse>) -> Reason
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some((class, detail)) = certificates::refused(error) {
        return Reason::new(class, detail);
    }
    if let Some(reason) = credential_failures::reason_behind(error) {
        return reason.clone();
    }
    let status = error.raw_response().map(|response| response.status().as_u16());
    let reason = match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(code) => {
                let said = service.err().message().unwrap_or_default();
                Reason { code: Some(code.to_owned()), ..Reason::new(class_of_code(call, code, status), said) }
            }
            None => Reason::new(Class::Transient, not_kms(status)),
        },
        SdkError::ResponseError(_) => Reason::new(Class::Transient, not_kms(status)),
        // Credentials are looked for within the time of each attempt.
        SdkError::TimeoutError(_) if asked.endpoint().is_none() => {
            Reason::new(Class::NoCredentials, "the search for them did not end in time")
        }
        SdkError::TimeoutError(_) => Reason::new(Class::Transient, "no answer in time"),
        // Only that of a connection is the connector's own; a whole attempt ends as above.
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            Reason::new(Class::Transient, format!("{}; {}", causes(error), local_obstacles::DROPPED))
        }
        SdkError::DispatchFailure(failure) if failure.is_user() => Reason::new(Class::Config, causes(error)),
        // The SDK found no way to make the request: FIPS and an endpoint of one's own, for example.
        SdkError::DispatchFailure(failure) if failure.is_other() && asked.endpoint().is_none() => {
            Reason::new(Class::Config, causes(error))
        }
        SdkError::ConstructionFailure(_) => Reason::new(Class::Config, causes(error)),
        _ => {
            let mut detail = causes(error);
            if let Some(obstacle) = local_obstacles::behind(error) {
                // First, since a long text is cut in the first line of a message.
                detail = format!("{obstacle}; {detail}");
            }
            Reason::new(Class::Transient, detail)
        }
    };
    Reason { request_id: error.request_id().map(str::to_owned), ..reason }
}

/// Of an answer without an AWS error code, which is a proxy's, a wrong endpoint's, or one that was damaged on the way. It
/// says nothing about the key, so it counts as no answer.
fn not_kms(status: Option<u16>) -> String {
    let status = status.map_or(String::new(), |status| format!(" (HTTP status {status})"));
    format!("the answer is not one of KMS{status}; check aws_key_management_endpoint_url, and any proxy")
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::operation::decrypt::DecryptError;
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use url::Url;

    use super::*;
    use crate::kms::aws::asked::Endpoint;

    #[test]
    fn what_the_sdk_makes_no_request_of_is_wrong_in_the_settings_and_what_it_sends_is_up_to_the_network() {
        let unsent = Asked::new(Endpoint::default());
        let sent = Asked::sent_to(Url::parse("https://kms.example.com").expect("a URL"));
        let because = "for this reason";
        for (asked, error, class) in [
            (&unsent, SdkError::construction_failure(because), Class::Config),
            (&unsent, SdkError::dispatch_failure(ConnectorError::user(because.into())), Class::Config),
            (&sent, SdkError::dispatch_failure(ConnectorError::user(because.into())), Class::Config),
            (&unsent, SdkError::dispatch_failure(ConnectorError::other(because.into(), None)), Class::Config),
            (&sent, SdkError::dispatch_failure(ConnectorError::other(because.into(), None)), Class::Transient),
            (&unsent, SdkError::dispatch_failure(ConnectorError::io(because.into())), Class::Transient),
            (&sent, SdkError::dispatch_failure(ConnectorError::io(because.into())), Class::Transient),
            (&sent, SdkError::dispatch_failure(ConnectorError::timeout(because.into())), Class::Transient),
        ] {
            let error: SdkError<DecryptError, HttpResponse> = error;
            let reason = reason(Call::Decrypt, asked, &error);
            assert_eq!((reason.class, reason.detail.contains(because)), (class, true), "{error:?}: {reason}");
            let is_timeout = matches!(&error, SdkError::DispatchFailure(failure) if failure.is_timeout());
            assert_eq!(reason.detail.contains(local_obstacles::DROPPED), is_timeout, "{error:?}: {reason}");
        }
    }

    #[test]
    fn nothing_is_said_of_an_answer_that_cannot_be_read_but_its_status() {
        let answer = HttpResponse::new(StatusCode::try_from(200).expect("a status"), SdkBody::from("SECRET"));
        let error: SdkError<DecryptError, HttpResponse> = SdkError::response_error("SECRET is no JSON", answer);
        let reason = reason(Call::Decrypt, &Asked::new(Endpoint::default()), &error);
        assert_eq!((reason.class, reason.detail), (Class::Transient, not_kms(Some(200))));
    }
}
