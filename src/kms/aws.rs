//! KMS through the AWS SDK.
//!
//! The SDK is asynchronous and needs more stack than a server thread has (up to 374 KB in a debug build, against the
//! server's 292 KiB), so its futures run on the one worker of a runtime of the plugin's own; a server thread hands over
//! a task and waits on a channel with a deadline.

use std::error::Error;
use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_config::meta::region::RegionProviderChain;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::config::{AppName, Region};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

use super::classify::classify;
use super::{Call, Class, KeySpec, Kms, KmsError, MasterKeyId, PlainKey, WrappedKey};

/// AWS KMS, over HTTPS.
pub struct AwsKms {
    /// Taken out in drop only.
    runtime: Option<Runtime>,
    connection: Arc<Connection>,
}

/// How KMS is reached. What is not set here, the SDK finds in the environment, the AWS files of the server's user, or
/// the instance's metadata.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// AWS region, such as `eu-central-1`. Without one anywhere, it is us-east-1.
    pub region: Option<String>,
    /// Replaces the endpoint of KMS in the region, such as `https://vpce-1a2b.kms.eu-central-1.vpce.amazonaws.com`.
    pub endpoint_url: Option<String>,
    /// How long a connection may take to be made, and one attempt of a call to be answered.
    pub request_timeout: Option<Duration>,
}

impl AwsKms {
    /// Starts the runtime. Reads no configuration and calls nothing before the first call of KMS.
    pub fn new(settings: AwsSettings) -> std::io::Result<Self> {
        let runtime = start_runtime()?;
        Ok(Self { runtime: Some(runtime), connection: Arc::new(Connection::new(settings)) })
    }

    /// Runs `task` on the runtime; waits for it until `deadline`, and a little longer for what the task's own timeouts
    /// do not bound (finding the region).
    fn wait<T: Send + 'static>(&self, deadline: Instant, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let running = self.runtime.as_ref()?.spawn(async move {
            // The receiver is gone if the caller has given up: then nobody wants the answer.
            let _ = sender.send(task.await);
        });
        let patience = deadline.saturating_duration_since(Instant::now()) + GRACE;
        receiver.recv_timeout(patience).inspect_err(|_| running.abort()).ok()
    }
}

impl Kms for AwsKms {
    fn generate_data_key(&self, master_key: &MasterKeyId, spec: KeySpec) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        let master_key = master_key.to_string();
        let connection = self.connection.clone();
        let deadline = Instant::now() + self.connection.timeouts.operation;
        self.wait(deadline, async move { connection.generate_data_key(master_key, spec).await })
            .unwrap_or_else(|| Err(no_answer(CALL)))
    }

    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        let connection = self.connection.clone();
        let wrapped = wrapped.clone();
        let deadline = Instant::now() + self.connection.timeouts.operation;
        let task = async move { connection.decrypt(&connection.client().await, wrapped).await };
        self.wait(deadline, task).unwrap_or_else(|| Err(no_answer(Call::Decrypt)))
    }

    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        let connection = self.connection.clone();
        let keys = wrapped.to_vec();
        let answers = self.wait(until, async move { decrypt_all(connection, keys, until).await });
        answers.unwrap_or_else(|| wrapped.iter().map(|_| Err(no_answer(Call::Decrypt))).collect())
    }
}

impl Drop for AwsKms {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Joins the runtime's threads. A task that hangs is waiting for the network and is dropped there. Only a
            // look-up of a name that the resolver does not answer is left to itself after this time.
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// Time for what no timeout of the SDK covers, before a waiting server thread gives up.
const GRACE: Duration = Duration::from_secs(5);

/// Decrypt calls under way at the same time: 1000 keys at 20 ms each take 0.7 s instead of 21 s, and KMS's request
/// quotas are far away.
const PARALLEL_DECRYPTS: usize = 32;

/// One worker, named, with the signals blocked that the server's threads handle.
fn start_runtime() -> std::io::Result<Runtime> {
    // A new thread inherits the mask of the thread that makes it, so there is no moment without the mask. What a thread's
    // own fault raises stays open, for the server's stack trace.
    let mut signals = SigSet::all();
    for own in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGTRAP] {
        signals.remove(own);
    }
    let _before = MaskBefore(signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("aws-kms")
        .enable_io()
        .enable_time()
        .build()
}

/// Gives the calling thread its mask back, also when tokio panics because no thread can be made.
struct MaskBefore(SigSet);

impl Drop for MaskBefore {
    fn drop(&mut self) {
        // It was the thread's mask before, so it is valid.
        let _ = self.0.thread_set_mask();
    }
}

async fn decrypt_all(
    connection: Arc<Connection>,
    keys: Vec<WrappedKey>,
    until: Instant,
) -> Vec<Result<PlainKey, KmsError>> {
    let mut answers: Vec<Result<PlainKey, KmsError>> = keys.iter().map(|_| Err(no_answer(Call::Decrypt))).collect();
    let places = Arc::new(Semaphore::new(PARALLEL_DECRYPTS));
    let mut tasks = JoinSet::new();
    let collect = async {
        let client = connection.client().await;
        for (index, key) in keys.into_iter().enumerate() {
            let (connection, client, places) = (connection.clone(), client.clone(), places.clone());
            tasks.spawn(async move {
                let _place = places.acquire().await;
                (index, connection.decrypt(&client, key).await)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((index, answer)) = done
                && let Some(place) = answers.get_mut(index)
            {
                *place = answer;
            }
        }
    };
    // Whatever is still under way then is dropped, and its answer stays "no answer in time".
    let _ = tokio::time::timeout_at(until.into(), collect).await;
    answers
}

/// The client and what it is made from. Runs on the runtime only.
struct Connection {
    settings: AwsSettings,
    timeouts: Timeouts,
    /// Kept when its region is certain.
    kept: OnceCell<Client>,
}

/// A client, and whether its region is one that somebody has set. If not, it is made anew for the next call: at the start
/// of an instance, the metadata that tell the region may turn up late.
#[derive(Clone)]
struct RegionalClient {
    client: Client,
    region_is_certain: bool,
}

struct Timeouts {
    connect: Duration,
    attempt: Duration,
    /// All attempts together, with the pauses between them and the search for credentials.
    operation: Duration,
}

impl Connection {
    fn new(settings: AwsSettings) -> Self {
        let timeouts = match settings.request_timeout {
            Some(timeout) => {
                Timeouts { connect: timeout, attempt: timeout, operation: timeout * 3 + Duration::from_secs(5) }
            }
            None => Timeouts {
                connect: Duration::from_millis(3100),
                attempt: Duration::from_secs(5),
                operation: Duration::from_secs(20),
            },
        };
        Self { settings, timeouts, kept: OnceCell::new() }
    }

    async fn client(&self) -> RegionalClient {
        if let Some(client) = self.kept.get() {
            return RegionalClient { client: client.clone(), region_is_certain: true };
        }
        let client = self.connect().await;
        if client.region_is_certain {
            self.keep(&client);
        }
        client
    }

    /// For a client whose region is certain, or has proven right.
    fn keep(&self, client: &RegionalClient) {
        // Another task may have been faster: its client is as good.
        let _ = self.kept.set(client.client.clone());
    }

    async fn connect(&self) -> RegionalClient {
        let set = self.settings.region.clone().map(Region::new);
        let found = RegionProviderChain::first_try(set).or_default_provider().region().await;
        let region_is_certain = found.is_some();
        let region = found.unwrap_or(Region::from_static("us-east-1"));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .operation_attempt_timeout(self.timeouts.attempt)
            .operation_timeout(self.timeouts.operation)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).region(region).timeout_config(timeouts);
        if let Some(url) = &self.settings.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Ok(name) = AppName::new("mariadb-aws-key-management") {
            loader = loader.app_name(name);
        }
        RegionalClient { client: Client::new(&loader.load().await), region_is_certain }
    }

    /// The error of a call, which may come from having asked in the wrong region.
    fn failed<E>(&self, call: Call, client: &RegionalClient, error: &SdkError<E, HttpResponse>) -> KmsError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let mut error = classify(call, error);
        if error.class == Class::Transient && error.code.is_none() {
            let region = client.client.config().region().map_or("unknown", |region| region.as_ref());
            let endpoint = self.settings.endpoint_url.as_deref().unwrap_or("the region's endpoint");
            error.detail = format!("{} (asked {endpoint}, region {region})", error.detail);
        }
        let may_be_region = matches!(
            error.class,
            Class::Denied | Class::NotFound | Class::Disabled | Class::WrongKey | Class::Corrupt | Class::Rejected
        );
        if may_be_region && !client.region_is_certain {
            error.class = Class::NoRegion;
        }
        error
    }

    async fn generate_data_key(&self, master_key: String, spec: KeySpec) -> Result<WrappedKey, KmsError> {
        const CALL: Call = Call::GenerateDataKeyWithoutPlaintext;
        let spec = match spec {
            KeySpec::Aes128 => DataKeySpec::Aes128,
            KeySpec::Aes256 => DataKeySpec::Aes256,
        };
        let client = self.client().await;
        let request = client.client.generate_data_key_without_plaintext().key_id(master_key).key_spec(spec);
        let answer = request.send().await.map_err(|error| self.failed(CALL, &client, &error))?;
        self.keep(&client);
        let blob = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        if blob.is_empty() {
            return Err(KmsError::without_answer(CALL, Class::Transient, "KMS answered without a wrapped key"));
        }
        Ok(WrappedKey::new(blob))
    }

    async fn decrypt(&self, client: &RegionalClient, wrapped: WrappedKey) -> Result<PlainKey, KmsError> {
        let context = wrapped.encryption_context();
        let request = client
            .client
            .decrypt()
            .ciphertext_blob(Blob::new(wrapped.as_bytes()))
            .set_encryption_context((!context.is_empty()).then(|| context.clone().into_iter().collect()));
        let answer = request.send().await.map_err(|error| self.failed(Call::Decrypt, client, &error))?;
        self.keep(client);
        let key = answer.plaintext.map(Blob::into_inner).unwrap_or_default();
        if key.is_empty() {
            return Err(KmsError::without_answer(Call::Decrypt, Class::Transient, "KMS answered without a key"));
        }
        Ok(PlainKey::new(key, answer.key_id))
    }
}

impl KmsError {
    fn without_answer(call: Call, class: Class, detail: &str) -> Self {
        Self { call, class, code: None, request_id: None, detail: detail.to_owned() }
    }
}

fn no_answer(call: Call) -> KmsError {
    KmsError::without_answer(call, Class::Transient, "no answer in time")
}
