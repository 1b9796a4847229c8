//! The connection to KMS in one region: the SDK's client, with the region and the credentials that were found. It is made when it is
//! first needed, kept, and made anew when what it was made from may have changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{self, AppName, Region, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::HttpClientError;

use super::asked::Endpoint;
use super::certificates::Trusted;
use super::credential_failures::Chain;
use super::endpoints::Address;
use super::settings::{AwsSettings, Timeouts};
use super::text::identifier;
use super::{aws_files, http};
use crate::kms::{Call, Class, Figures, KmsError};

/// The client and what it is made from. Runs on the runtime only.
pub(super) struct Connection {
    settings: AwsSettings,
    /// If nobody has said, the SDK looks for it.
    region: Option<String>,
    /// Whether it is that of the region that is asked when nothing names another one. Then what the environment and the
    /// profiles say of an endpoint holds for it.
    is_default: bool,
    pub(super) timeouts: Timeouts,
    pub(super) figures: Arc<Figures>,
    kept: Mutex<Kept>,
}

/// What one call leaves to the next.
#[derive(Default)]
struct Kept {
    /// Kept when its region is certain.
    client: Option<Arc<Connected>>,
    /// The last one in which KMS has done what it was asked for. It outlives its client.
    region_that_worked: Option<String>,
}

/// A client, with what its failures are judged by.
pub(super) struct Connected {
    pub(super) client: Client,
    /// The region that it signs for.
    pub(super) region: String,
    /// Whether somebody has set the region, or it has worked before. If not, the client is made anew for the next call:
    /// at the start of an instance, the metadata that tell the region may turn up late.
    region_is_known: bool,
    /// Whether KMS has done what it was asked for: then the region is right.
    has_worked: AtomicBool,
    /// Where a request was sent, once one was.
    pub(super) endpoint: Endpoint,
    /// Which CAs it trusts, for messages.
    pub(super) trusted: String,
    /// Where its credentials come from. None in a configuration without any source.
    chain: Option<Chain>,
}

impl Kept {
    /// Another task may have been faster: its client is as good.
    fn keep(&mut self, client: &Arc<Connected>) {
        if self.client.as_ref().is_none_or(|kept| kept.is_spent()) {
            self.client = Some(client.clone());
        }
    }
}

impl Connected {
    /// Whether it can be of no more use: without credentials, each of its calls ends as the first one did.
    fn is_spent(&self) -> bool {
        self.chain.as_ref().is_some_and(Chain::has_failed)
    }

    pub(super) fn region_is_certain(&self) -> bool {
        self.region_is_known || self.has_worked.load(Ordering::Relaxed)
    }

    /// Of a call that was answered as no call should be, or not at all.
    pub(super) fn error(&self, call: Call, detail: &str) -> KmsError {
        let (region, endpoint) = (Some(identifier(&self.region)), self.endpoint.name());
        KmsError { region, endpoint, ..KmsError::new(call, Class::Transient, detail) }
    }

    /// Whether a call that has failed is worth another try at once, with a new client: AWS does not take the credentials
    /// any more, so they may have been renewed since they were read.
    pub(super) fn is_outdated(&self, error: &KmsError) -> bool {
        error.class == Class::BadCredentials && self.has_worked.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// To the default region. Reads no configuration and calls nothing before the first call of KMS.
    pub(super) fn new(settings: AwsSettings, figures: Arc<Figures>) -> Self {
        let region = settings.default_region().map(str::to_owned);
        figures.set_region(region.as_deref().unwrap_or_default());
        Self { timeouts: settings.timeouts(), settings, region, is_default: true, figures, kept: Mutex::default() }
    }

    /// To another region. Credentials are found for it apart: where a region is down, so is the STS in it.
    pub(super) fn to_region(settings: AwsSettings, region: &str, figures: Arc<Figures>) -> Self {
        let (timeouts, region) = (settings.timeouts(), Some(region.to_owned()));
        Self { timeouts, settings, region, is_default: false, figures, kept: Mutex::default() }
    }

    /// The client that is kept, or a new one.
    pub(super) async fn client(&self, call: Call) -> Result<Arc<Connected>, KmsError> {
        if let Some(client) = &self.kept().client
            && !client.is_spent()
        {
            return Ok(client.clone());
        }
        let client = self.connect().await.map(Arc::new).map_err(|error| KmsError::new(call, Class::Config, &error))?;
        if client.region_is_known {
            self.kept().keep(&client);
        }
        Ok(client)
    }

    /// The region that it goes to, if that is known.
    pub(super) fn region_now(&self) -> Option<String> {
        let kept = self.kept();
        let of_client = || kept.client.as_ref().map(|client| client.region.clone());
        self.region.clone().or_else(of_client).or_else(|| kept.region_that_worked.clone())
    }

    /// Of a call that was given up, of which nothing else is known.
    pub(super) fn no_answer(&self, call: Call) -> KmsError {
        match &self.kept().client {
            Some(client) => client.error(call, NO_ANSWER),
            None => KmsError {
                region: self.region.as_deref().map(identifier),
                ..KmsError::new(call, Class::Transient, NO_ANSWER)
            },
        }
    }

    /// To be told of a client with which a call has succeeded.
    pub(super) fn worked(&self, client: &Arc<Connected>) {
        if !client.has_worked.swap(true, Ordering::Relaxed) {
            let mut kept = self.kept();
            kept.region_that_worked = Some(client.region.clone());
            kept.keep(client);
        }
    }

    /// To be told of a client with which a call has failed. Where credentials, the identity that they are of, or
    /// certificates may have been the reason, the next call reads all of them anew; where none were found, it does so
    /// anyway.
    pub(super) fn failed(&self, client: &Arc<Connected>, error: &KmsError) {
        let mut kept = self.kept();
        if error.class.is_of_what_was_read() && kept.client.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, client)) {
            kept.client = None;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connected, HttpClientError> {
        let trusted = Trusted::read();
        let http = http::client(&trusted)?;
        let mut config = self.config(&http, self.region.as_deref()).await;
        let mut region_is_known = config.region().is_some();
        if !region_is_known {
            let worked = self.kept().region_that_worked.clone();
            region_is_known = worked.is_some();
            config = self.config(&http, Some(worked.as_deref().unwrap_or("us-east-1"))).await;
        }
        let region = config.region().map(Region::to_string).unwrap_or_default();
        if self.is_default {
            self.figures.set_region(&region);
        }
        let chain = config.credentials_provider().map(Chain::new);
        if let Some(chain) = &chain {
            let provider = SharedCredentialsProvider::new(chain.clone());
            config = config.into_builder().credentials_provider(provider).build();
        }
        let mut of_kms = config::Builder::from(&config);
        match self.settings.endpoint(&region, self.is_default) {
            Address::Url(url) => of_kms = of_kms.endpoint_url(url),
            Address::OfSdk => {}
            Address::OfRegion => {
                of_kms.set_endpoint_url(None);
            }
        }
        Ok(Connected {
            client: Client::from_conf(of_kms.build()),
            region,
            region_is_known,
            has_worked: AtomicBool::new(false),
            endpoint: Endpoint::default(),
            trusted: trusted.summary,
            chain,
        })
    }

    /// What the SDK finds where it always looks. Without `region`, it looks for one too.
    async fn config(&self, http: &SharedHttpClient, region: Option<&str>) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.timeouts.connect)
            .operation_attempt_timeout(self.timeouts.attempt)
            .operation_timeout(self.timeouts.operation)
            .build();
        let mut loader =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone()).timeout_config(timeouts);
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(files) = aws_files::profiles() {
            loader = loader.profile_files(files);
        }
        if let Ok(name) = AppName::new("mariadb-aws-key-management") {
            loader = loader.app_name(name);
        }
        loader.load().await
    }
}

/// What is said of a call that was given up.
pub(super) const NO_ANSWER: &str = "no answer in time";
