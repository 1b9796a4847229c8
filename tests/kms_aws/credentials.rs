//! Credentials that turn up late, are renewed, or cannot be read: the next call sees what there is then, and a message
//! names the cause.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;

#[test]
fn credentials_that_turn_up_late_are_used_by_the_next_call() {
    let name = "credentials::credentials_that_turn_up_late_are_used_by_the_next_call";
    with_files(name, &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let file = format!("{folder}/credentials");
        for _ in 0..2 {
            let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
            check(&error, Class::NoCredentials, None, &format!("{file} cannot be read: No such file or directory"));
        }
        std::fs::write(&file, profile("AKIALATE")).unwrap();
        generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_file_that_cannot_be_read_is_named_by_every_call_until_it_can() {
    let name = "credentials::a_file_that_cannot_be_read_is_named_by_every_call_until_it_can";
    with_files(name, &[("HOME", "")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let file = format!("{folder}/.aws/credentials");
        // Where the tests run as root, there are no files without permission.
        std::fs::create_dir_all(&file).unwrap();
        for _ in 0..2 {
            let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
            check(&error, Class::NoCredentials, None, &format!("{file} cannot be read: Is a directory (os error 21)"));
        }
        std::fs::remove_dir(&file).unwrap();
        std::fs::write(&file, profile("AKIALATE")).unwrap();
        generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn the_credentials_file_of_the_old_plugin_is_used() {
    let name = "credentials::the_credentials_file_of_the_old_plugin_is_used";
    with_files(name, &[("AWS_CREDENTIAL_PROFILES_FILE", "old")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::NoCredentials, None, &format!("{folder}/old cannot be read: No such file or directory"));
        std::fs::write(format!("{folder}/old"), profile("AKIAOLD")).unwrap();
        generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(emulator.access_keys(), ["AKIAOLD"]);
    });
}

#[test]
fn the_usual_credentials_file_comes_before_that_of_the_old_plugin() {
    let name = "credentials::the_usual_credentials_file_comes_before_that_of_the_old_plugin";
    let variables = [("AWS_CREDENTIAL_PROFILES_FILE", "old"), ("AWS_SHARED_CREDENTIALS_FILE", "new")];
    with_files(name, &variables, &[], |folder| {
        let emulator = Emulator::start();
        std::fs::write(format!("{folder}/old"), profile("AKIAOLD")).unwrap();
        std::fs::write(format!("{folder}/new"), profile("AKIANEW")).unwrap();
        generate(&connect(emulator.url(), None), MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(emulator.access_keys(), ["AKIANEW"]);
    });
}

#[test]
fn a_profile_that_makes_no_sense_says_so_for_every_key_and_every_round_of_a_start_until_it_does() {
    let name =
        "credentials::a_profile_that_makes_no_sense_says_so_for_every_key_and_every_round_of_a_start_until_it_does";
    with_files(name, &[("AWS_CONFIG_FILE", "config")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let config = format!("{folder}/config");
        std::fs::write(&config, "[default]\nrole_arn = arn:aws:iam::1:role/db\nsource_profile = missing\n").unwrap();
        let keys = vec![WrappedKey::new(vec![1; 100]); 40];
        for _ in 0..2 {
            for answer in kms.decrypt_all(&keys, Instant::now() + Duration::from_secs(20)) {
                check(&answer.err().unwrap(), Class::NoCredentials, None, "missing");
            }
        }
        std::fs::write(&config, profile("AKIALATE")).unwrap();
        for answer in kms.decrypt_all(&keys, Instant::now() + Duration::from_secs(20)) {
            assert_eq!(answer.err().unwrap().class, Class::Corrupt, "KMS was asked");
        }
    });
}

#[test]
fn renewed_credentials_are_used_as_soon_as_aws_refuses_the_old_ones() {
    let name = "credentials::renewed_credentials_are_used_as_soon_as_aws_refuses_the_old_ones";
    with_files(name, &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let file = format!("{folder}/credentials");
        std::fs::write(&file, profile("AKIAFIRST")).unwrap();
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        let refuse = |key: &str| emulator.fault(&format!(r#"{{"kind": "expired_token", "access_key": "{key}"}}"#));

        refuse("AKIAFIRST");
        let error = kms.decrypt(&wrapped).err().unwrap();
        check(&error, Class::BadCredentials, Some("ExpiredTokenException"), "Renew the credentials");
        std::fs::write(&file, profile("AKIASECOND")).unwrap();
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("renewed after the failure: {error}"));

        std::fs::write(&file, profile("AKIATHIRD")).unwrap();
        refuse("AKIASECOND");
        generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("renewed before it: {error}"));

        std::fs::write(&file, profile("AKIA4")).unwrap();
        refuse("AKIATHIRD");
        encrypt(&kms).unwrap_or_else(|error| panic!("renewed before it: {error}"));

        std::fs::write(&file, profile("AKIA5")).unwrap();
        refuse("AKIA4");
        let before = emulator.count("Decrypt");
        for answer in kms.decrypt_all(&vec![wrapped; 40], Instant::now() + Duration::from_secs(20)) {
            answer.unwrap_or_else(|error| panic!("of many keys: {error}"));
        }
        assert_eq!(emulator.count("Decrypt") - before, 80, "each key once with the old ones, once with the new ones");
    });
}

#[test]
fn other_credentials_are_looked_for_by_the_call_after_a_refusal_that_may_be_of_the_identity() {
    let name = "credentials::other_credentials_are_looked_for_by_the_call_after_a_refusal_that_may_be_of_the_identity";
    with_files(name, &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let identity = |key: &str| std::fs::write(format!("{folder}/credentials"), profile(key)).unwrap();
        identity("AKIAFIRST");
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        for (code, class, old, new) in [
            ("AccessDeniedException", Class::Denied, "AKIAFIRST", "AKIASECOND"),
            ("NotFoundException", Class::NotFound, "AKIASECOND", "AKIATHIRD"),
        ] {
            emulator.fault(&format!(r#"{{"kind": "code", "code": "{code}", "access_key": "{old}"}}"#));
            identity(new);
            let before = emulator.count("Decrypt");
            check(&kms.decrypt(&wrapped).err().unwrap(), class, Some(code), "");
            assert_eq!(emulator.count("Decrypt") - before, 1, "no second try at once after {code}");
            kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("the call after {code}: {error}"));
        }
        emulator.fault(r#"{"kind": "access_denied", "access_key": "AKIATHIRD"}"#);
        identity("AKIAFOURTH");
        check(&encrypt(&kms).err().unwrap(), Class::Denied, Some("AccessDeniedException"), "Allow kms:Encrypt");
        encrypt(&kms).unwrap_or_else(|error| panic!("the call after it: {error}"));
    });
}

#[test]
fn a_failure_that_says_nothing_of_the_credentials_does_not_make_them_be_read_anew() {
    let name = "credentials::a_failure_that_says_nothing_of_the_credentials_does_not_make_them_be_read_anew";
    with_files(name, &[("AWS_SHARED_CREDENTIALS_FILE", "credentials")], &[], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let file = format!("{folder}/credentials");
        std::fs::write(&file, profile("AKIAFIRST")).unwrap();
        let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(&file, profile("AKIASECOND")).unwrap();
        let error = kms.decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::Corrupt, Some("InvalidCiphertextException"), "");
        emulator.fault(r#"{"kind": "throttle", "times": 3}"#);
        check(&kms.decrypt(&wrapped).err().unwrap(), Class::Throttled, Some("ThrottlingException"), "");
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(emulator.access_keys(), ["AKIAFIRST"]);
    });
}

#[test]
fn a_passing_failure_of_sts_is_gone_with_the_next_call_once_sts_has_recovered() {
    let name = "credentials::a_passing_failure_of_sts_is_gone_with_the_next_call_once_sts_has_recovered";
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sts = format!("http://{closed}");
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/db"), ("AWS_ENDPOINT_URL_STS", sts.as_str())];
    with_files(name, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "token")], &role, |folder| {
        std::fs::write(format!("{folder}/token"), "a token").unwrap();
        let refusal = Arc::new(Mutex::new(None));
        let (asked, refused) = (Arc::new(AtomicUsize::new(0)), refusal.clone());
        let count = asked.clone();
        let sts = std::env::var("AWS_ENDPOINT_URL_STS").unwrap();
        http_stub::serve_with(STS_REQUEST, sts.strip_prefix("http://").unwrap(), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            let refused: Option<(u16, &str)> = *refused.lock().unwrap();
            match refused {
                Some((status, code)) => (status, refused_with(code)),
                None => (200, assumed("AssumeRoleWithWebIdentity")),
            }
        });
        let emulator = Emulator::start();
        for (status, code, class) in [
            (400, "Throttling", Class::Throttled),
            (400, "IDPCommunicationError", Class::Internal),
            (500, "InternalFailure", Class::Internal),
            (400, "RequestExpired", Class::Clock),
        ] {
            let kms = connect(emulator.url(), None);
            *refusal.lock().unwrap() = Some((status, code));
            for call in 1..=2 {
                let before = asked.load(Ordering::Relaxed);
                check(&generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap(), class, Some(code), "STS: later");
                assert!(asked.load(Ordering::Relaxed) > before, "{code}: STS was asked by call {call}");
            }
            *refusal.lock().unwrap() = None;
            let wrapped = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
            kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        }
    });
}

#[test]
fn a_token_of_a_web_identity_that_turns_up_late_is_used_by_the_next_call() {
    let name = "credentials::a_token_of_a_web_identity_that_turns_up_late_is_used_by_the_next_call";
    let sts = format!("http://{}", http_stub::serve("127.0.0.1:0", |_| (200, assumed("AssumeRoleWithWebIdentity"))));
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/db"), ("AWS_ENDPOINT_URL_STS", sts.as_str())];
    with_files(name, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "token")], &role, |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        check(&error, Class::NoCredentials, None, &format!("{folder}/token cannot be read: No such file or directory"));
        std::fs::write(format!("{folder}/token"), "a token").unwrap();
        generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_role_is_assumed_anew_with_renewed_credentials() {
    let name = "credentials::a_role_is_assumed_anew_with_renewed_credentials";
    let sts = http_stub::serve("127.0.0.1:0", |request| {
        let refusal =
            "<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no</Message></Error></ErrorResponse>";
        if request.contains("AKIAOLD") { (403, refusal.to_owned()) } else { (200, assumed("AssumeRole")) }
    });
    let sts = format!("http://{sts}");
    let variables = [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
    with_files(name, &variables, &[("AWS_ENDPOINT_URL_STS", &sts)], |folder| {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        let role = "[default]\nrole_arn = arn:aws:iam::123456789012:role/db\nsource_profile = base\n";
        std::fs::write(format!("{folder}/config"), role).unwrap();
        let base =
            |key| std::fs::write(format!("{folder}/credentials"), profile(key).replace("default", "base")).unwrap();
        base("AKIAOLD");
        let error = generate(&kms, MASTER_KEY, KeySpec::Aes128).err().unwrap();
        assert_eq!(
            (error.class, error.code.as_deref()),
            (Class::BadCredentials, Some("InvalidClientTokenId")),
            "{error}"
        );
        base("AKIANEW");
        generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn only_the_sources_that_somebody_has_configured_say_why_they_gave_nothing() {
    let name = "credentials::only_the_sources_that_somebody_has_configured_say_why_they_gave_nothing";
    let metadata = format!(
        "http://{}",
        http_stub::serve("127.0.0.1:0", |request| {
            if request.starts_with("PUT") { (200, "token".into()) } else { (404, "no role".into()) }
        })
    );
    let instance = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str())];
    with_files(name, &[], &instance, |_| {
        let error = connect("http://127.0.0.1:9", None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::NoCredentials, None, "Ec2InstanceMetadata: received 404");
        for other in ["Environment", "Profile", "WebIdentityToken", "EcsContainer"] {
            assert!(!error.to_string().contains(other), "{error}");
        }
    });
}

#[test]
fn one_variable_of_a_source_is_enough_for_it_to_say_why_it_gave_nothing() {
    let name = "credentials::one_variable_of_a_source_is_enough_for_it_to_say_why_it_gave_nothing";
    let sources: &[(&str, &[u8], &str)] = &[
        ("AWS_ACCESS_KEY_ID", b"AKIAEXAMPLE", "Environment: environment variable not set"),
        ("AWS_SECRET_ACCESS_KEY", b"secret", "Environment: environment variable not set"),
        ("AWS_PROFILE", b"missing", "Profile: "),
        ("AWS_ROLE_ARN", b"arn:aws:iam::1:role/db", "WebIdentityToken: $AWS_WEB_IDENTITY_TOKEN_FILE was not set"),
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            b"/dev/null",
            "WebIdentityToken: AWS_ROLE_ARN environment variable must be set",
        ),
        // The SDK does not see them then.
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", b"http://\xff", "EcsContainer: ECS provider not configured"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", b"/\xff", "EcsContainer: ECS provider not configured"),
    ];
    // Which of them it is in a child process, its environment tells.
    for (variable, value, _) in sources {
        let environment = [(*variable, OsStr::from_bytes(value))];
        with_raw_environment(name, &environment, || {
            let (_, _, said) = sources.iter().find(|(variable, ..)| std::env::var_os(variable).is_some()).unwrap();
            let error = connect("http://127.0.0.1:9", None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
            check(&error, Class::NoCredentials, None, said);
            let others = ["Environment:", "Profile:", "WebIdentityToken:", "EcsContainer:", "Ec2InstanceMetadata:"];
            for other in others.into_iter().filter(|other| !said.starts_with(other)) {
                assert!(!error.to_string().contains(other), "{error}");
            }
        });
    }
}

#[test]
fn an_answer_of_the_metadata_service_is_in_no_message() {
    let name = "credentials::an_answer_of_the_metadata_service_is_in_no_message";
    let metadata = format!(
        "http://{}",
        http_stub::serve("127.0.0.1:0", |request| {
            if request.starts_with("PUT") { (200, "SECRETTOKEN".into()) } else { (400, "SECRETBODY".into()) }
        })
    );
    let instance = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str())];
    with_files(name, &[], &instance, |_| {
        let error = connect("http://127.0.0.1:9", None).decrypt(&WrappedKey::new(vec![1; 100])).err().unwrap();
        check(&error, Class::NoCredentials, None, "the metadata service answered with HTTP status 400");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("SECRET"), "{text}");
        }
    });
}

fn encrypt(kms: &AwsKms) -> Result<WrappedKey, KmsError> {
    kms.encrypt(&MasterKeyId::parse(MASTER_KEY).unwrap(), &[7; 16], &EncryptionContext::default())
}

fn profile(access_key: &str) -> String {
    format!("[default]\naws_access_key_id = {access_key}\naws_secret_access_key = secret\n")
}

/// As STS answers.
fn assumed(call: &str) -> String {
    format!(
        "<{call}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{call}Result><Credentials>\
         <SessionToken>t</SessionToken><SecretAccessKey>s</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration>\
         <AccessKeyId>ASIAASSUMED</AccessKeyId></Credentials></{call}Result></{call}Response>"
    )
}

fn refused_with(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>later</Message></Error><RequestId>8ae9e8f6</RequestId></ErrorResponse>"
    )
}

/// The head of the same answer.
const STS_REQUEST: &str = "x-amzn-RequestId: 8ae9e8f6\r\n";
