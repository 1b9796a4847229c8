//! The SDK's client of KMS, made when it is first needed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{AppName, Region};
use aws_smithy_http_client::HttpClientError;

use super::certificates::Trusted;
use super::http;
use super::settings::{AwsSettings, Timeouts};
use crate::kms::{Call, Class, KmsError};

/// The client and what it is made from. Runs on the runtime only.
pub(super) struct Connection {
    settings: AwsSettings,
    pub(super) timeouts: Timeouts,
    /// Kept when its region is certain.
    kept: Mutex<Option<Arc<Connected>>>,
}

/// A client, with what its failures are judged by.
pub(super) struct Connected {
    pub(super) client: Client,
    /// The region that it signs for.
    pub(super) region: String,
    /// Whether somebody has set the region. If not, the client is made anew for the next call: at the start of an
    /// instance, the metadata that tell the region may turn up late.
    region_is_set: bool,
    /// Whether KMS has done what it was asked for: then the region is right.
    has_worked: AtomicBool,
    /// Which CAs it trusts, for messages.
    pub(super) trusted: String,
}

impl Connected {
    pub(super) fn region_is_certain(&self) -> bool {
        self.region_is_set || self.has_worked.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// Reads no configuration and calls nothing before the first call of KMS.
    pub(super) fn new(settings: AwsSettings) -> Self {
        Self { timeouts: settings.timeouts(), settings, kept: Mutex::default() }
    }

    /// The client that is kept, or a new one.
    pub(super) async fn client(&self, call: Call) -> Result<Arc<Connected>, KmsError> {
        if let Some(client) = &*self.kept() {
            return Ok(client.clone());
        }
        let client = self.connect().await.map(Arc::new).map_err(|error| KmsError::new(call, Class::Config, &error))?;
        if client.region_is_set {
            self.keep(&client);
        }
        Ok(client)
    }

    /// To be told of a client with which a call has succeeded.
    pub(super) fn worked(&self, client: &Arc<Connected>) {
        if !client.has_worked.swap(true, Ordering::Relaxed) {
            self.keep(client);
        }
    }

    /// Another task may have been faster: its client is as good.
    fn keep(&self, client: &Arc<Connected>) {
        self.kept().get_or_insert_with(|| client.clone());
    }

    fn kept(&self) -> MutexGuard<'_, Option<Arc<Connected>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connected, HttpClientError> {
        let trusted = Trusted::read();
        let http = http::client(&trusted)?;
        let found = self.region(&ProviderConfig::without_region().with_http_client(http.clone())).await;
        let region_is_set = found.is_some();
        let region = found.unwrap_or(Region::from_static("us-east-1"));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .operation_attempt_timeout(self.timeouts.attempt)
            .operation_timeout(self.timeouts.operation)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(region.clone())
            .timeout_config(timeouts);
        if let Some(url) = &self.settings.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Ok(name) = AppName::new("mariadb-aws-key-management") {
            loader = loader.app_name(name);
        }
        Ok(Connected {
            client: Client::new(&loader.load().await),
            region: region.to_string(),
            region_is_set,
            has_worked: AtomicBool::new(false),
            trusted: trusted.summary,
        })
    }

    /// The region that is set, or that the SDK finds where it always looks.
    async fn region(&self, config: &ProviderConfig) -> Option<Region> {
        RegionProviderChain::first_try(self.settings.region.clone().map(Region::new))
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::builder().configure(config).build())
            .or_else(ImdsRegionProvider::builder().configure(config).build())
            .region()
            .await
    }
}
