//! What lies between the server and AWS: proxies and certificates.

use std::net::TcpStream;
use std::path::PathBuf;

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
        let ca = PathBuf::from(std::env::var("SSL_CERT_FILE").unwrap());
        let emulator = Emulator::start_tls(ca.parent().unwrap().to_str().unwrap(), &[]);
        let url = emulator.url().replace("127.0.0.1", "localhost");
        check(&url, generate(&connect(&url, None), MASTER_KEY, KeySpec::Aes128));
    });
}

#[test]
fn a_private_ca_is_told_from_a_network_that_is_down_and_works_when_it_is_named() {
    let name = "surroundings::a_private_ca_is_told_from_a_network_that_is_down_and_works_when_it_is_named";
    // One of the two that cannot be read is no reason to say so, as long as there are certificates.
    let files = [("SSL_CERT_FILE", "of another/ca.pem"), ("SSL_CERT_DIR", "missing")];
    with_files(name, &files, CREDENTIALS, |folder| {
        let _other = Emulator::start_tls(&format!("{folder}/of another"), &[]);
        let emulator = Emulator::start_tls(folder, &[]);
        let error = generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::UntrustedCa, None, "trusted: 1 CA certificate(s) of the system");
        let text = error.to_string();
        for part in ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "ca-certificates"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("Check the network"), "{text}");
        // The file is read anew for the next client.
        std::fs::copy(format!("{folder}/ca.pem"), format!("{folder}/of another/ca.pem")).unwrap();
        generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_machine_without_certificates_of_cas_says_so() {
    let name = "surroundings::a_machine_without_certificates_of_cas_says_so";
    with_files(name, &[("SSL_CERT_FILE", "missing.pem"), ("SSL_CERT_DIR", "missing")], CREDENTIALS, |folder| {
        let emulator = Emulator::start_tls(folder, &[]);
        let error = generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::UntrustedCa, None, "Install the package ca-certificates");
        assert!(error.to_string().contains("missing.pem"), "{error}");
        // Where no certificate is needed, none is missed.
        let emulator = Emulator::start();
        generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_bundle_of_aws_takes_the_place_of_the_certificates_of_the_system() {
    let name = "surroundings::a_bundle_of_aws_takes_the_place_of_the_certificates_of_the_system";
    with_files(name, &[("AWS_CA_BUNDLE", "bundle/ca.pem"), ("SSL_CERT_FILE", "ca.pem")], CREDENTIALS, |folder| {
        let bundled = Emulator::start_tls(&format!("{folder}/bundle"), &[]);
        generate(&connect(bundled.url(), None), MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        let of_system = Emulator::start_tls(folder, &[]);
        let error = generate(&connect(of_system.url(), None), MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::UntrustedCa, None, "trusted: 1 CA certificate(s) of AWS_CA_BUNDLE=");
    });
}

#[test]
fn a_bundle_that_cannot_be_read_or_holds_nothing_is_named() {
    let name = "surroundings::a_bundle_that_cannot_be_read_or_holds_nothing_is_named";
    with_files(name, &[("AWS_CA_BUNDLE", "bundle.pem")], CREDENTIALS, |folder| {
        let emulator = Emulator::start_tls(folder, &[]);
        let fails = |part: &str| {
            let error = generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).err().unwrap();
            check(&error, Class::UntrustedCa, None, part);
            assert!(error.to_string().contains(&format!("AWS_CA_BUNDLE={folder}/bundle.pem")), "{error}");
        };
        fails("cannot be read: No such file or directory");
        for contents in ["", "no certificate", BROKEN_CERTIFICATES] {
            std::fs::write(format!("{folder}/bundle.pem"), contents).unwrap();
            fails("trusted: 0 CA certificate(s)");
        }
    });
}

#[test]
fn a_certificate_that_is_expired_or_has_another_name_is_none_of_an_unknown_ca() {
    let name = "surroundings::a_certificate_that_is_expired_or_has_another_name_is_none_of_an_unknown_ca";
    with_files(name, &[("SSL_CERT_FILE", "ca.pem")], CREDENTIALS, |folder| {
        for (fault, part) in [("expired", "expired"), ("other_name", "kms.example.com")] {
            let emulator = Emulator::start_tls(folder, &["--tls-fault", fault]);
            let error = generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).err().unwrap();
            check(&error, Class::BadCertificate, None, part);
            assert!(error.class.is_passing(), "a clock may be set late");
        }
    });
}

#[test]
fn a_connection_whose_packets_are_dropped_is_told_from_an_answer_that_is_late() {
    let name = "surroundings::a_connection_whose_packets_are_dropped_is_told_from_an_answer_that_is_late";
    with_environment(name, &[CREDENTIALS, &[("AWS_MAX_ATTEMPTS", "1")]].concat(), || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        // Where nobody accepts, the kernel drops what does not fit into the queue.
        let waits = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let _waiting: Vec<TcpStream> = std::iter::from_fn(waits).take(1000).collect();
        let error = connect(&format!("http://{address}"), None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::Transient, None, "connect timeout");
        let text = error.to_string();
        let (first, _) = text.split_once(". Asked ").unwrap();
        assert!(first.contains("firewall") && first.contains("IPAddressDeny= of the server's service"), "{text}");
    });
}

/// Base64 that is no certificate, and what is no base64.
const BROKEN_CERTIFICATES: &str = "-----BEGIN CERTIFICATE-----\nTm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n\
    -----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";

/// What the proxy was asked.
fn requests() -> String {
    std::fs::read_to_string(std::env::var(PROXY_LOG).unwrap()).unwrap()
}

/// Tells the child process where its parent's proxy notes requests.
const PROXY_LOG: &str = "TEST_PROXY_LOG";

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
