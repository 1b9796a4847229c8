//! A KMS for the tests of the key store that fails as it is told. What a real KMS says, the integration tests show.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::kms::{Call, Class, EncryptionContext, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// Wraps a key by writing `wrapped:` before it; `again:` does too. Under a master key that is named by an ARN of its own, or
/// with an encryption context, by writing these before it.
#[derive(Default)]
pub(super) struct TestKms {
    /// What happens to the next calls, in order; when it is empty, calls succeed.
    pub(super) plan: Mutex<VecDeque<(Call, Class)>>,
    /// Keys that are never unwrapped, by the byte that all their bytes are.
    pub(super) refused: Mutex<BTreeMap<u8, Class>>,
    /// What happens after so many calls of this kind.
    pub(super) later: Mutex<Option<(usize, Call, Class)>>,
    /// All calls so far.
    pub(super) calls: Mutex<Vec<Call>>,
    /// If set, generated keys have this length.
    pub(super) key_len: Mutex<Option<usize>>,
    /// Whether generated keys are wrapped by [`OTHER_MASTER_KEY`].
    pub(super) has_other_master_key: AtomicBool,
    /// Whether it wraps another key than it is given.
    pub(super) wraps_another_key: AtomicBool,
    /// By which master key each key was said to be wrapped that was to be unwrapped, in order.
    pub(super) asked_where: Mutex<Vec<Option<String>>>,
    /// Until when keys were to be unwrapped, several at a time, in order.
    pub(super) asked_until: Mutex<Vec<Instant>>,
    /// ARNs of master keys that fail, for every call.
    pub(super) failing: Mutex<BTreeMap<String, Class>>,
}

impl TestKms {
    pub(super) fn fail_next(&self, failures: &[(Call, Class)]) {
        self.plan.lock().expect("plan").extend(failures.iter().copied());
    }

    /// So many of these calls succeed, and the next one fails.
    pub(super) fn fail_after(&self, calls: usize, call: Call, class: Class) {
        *self.later.lock().expect("later") = Some((calls, call, class));
    }

    pub(super) fn refuse(&self, key: u8, class: Class) {
        self.refused.lock().expect("refused").insert(key, class);
    }

    pub(super) fn allow(&self, key: u8) {
        self.refused.lock().expect("refused").remove(&key);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().expect("calls"))
    }

    /// Disables a master key, by its ARN, or enables it again.
    pub(super) fn disable(&self, master_key: &str, is_disabled: bool) {
        self.set_failing(master_key, is_disabled.then_some(Class::Disabled));
    }

    /// Lets all calls with a master key, by its ARN, fail, or none.
    pub(super) fn set_failing(&self, master_key: &str, class: Option<Class>) {
        let mut failing = self.failing.lock().expect("failing");
        match class {
            Some(class) => failing.insert(master_key.to_owned(), class),
            None => failing.remove(master_key),
        };
    }

    fn check_enabled(&self, call: Call, master_key: &str) -> Result<(), KmsError> {
        match self.failing.lock().expect("failing").get(master_key) {
            Some(class) => Err(failed(call, *class)),
            None => Ok(()),
        }
    }

    fn call(&self, call: Call) -> Result<(), KmsError> {
        self.calls.lock().expect("calls").push(call);
        let mut later = self.later.lock().expect("later");
        match &mut *later {
            Some((0, planned, class)) if *planned == call => {
                let class = *class;
                *later = None;
                return Err(failed(call, class));
            }
            Some((calls, planned, _)) if *planned == call => *calls -= 1,
            _ => {}
        }
        let mut plan = self.plan.lock().expect("plan");
        match plan.front().copied() {
            Some((planned, class)) if planned == call => {
                plan.pop_front();
                Err(failed(call, class))
            }
            _ => Ok(()),
        }
    }
}

impl Kms for TestKms {
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        self.call(CALL)?;
        self.check_enabled(CALL, arn_of(master_key))?;
        let mut key = vec![0; self.key_len.lock().expect("length").unwrap_or(spec.key_len())];
        fastrand::fill(&mut key);
        match self.has_other_master_key.load(Ordering::Relaxed) {
            true => Ok(WrappedKey::new([b"other:", &key[..]].concat())),
            false => Ok(wrap_by(master_key, &key, context)),
        }
    }

    fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<(), KmsError> {
        self.generate_data_key(master_key, spec, context).map(drop)
    }

    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        self.call(Call::Encrypt)?;
        self.check_enabled(Call::Encrypt, arn_of(master_key))?;
        match self.wraps_another_key.load(Ordering::Relaxed) {
            true => Ok(wrap_by(master_key, &[66; 16], context)),
            false => Ok(wrap_by(master_key, key, context)),
        }
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        self.asked_until.lock().expect("asked").push(until);
        let answer = |key| match Instant::now() < until {
            true => self.decrypt(key),
            false => Err(KmsError::new(Call::Decrypt, Class::Transient, "no answer in time")),
        };
        wrapped.iter().map(answer).collect()
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        let master_key = wrapped.master_key().map(|master_key| master_key.as_str().to_owned());
        self.asked_where.lock().expect("asked").push(master_key);
        self.call(Call::Decrypt)?;
        let bytes = wrapped.as_bytes();
        if let Some(class) = bytes.last().and_then(|byte| self.refused.lock().expect("refused").get(byte).copied()) {
            return Err(failed(Call::Decrypt, class));
        }
        if let Some(rest) = bytes.strip_prefix(b"by\0") {
            let mut parts = rest.splitn(3, |byte| *byte == 0);
            let mut text = || String::from_utf8(parts.next().expect("a part").to_vec()).expect("UTF-8");
            let (arn, context) = (text(), text());
            self.check_enabled(Call::Decrypt, &arn)?;
            return match context == format!("{:?}", wrapped.encryption_context()) {
                true => Ok(PlainKey::new(parts.next().expect("the key").to_vec(), Some(arn))),
                false => Err(failed(Call::Decrypt, Class::Corrupt)),
            };
        }
        if let Some(key) = bytes.strip_prefix(b"other:") {
            self.check_enabled(Call::Decrypt, OTHER_MASTER_KEY)?;
            return Ok(PlainKey::new(key.to_vec(), Some(OTHER_MASTER_KEY.into())));
        }
        match bytes.strip_prefix(b"wrapped:").or(bytes.strip_prefix(b"again:")) {
            Some(key) => {
                self.check_enabled(Call::Decrypt, TEST_MASTER_KEY)?;
                Ok(PlainKey::new(key.to_vec(), Some(TEST_MASTER_KEY.into())))
            }
            None => Err(KmsError {
                code: Some("InvalidCiphertextException".into()),
                ..KmsError::new(Call::Decrypt, Class::Corrupt, "")
            }),
        }
    }
}

/// While KMS makes a key, something happens. If that fails, so does KMS.
pub(super) struct WhileMaking<F>(pub(super) Arc<TestKms>, pub(super) F);

impl<F: Fn() -> Result<(), KmsError> + Send + Sync> Kms for WhileMaking<F> {
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        (self.1)()?;
        self.0.generate_data_key(master_key, spec, context)
    }
    fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<(), KmsError> {
        self.0.check_can_generate(master_key, spec, context)
    }
    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        self.0.encrypt(master_key, key, context)
    }
    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        self.0.decrypt_all(wrapped, until)
    }
    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        self.0.decrypt(wrapped)
    }
}

fn failed(call: Call, class: Class) -> KmsError {
    KmsError::new(call, class, "as planned")
}

/// The ARN; every name that is no ARN is an alias of the same one.
fn arn_of(master_key: &MasterKeyId) -> &str {
    if master_key.as_str().starts_with("arn:") { master_key.as_str() } else { TEST_MASTER_KEY }
}

fn wrap_by(master_key: &MasterKeyId, key: &[u8], context: &EncryptionContext) -> WrappedKey {
    let arn = arn_of(master_key);
    match arn {
        TEST_MASTER_KEY if context.is_empty() => return wrap(key),
        OTHER_MASTER_KEY if context.is_empty() => return WrappedKey::new([b"other:", key].concat()),
        _ => {}
    }
    let before = format!("by\0{arn}\0{context:?}\0");
    WrappedKey::new([before.as_bytes(), key].concat()).with_encryption_context(context.clone())
}

/// Wraps what begins with `wrapped:` and `again:`.
pub(super) const TEST_MASTER_KEY: &str = "arn:aws:kms:us-east-1:1:key/test";

/// Wraps what begins with `other:`.
pub(super) const OTHER_MASTER_KEY: &str = "arn:aws:kms:us-east-1:666:key/other";

pub(super) fn wrap(key: &[u8]) -> WrappedKey {
    WrappedKey::new([b"wrapped:", key].concat())
}
