//! The SDK's client of KMS, made when it is first needed.

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{AppName, Region};
use tokio::sync::OnceCell;

use super::http;
use super::settings::{AwsSettings, Timeouts};

/// The client and what it is made from. Runs on the runtime only.
pub(super) struct Connection {
    settings: AwsSettings,
    pub(super) timeouts: Timeouts,
    /// Kept when its region is certain.
    kept: OnceCell<Client>,
}

/// A client, and whether its region is one that somebody has set. If not, it is made anew for the next call: at the start
/// of an instance, the metadata that tell the region may turn up late.
#[derive(Clone)]
pub(super) struct RegionalClient {
    pub(super) client: Client,
    pub(super) region_is_certain: bool,
}

impl Connection {
    /// Reads no configuration and calls nothing before the first call of KMS.
    pub(super) fn new(settings: AwsSettings) -> Self {
        Self { timeouts: settings.timeouts(), settings, kept: OnceCell::new() }
    }

    pub(super) async fn client(&self) -> RegionalClient {
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
    pub(super) fn keep(&self, client: &RegionalClient) {
        // Another task may have been faster: its client is as good.
        let _ = self.kept.set(client.client.clone());
    }

    async fn connect(&self) -> RegionalClient {
        let http = http::client();
        let found = self.region(&ProviderConfig::without_region().with_http_client(http.clone())).await;
        let region_is_certain = found.is_some();
        let region = found.unwrap_or(Region::from_static("us-east-1"));
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .operation_attempt_timeout(self.timeouts.attempt)
            .operation_timeout(self.timeouts.operation)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .region(region)
            .timeout_config(timeouts);
        if let Some(url) = &self.settings.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Ok(name) = AppName::new("mariadb-aws-key-management") {
            loader = loader.app_name(name);
        }
        RegionalClient { client: Client::new(&loader.load().await), region_is_certain }
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
