//! More than one region: where a master key is asked for, and who answers when its region does not.

use std::sync::Mutex;

use aws_key_management::kms::aws::Remark;
use aws_key_management::kms::{Call, PlainKey};

use super::*;

#[test]
fn a_master_key_is_asked_for_in_the_region_of_its_arn_and_another_name_in_the_default_region() {
    let name = "regions::a_master_key_is_asked_for_in_the_region_of_its_arn_and_another_name_in_the_default_region";
    with_environment(name, CREDENTIALS, || {
        let emulator = Emulator::start();
        let arn = emulator.control().master_key("alias/tenant", WEST, &[]).unwrap();
        let kms = AwsKms::new(settings(&emulator, EAST, &[EAST, WEST])).unwrap();
        let here = generate(&kms, MASTER_KEY, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        let there = generate(&kms, &arn, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(there.master_key().map(MasterKeyId::as_str), Some(&*arn));
        assert_eq!(calls(&emulator, "GenerateDataKeyWithoutPlaintext"), (1, 1));
        kms.decrypt(&there).unwrap_or_else(|error| panic!("{error}"));
        let again = kms.encrypt(&MasterKeyId::parse(&arn).unwrap(), &[7; 16], &EncryptionContext::default()).unwrap();
        for answer in kms.decrypt_all(&[here, there, again], soon()) {
            answer.unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(calls(&emulator, "Decrypt"), (1, 3));
        // It says where it was asked.
        let missing = arn.replace(":key/", ":key/0");
        let error = generate(&kms, &missing, KeySpec::Aes128).err().unwrap();
        check(&error, Class::NotFound, Some("NotFoundException"), "in region eu-west-1");
    });
}

#[test]
fn an_endpoint_without_a_region_serves_the_default_region_alone() {
    let name = "regions::an_endpoint_without_a_region_serves_the_default_region_alone";
    // A proxy stands for all of AWS.
    let proxy = format!("http://{}", http_stub::serve("127.0.0.1:0", |_| (502, String::new())));
    let proxies = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1"), ("AWS_MAX_ATTEMPTS", "1")];
    let of_environment = [("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")];
    with_environment(name, &[CREDENTIALS, &proxies, &of_environment].concat(), || {
        let emulator = Emulator::start();
        let in_variable = settings(&emulator, EAST, &[]);
        let in_environment = AwsSettings { endpoint_url: None, ..in_variable.clone() };
        let asked_at = |settings: &AwsSettings, master_key| {
            let made = generate(&AwsKms::new(settings.clone()).unwrap(), master_key, KeySpec::Aes128);
            made.err().map(|error| error.endpoint.unwrap_or_default().into_string())
        };
        assert_eq!(asked_at(&in_variable, MASTER_KEY), None);
        assert_eq!(asked_at(&in_environment, MASTER_KEY).as_deref(), Some("http://127.0.0.1:9"));
        for settings in [in_variable, in_environment] {
            let there = asked_at(&settings, "arn:aws:kms:eu-west-1:1:key/1");
            assert_eq!(there.as_deref(), Some("https://kms.eu-west-1.amazonaws.com"));
        }
        assert_eq!(calls(&emulator, "GenerateDataKeyWithoutPlaintext"), (1, 0));
    });
}

#[test]
fn the_region_of_the_master_keys_arn_comes_before_that_of_the_environment() {
    let name = "regions::the_region_of_the_master_keys_arn_comes_before_that_of_the_environment";
    let proxy = format!("http://{}", http_stub::serve("127.0.0.1:0", |_| (502, String::new())));
    let proxies = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "127.0.0.1"), ("AWS_MAX_ATTEMPTS", "1")];
    with_environment(name, &[CREDENTIALS, &proxies, &[("AWS_REGION", "eu-central-1")]].concat(), || {
        let emulator = Emulator::start();
        let arn = emulator.control().master_key("alias/global", WEST, &[]).unwrap();
        let central = emulator.control().master_key("alias/central", "eu-central-1", &[]).unwrap();
        let settings = AwsSettings { region: None, ..settings(&emulator, EAST, &[]) };
        let kms = AwsKms::new(AwsSettings { master_key: MasterKeyId::parse(&arn), ..settings.clone() }).unwrap();
        generate(&kms, "alias/global", KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));

        // What the environment names was the default region before the master key was named by its ARN.
        let before = AwsKms::new(settings.clone()).unwrap();
        let wrapped = generate(&before, "alias/central", KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(wrapped.master_key().map(MasterKeyId::as_str), Some(&*central));
        let after = AwsSettings { master_key: MasterKeyId::parse(&arn), ..settings };
        let wrapped = unknown(wrapped);
        let error = AwsKms::new(after.clone()).unwrap().decrypt(&wrapped).err().unwrap();
        // The proxy, which stands for all of AWS, has no answer.
        check(
            &error,
            Class::Denied,
            Some("AccessDeniedException"),
            "; in region eu-central-1: KMS could not be reached",
        );
        // Where a region is set, it comes before what the environment names, which is none of the plugin's then.
        let set = AwsSettings { region: Some(EAST.to_owned()), ..after };
        let error = AwsKms::new(set).unwrap().decrypt(&wrapped).err().unwrap();
        assert!(error.detail.contains("in region eu-west-1") && !error.detail.contains("eu-central-1"), "{error}");
    });
}

#[test]
fn a_wrapped_key_whose_master_key_nobody_knows_is_looked_for_in_all_regions_that_the_settings_name() {
    let name =
        "regions::a_wrapped_key_whose_master_key_nobody_knows_is_looked_for_in_all_regions_that_the_settings_name";
    with_environment(name, CREDENTIALS, || {
        let emulator = Emulator::start();
        let arn = emulator.control().master_key("alias/tenant", WEST, &[]).unwrap();
        let plain = AwsKms::new(settings(&emulator, EAST, &[WEST])).unwrap();
        let here = unknown(generate(&plain, MASTER_KEY, KeySpec::Aes128).unwrap());
        let there = unknown(generate(&plain, &arn, KeySpec::Aes128).unwrap());
        let settings = AwsSettings {
            other_master_keys: vec![MasterKeyId::parse(&arn).unwrap()],
            ..settings(&emulator, EAST, &[WEST])
        };
        let kms = AwsKms::new(settings).unwrap();
        assert_eq!(kms.decrypt(&there).unwrap_or_else(|error| panic!("{error}")).master_key(), Some(&*arn));
        assert_eq!(calls(&emulator, "Decrypt"), (1, 1));
        let keys = [here, there.clone(), there];
        for answer in kms.decrypt_all(&keys, soon()) {
            answer.unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(calls(&emulator, "Decrypt"), (1 + 3, 1 + 2), "each where it may be");

        // One that nobody may unwrap fails as in the default region, and says who else was asked.
        emulator.fault(r#"{"operation": "Decrypt", "kind": "access_denied"}"#);
        emulator.control().forget_calls().unwrap();
        let [one, _, _] = keys;
        let alone = kms.decrypt(&one).err().unwrap();
        assert_eq!(calls(&emulator, "Decrypt"), (1, 1));
        let together = kms.decrypt_all(&[one], soon()).remove(0).err().unwrap();
        assert_eq!((calls(&emulator, "Decrypt"), &together.detail), ((2, 2), &alone.detail));
        for error in [alone, together] {
            check(&error, Class::Denied, Some("AccessDeniedException"), "in region eu-west-1: access denied");
            assert_eq!(error.region.as_deref(), Some(EAST));
        }
    });
}

#[test]
fn a_region_that_hangs_is_replaced_by_the_next_and_costs_one_timeout_for_all_keys() {
    let name = "regions::a_region_that_hangs_is_replaced_by_the_next_and_costs_one_timeout_for_all_keys";
    with_replicas(name, |emulator, arn, kms, remarks| {
        let keys = many(kms, arn, 200);
        emulator.fault(r#"{"kind": "hang", "region": "us-east-1"}"#);
        all_work(kms.decrypt_all(&keys, soon()));
        let asked = calls(emulator, "Decrypt");
        assert!(asked.0 <= 3 * 32 && asked.1 == 200, "{asked:?}");
        // And from now on none.
        emulator.control().forget_calls().unwrap();
        all_work(kms.decrypt_all(&keys, soon()));
        for key in &keys[..3] {
            kms.decrypt(key).unwrap_or_else(|error| panic!("{error}"));
        }
        generate(kms, arn, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(calls(emulator, "Decrypt"), (0, 203));
        assert_eq!(calls(emulator, "GenerateDataKeyWithoutPlaintext"), (0, 1));
        fell_back(remarks, "no answer in time");
        let figures = kms.figures();
        assert_eq!(figures.region(), WEST);
        assert!(figures.calls(Call::Decrypt).failed >= 1, "what was given up has failed");
    });
}

#[test]
fn a_start_with_little_patience_hears_of_the_next_region_too() {
    let name = "regions::a_start_with_little_patience_hears_of_the_next_region_too";
    with_environment(name, CREDENTIALS, || {
        let (emulator, arn) = replicated();
        // With the timeouts as they are by default, all attempts in one region take longer than this start has.
        let settings = AwsSettings { request_timeout: None, ..fallback_to_west(&emulator) };
        let kms = AwsKms::new(settings).unwrap();
        let keys = many(&kms, &arn, 40);
        emulator.fault(r#"{"kind": "hang", "region": "us-east-1"}"#);
        let begun = Instant::now();
        all_work(kms.decrypt_all(&keys, begun + Duration::from_secs(5)));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_region_that_fails_in_any_way_is_replaced_for_every_call_about_a_multi_region_key() {
    let name = "regions::a_region_that_fails_in_any_way_is_replaced_for_every_call_about_a_multi_region_key";
    with_environment(name, &[CREDENTIALS, &[("AWS_MAX_ATTEMPTS", "1")]].concat(), || {
        let (emulator, arn) = &replicated();
        let kms = &AwsKms::new(fallback_to_west(emulator)).unwrap();
        let (wrapped, id) = (generate(kms, arn, KeySpec::Aes128).unwrap(), arn.rsplit_once('/').unwrap().1);
        let replica = arn.replace(EAST, WEST);
        let key = MasterKeyId::parse(arn).unwrap();
        for kind in ["hang", "error500", "unavailable503", "throttle", "garbage", "cut"] {
            emulator.fault(&format!(r#"{{"kind": "{kind}", "region": "us-east-1"}}"#));
            let decrypt = |kms: &AwsKms| kms.decrypt(&wrapped).map(|_| ());
            let decrypt_unknown = |kms: &AwsKms| kms.decrypt(&unknown(wrapped.clone())).map(|_| ());
            let generate = |name: &str, kms: &AwsKms| {
                let made = generate(kms, name, KeySpec::Aes256)?;
                assert_eq!(made.master_key().map(MasterKeyId::as_str), Some(&*replica), "{kind}");
                kms.decrypt(&made).map(|_| ())
            };
            let encrypt = |kms: &AwsKms| kms.encrypt(&key, &[7; 32], &EncryptionContext::default()).map(|_| ());
            for (what, call) in [
                ("decrypt", &decrypt as &dyn Fn(&AwsKms) -> Result<(), KmsError>),
                ("decrypt unknown", &decrypt_unknown),
                ("generate", &|kms: &AwsKms| generate(arn, kms)),
                ("generate by id", &|kms: &AwsKms| generate(id, kms)),
                ("encrypt", &encrypt),
            ] {
                let (remarks, observer) = observer();
                // Each with nothing learned before.
                let kms = AwsKms::observed(fallback_to_west(emulator), observer).unwrap();
                call(&kms).unwrap_or_else(|error| panic!("{kind}, {what}: {error}"));
                fell_back(&remarks, "region us-east-1");
            }
            emulator.clear_faults();
        }
    });
}

#[test]
fn a_region_that_refuses_connections_is_replaced_also_if_a_whole_start_has_to_wait_for_it() {
    let name = "regions::a_region_that_refuses_connections_is_replaced_also_if_a_whole_start_has_to_wait_for_it";
    with_replicas(name, |emulator, arn, kms, _| {
        let keys = many(kms, arn, 40);
        let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let (remarks, observer) = observer();
        let settings = AwsSettings { endpoint_url: Some(closed.clone()), ..fallback_to_west(emulator) };
        let kms = AwsKms::observed(settings, observer).unwrap();
        all_work(kms.decrypt_all(&keys, soon()));
        fell_back(&remarks, &format!("Asked {closed} in region us-east-1"));
    });
}

#[test]
fn a_region_that_answers_again_is_asked_first_again_and_both_is_told_once() {
    let name = "regions::a_region_that_answers_again_is_asked_first_again_and_both_is_told_once";
    with_replicas(name, |emulator, arn, kms, remarks| {
        let wrapped = generate(kms, arn, KeySpec::Aes128).unwrap();
        emulator.fault(r#"{"kind": "error500", "region": "us-east-1"}"#);
        for _ in 0..3 {
            kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        }
        // Before its pause is over, it is asked only when the other one fails.
        emulator.clear_faults();
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        fell_back(remarks, "a fault inside AWS");
        emulator.fault(r#"{"kind": "error500", "region": "eu-west-1"}"#);
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        emulator.clear_faults();
        emulator.control().forget_calls().unwrap();
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((calls(emulator, "Decrypt"), &*kms.figures().region()), ((1, 0), EAST));
        let remarks = remarks.lock().unwrap();
        assert!(
            matches!(&remarks[..], [Remark::Warning(_), Remark::Note(text)] if text.contains("us-east-1 answers again")),
            "{remarks:?}"
        );
    });
}

#[test]
fn a_key_that_was_made_in_the_fallback_region_is_unwrapped_in_the_default_region_when_that_is_back() {
    let name =
        "regions::a_key_that_was_made_in_the_fallback_region_is_unwrapped_in_the_default_region_when_that_is_back";
    with_replicas(name, |emulator, arn, kms, _| {
        emulator.fault(r#"{"kind": "error500", "region": "us-east-1"}"#);
        let wrapped = generate(kms, arn, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(wrapped.master_key().and_then(MasterKeyId::region), Some(WEST));
        emulator.clear_faults();
        let kms = AwsKms::new(fallback_to_west(emulator)).unwrap();
        kms.decrypt(&wrapped).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(calls(emulator, "Decrypt"), (1, 0));
    });
}

#[test]
fn a_datadir_that_was_moved_to_the_region_of_a_replica_needs_no_other_region() {
    let name = "regions::a_datadir_that_was_moved_to_the_region_of_a_replica_needs_no_other_region";
    with_replicas(name, |emulator, arn, kms, _| {
        let keys = many(kms, arn, 3);
        emulator.fault(r#"{"kind": "hang", "region": "us-east-1"}"#);
        let moved = AwsKms::new(settings(emulator, WEST, &[EAST])).unwrap();
        all_work(moved.decrypt_all(&keys, soon()));
        assert_eq!(calls(emulator, "Decrypt"), (0, 3));
    });
}

#[test]
fn without_a_fallback_region_nothing_else_is_asked() {
    let name = "regions::without_a_fallback_region_nothing_else_is_asked";
    with_replicas(name, |emulator, arn, kms, _| {
        let wrapped = generate(kms, arn, KeySpec::Aes128).unwrap();
        let (remarks, observer) = observer();
        let settings = AwsSettings { fallback_regions: Vec::new(), ..fallback_to_west(emulator) };
        let alone =
            AwsKms::observed(AwsSettings { region_endpoints: Default::default(), ..settings }, observer).unwrap();
        emulator.fault(r#"{"kind": "error500", "region": "us-east-1"}"#);
        emulator.control().forget_calls().unwrap();
        for key in [wrapped.clone(), unknown(wrapped.clone())] {
            check(
                &alone.decrypt(&key).err().unwrap(),
                Class::Internal,
                Some("KMSInternalException"),
                "region us-east-1",
            );
            let many = alone.decrypt_all(&[key.clone(), key], soon());
            many.into_iter().for_each(|answer| assert_eq!(answer.err().unwrap().class, Class::Internal));
        }
        assert_eq!(generate(&alone, arn, KeySpec::Aes128).err().unwrap().class, Class::Internal);
        assert_eq!(calls(emulator, "Decrypt"), (3 * 6, 0), "each three times");
        assert_eq!(calls(emulator, "GenerateDataKeyWithoutPlaintext").1, 0);
        emulator.clear_faults();
        alone.decrypt(&wrapped).expect("asked at once, without a pause");
        assert!(remarks.lock().unwrap().is_empty());
    });
}

#[test]
fn keys_that_the_fallback_region_does_not_know_fail_as_they_do_at_home() {
    let name = "regions::keys_that_the_fallback_region_does_not_know_fail_as_they_do_at_home";
    with_replicas(name, |emulator, _, kms, remarks| {
        // A key of one region, and one whose replica is in a third region.
        let here = emulator.control().master_key(MASTER_KEY, EAST, &[]).unwrap();
        let other = emulator.control().master_key("alias/other", EAST, &["eu-central-1"]).unwrap();
        let keys = [generate(kms, &here, KeySpec::Aes128).unwrap(), generate(kms, &other, KeySpec::Aes128).unwrap()];
        let keys = [keys[0].clone(), keys[1].clone(), unknown(keys[0].clone()), unknown(keys[1].clone())];
        emulator.fault(r#"{"kind": "error500", "region": "us-east-1"}"#);
        let alone = keys.iter().map(|key| kms.decrypt(key));
        let answers: Vec<_> = alone.collect::<Vec<_>>().into_iter().chain(kms.decrypt_all(&keys, soon())).collect();
        for answer in answers {
            let error = answer.err().expect("no answer");
            assert_eq!((error.class, error.region.as_deref()), (Class::Internal, Some(EAST)), "{error}");
        }
        emulator.control().forget_calls().unwrap();
        for name in [&*here, MASTER_KEY, "alias/global"] {
            let error = generate(kms, name, KeySpec::Aes128).err().unwrap();
            assert_eq!((error.class, error.region.as_deref()), (Class::Internal, Some(EAST)), "{name}: {error}");
        }
        assert_eq!(
            calls(emulator, "GenerateDataKeyWithoutPlaintext").1,
            0,
            "what an alias stands for there, nobody knows"
        );
        // One call that fails is no reason to give up keys that only this region knows.
        emulator.clear_faults();
        emulator.fault(r#"{"kind": "error500", "region": "us-east-1", "times": 3}"#);
        let many = vec![keys[1].clone(); 100];
        let fresh = AwsKms::new(fallback_to_west(emulator)).unwrap();
        let failed = fresh.decrypt_all(&many, soon()).into_iter().filter(Result::is_err).count();
        assert!(failed <= 3, "{failed}");
        assert!(remarks.lock().unwrap().is_empty(), "nobody took its place");
    });
}

#[test]
fn a_damaged_key_does_not_wait_for_the_region_that_is_down_and_a_lost_permission_does() {
    let name = "regions::a_damaged_key_does_not_wait_for_the_region_that_is_down_and_a_lost_permission_does";
    with_replicas(name, |emulator, arn, kms, _| {
        let wrapped = generate(kms, arn, KeySpec::Aes128).unwrap();
        let mut damaged = wrapped.as_bytes().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        let damaged = WrappedKey::new(damaged).with_master_key(wrapped.master_key().cloned());
        emulator.fault(r#"{"kind": "error500", "region": "us-east-1"}"#);
        let together = kms.decrypt_all(&[damaged.clone(), wrapped.clone()], soon());
        assert_eq!(
            together.into_iter().map(|answer| answer.err().map(|error| error.class)).collect::<Vec<_>>(),
            [Some(Class::Corrupt), None]
        );
        assert_eq!(kms.decrypt(&damaged).err().unwrap().class, Class::Corrupt);
        emulator.fault(r#"{"kind": "access_denied", "region": "eu-west-1"}"#);
        let error = kms.decrypt(&wrapped).err().unwrap();
        check(&error, Class::Internal, Some("KMSInternalException"), "in region eu-west-1: access denied");
    });
}

#[test]
fn what_the_region_of_the_master_key_refuses_is_asked_of_no_replica() {
    let name = "regions::what_the_region_of_the_master_key_refuses_is_asked_of_no_replica";
    with_replicas(name, |emulator, arn, kms, _| {
        emulator.fault(r#"{"kind": "access_denied", "region": "us-east-1"}"#);
        let key = MasterKeyId::parse(arn).unwrap();
        let encrypted = kms.encrypt(&key, &[7; 32], &EncryptionContext::default());
        for made in [generate(kms, arn, KeySpec::Aes128), encrypted] {
            let error = made.err().unwrap();
            assert_eq!((error.class, error.region.as_deref()), (Class::Denied, Some(EAST)), "{error}");
        }
        assert_eq!(calls(emulator, "GenerateDataKeyWithoutPlaintext"), (1, 0));
        assert_eq!(calls(emulator, "Encrypt"), (1, 0));
    });
}

#[test]
fn what_the_other_region_refuses_does_not_stand_for_the_first_one_which_was_not_heard() {
    let name = "regions::what_the_other_region_refuses_does_not_stand_for_the_first_one_which_was_not_heard";
    with_replicas(name, |emulator, arn, kms, _| {
        // More than are asked for at the same time, and the first region gets a third of the time for its three attempts of a
        // second: not all of them hear from it.
        let keys = many(kms, arn, 40);
        emulator.fault(r#"{"kind": "hang", "region": "us-east-1"}"#);
        emulator.fault(r#"{"kind": "access_denied", "region": "eu-west-1"}"#);
        for answer in kms.decrypt_all(&keys, Instant::now() + Duration::from_secs(4)) {
            let error = answer.err().unwrap();
            assert_eq!((error.class, error.region.as_deref()), (Class::Transient, Some(EAST)), "{error}");
            assert!(error.detail.ends_with("; in region eu-west-1: access denied (AccessDeniedException)"), "{error}");
        }
    });
}

#[test]
fn missing_credentials_stay_missing_credentials() {
    let name = "regions::missing_credentials_stay_missing_credentials";
    with_environment(name, &[], || {
        let emulator = Emulator::start();
        let (remarks, observer) = observer();
        let kms = AwsKms::observed(fallback_to_west(&emulator), observer).unwrap();
        let key = WrappedKey::new(vec![1; 100]);
        check(&kms.decrypt(&key).err().unwrap(), Class::NoCredentials, None, "Give the server an instance role");
        for answer in kms.decrypt_all(&[key.clone(), key], soon()) {
            check(&answer.err().unwrap(), Class::NoCredentials, None, "the region is us-east-1");
        }
        assert!(remarks.lock().unwrap().is_empty());
    });
}

const EAST: &str = "us-east-1";
const WEST: &str = "eu-west-1";

type Remarks = Arc<Mutex<Vec<Remark>>>;

/// With a multi-region key whose ARN in us-east-1 is given, and a replica of it in eu-west-1, to fall back to.
fn with_replicas(test: &str, body: impl FnOnce(&Emulator, &str, &AwsKms, &Remarks)) {
    with_environment(test, CREDENTIALS, || {
        let (emulator, arn) = replicated();
        let (remarks, observer) = observer();
        let kms = AwsKms::observed(fallback_to_west(&emulator), observer).unwrap();
        body(&emulator, &arn, &kms, &remarks);
    });
}

fn replicated() -> (Emulator, String) {
    let emulator = Emulator::start();
    let arn = emulator.control().master_key("alias/global", EAST, &[WEST]).unwrap();
    (emulator, arn)
}

fn observer() -> (Remarks, impl Fn(Remark) + Send + Sync + 'static) {
    let remarks = Remarks::default();
    let told = remarks.clone();
    (remarks, move |remark| told.lock().unwrap().push(remark))
}

fn fallback_to_west(emulator: &Emulator) -> AwsSettings {
    AwsSettings { fallback_regions: vec![WEST.to_owned()], ..settings(emulator, EAST, &[WEST]) }
}

/// With the emulator in the place of KMS in the default region, and in `others`.
fn settings(emulator: &Emulator, region: &str, others: &[&str]) -> AwsSettings {
    AwsSettings {
        region: Some(region.to_owned()),
        endpoint_url: Some(emulator.url().to_owned()),
        region_endpoints: others.iter().map(|other| ((*other).to_owned(), emulator.url().to_owned())).collect(),
        request_timeout: Some(Duration::from_secs(1)),
        ..AwsSettings::default()
    }
}

/// How many calls were signed for us-east-1 and for eu-west-1.
fn calls(emulator: &Emulator, operation: &str) -> (usize, usize) {
    let calls_in = |region| emulator.control().calls_in(operation, region).unwrap();
    (calls_in(EAST), calls_in(WEST))
}

fn many(kms: &AwsKms, arn: &str, number: usize) -> Vec<WrappedKey> {
    vec![generate(kms, arn, KeySpec::Aes128).unwrap_or_else(|error| panic!("{error}")); number]
}

fn all_work(answers: Vec<Result<PlainKey, KmsError>>) {
    answers.into_iter().for_each(|answer| drop(answer.unwrap_or_else(|error| panic!("{error}"))));
}

/// As it is when the manifest is lost.
fn unknown(wrapped: WrappedKey) -> WrappedKey {
    wrapped.with_master_key(None)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// Nothing else was told.
fn fell_back(remarks: &Remarks, why: &str) {
    let remarks = remarks.lock().unwrap();
    let [Remark::Warning(text)] = &remarks[..] else { panic!("{remarks:?}") };
    assert!(text.starts_with("KMS in region us-east-1 fails, and region eu-west-1 is asked in its place"), "{text}");
    assert!(text.contains(why), "{text}");
}
