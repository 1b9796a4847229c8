//! A KMS for the tests of the key store that fails as it is told. What a real KMS says, the integration tests show.

#![allow(clippy::expect_used)] // clippy sees no tests in the helpers
#![cfg_attr(feature = "model", allow(dead_code))] // the model needs less of it

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use super::Reporter;
use crate::kms::{Call, Class, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// Wraps a key by writing `wrapped:` before it; `again:` does too.
#[derive(Default)]
pub(super) struct TestKms {
    /// What happens to the next calls, in order; when it is empty, calls succeed.
    pub(super) plan: Mutex<VecDeque<(Call, Class)>>,
    /// All calls so far.
    pub(super) calls: Mutex<Vec<Call>>,
    /// If set, generated keys have this length.
    pub(super) key_len: Mutex<Option<usize>>,
}

impl TestKms {
    pub(super) fn fail_next(&self, failures: &[(Call, Class)]) {
        self.plan.lock().expect("plan").extend(failures.iter().copied());
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
                Err(KmsError::new(call, class, "as planned"))
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
        Ok(wrap(&key))
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], _: Instant) -> Vec<Result<PlainKey, KmsError>> {
        wrapped.iter().map(|key| self.decrypt(key)).collect()
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        self.call(Call::Decrypt)?;
        let bytes = wrapped.as_bytes();
        match bytes.strip_prefix(b"wrapped:").or(bytes.strip_prefix(b"again:")) {
            Some(key) => Ok(PlainKey::new(key.to_vec(), Some("arn:aws:kms:us-east-1:1:key/test".into()))),
            None => Err(KmsError {
                code: Some("InvalidCiphertextException".into()),
                ..KmsError::new(Call::Decrypt, Class::Corrupt, "")
            }),
        }
    }
}

pub(super) fn wrap(key: &[u8]) -> WrappedKey {
    WrappedKey::new([b"wrapped:", key].concat())
}

/// Tells nobody.
pub(super) struct Silent;

impl Reporter for Silent {
    fn note(&self, _: &str) {}
    fn warning(&self, _: &str) {}
    fn error(&self, _: &str) {}
}
