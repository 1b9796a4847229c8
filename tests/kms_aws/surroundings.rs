//! What lies between the server and AWS: proxies and certificates.

use super::*;
use proxy::Proxy;

#[test]
fn the_metadata_of_ec2_are_never_asked_of_the_proxy_that_kms_is_asked_through() {
    let name = "surroundings::the_metadata_of_ec2_are_never_asked_of_the_proxy_that_kms_is_asked_through";
    let metadata = format!("http://{}", http_stub::serve("127.0.0.1:0", metadata_of_ec2));
    let source = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)];
    only_kms_is_asked_of_the_proxy(name, &source);
}

#[test]
fn the_credentials_of_a_container_are_never_asked_of_the_proxy_that_kms_is_asked_through() {
    let name = "surroundings::the_credentials_of_a_container_are_never_asked_of_the_proxy_that_kms_is_asked_through";
    let container = format!("http://{}/role", http_stub::serve("127.0.0.1:0", |_| (200, credentials())));
    let source = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()), ("AWS_REGION", "us-east-1")];
    only_kms_is_asked_of_the_proxy(name, &source);
}

fn only_kms_is_asked_of_the_proxy(name: &str, source: &[(&str, &str)]) {
    let proxy = Proxy::start(None);
    let (url, log) = (proxy.url(None), proxy.log());
    let environment = [("HTTP_PROXY", url.as_str()), (PROXY_LOG, log.to_str().unwrap())];
    with_environment(name, &[&environment, source].concat(), || {
        let emulator = Emulator::start();
        let endpoint_url = Some(emulator.url().to_owned());
        let kms = AwsKms::new(AwsSettings { endpoint_url, ..AwsSettings::default() }).unwrap();
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        let requests = requests();
        assert!(requests.contains(emulator.url()), "KMS was asked through the proxy:\n{requests}");
        assert!(!requests.contains("/latest/") && !requests.contains("/role"), "{requests}");
    });
}

#[test]
fn kms_is_asked_over_tls_through_a_proxy_that_wants_a_password() {
    let name = "surroundings::kms_is_asked_over_tls_through_a_proxy_that_wants_a_password";
    through_a_proxy(name, "db:secret", |url, key| {
        key.unwrap_or_else(|error| panic!("{error}"));
        let (requests, connect) = (requests(), format!("CONNECT {}", url.trim_start_matches("https://")));
        assert!(requests.contains(&connect), "{connect}:\n{requests}");
    });
}

#[test]
fn a_proxy_that_refuses_is_named_and_its_password_is_not() {
    let name = "surroundings::a_proxy_that_refuses_is_named_and_its_password_is_not";
    through_a_proxy(name, "db:wrong-password", |_, key| {
        let error = key.err().unwrap();
        check(&error, Class::Transient, None, "HTTPS_PROXY");
        assert!(!error.to_string().contains("wrong-password"), "{error}");
    });
}

/// Asks for a key over TLS, through a proxy that serves `db:secret`.
fn through_a_proxy(name: &str, login: &str, check: impl FnOnce(&str, Result<WrappedKey, KmsError>)) {
    let proxy = Proxy::start(Some("db:secret"));
    let folder = tempfile::tempdir().unwrap();
    let (url, log, ca) = (proxy.url(Some(login)), proxy.log(), folder.path().join("ca.pem"));
    let environment =
        [("HTTPS_PROXY", url.as_str()), (PROXY_LOG, log.to_str().unwrap()), ("SSL_CERT_FILE", ca.to_str().unwrap())];
    with_environment(name, &[CREDENTIALS, &environment].concat(), || {
        let emulator = start_tls(&[]);
        let url = emulator.url().replace("127.0.0.1", "localhost");
        check(&url, generate(&connect(&url, None), MASTER_KEY, KeySpec::Aes128));
    });
}

/// What the proxy was asked.
fn requests() -> String {
    std::fs::read_to_string(std::env::var(PROXY_LOG).unwrap()).unwrap()
}

/// Tells the child process where its parent's proxy notes requests.
const PROXY_LOG: &str = "TEST_PROXY_LOG";

/// In the folder where SSL_CERT_FILE, or AWS_CA_BUNDLE, has its CA.
fn start_tls(more: &[&str]) -> Emulator {
    let ca = std::env::var("SSL_CERT_FILE").or(std::env::var("AWS_CA_BUNDLE")).unwrap();
    Emulator::start_tls(std::path::Path::new(&ca).parent().unwrap().to_str().unwrap(), more)
}

fn metadata_of_ec2(request: &str) -> (u16, String) {
    let answer = if request.contains("placement/region") {
        "us-east-1".to_owned()
    } else if request.contains("security-credentials/database") {
        credentials()
    } else if request.contains("security-credentials/") {
        "database".to_owned()
    } else {
        "token".to_owned()
    };
    (200, answer)
}

fn credentials() -> String {
    r#"{"Code": "Success", "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s", "Token": "t",
        "Expiration": "2099-01-01T00:00:00Z"}"#
        .to_owned()
}
