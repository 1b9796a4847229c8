//! A KMS for the tests of the key store that fails as it is told. What a real KMS says, the integration tests show.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::kms::{Call, Class, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// Wraps a key by writing `wrapped:` before it; `again:` does too.
#[derive(Default)]
pub(super) struct TestKms {
    /// What happens to the next calls, in order; when it is empty, calls succeed.
    pub(super) plan: Mutex<VecDeque<(Call, Class)>>,
    /// Keys that are never unwrapped, by the byte that all their bytes are.
    pub(super) refused: Mutex<BTreeMap<u8, Class>>,
    /// All calls so far.
    pub(super) calls: Mutex<Vec<Call>>,
    /// If set, generated keys have this length.
    pub(super) key_len: Mutex<Option<usize>>,
    /// Whether generated keys are wrapped by [`OTHER_MASTER_KEY`].
    pub(super) has_other_master_key: AtomicBool,
}

impl TestKms {
    pub(super) fn fail_next(&self, failures: &[(Call, Class)]) {
        self.plan.lock().expect("plan").extend(failures.iter().copied());
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

    fn call(&self, call: Call) -> Result<(), KmsError> {
        self.calls.lock().expect("calls").push(call);
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
    fn generate_data_key(&self, _: &MasterKeyId, spec: KeySpec) -> Result<WrappedKey, KmsError> {
        self.call(Call::GenerateDataKeyWithoutPlaintext)?;
        let mut key = vec![0; self.key_len.lock().expect("length").unwrap_or(spec.key_len())];
        fastrand::fill(&mut key);
        match self.has_other_master_key.load(Ordering::Relaxed) {
            true => Ok(WrappedKey::new([b"other:", &key[..]].concat())),
            false => Ok(wrap(&key)),
        }
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        let answer = |key| match Instant::now() < until {
            true => self.decrypt(key),
            false => Err(KmsError::new(Call::Decrypt, Class::Transient, "no answer in time")),
        };
        wrapped.iter().map(answer).collect()
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        self.call(Call::Decrypt)?;
        let bytes = wrapped.as_bytes();
        if let Some(class) = bytes.last().and_then(|byte| self.refused.lock().expect("refused").get(byte).copied()) {
            return Err(failed(Call::Decrypt, class));
        }
        if let Some(key) = bytes.strip_prefix(b"other:") {
            return Ok(PlainKey::new(key.to_vec(), Some(OTHER_MASTER_KEY.into())));
        }
        match bytes.strip_prefix(b"wrapped:").or(bytes.strip_prefix(b"again:")) {
            Some(key) => Ok(PlainKey::new(key.to_vec(), Some("arn:aws:kms:us-east-1:1:key/test".into()))),
            None => Err(KmsError {
                code: Some("InvalidCiphertextException".into()),
                ..KmsError::new(Call::Decrypt, Class::Corrupt, "")
            }),
        }
    }
}

fn failed(call: Call, class: Class) -> KmsError {
    KmsError::new(call, class, "as planned")
}

/// Wraps what begins with `other:`.
pub(super) const OTHER_MASTER_KEY: &str = "arn:aws:kms:us-east-1:666:key/other";

pub(super) fn wrap(key: &[u8]) -> WrappedKey {
    WrappedKey::new([b"wrapped:", key].concat())
}
