//! The calls of KMS, one function each.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::decrypt::DecryptError;
use aws_sdk_kms::operation::encrypt::EncryptError;
use aws_sdk_kms::operation::generate_data_key_without_plaintext::GenerateDataKeyWithoutPlaintextError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::asked::Asked;
use super::counting::Counting;
use super::errors::failed;
use super::region_and_credentials::{Connected, Connection};
use crate::kms::{Call, EncryptionContext, KeySpec, KmsError, MasterKeyId, PlainKey, WrappedKey};

impl Connection {
    pub(super) async fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        let client = self.client(Call::GenerateDataKeyWithoutPlaintext).await?;
        match self.generate_with(&client, master_key, spec, context).await {
            Err(error) if client.is_outdated(&error) => {
                self.generate_with(&self.client(error.call).await?, master_key, spec, context).await
            }
            answer => answer,
        }
    }

    async fn generate_with(
        &self,
        client: &Arc<Connected>,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        let spec = match spec {
            KeySpec::Aes128 => DataKeySpec::Aes128,
            KeySpec::Aes256 => DataKeySpec::Aes256,
        };
        let asked = Asked::new(client.endpoint.clone());
        let request = client
            .client
            .generate_data_key_without_plaintext()
            .key_id(master_key.as_str())
            .key_spec(spec)
            .set_encryption_context(for_request(context));
        let counting = Counting::begin(&self.figures, CALL, Instant::now() + self.timeouts.operation);
        let attempts = counting.attempts::<GenerateDataKeyWithoutPlaintextError>();
        let answer = request.customize().interceptor(asked.clone()).interceptor(attempts).send().await;
        counting.end(&answer);
        let answer = self.checked(CALL, client, &asked, answer)?;
        wrapped(CALL, client, answer.ciphertext_blob, answer.key_id, context)
    }

    pub(super) async fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        let client = self.client(Call::Encrypt).await?;
        match self.encrypt_with(&client, master_key, key, context).await {
            Err(error) if client.is_outdated(&error) => {
                self.encrypt_with(&self.client(error.call).await?, master_key, key, context).await
            }
            answer => answer,
        }
    }

    async fn encrypt_with(
        &self,
        client: &Arc<Connected>,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::Encrypt;
        let asked = Asked::new(client.endpoint.clone());
        let request = client
            .client
            .encrypt()
            .key_id(master_key.as_str())
            .plaintext(Blob::new(key))
            .set_encryption_context(for_request(context));
        let counting = Counting::begin(&self.figures, CALL, Instant::now() + self.timeouts.operation);
        let attempts = counting.attempts::<EncryptError>();
        let answer = request.customize().interceptor(asked.clone()).interceptor(attempts).send().await;
        counting.end(&answer);
        let answer = self.checked(CALL, client, &asked, answer)?;
        wrapped(CALL, client, answer.ciphertext_blob, answer.key_id, context)
    }

    pub(super) async fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        let client = self.client(Call::Decrypt).await?;
        let until = Instant::now() + self.timeouts.operation;
        match self.decrypt_with(&client, wrapped, until).await {
            Err(error) if client.is_outdated(&error) => {
                self.decrypt_with(&self.client(error.call).await?, wrapped, until).await
            }
            answer => answer,
        }
    }

    async fn decrypt_with(
        &self,
        client: &Arc<Connected>,
        wrapped: &WrappedKey,
        until: Instant,
    ) -> Result<PlainKey, KmsError> {
        const CALL: Call = Call::Decrypt;
        let asked = Asked::new(client.endpoint.clone());
        let request = client
            .client
            .decrypt()
            .ciphertext_blob(Blob::new(wrapped.as_bytes()))
            .set_encryption_context(for_request(wrapped.encryption_context()));
        let counting = Counting::begin(&self.figures, CALL, until);
        let attempts = counting.attempts::<DecryptError>();
        let answer = request.customize().interceptor(asked.clone()).interceptor(attempts).send().await;
        counting.end(&answer);
        let answer = self.checked(CALL, client, &asked, answer)?;
        let key = answer.plaintext.map(Blob::into_inner).unwrap_or_default();
        if key.is_empty() {
            return Err(client.error(CALL, "KMS answered without a key"));
        }
        Ok(PlainKey::new(key, answer.key_id))
    }

    /// Draws what there is to learn for the next call from the answer to this one.
    fn checked<T, E>(
        &self,
        call: Call,
        client: &Arc<Connected>,
        asked: &Asked,
        answer: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, KmsError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match answer {
            Ok(answer) => {
                self.worked(client);
                Ok(answer)
            }
            Err(error) => {
                let error = failed(call, client, asked, &error);
                self.failed(client, &error);
                Err(error)
            }
        }
    }
}

/// As the SDK takes it.
fn for_request(context: &EncryptionContext) -> Option<HashMap<String, String>> {
    (!context.is_empty()).then(|| context.pairs().clone().into_iter().collect())
}

fn wrapped(
    call: Call,
    client: &Connected,
    blob: Option<Blob>,
    master_key: Option<String>,
    context: &EncryptionContext,
) -> Result<WrappedKey, KmsError> {
    let blob = blob.map(Blob::into_inner).unwrap_or_default();
    if blob.is_empty() {
        return Err(client.error(call, "KMS answered without a wrapped key"));
    }
    let master_key = master_key.as_deref().and_then(MasterKeyId::parse);
    Ok(WrappedKey::new(blob).with_encryption_context(context.clone()).with_master_key(master_key))
}

/// Decrypts all `keys`, several at a time, until `until`; the answers are in the order of the keys.
pub(super) async fn decrypt_all(
    connection: Arc<Connection>,
    keys: Vec<WrappedKey>,
    until: Instant,
) -> Vec<Result<PlainKey, KmsError>> {
    let mut answers: Vec<Option<Result<PlainKey, KmsError>>> = keys.iter().map(|_| None).collect();
    // Whatever is still under way at `until` is dropped.
    let _ = tokio::time::timeout_at(until.into(), collect(&connection, &keys, until, &mut answers)).await;
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(connection.no_answer(Call::Decrypt)))).collect()
}

async fn collect(
    connection: &Arc<Connection>,
    keys: &[WrappedKey],
    until: Instant,
    answers: &mut [Option<Result<PlainKey, KmsError>>],
) {
    let mut asked: Vec<usize> = (0..keys.len()).collect();
    match ask(connection, keys, &asked, until, answers).await {
        Ok(client) => {
            asked.retain(|index| matches!(answers.get(*index), Some(Some(Err(error))) if client.is_outdated(error)))
        }
        Err(error) => return answers.iter_mut().for_each(|answer| *answer = Some(Err(error.clone()))),
    }
    if !asked.is_empty() {
        // If there is no new client, the answers that are there say why.
        let _ = ask(connection, keys, &asked, until, answers).await;
    }
}

/// Asks once for those `keys` that `which` names, while there is time until `until`. Answers with which client.
async fn ask(
    connection: &Arc<Connection>,
    keys: &[WrappedKey],
    which: &[usize],
    until: Instant,
    answers: &mut [Option<Result<PlainKey, KmsError>>],
) -> Result<Arc<Connected>, KmsError> {
    let client = connection.client(Call::Decrypt).await?;
    let places = Arc::new(Semaphore::new(PARALLEL_DECRYPTS));
    let mut tasks = JoinSet::new();
    for (index, key) in which.iter().filter_map(|index| Some((*index, keys.get(*index)?.clone()))) {
        let (connection, client, places) = (connection.clone(), client.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire().await;
            (index, connection.decrypt_with(&client, &key, until).await)
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((index, answer)) = done
            && let Some(place) = answers.get_mut(index)
        {
            *place = Some(answer);
        }
    }
    Ok(client)
}

/// Decrypt calls under way at the same time: 1000 keys at 20 ms each take 0.7 s instead of 21 s, and KMS's request
/// quotas are far away.
const PARALLEL_DECRYPTS: usize = 32;
