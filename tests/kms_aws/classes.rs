//! Every code that AWS refuses a call with, in the class of its remedy.

use aws_key_management::kms::AtStart::{
    self, FailKey, FailStart, WaitThenFailKey, WaitThenFailStart, WaitWhileNoneIsUsable,
};

use super::*;

#[test]
fn what_kms_refuses_comes_in_the_class_of_its_remedy() {
    with_emulator("classes::what_kms_refuses_comes_in_the_class_of_its_remedy", |emulator, kms| {
        let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");

        let error = generate(kms, "alias/unknown", KeySpec::Aes128).err().unwrap();
        check(&error, Class::NotFound, Some("NotFoundException"), "Check aws_key_management_master_key_id");

        let mut damaged = wrapped.as_bytes().to_vec();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let error = kms.decrypt(&WrappedKey::new(damaged)).err().unwrap();
        check(&error, Class::Corrupt, Some("InvalidCiphertextException"), "Restore the key file from a backup");

        for (state, class, code, remedy) in [
            ("Disabled", Class::Disabled, "DisabledException", "Enable the master key in KMS"),
            ("PendingDeletion", Class::InvalidState, "KMSInvalidStateException", "cancel the master key's deletion"),
        ] {
            emulator.set_key_state(state);
            check(&kms.decrypt(&wrapped).err().unwrap(), class, Some(code), remedy);
            check(&generate(kms, MASTER_KEY, KeySpec::Aes128).err().unwrap(), class, Some(code), remedy);
        }
        emulator.set_key_state("Enabled");

        for (fault, class, code, remedy) in [
            ("access_denied", Class::Denied, "AccessDeniedException", "Allow kms:Decrypt on the master key"),
            ("expired_token", Class::BadCredentials, "ExpiredTokenException", "Renew the credentials"),
        ] {
            emulator.fault(&format!(r#"{{"operation": "Decrypt", "kind": "{fault}"}}"#));
            check(&kms.decrypt(&wrapped).err().unwrap(), class, Some(code), remedy);
            emulator.clear_faults();
        }
        kms.decrypt(&wrapped).expect("and works again");
    });
}

#[test]
fn what_passes_by_itself_is_tried_again_and_reported_as_passing_if_it_lasts() {
    with_emulator(
        "classes::what_passes_by_itself_is_tried_again_and_reported_as_passing_if_it_lasts",
        |emulator, kms| {
            let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
            for kind in ["throttle", "error500", "unavailable503", "cut"] {
                emulator.fault(&format!(r#"{{"operation": "Decrypt", "kind": "{kind}", "times": 1}}"#));
                kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("once {kind}: {error}"));
            }
            emulator.fault(r#"{"operation": "Decrypt", "kind": "throttle"}"#);
            let error = kms.decrypt(&wrapped).err().unwrap();
            check(&error, Class::Throttled, Some("ThrottlingException"), "Try again");
            emulator.clear_faults();
            emulator.fault(r#"{"operation": "Decrypt", "kind": "error500"}"#);
            check(&kms.decrypt(&wrapped).err().unwrap(), Class::Internal, Some("KMSInternalException"), "Try again");
        },
    );
}

#[test]
fn every_code_has_its_class_and_its_outcome_at_a_start() {
    let name = "classes::every_code_has_its_class_and_its_outcome_at_a_start";
    with_environment(name, &[CREDENTIALS, &[("AWS_MAX_ATTEMPTS", "1")]].concat(), || {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        for (code, status, class, at_start) in CODES {
            let fault = format!(r#""kind": "code", "code": "{code}", "status": {status}, "message": "m""#);
            emulator.fault(&format!(r#"{{"operation": "Decrypt", {fault}}}"#));
            let error = kms.decrypt(&wrapped).err().unwrap();
            check(&error, *class, Some(code), "");
            assert_eq!(error.class.at_start(), *at_start, "{code}");
            emulator.clear_faults();
        }
        kms.decrypt(&wrapped).expect("and works again");
    });
}

#[test]
fn a_master_key_that_cannot_wrap_and_an_invalid_request_say_what_to_set() {
    let name = "classes::a_master_key_that_cannot_wrap_and_an_invalid_request_say_what_to_set";
    with_emulator(name, |emulator, kms| {
        for (code, class, remedy) in [
            ("InvalidKeyUsageException", Class::KeyType, "Set aws_key_management_master_key_id to a symmetric key"),
            (
                "UnsupportedOperationException",
                Class::KeyType,
                "Set aws_key_management_master_key_id to a symmetric key",
            ),
            ("ValidationException", Class::Rejected, "See the reason"),
        ] {
            emulator.fault(&format!(r#"{{"kind": "code", "code": "{code}", "message": "m"}}"#));
            check(&generate(kms, MASTER_KEY, KeySpec::Aes128).err().unwrap(), class, Some(code), remedy);
            emulator.clear_faults();
        }
    });
}

#[test]
fn an_endpoint_of_another_region_than_the_signature_is_told_from_a_wrong_secret() {
    let name = "classes::an_endpoint_of_another_region_than_the_signature_is_told_from_a_wrong_secret";
    let said =
        r#"{"__type": "InvalidSignatureException", "message": "Credential should be scoped to a valid region."}"#;
    let aws = format!("http://{}", http_stub::serve("127.0.0.1:0", move |_| (400, said.to_owned())));
    // The stub stands for all of AWS.
    with_environment(name, &[CREDENTIALS, &[("HTTP_PROXY", &aws)]].concat(), || {
        for (host, class) in [
            ("kms.eu-central-1.amazonaws.com", Class::WrongRegion),
            ("kms.us-east-1.amazonaws.com", Class::BadCredentials),
            ("kms.example.com", Class::BadCredentials),
        ] {
            // Said to be that of this region: one that is set without a region would not be asked for another one.
            let kms = AwsKms::new(AwsSettings {
                region: Some("us-east-1".to_owned()),
                region_endpoints: [("us-east-1".to_owned(), format!("http://{host}"))].into(),
                ..AwsSettings::default()
            });
            let error = kms.expect("a runtime").decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
            assert_eq!((error.class, error.code.as_deref()), (class, Some("InvalidSignatureException")), "{error}");
        }
        assert_eq!(Class::WrongRegion.at_start(), FailStart);
    });
}

#[test]
fn a_role_that_sts_refuses_is_no_missing_credential() {
    let name = "classes::a_role_that_sts_refuses_is_no_missing_credential";
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a token").unwrap();
    let sts =
        format!("http://{}", http_stub::serve_with(STS_REQUEST, "127.0.0.1:0", |_| (403, STS_REFUSES.to_owned())));
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/database"),
        ("AWS_ENDPOINT_URL_STS", &sts),
    ];
    with_environment(name, &environment, || {
        let error = connect("http://127.0.0.1:9", None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(
            &error,
            Class::RoleRefused,
            Some("AccessDenied"),
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        );
        assert_eq!(error.request_id.as_deref(), Some("8ae9e8f6"));
        assert_eq!(error.class.at_start(), WaitThenFailStart);
    });
}

#[test]
fn a_search_for_credentials_that_hangs_is_no_kms_that_does_not_answer() {
    let name = "classes::a_search_for_credentials_that_hangs_is_no_kms_that_does_not_answer";
    // Takes connections, and never answers.
    let metadata = TcpListener::bind("127.0.0.1:0").unwrap();
    let source = format!("http://{}/role", metadata.local_addr().unwrap());
    with_environment(name, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &source)], || {
        let kms = connect("http://127.0.0.1:9", Some(Duration::from_millis(200)));
        let error = kms.decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::NoCredentials, None, "did not end in time");
    });
}

#[test]
fn settings_that_the_sdk_makes_no_request_of_end_a_start_at_once() {
    let name = "classes::settings_that_the_sdk_makes_no_request_of_end_a_start_at_once";
    with_environment(name, &[CREDENTIALS, &[("AWS_USE_FIPS_ENDPOINT", "true")]].concat(), || {
        let error = connect("http://127.0.0.1:9", None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::Config, None, "FIPS");
        assert_eq!(error.class.at_start(), FailStart);
    });
}

/// What KMS, and AWS in general, answer with: the API reference, and the SDK's lists of throttling and passing codes.
const CODES: &[(&str, u16, Class, AtStart)] = &[
    ("ThrottlingException", 400, Class::Throttled, WaitThenFailStart),
    ("ThrottledException", 400, Class::Throttled, WaitThenFailStart),
    ("RequestThrottled", 400, Class::Throttled, WaitThenFailStart),
    ("RequestThrottledException", 400, Class::Throttled, WaitThenFailStart),
    ("SlowDown", 503, Class::Throttled, WaitThenFailStart),
    ("TooManyRequestsException", 429, Class::Throttled, WaitThenFailStart),
    ("RequestLimitExceeded", 400, Class::Throttled, WaitThenFailStart),
    ("BandwidthLimitExceeded", 400, Class::Throttled, WaitThenFailStart),
    ("LimitExceededException", 400, Class::Throttled, WaitThenFailStart),
    ("RequestTimeout", 408, Class::Internal, WaitThenFailStart),
    ("RequestTimeoutException", 408, Class::Internal, WaitThenFailStart),
    ("DependencyTimeoutException", 500, Class::Internal, WaitThenFailStart),
    ("KMSInternalException", 500, Class::Internal, WaitThenFailStart),
    ("InternalFailure", 500, Class::Internal, WaitThenFailStart),
    ("ServiceUnavailable", 503, Class::Internal, WaitThenFailStart),
    ("SomethingNewAndInternal", 500, Class::Internal, WaitThenFailStart),
    ("KeyUnavailableException", 500, Class::Unavailable, WaitThenFailKey),
    ("AccessDeniedException", 400, Class::Denied, WaitWhileNoneIsUsable),
    ("NotAuthorized", 401, Class::Denied, WaitWhileNoneIsUsable),
    ("OptInRequired", 403, Class::Denied, WaitWhileNoneIsUsable),
    ("ExpiredTokenException", 400, Class::BadCredentials, WaitThenFailStart),
    ("UnrecognizedClientException", 400, Class::BadCredentials, WaitThenFailStart),
    ("InvalidClientTokenId", 403, Class::BadCredentials, WaitThenFailStart),
    ("InvalidSignatureException", 400, Class::BadCredentials, WaitThenFailStart),
    ("IncompleteSignature", 400, Class::BadCredentials, WaitThenFailStart),
    ("MissingAuthenticationToken", 403, Class::BadCredentials, WaitThenFailStart),
    ("RequestExpired", 400, Class::Clock, WaitThenFailStart),
    ("RequestTimeTooSkewed", 403, Class::Clock, WaitThenFailStart),
    ("DisabledException", 409, Class::Disabled, WaitWhileNoneIsUsable),
    ("KMSInvalidStateException", 409, Class::InvalidState, WaitWhileNoneIsUsable),
    ("CustomKeyStoreInvalidStateException", 400, Class::KeyStore, WaitWhileNoneIsUsable),
    ("CloudHsmClusterNotActiveException", 400, Class::KeyStore, WaitWhileNoneIsUsable),
    ("XksProxyUriUnreachableException", 400, Class::KeyStore, WaitWhileNoneIsUsable),
    ("NotFoundException", 404, Class::NotFound, WaitWhileNoneIsUsable),
    ("InvalidArnException", 400, Class::NotFound, WaitWhileNoneIsUsable),
    ("InvalidKeyUsageException", 400, Class::KeyType, FailKey),
    ("UnsupportedOperationException", 400, Class::KeyType, FailKey),
    ("IncorrectKeyException", 400, Class::WrongKey, FailKey),
    ("InvalidCiphertextException", 400, Class::Corrupt, FailKey),
    ("ValidationException", 400, Class::Corrupt, FailKey),
    ("InvalidGrantTokenException", 400, Class::Rejected, WaitWhileNoneIsUsable),
    ("UnknownOperationException", 404, Class::Rejected, WaitWhileNoneIsUsable),
    ("SomethingNewException", 400, Class::Rejected, WaitWhileNoneIsUsable),
];

const STS_REQUEST: &str = "x-amzn-RequestId: 8ae9e8f6\r\n";

const STS_REFUSES: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
    <Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error>\
    <RequestId>8ae9e8f6</RequestId></ErrorResponse>";
