//! Why there are no credentials: what the SDK's providers say, in our classes.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use super::codes::class_of_sts_code;
use super::text::{causes, chain};
use crate::kms::Class;

/// A search for credentials that failed.
pub(super) struct Failure {
    pub(super) class: Class,
    pub(super) code: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) detail: String,
}

impl Failure {
    /// What is behind `error`, if it comes from the search for credentials.
    pub(super) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let credentials = chain(error).find(|error| error.is::<CredentialsError>())?;
        chain(credentials)
            .find_map(|error| {
                refused_role::<AssumeRoleError>(error).or_else(|| refused_role::<AssumeRoleWithWebIdentityError>(error))
            })
            .or_else(|| Some(Self { class: Class::NoCredentials, code: None, request_id: None, detail: causes(error) }))
    }
}

/// What STS has answered. An STS that did not answer is a network that is down, as for any other source of credentials.
fn refused_role<E: ProvideErrorMetadata + Error + 'static>(error: &(dyn Error + 'static)) -> Option<Failure> {
    let SdkError::ServiceError(service) = error.downcast_ref::<SdkError<E, HttpResponse>>()? else { return None };
    let code = service.err().code()?;
    Some(Failure {
        class: class_of_sts_code(code, Some(service.raw().status().as_u16())),
        code: Some(code.to_owned()),
        request_id: service.err().meta().request_id().map(str::to_owned),
        detail: format!("STS: {}", service.err().message().unwrap_or_default()),
    })
}
