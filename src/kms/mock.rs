//! KMS without KMS, for tests: the wrapped key is the key itself. As in the plugin that this one replaces.

use std::time::Instant;

use super::{Call, Class, EncryptionContext, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// Protects nothing.
pub struct MockKms;

impl Kms for MockKms {
    fn generate_data_key(
        &self,
        _: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        let mut key = vec![0; spec.key_len()];
        getrandom::fill(&mut key).map_err(|error| {
            let detail = format!("mock: no random numbers: {error}");
            KmsError::new(Call::GenerateDataKeyWithoutPlaintext, Class::Transient, detail)
        })?;
        Ok(WrappedKey::new(key).with_encryption_context(context.clone()))
    }

    fn check_can_generate(&self, _: &MasterKeyId, _: KeySpec, _: &EncryptionContext) -> Result<(), KmsError> {
        Ok(())
    }

    fn encrypt(&self, _: &MasterKeyId, key: &[u8], context: &EncryptionContext) -> Result<WrappedKey, KmsError> {
        Ok(WrappedKey::new(key.to_vec()).with_encryption_context(context.clone()))
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], _: Instant) -> Vec<Result<PlainKey, KmsError>> {
        wrapped.iter().map(|key| self.decrypt(key)).collect()
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        Ok(PlainKey::new(wrapped.as_bytes().to_vec(), None))
    }
}
