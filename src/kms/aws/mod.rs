//! KMS through the AWS SDK.

mod asked;
mod aws_files;
mod breaker;
mod calls;
mod certificates;
mod codes;
mod counting;
mod credential_failures;
mod endpoints;
mod errors;
mod fallback;
mod http;
mod local_obstacles;
mod region_and_credentials;
mod region_lists;
mod regions;
mod runtime;
pub mod sdk_log;
mod settings;
mod text;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

pub use region_lists::{Endpoints, parse_regions};
pub use settings::{AwsSettings, Remark};

use super::{Call, EncryptionContext, Figures, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};
use fallback::Place;
use regions::Regions;
use runtime::Runtime;

/// AWS KMS, over HTTPS.
pub struct AwsKms {
    runtime: Runtime,
    regions: Arc<Regions>,
}

impl AwsKms {
    /// Starts the runtime. Reads no configuration and calls nothing before the first call of KMS.
    pub fn new(settings: AwsSettings) -> io::Result<Self> {
        Self::observed(settings, |_| ())
    }

    /// The same. `observer` is told what an operator has to know, on the runtime's thread: that a region does not answer
    /// and another one is asked in its place, and that it answers again.
    pub fn observed(settings: AwsSettings, observer: impl Fn(Remark) + Send + Sync + 'static) -> io::Result<Self> {
        Ok(Self { runtime: Runtime::start()?, regions: Arc::new(Regions::new(settings, Box::new(observer))) })
    }

    /// The numbers of its calls, which outlive it.
    pub fn figures(&self) -> Arc<Figures> {
        self.regions.figures.clone()
    }

    /// When a call that begins now is given up.
    fn deadline(&self) -> Instant {
        Instant::now() + self.regions.timeouts.operation
    }
}

impl Kms for AwsKms {
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        let (regions, until) = (self.regions.clone(), self.deadline());
        let (master_key, context) = (master_key.clone(), context.clone());
        let task = async move {
            let route = regions.route_to(&master_key, CALL).await?;
            let generate = |Place { connection, region, until }: Place| {
                let (master_key, context) = (route.name_in(&master_key, &region), context.clone());
                async move { connection.generate_data_key(&master_key, spec, &context, until).await }
            };
            regions.ask(CALL, &route, until, generate).await
        };
        self.runtime.wait(until, task).unwrap_or_else(|| Err(self.regions.no_answer(CALL)))
    }

    fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<(), KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        let (regions, until) = (self.regions.clone(), self.deadline());
        let (master_key, context) = (master_key.clone(), context.clone());
        let task = async move {
            let route = regions.route_to(&master_key, CALL).await?;
            let ask = |Place { connection, region, until }: Place| {
                let (master_key, context) = (route.name_in(&master_key, &region), context.clone());
                async move { connection.check_can_generate(&master_key, spec, &context, until).await }
            };
            regions.ask(CALL, &route, until, ask).await
        };
        self.runtime.wait(until, task).unwrap_or_else(|| Err(self.regions.no_answer(CALL)))
    }

    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        let (regions, until) = (self.regions.clone(), self.deadline());
        let (master_key, context) = (master_key.clone(), context.clone());
        let key = Arc::new(Zeroizing::new(key.to_vec()));
        let task = async move {
            let route = regions.route_to(&master_key, Call::Encrypt).await?;
            let encrypt = |Place { connection, region, until }: Place| {
                let (master_key, key, context) = (route.name_in(&master_key, &region), key.clone(), context.clone());
                async move { connection.encrypt(&master_key, &key, &context, until).await }
            };
            regions.ask(Call::Encrypt, &route, until, encrypt).await
        };
        self.runtime.wait(until, task).unwrap_or_else(|| Err(self.regions.no_answer(Call::Encrypt)))
    }

    fn after_restart(&self, master_key: &MasterKeyId) -> Option<String> {
        self.regions.settings().after_restart(master_key, &self.regions.default_region_now()?)
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        let (regions, until, wrapped) = (self.regions.clone(), self.deadline(), wrapped.clone());
        let task = async move {
            let route = regions.route_of(&wrapped).await?;
            let decrypt = |Place { connection, until, .. }: Place| {
                let wrapped = wrapped.clone();
                async move { connection.decrypt(&wrapped, until).await }
            };
            regions.ask(Call::Decrypt, &route, until, decrypt).await
        };
        self.runtime.wait(until, task).unwrap_or_else(|| Err(self.regions.no_answer(Call::Decrypt)))
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        let (regions, keys) = (self.regions.clone(), wrapped.to_vec());
        let answers = self.runtime.wait(until, async move { regions.decrypt_all(keys, until).await });
        answers.unwrap_or_else(|| wrapped.iter().map(|_| Err(self.regions.no_answer(Call::Decrypt))).collect())
    }
}
