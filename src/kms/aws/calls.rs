//! The calls of KMS, one function each.

use std::sync::Arc;
use std::time::Instant;

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::asked::Asked;
use super::client::{Connected, Connection};
use super::errors::failed;
use crate::kms::{Call, Class, KeySpec, KmsError, MasterKeyId, PlainKey, WrappedKey};

impl Connection {
    pub(super) async fn generate_data_key(
        &self,
        master_key: MasterKeyId,
        spec: KeySpec,
    ) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        let spec = match spec {
            KeySpec::Aes128 => DataKeySpec::Aes128,
            KeySpec::Aes256 => DataKeySpec::Aes256,
        };
        let client = self.client(CALL).await?;
        let asked = Asked::default();
        let request = client.client.generate_data_key_without_plaintext().key_id(master_key.as_str()).key_spec(spec);
        let answer = request.customize().interceptor(asked.clone()).send().await;
        let answer = answer.map_err(|error| failed(CALL, &client, &asked, &error))?;
        self.worked(&client);
        let blob = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        if blob.is_empty() {
            return Err(KmsError::new(CALL, Class::Transient, "KMS answered without a wrapped key"));
        }
        Ok(WrappedKey::new(blob))
    }

    pub(super) async fn decrypt(&self, wrapped: WrappedKey) -> Result<PlainKey, KmsError> {
        self.decrypt_with(&self.client(Call::Decrypt).await?, wrapped).await
    }

    async fn decrypt_with(&self, client: &Arc<Connected>, wrapped: WrappedKey) -> Result<PlainKey, KmsError> {
        let context = wrapped.encryption_context();
        let asked = Asked::default();
        let request = client
            .client
            .decrypt()
            .ciphertext_blob(Blob::new(wrapped.as_bytes()))
            .set_encryption_context((!context.is_empty()).then(|| context.clone().into_iter().collect()));
        let answer = request.customize().interceptor(asked.clone()).send().await;
        let answer = answer.map_err(|error| failed(Call::Decrypt, client, &asked, &error))?;
        self.worked(client);
        let key = answer.plaintext.map(Blob::into_inner).unwrap_or_default();
        if key.is_empty() {
            return Err(KmsError::new(Call::Decrypt, Class::Transient, "KMS answered without a key"));
        }
        Ok(PlainKey::new(key, answer.key_id))
    }
}

/// Decrypts all `keys`, several at a time, until `until`; the answers are in the order of the keys.
pub(super) async fn decrypt_all(
    connection: Arc<Connection>,
    keys: Vec<WrappedKey>,
    until: Instant,
) -> Vec<Result<PlainKey, KmsError>> {
    let mut answers: Vec<Result<PlainKey, KmsError>> = keys.iter().map(|_| Err(no_answer(Call::Decrypt))).collect();
    // Whatever is still under way at `until` is dropped, and its answer stays "no answer in time".
    let _ = tokio::time::timeout_at(until.into(), collect(connection, keys, &mut answers)).await;
    answers
}

async fn collect(connection: Arc<Connection>, keys: Vec<WrappedKey>, answers: &mut [Result<PlainKey, KmsError>]) {
    let client = match connection.client(Call::Decrypt).await {
        Ok(client) => client,
        Err(error) => return answers.iter_mut().for_each(|answer| *answer = Err(error.clone())),
    };
    let places = Arc::new(Semaphore::new(PARALLEL_DECRYPTS));
    let mut tasks = JoinSet::new();
    for (index, key) in keys.into_iter().enumerate() {
        let (connection, client, places) = (connection.clone(), client.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire().await;
            (index, connection.decrypt_with(&client, key).await)
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((index, answer)) = done
            && let Some(place) = answers.get_mut(index)
        {
            *place = answer;
        }
    }
}

/// Of a call that was given up.
pub(super) fn no_answer(call: Call) -> KmsError {
    KmsError::new(call, Class::Transient, "no answer in time")
}

/// Decrypt calls under way at the same time: 1000 keys at 20 ms each take 0.7 s instead of 21 s, and KMS's request
/// quotas are far away.
const PARALLEL_DECRYPTS: usize = 32;
