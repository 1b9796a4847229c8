//! The calls of KMS, one function each.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::region_and_credentials::{Connected, Connection, NO_ANSWER};
use crate::kms::{Call, Class, EncryptionContext, KeySpec, KmsError, MasterKeyId, PlainKey, WrappedKey};

impl Connection {
    /// A call that is dropped at `until` has failed; one that is dropped before that was cancelled.
    pub(super) async fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
        until: Instant,
    ) -> Result<WrappedKey, KmsError> {
        self.generate(master_key, spec, context, Generate::Key, until).await?.ok_or_else(|| {
            KmsError::new(CALL_GENERATE, Class::Transient, "KMS answered as if it had not been asked for a key")
        })
    }

    pub(super) async fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
        until: Instant,
    ) -> Result<(), KmsError> {
        self.generate(master_key, spec, context, Generate::Nothing, until).await.map(drop)
    }

    async fn generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
        what: Generate,
        until: Instant,
    ) -> Result<Option<WrappedKey>, KmsError> {
        let client = self.client(CALL_GENERATE).await?;
        match self.generate_with(&client, master_key, spec, context, what, until).await {
            Err(error) if client.is_outdated(&error) => {
                self.generate_with(&self.client(error.call).await?, master_key, spec, context, what, until).await
            }
            answer => answer,
        }
    }

    /// `None` if KMS says that it would have made a key.
    async fn generate_with(
        &self,
        client: &Arc<Connected>,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
        what: Generate,
        until: Instant,
    ) -> Result<Option<WrappedKey>, KmsError> {
        const CALL: Call = CALL_GENERATE;
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
            .set_dry_run((what == Generate::Nothing).then_some(true))
            .set_encryption_context(for_request(context));
        let counting = Counting::begin(&self.figures, CALL, until);
        let attempts = counting.attempts::<GenerateDataKeyWithoutPlaintextError>();
        let answer = request.customize().interceptor(asked.clone()).interceptor(attempts).send().await;
        let answer = match answer {
            // The only way in which KMS says yes to a question.
            Err(error) if what == Generate::Nothing && is_yes(&error) => Ok(None),
            answer => answer.map(Some),
        };
        counting.end(&answer);
        match self.checked(CALL, client, &asked, answer)? {
            None => Ok(None),
            // An endpoint that knows no questions has made a key, which is thrown away.
            Some(answer) => wrapped(CALL, client, answer.ciphertext_blob, answer.key_id, context).map(Some),
        }
    }

    pub(super) async fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
        until: Instant,
    ) -> Result<WrappedKey, KmsError> {
        let client = self.client(Call::Encrypt).await?;
        match self.encrypt_with(&client, master_key, key, context, until).await {
            Err(error) if client.is_outdated(&error) => {
                self.encrypt_with(&self.client(error.call).await?, master_key, key, context, until).await
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
        until: Instant,
    ) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::Encrypt;
        let asked = Asked::new(client.endpoint.clone());
        let request = client
            .client
            .encrypt()
            .key_id(master_key.as_str())
            .plaintext(Blob::new(key))
            .set_encryption_context(for_request(context));
        let counting = Counting::begin(&self.figures, CALL, until);
        let attempts = counting.attempts::<EncryptError>();
        let answer = request.customize().interceptor(asked.clone()).interceptor(attempts).send().await;
        counting.end(&answer);
        let answer = self.checked(CALL, client, &asked, answer)?;
        wrapped(CALL, client, answer.ciphertext_blob, answer.key_id, context)
    }

    pub(super) async fn decrypt(&self, wrapped: &WrappedKey, until: Instant) -> Result<PlainKey, KmsError> {
        let client = self.client(Call::Decrypt).await?;
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

/// What GenerateDataKeyWithoutPlaintext is to make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Generate {
    Key,
    /// It is asked whether it would make a key: `DryRun` in the API reference.
    Nothing,
}

/// Whether the request would have succeeded ("Testing your permissions" in the developer guide of KMS).
fn is_yes(error: &SdkError<GenerateDataKeyWithoutPlaintextError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(GenerateDataKeyWithoutPlaintextError::is_dry_run_operation_exception)
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

/// Decrypts all `keys`, several at a time, until `until`; the answers are in the order of the keys. With `patience`, each
/// call gets no more time than that, and no others are made after one that the region has not answered. `None` stands for
/// a key that was not answered, and perhaps not asked for.
pub(super) async fn decrypt_all(
    connection: &Arc<Connection>,
    keys: &[WrappedKey],
    until: Instant,
    patience: Option<Duration>,
) -> Vec<Option<Result<PlainKey, KmsError>>> {
    let mut answers: Vec<Option<Result<PlainKey, KmsError>>> = keys.iter().map(|_| None).collect();
    // Whatever is still under way at `until` is dropped.
    let _ = tokio::time::timeout_at(until.into(), collect(connection, keys, until, patience, &mut answers)).await;
    answers
}

async fn collect(
    connection: &Arc<Connection>,
    keys: &[WrappedKey],
    until: Instant,
    patience: Option<Duration>,
    answers: &mut [Option<Result<PlainKey, KmsError>>],
) {
    let mut asked: Vec<usize> = (0..keys.len()).collect();
    match ask(connection, keys, &asked, until, patience, answers).await {
        Ok(client) => {
            asked.retain(|index| matches!(answers.get(*index), Some(Some(Err(error))) if client.is_outdated(error)))
        }
        Err(error) => return answers.iter_mut().for_each(|answer| *answer = Some(Err(error.clone()))),
    }
    if !asked.is_empty() {
        // If there is no new client, the answers that are there say why.
        let _ = ask(connection, keys, &asked, until, patience, answers).await;
    }
}

/// Asks once for those `keys` that `which` names, while there is time until `until`. Answers with which client.
async fn ask(
    connection: &Arc<Connection>,
    keys: &[WrappedKey],
    which: &[usize],
    until: Instant,
    patience: Option<Duration>,
    answers: &mut [Option<Result<PlainKey, KmsError>>],
) -> Result<Arc<Connected>, KmsError> {
    let client = connection.client(Call::Decrypt).await?;
    let places = Arc::new(Semaphore::new(PARALLEL_DECRYPTS));
    let mut tasks = JoinSet::new();
    for (index, key) in which.iter().filter_map(|index| Some((*index, keys.get(*index)?.clone()))) {
        let (connection, client, places) = (connection.clone(), client.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire().await;
            let until = patience.map_or(until, |patience| until.min(Instant::now() + patience));
            let answer = tokio::time::timeout_at(until.into(), connection.decrypt_with(&client, &key, until)).await;
            (index, answer.unwrap_or_else(|_| Err(client.error(Call::Decrypt, NO_ANSWER))))
        });
    }
    while let Some(done) = tasks.join_next().await {
        let Ok((index, answer)) = done else { continue };
        if patience.is_some() && answer.as_ref().is_err_and(|error| error.class.is_of_the_region()) {
            tasks.abort_all();
        }
        if let Some(place) = answers.get_mut(index) {
            *place = Some(answer);
        }
    }
    Ok(client)
}

const CALL_GENERATE: Call = Call::GenerateDataKeyWithoutPlaintext;

/// Decrypt calls under way at the same time: 1000 keys at 20 ms each take 0.7 s instead of 21 s, and KMS's request
/// quotas are far away.
const PARALLEL_DECRYPTS: usize = 32;
