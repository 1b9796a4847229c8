//! Why the SDK's whole chain of sources found no credentials.

use std::env::{self, VarError};
use std::error::Error;
use std::sync::{Arc, OnceLock};

use aws_config::imds::client::error::ImdsError;
use aws_config::meta::ProviderChainError;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;

use super::codes::class_of_sts_code;
use super::errors::Reason;
use super::text::chain;
use super::{aws_files, certificates, local_obstacles};
use crate::kms::Class;

/// The SDK's chain of providers, for one client. Its clones are the same chain.
///
/// It keeps files, and parts of what it has found, for as long as it lives: a profile that could not be used says the
/// second time only that its error was "already taken". So after a failure it is not asked again: the failure stands for
/// all calls that have this client, and [`Chain::has_failed`] tells that the next call needs a new one.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    providers: SharedCredentialsProvider,
    failure: Arc<OnceLock<Reason>>,
}

impl Chain {
    pub(super) fn new(providers: SharedCredentialsProvider) -> Self {
        Self { providers, failure: Arc::default() }
    }

    /// Whether it was asked and found nothing, whatever the reason was.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    async fn find(&self) -> Result {
        if let Some(failure) = self.failure.get() {
            return Err(CredentialsError::provider_error(failure.clone()));
        }
        self.providers.provide_credentials().await.map_err(|error| {
            let failure = reason(&error);
            CredentialsError::provider_error(self.failure.get_or_init(|| failure).clone())
        })
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.find())
    }
}

/// The reason that [`Chain`] gave, if it is behind the failure of a call.
pub(super) fn reason_behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Reason> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn reason(error: &CredentialsError) -> Reason {
    if let Some((class, detail)) = certificates::refused(error) {
        return Reason::new(class, detail);
    }
    let role = |error| {
        refused_role::<AssumeRoleError>(error).or_else(|| refused_role::<AssumeRoleWithWebIdentityError>(error))
    };
    chain(error).find_map(role).unwrap_or_else(|| Reason::new(Class::NoCredentials, explanation(error)))
}

/// What STS has answered. An STS that did not answer is a network that is down, as for any other source of credentials.
fn refused_role<E: ProvideErrorMetadata + Error + 'static>(error: &(dyn Error + 'static)) -> Option<Reason> {
    let SdkError::ServiceError(service) = error.downcast_ref::<SdkError<E, HttpResponse>>()? else { return None };
    let code = service.err().code()?;
    Some(Reason {
        class: class_of_sts_code(code, Some(service.raw().status().as_u16())),
        code: Some(code.to_owned()),
        request_id: service.err().meta().request_id().map(str::to_owned),
        detail: format!("STS: {}", service.err().message().unwrap_or_default()),
    })
}

/// What an operator has to know of a search that found nothing: files that cannot be read, which the SDK takes for
/// empty, and then what the sources say that somebody has meant to be used.
fn explanation(error: &CredentialsError) -> String {
    let mut reasons = aws_files::unreadable();
    match chain(error).find_map(|error| error.downcast_ref::<ProviderChainError<CredentialsError>>()) {
        Some(all) => {
            let meant = all.attempts().iter().filter(|attempt| is_meant(attempt.name()));
            reasons.extend(meant.map(|attempt| format!("{}: {}", attempt.name(), causes(attempt.error()))));
        }
        // The first source that was configured and failed has ended the search.
        None => reasons.push(causes(error)),
    }
    if reasons.is_empty() {
        return "no source of credentials is configured".to_owned();
    }
    match local_obstacles::of_every_socket() {
        // First, since a long text is cut in the first line of a message.
        Some(obstacle) => reasons.insert(0, obstacle),
        // A source may need no network; one that does has said so itself.
        None => reasons.extend(local_obstacles::without_network().map(str::to_owned)),
    }
    reasons.join("; ")
}

/// Whether a provider of the SDK's chain, given by its name, is configured. The metadata of EC2 are asked where nobody
/// has said no.
fn is_meant(provider: &str) -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    match provider {
        "Environment" => is_set("AWS_ACCESS_KEY_ID") || is_set("AWS_SECRET_ACCESS_KEY"),
        "Profile" => is_set("AWS_PROFILE") || aws_files::is_there(),
        "WebIdentityToken" => is_set("AWS_WEB_IDENTITY_TOKEN_FILE") || is_set("AWS_ROLE_ARN"),
        "EcsContainer" => {
            is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        }
        "Ec2InstanceMetadata" => {
            !env::var("AWS_EC2_METADATA_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
        }
        _ => true,
    }
}

/// The causes of a provider's failure below the SDK's own words, which are just "not enabled" or "an error occurred".
fn causes(error: &CredentialsError) -> String {
    let causes: Vec<String> = chain(error).skip(1).map(cause).collect();
    if causes.is_empty() { "it holds no credentials".to_owned() } else { causes.join(": ") }
}

fn cause(error: &(dyn Error + 'static)) -> String {
    // The text of these two is the whole answer, with headers and body, and the value of the variable.
    if let Some(ImdsError::ErrorResponse(answer)) = error.downcast_ref() {
        return format!("the metadata service answered with HTTP status {}", answer.response().status());
    }
    if let Some(VarError::NotUnicode(_)) = error.downcast_ref() {
        return "a variable of the environment is not valid Unicode".to_owned();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn the_value_of_a_variable_is_in_no_message() {
        let value = VarError::NotUnicode(OsString::from_vec(b"SECRET\xff".to_vec()));
        assert!(value.to_string().contains("SECRET"), "or it needs no care any more");
        let said = causes(&CredentialsError::unhandled(value));
        assert_eq!(said, "a variable of the environment is not valid Unicode");
    }
}
