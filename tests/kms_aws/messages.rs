//! What messages say: where KMS was asked, and nothing that is secret or leaves its line.

use aws_key_management::kms::aws::Remark;

use super::*;

#[test]
fn every_failure_of_a_call_names_the_endpoint_that_was_asked_and_the_region() {
    let name = "messages::every_failure_of_a_call_names_the_endpoint_that_was_asked_and_the_region";
    with_environment(name, &[CREDENTIALS, &[("AWS_MAX_ATTEMPTS", "1")]].concat(), || {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), Some(Duration::from_secs(3)));
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        for kind in ["access_denied", "throttle", "error500", "expired_token", "garbage", "cut", "hang"] {
            emulator.fault(&format!(r#"{{"kind": "{kind}"}}"#));
            names_where(&kms.decrypt(&wrapped).err().unwrap(), emulator.url());
            names_where(&generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap(), emulator.url());
            let patience = Duration::from_secs(if kind == "hang" { 1 } else { 20 });
            let many = kms.decrypt_all(&[wrapped.clone(), wrapped.clone()], Instant::now() + patience);
            many.into_iter().for_each(|answer| names_where(&answer.err().unwrap(), emulator.url()));
            emulator.clear_faults();
        }
        let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        names_where(&connect(&closed, None).decrypt(&wrapped).err().unwrap(), &closed);
    });
}

fn names_where(error: &KmsError, url: &str) {
    assert!(error.to_string().contains(&format!(". Asked {url} in region us-east-1")), "{error}");
    assert_eq!((error.endpoint.as_deref(), error.region.as_deref()), (Some(url), Some("us-east-1")), "{error}");
}

#[test]
fn without_credentials_a_message_names_the_region_and_that_kms_was_not_asked() {
    let name = "messages::without_credentials_a_message_names_the_region_and_that_kms_was_not_asked";
    with_environment(name, &[], || {
        let error = connect("http://127.0.0.1:9", None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::NoCredentials, None, "no source of credentials is configured");
        assert!(error.to_string().contains("KMS was not asked; the region is us-east-1"), "{error}");
    });
}

#[test]
fn an_endpoint_of_the_environment_is_named_without_the_login_that_it_holds() {
    let name = "messages::an_endpoint_of_the_environment_is_named_without_the_login_that_it_holds";
    let url = [("AWS_ENDPOINT_URL_KMS", "http://name:SECRET@127.0.0.1:9/SECRET?SECRET"), ("AWS_REGION", "us-east-1")];
    with_environment(name, &[CREDENTIALS, &url].concat(), || {
        let kms = AwsKms::new(AwsSettings::default()).unwrap();
        let error = kms.decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        names_where(&error, "http://127.0.0.1:9");
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    });
}

#[test]
fn an_endpoint_of_the_environment_without_tls_is_warned_of() {
    let name = "messages::an_endpoint_of_the_environment_without_tls_is_warned_of";
    let endpoints = [("AWS_ENDPOINT_URL_KMS", ""), ("AWS_ENDPOINT_URL", "http://aws.example.com")];
    with_environment(name, &endpoints, || {
        let remarks = AwsSettings::default().remarks();
        let [Remark::Warning(text)] = &remarks[..] else { panic!("{remarks:?}") };
        assert!(text.starts_with("AWS_ENDPOINT_URL is http://aws.example.com: data keys cross"), "{text}");
    });
}

#[test]
fn a_wrong_signature_repeats_no_header_of_the_request_and_nothing_leaves_its_line() {
    let name = "messages::a_wrong_signature_repeats_no_header_of_the_request_and_nothing_leaves_its_line";
    with_environment(name, CREDENTIALS, || {
        for answer in [SIGNATURE, CONTROL] {
            let aws = http_stub::serve("127.0.0.1:0", move |_| (400, answer.to_owned()));
            let error = connect(&format!("http://{aws}"), None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
            assert!(error.code.is_some(), "{error}");
            for text in [error.to_string(), error.detail.clone()] {
                assert!(text.contains("does not match the signature you provided"), "{text}");
                assert!(!text.contains("SECRET") && !text.contains("Canonical"), "{text}");
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    });
}

/// As AWS answers.
const SIGNATURE: &str = r#"{"__type": "SignatureDoesNotMatch", "message": "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request should have been\n'POST\n/\n\nhost:kms\nx-amz-security-token:SECRET\n'\n\nThe String-to-Sign should have been\n'AWS4-HMAC-SHA256\nSECRET'\n"}"#;

/// As nobody should.
const CONTROL: &str = r#"{"__type": "Signature\u001b[31mDoesNotMatch", "message": "The\u0000 signature\u001b does not match the signature you provided\r\n2026-01-01 [ERROR] another line"}"#;
