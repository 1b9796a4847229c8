//! KMS through the AWS SDK.

mod asked;
mod aws_files;
mod calls;
mod certificates;
mod codes;
mod counting;
mod credential_failures;
mod errors;
mod http;
mod region_and_credentials;
mod runtime;
pub mod sdk_log;
mod settings;
mod text;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

pub use settings::{AwsSettings, Remark};

use super::{Call, EncryptionContext, Figures, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};
use calls::decrypt_all;
use region_and_credentials::Connection;
use runtime::Runtime;

/// AWS KMS, over HTTPS.
pub struct AwsKms {
    runtime: Runtime,
    connection: Arc<Connection>,
}

impl AwsKms {
    /// Starts the runtime. Reads no configuration and calls nothing before the first call of KMS.
    pub fn new(settings: AwsSettings) -> io::Result<Self> {
        Ok(Self { runtime: Runtime::start()?, connection: Arc::new(Connection::new(settings)) })
    }

    /// The numbers of its calls, which outlive it.
    pub fn figures(&self) -> Arc<Figures> {
        self.connection.figures.clone()
    }

    /// When a call that begins now is given up.
    fn deadline(&self) -> Instant {
        Instant::now() + self.connection.timeouts.operation
    }
}

impl Kms for AwsKms {
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        let (connection, master_key, context) = (self.connection.clone(), master_key.clone(), context.clone());
        let task = async move { connection.generate_data_key(&master_key, spec, &context).await };
        self.runtime
            .wait(self.deadline(), task)
            .unwrap_or_else(|| Err(self.connection.no_answer(Call::GenerateDataKeyWithoutPlaintext)))
    }

    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        let (connection, master_key, context) = (self.connection.clone(), master_key.clone(), context.clone());
        let key = Zeroizing::new(key.to_vec());
        let task = async move { connection.encrypt(&master_key, &key, &context).await };
        self.runtime.wait(self.deadline(), task).unwrap_or_else(|| Err(self.connection.no_answer(Call::Encrypt)))
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        let (connection, wrapped) = (self.connection.clone(), wrapped.clone());
        let task = async move { connection.decrypt(&wrapped).await };
        self.runtime.wait(self.deadline(), task).unwrap_or_else(|| Err(self.connection.no_answer(Call::Decrypt)))
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        let (connection, keys) = (self.connection.clone(), wrapped.to_vec());
        let answers = self.runtime.wait(until, async move { decrypt_all(connection, keys, until).await });
        answers.unwrap_or_else(|| wrapped.iter().map(|_| Err(self.connection.no_answer(Call::Decrypt))).collect())
    }
}
