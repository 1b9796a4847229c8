//! The numbers of the calls, beside those that the emulator has counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_key_management::kms::{Call, Calls, EncryptionContext, Figures, KeySpec, Kms, MasterKeyId};
use aws_key_management::waits;

use crate::child::with_environment;
use crate::kms_emulator::{Emulator, MASTER_KEY};
use crate::{connect, generate, with_emulator};

#[test]
fn calls_failures_throttling_and_retries_are_what_the_emulator_has_counted() {
    with_emulator(
        "figures::calls_failures_throttling_and_retries_are_what_the_emulator_has_counted",
        |emulator, kms| {
            let figures = kms.figures();
            assert_eq!((figures.all_calls(), figures.region().as_str()), (Calls::default(), "us-east-1"));
            let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
            kms.decrypt(&wrapped).unwrap();
            let expected = |call, numbers: [u64; 4]| {
                let Calls { calls, failed, throttled, retries, .. } = figures.calls(call);
                assert_eq!([calls, failed, throttled, retries], numbers, "{call}");
                assert_eq!((calls + retries) as usize, emulator.count(&call.to_string()), "{call}");
            };
            expected(Call::GenerateDataKeyWithoutPlaintext, [1, 0, 0, 0]);
            expected(Call::Decrypt, [1, 0, 0, 0]);

            emulator.fault(r#"{"operation": "Decrypt", "kind": "throttle", "times": 2}"#);
            kms.decrypt(&wrapped).unwrap();
            expected(Call::Decrypt, [2, 0, 2, 2]);
            emulator.fault(r#"{"operation": "Decrypt", "kind": "throttle"}"#);
            assert!(kms.decrypt(&wrapped).is_err());
            expected(Call::Decrypt, [3, 1, 5, 4]);
            emulator.clear_faults();
            emulator.fault(r#"{"operation": "Decrypt", "kind": "error500", "times": 1}"#);
            kms.decrypt(&wrapped).unwrap();
            expected(Call::Decrypt, [4, 1, 5, 5]);
            emulator.fault(r#"{"kind": "access_denied", "times": 1}"#);
            assert!(generate(kms, MASTER_KEY, KeySpec::Aes128).is_err());
            expected(Call::GenerateDataKeyWithoutPlaintext, [2, 1, 0, 0]);
            // Credentials that have worked and do no more: one more call, with a new client.
            kms.decrypt(&wrapped).unwrap();
            emulator.fault(r#"{"operation": "Decrypt", "kind": "expired_token", "times": 1}"#);
            kms.decrypt(&wrapped).unwrap();
            expected(Call::Decrypt, [7, 2, 5, 5]);
            let (master_key, context) = (MasterKeyId::parse(MASTER_KEY).unwrap(), EncryptionContext::default());
            // A question whose answer is yes has not failed.
            kms.check_can_generate(&master_key, KeySpec::Aes256, &context).unwrap();
            expected(Call::GenerateDataKeyWithoutPlaintext, [3, 1, 0, 0]);
            emulator.fault(r#"{"operation": "Encrypt", "kind": "throttle", "times": 1}"#);
            kms.encrypt(&master_key, &[7; 16], &context).unwrap();
            expected(Call::Encrypt, [1, 0, 1, 1]);
            let keys = vec![wrapped; 5];
            assert!(kms.decrypt_all(&keys, Instant::now() + LONG).iter().all(Result::is_ok));
            expected(Call::Decrypt, [12, 2, 5, 5]);
        },
    );
}

#[test]
fn the_time_of_a_call_is_that_of_all_its_attempts() {
    with_emulator("figures::the_time_of_a_call_is_that_of_all_its_attempts", |emulator, kms| {
        let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        emulator.fault(r#"{"operation": "Decrypt", "kind": "delay", "seconds": 0.4, "times": 1}"#);
        emulator.fault(r#"{"operation": "Decrypt", "kind": "error500", "times": 1}"#);
        let began = Instant::now();
        kms.decrypt(&wrapped).unwrap();
        kms.decrypt(&wrapped).unwrap();
        let (took, decrypt) = (began.elapsed().as_micros() as u64, kms.figures().calls(Call::Decrypt));
        assert!((400_000..=decrypt.time_us).contains(&decrypt.max_time_us), "{decrypt:?}");
        assert!(decrypt.time_us <= took, "{decrypt:?} in {took} us");
        assert_eq!(kms.figures().all_calls().max_time_us, {
            decrypt.max_time_us.max(kms.figures().calls(Call::GenerateDataKeyWithoutPlaintext).max_time_us)
        });
    });
}

#[test]
fn a_call_that_is_given_up_has_failed_and_one_that_is_cancelled_has_not() {
    with_emulator("figures::a_call_that_is_given_up_has_failed_and_one_that_is_cancelled_has_not", |emulator, kms| {
        static ENDS: AtomicBool = AtomicBool::new(false);
        let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        emulator.fault(r#"{"operation": "Decrypt", "kind": "hang"}"#);
        let answers = kms.decrypt_all(&[wrapped.clone(), wrapped.clone()], Instant::now() + Duration::from_secs(1));
        assert!(answers.iter().all(Result::is_err));
        let given_up = soon(&kms.figures(), |calls| calls.failed == 2);
        assert!(given_up.calls == 2 && given_up.time_us >= 1_500_000, "{given_up:?}");
        waits::ask_whether_to_end(|| ENDS.load(Ordering::Relaxed));
        ENDS.store(true, Ordering::Relaxed);
        assert!(kms.decrypt(&wrapped).is_err());
        assert!(kms.decrypt_all(&[wrapped], Instant::now() + LONG)[0].is_err());
        ENDS.store(false, Ordering::Relaxed);
        emulator.clear_faults();
        // What was cancelled is dropped by the runtime's only worker before this.
        let wrapped = generate(kms, MASTER_KEY, KeySpec::Aes128).expect("a wrapped key");
        kms.decrypt(&wrapped).unwrap();
        let calls = kms.figures().calls(Call::Decrypt);
        assert_eq!((calls.calls, calls.failed), (5, 2));
    });
}

#[test]
fn a_call_without_credentials_has_failed_and_kms_has_seen_nothing_of_it() {
    with_environment("figures::a_call_without_credentials_has_failed_and_kms_has_seen_nothing_of_it", &[], || {
        let emulator = Emulator::start();
        let kms = connect(emulator.url(), None);
        assert!(generate(&kms, MASTER_KEY, KeySpec::Aes128).is_err());
        let Calls { calls, failed, retries, .. } = kms.figures().all_calls();
        assert_eq!((calls, failed, retries), (1, 1, 0));
        assert_eq!(emulator.count("GenerateDataKeyWithoutPlaintext"), 0);
    });
}

fn soon(figures: &Arc<Figures>, is_so: impl Fn(Calls) -> bool) -> Calls {
    let until = Instant::now() + LONG;
    while !is_so(figures.calls(Call::Decrypt)) {
        assert!(Instant::now() < until, "{:?}", figures.calls(Call::Decrypt));
    }
    figures.calls(Call::Decrypt)
}

const LONG: Duration = Duration::from_secs(20);
