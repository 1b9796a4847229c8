//! The AWS client against a KMS over HTTP: every class of failure, with the error that AWS gives for it.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "../support/child.rs"]
mod child;
mod classes;
mod credentials;
mod figures;
#[path = "../support/http_stub.rs"]
mod http_stub;
#[path = "../support/kms_emulator.rs"]
mod kms_emulator;
mod messages;
#[path = "../support/proxy.rs"]
mod proxy;
mod regions;
mod surroundings;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_key_management::kms::aws::{AwsKms, AwsSettings};
use aws_key_management::kms::{Class, EncryptionContext, KeySpec, Kms, KmsError, MasterKeyId, WrappedKey};
use child::{CREDENTIALS, with_environment, with_raw_environment};
use kms_emulator::{Emulator, MASTER_KEY};

#[test]
fn a_data_key_is_made_and_unwrapped_and_its_plaintext_is_known_to_kms_alone() {
    with_emulator("a_data_key_is_made_and_unwrapped_and_its_plaintext_is_known_to_kms_alone", |emulator, kms| {
        for (spec, marker) in [(KeySpec::Aes128, "ab".repeat(16)), (KeySpec::Aes256, "cd".repeat(32))] {
            emulator.set_marker(&marker);
            let wrapped = generate(kms, MASTER_KEY, spec).expect("a wrapped key");
            let plain = kms.decrypt(&wrapped).expect("the key");
            let hex: String = plain.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, marker);
            assert!(!wrapped.as_bytes().windows(16).any(|part| part == &plain.as_bytes()[..16]));
        }
        assert_eq!((emulator.count("GenerateDataKeyWithoutPlaintext"), emulator.count("Decrypt")), (2, 2));
    });
}

#[test]
fn a_key_that_is_wrapped_anew_is_the_same_key_and_needs_its_context() {
    with_emulator("a_key_that_is_wrapped_anew_is_the_same_key_and_needs_its_context", |_, kms| {
        let master_key = MasterKeyId::parse(MASTER_KEY).unwrap();
        let context = EncryptionContext::parse("server=db1").unwrap().with_key_id(7);
        let generated = kms.generate_data_key(&master_key, KeySpec::Aes256, &context).expect("a wrapped key");
        let plain = kms.decrypt(&generated).expect("the key");
        let again = kms.encrypt(&master_key, plain.as_bytes(), &context).expect("wrapped anew");
        assert!(again.as_bytes() != generated.as_bytes());
        assert!(again.master_key().is_some_and(|arn| Some(arn.as_str()) == plain.master_key()));
        assert_eq!(kms.decrypt(&again).expect("the key").as_bytes(), plain.as_bytes());
        for context in [EncryptionContext::default(), EncryptionContext::parse("server=db1").unwrap().with_key_id(8)] {
            for wrapped in [&generated, &again] {
                let error = kms.decrypt(&wrapped.clone().with_encryption_context(context.clone())).err();
                check(
                    &error.expect("refused"),
                    Class::Corrupt,
                    Some("InvalidCiphertextException"),
                    "Restore the key file",
                );
            }
        }
    });
}

#[test]
fn many_keys_are_unwrapped_at_the_same_time_and_come_back_in_order() {
    with_emulator("many_keys_are_unwrapped_at_the_same_time_and_come_back_in_order", |emulator, kms| {
        let mut wrapped = Vec::new();
        for number in 0..48_u8 {
            emulator.set_marker(&format!("{number:02x}").repeat(16));
            wrapped.push(generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key"));
        }
        wrapped.push(WrappedKey::new(b"garbage".to_vec()));
        emulator.fault(r#"{"operation": "Decrypt", "kind": "delay", "seconds": 0.2}"#);
        let started = Instant::now();
        let mut answers = kms.decrypt_all(&wrapped, Instant::now() + Duration::from_secs(20));
        assert!(started.elapsed() < Duration::from_secs(4), "48 x 0.2 s one by one would be 9.6 s");
        assert_eq!(answers.pop().unwrap().err().map(|error| error.class), Some(Class::Corrupt));
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.unwrap_or_else(|error| panic!("{error}")).as_bytes(), [number as u8; 16]);
        }
    });
}

#[test]
fn an_answer_that_is_none_of_kms_is_no_key_and_its_body_is_in_no_message() {
    with_emulator("an_answer_that_is_none_of_kms_is_no_key_and_its_body_is_in_no_message", |emulator, kms| {
        // In base64: q6urq6urq6urq6urq6urqw==
        emulator.set_marker(&"ab".repeat(16));
        let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        for kind in ["garbage", "garbage_with_plaintext"] {
            emulator.fault(&format!(r#"{{"operation": "Decrypt", "kind": "{kind}"}}"#));
            let error = kms.decrypt(&wrapped).err().unwrap();
            assert_eq!((error.class, error.code.as_deref()), (Class::Transient, None), "{error}");
            assert!(error.to_string().contains("the answer is not one of KMS (HTTP status 200)"), "{error}");
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains("q6ur") && !text.to_lowercase().contains("abab"), "{text}");
            }
            emulator.clear_faults();
        }
        emulator.fault(r#"{"operation": "Decrypt", "kind": "wrong_length"}"#);
        assert_eq!(kms.decrypt(&wrapped).expect("for the key store to refuse").as_bytes().len(), 15);
    });
}

#[test]
fn whether_a_key_would_be_made_is_answered_as_if_one_were() {
    with_emulator("whether_a_key_would_be_made_is_answered_as_if_one_were", |emulator, kms| {
        let ask = |name| {
            let name = MasterKeyId::parse(name).expect("a name");
            kms.check_can_generate(&name, KeySpec::Aes128, &EncryptionContext::default())
        };
        ask(MASTER_KEY).expect("yes");
        let error = ask("alias/nobody").expect_err("no such key");
        check(&error, Class::NotFound, Some("NotFoundException"), "Check aws_key_management_master_key_id");
        emulator.fault(r#"{"operation": "GenerateDataKeyWithoutPlaintext", "kind": "access_denied"}"#);
        let error = ask(MASTER_KEY).expect_err("denied");
        check(&error, Class::Denied, Some("AccessDeniedException"), "Allow kms:GenerateDataKeyWithoutPlaintext");
    });
}

#[test]
fn a_kms_that_hangs_is_given_up_in_bounded_time() {
    let name = "a_kms_that_hangs_is_given_up_in_bounded_time";
    with_environment(name, CREDENTIALS, || {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), Some(Duration::from_millis(200)));
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        emulator.fault(r#"{"kind": "hang"}"#);
        let started = Instant::now();
        let error = kms.decrypt(&wrapped).err().unwrap();
        check(&error, Class::Transient, None, "no answer in time");
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        let started = Instant::now();
        let answers = kms.decrypt_all(&[wrapped.clone(), wrapped], Instant::now() + Duration::from_millis(300));
        assert!(answers.iter().all(|answer| answer.as_ref().err().is_some_and(|error| error.class.is_passing())));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    });
}

#[test]
fn a_kms_that_is_not_there_is_a_passing_failure_that_names_the_cause() {
    let name = "a_kms_that_is_not_there_is_a_passing_failure_that_names_the_cause";
    with_environment(name, CREDENTIALS, || {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let kms = connect(&format!("http://{closed}"), None);
        let error = kms.decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::Transient, None, "Connection refused");
    });
}

#[test]
fn missing_credentials_are_told_from_a_network_that_is_down() {
    let name = "missing_credentials_are_told_from_a_network_that_is_down";
    with_environment(name, &[], || {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::NoCredentials, None, "Give the server an instance role");
        assert!(error.class.is_passing(), "an instance role may turn up late");
        assert_eq!(emulator.count("GenerateDataKeyWithoutPlaintext"), 0);
    });
}

#[test]
fn credentials_and_region_come_from_the_aws_files_of_the_user_too() {
    let name = "credentials_and_region_come_from_the_aws_files_of_the_user_too";
    let home = tempfile::tempdir().expect("a home");
    let (credentials, config) = (home.path().join("credentials"), home.path().join("config"));
    let files = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
        ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ("AWS_PROFILE", "database"),
    ];
    std::fs::write(&credentials, "[database]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = x\n").unwrap();
    std::fs::write(&config, "[profile database]\nregion = eu-central-1\n").unwrap();
    with_environment(name, &files, || {
        let emulator = Emulator::start();
        let kms = AwsKms::new(AwsSettings { endpoint_url: Some(emulator.url().to_owned()), ..AwsSettings::default() })
            .expect("a runtime");
        // The master key is in us-east-1: it is not found in the profile's region, and its name shows that region.
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::NotFound, Some("NotFoundException"), "eu-central-1");
    });
}

#[test]
fn a_region_that_the_metadata_tell_late_is_used_when_they_do() {
    let name = "a_region_that_the_metadata_tell_late_is_used_when_they_do";
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metadata = format!("http://{closed}");
    let instance = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)];
    with_environment(name, &[CREDENTIALS, &instance].concat(), || {
        let emulator = Emulator::start_with(&format!("{MASTER_KEY}=eu-central-1"));
        let endpoint_url = Some(emulator.url().to_owned());
        let kms = AwsKms::new(AwsSettings { endpoint_url, ..AwsSettings::default() }).expect("a runtime");
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::NoRegion, Some("NotFoundException"), "Set aws_key_management_region");
        assert!(error.class.is_passing());
        // What has nothing to do with the region stays what it is.
        emulator.fault(r#"{"kind": "expired_token", "times": 1}"#);
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::BadCredentials, Some("ExpiredTokenException"), "Renew the credentials");
        let metadata = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap();
        http_stub::serve(metadata.strip_prefix("http://").unwrap(), |request| {
            if request.contains("placement/region") { (200, "eu-central-1".into()) } else { (200, "token".into()) }
        });
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_region_that_has_proven_right_stays_so_when_credentials_are_read_anew() {
    let name = "a_region_that_has_proven_right_stays_so_when_credentials_are_read_anew";
    with_environment(name, CREDENTIALS, || {
        let emulator = Emulator::start();
        let endpoint_url = Some(emulator.url().to_owned());
        let kms = AwsKms::new(AwsSettings { endpoint_url, ..AwsSettings::default() }).expect("a runtime");
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).expect("us-east-1, which nobody has set, is right");
        for kind in ["expired_token", "access_denied"] {
            emulator.fault(&format!(r#"{{"kind": "{kind}", "times": 2}}"#));
            assert_ne!(kms.decrypt(&wrapped).err().unwrap().class, Class::NoRegion);
            emulator.clear_faults();
            let error = kms.decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
            check(&error, Class::Corrupt, Some("InvalidCiphertextException"), "region us-east-1");
        }
    });
}

#[test]
fn a_region_that_has_worked_is_used_while_the_metadata_do_not_tell_it() {
    let name = "a_region_that_has_worked_is_used_while_the_metadata_do_not_tell_it";
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metadata = format!("http://{closed}");
    let instance = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata)];
    with_environment(name, &[CREDENTIALS, &instance].concat(), || {
        let told = Arc::new(AtomicBool::new(true));
        let tells = told.clone();
        let metadata = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap();
        http_stub::serve(metadata.strip_prefix("http://").unwrap(), move |request| match request {
            _ if !tells.load(Ordering::Relaxed) => (404, "not yet".into()),
            _ if request.contains("placement/region") => (200, "eu-central-1".into()),
            _ => (200, "token".into()),
        });
        let emulator = Emulator::start_with(&format!("{MASTER_KEY}=eu-central-1"));
        let endpoint_url = Some(emulator.url().to_owned());
        let kms = AwsKms::new(AwsSettings { endpoint_url, ..AwsSettings::default() }).expect("a runtime");
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        told.store(false, Ordering::Relaxed);
        emulator.fault(r#"{"kind": "expired_token", "times": 1}"#);
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("with a new client: {error}"));
        let error = kms.decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::Corrupt, Some("InvalidCiphertextException"), "region eu-central-1");
    });
}

#[test]
fn an_answer_of_a_proxy_says_nothing_about_the_key() {
    with_environment("an_answer_of_a_proxy_says_nothing_about_the_key", CREDENTIALS, || {
        for status in [403, 407, 429, 502] {
            let proxy = http_stub::serve("127.0.0.1:0", move |_| (status, "<html>no</html>".into()));
            let error =
                connect(&format!("http://{proxy}"), None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
            check(&error, Class::Transient, None, "check aws_key_management_endpoint_url, and any proxy");
        }
    });
}

#[test]
fn the_runtime_has_named_threads_that_take_no_signals_and_end_with_it() {
    with_emulator("the_runtime_has_named_threads_that_take_no_signals_and_end_with_it", |_, kms| {
        generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        let threads = runtime_threads();
        assert!(!threads.is_empty());
        for blocked in threads {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGCHLD] {
                assert!(blocked & 1 << (signal - 1) != 0, "signal {signal} is not blocked");
            }
        }
        drop(connect("http://127.0.0.1:9", None));
    });
    let name = "the_runtime_has_named_threads_that_take_no_signals_and_end_with_it";
    with_environment(name, CREDENTIALS, || {
        drop(connect("http://127.0.0.1:9", None));
        assert!(runtime_threads().is_empty());
    });
}

/// The masks of blocked signals of the runtime's threads.
fn runtime_threads() -> Vec<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    statuses
        .filter(|status| status.starts_with("Name:\taws-kms\n"))
        .map(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).expect("a mask");
            u64::from_str_radix(mask, 16).expect("hexadecimal digits")
        })
        .collect()
}

fn with_emulator(test: &str, body: impl FnOnce(&Emulator, &AwsKms)) {
    with_environment(test, CREDENTIALS, || {
        let emulator = Emulator::start();
        body(&emulator, &connect(emulator.url(), None));
    });
}

/// In an environment with `more`, and with `files`, whose values are paths in a folder of the test's own; `body` gets the
/// folder's path.
fn with_files(test: &str, files: &[(&str, &str)], more: &[(&str, &str)], body: impl FnOnce(&str)) {
    let folder = tempfile::tempdir().unwrap();
    for (_, path) in files {
        std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
    }
    let absolute = |path: &str| folder.path().join(path).to_str().unwrap().to_owned();
    let mut environment: Vec<(&str, String)> = files.iter().map(|(name, path)| (*name, absolute(path))).collect();
    environment.push(("TEST_FOLDER", absolute("")));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    with_environment(test, &[&environment, more].concat(), || {
        body(std::env::var("TEST_FOLDER").unwrap().trim_end_matches('/'));
    });
}

fn connect(url: &str, request_timeout: Option<Duration>) -> AwsKms {
    AwsKms::new(AwsSettings {
        region: Some("us-east-1".to_owned()),
        endpoint_url: Some(url.to_owned()),
        request_timeout,
        ..AwsSettings::default()
    })
    .expect("a runtime")
}

fn generate(kms: &AwsKms, master_key: &str, spec: KeySpec) -> Result<WrappedKey, KmsError> {
    kms.generate_data_key(&MasterKeyId::parse(master_key).expect("a name"), spec, &EncryptionContext::default())
}

/// The class, the code, a request id wherever AWS has answered, and a part of the message.
fn check(error: &KmsError, class: Class, code: Option<&str>, part: &str) {
    assert_eq!((error.class, error.code.as_deref()), (class, code), "{error}");
    assert_eq!(error.request_id.is_some(), code.is_some(), "{error}");
    assert!(error.to_string().contains(part), "{error}");
}
