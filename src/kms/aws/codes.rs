//! The error codes of AWS, in our classes.

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};

use crate::kms::{Call, Class};

/// The class of a code that KMS answers a call with: "Errors" of both calls, and "Common Errors", in the KMS API
/// reference; and what other AWS services call the same, as the SDK's own lists do. The status alone says little:
/// throttling, for one, is a 400.
pub(super) fn class_of_code(call: Call, code: &str, status: Option<u16>) -> Class {
    if THROTTLING_ERRORS.contains(&code) {
        return Class::Throttled;
    }
    if TRANSIENT_ERRORS.contains(&code) {
        return Class::Internal;
    }
    match code {
        "DependencyTimeoutException"
        | "KMSInternalException"
        | "InternalError"
        | "InternalException"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServerException"
        | "InternalServiceError"
        | "InternalServiceException"
        | "InternalServiceFailure"
        | "RequestAbortedException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Class::Internal,
        "AccessDenied"
        | "AccessDeniedException"
        | "NotAuthorized"
        | "OptInRequired"
        | "SubscriptionRequiredException"
        | "UnauthorizedAccess"
        | "UnauthorizedOperation" => Class::Denied,
        "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidIdentityToken"
        | "InvalidIdentityTokenException"
        | "InvalidSignatureException"
        | "InvalidToken"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotSignedUp"
        | "SignatureDoesNotMatch"
        | "TokenRefreshRequired"
        | "UnrecognizedClientException" => Class::BadCredentials,
        "RequestExpired" | "RequestInTheFuture" | "RequestTimeTooSkewed" => Class::Clock,
        "DisabledException" => Class::Disabled,
        "KMSInvalidStateException" => Class::InvalidState,
        "KeyUnavailableException" => Class::Unavailable,
        "CustomKeyStoreInvalidStateException" | "CustomKeyStoreNotFoundException" => Class::KeyStore,
        _ if code.starts_with("CloudHsmCluster") || code.starts_with("Xks") => Class::KeyStore,
        "NotFoundException" | "InvalidArnException" => Class::NotFound,
        "InvalidKeyUsageException" | "UnsupportedOperationException" => Class::KeyType,
        "IncorrectKeyException" => Class::WrongKey,
        "InvalidCiphertextException" => Class::Corrupt,
        // Nothing in a call of Decrypt can be invalid but the wrapped key.
        "ValidationException" | "ValidationError" if call == Call::Decrypt => Class::Corrupt,
        _ if status.is_some_and(|status| status >= 500) => Class::Internal,
        _ => Class::Rejected,
    }
}

/// Whether AWS found the signature wrong, which a request to an endpoint of another region has too.
pub(super) fn is_about_the_signature(code: &str) -> bool {
    matches!(code, "InvalidSignatureException" | "SignatureDoesNotMatch")
}

/// The class of a code that STS refuses a role with.
pub(super) fn class_of_sts_code(code: &str, status: Option<u16>) -> Class {
    match code {
        // Of the identity provider that STS asks.
        "IDPCommunicationError" | "IDPCommunicationErrorException" => Class::Internal,
        // What it does not like is refused, too, and so is everything in a region in which STS is switched off.
        _ => match class_of_code(Call::Decrypt, code, status) {
            class @ (Class::Throttled | Class::Internal | Class::BadCredentials | Class::Clock) => class,
            _ => Class::RoleRefused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sdk_takes_for_throttling_or_passing_is_waited_for() {
        for code in THROTTLING_ERRORS {
            assert_eq!(class_of_code(Call::Decrypt, code, Some(400)), Class::Throttled, "{code}");
        }
        for code in TRANSIENT_ERRORS {
            assert!(class_of_code(Call::Decrypt, code, Some(400)).is_passing(), "{code}");
        }
    }

    #[test]
    fn a_fault_inside_aws_is_told_by_its_code_whatever_the_status_is() {
        for code in ["RequestAbortedException", "KMSInternalException", "DependencyTimeoutException", "InternalFailure"]
        {
            for status in [Some(400), None] {
                assert_eq!(class_of_code(Call::Encrypt, code, status), Class::Internal, "{code}, {status:?}");
            }
        }
    }

    #[test]
    fn only_a_wrong_signature_is_about_the_signature() {
        let codes =
            ["InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "AccessDeniedException"];
        assert_eq!(codes.map(is_about_the_signature), [true, true, false, false]);
    }

    #[test]
    fn what_sts_and_the_identity_provider_refuse_is_the_role() {
        for code in ["AccessDenied", "IDPRejectedClaim", "RegionDisabledException", "SomethingNew"] {
            assert_eq!(class_of_sts_code(code, Some(403)), Class::RoleRefused, "{code}");
        }
        assert_eq!(class_of_sts_code("IDPCommunicationError", Some(400)), Class::Internal);
    }
}
