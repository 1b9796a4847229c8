//! The HTTP client of all that the SDK asks: KMS, STS, and the metadata services that give out credentials and the
//! region.
//!
//! It uses the proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) as curl does, except
//! for the metadata services: they answer this machine only, and a proxy would answer with credentials of its own
//! machine, or not at all.

use std::collections::HashMap;
use std::env;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::certificates::Trusted;
use aws_sdk_kms::config::http::HttpRequest;
use aws_sdk_kms::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Connector, HttpClientError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use url::{Host, Origin, Url};

/// A client with connections of its own.
pub(super) fn client(trusted: &Trusted) -> Result<SharedHttpClient, HttpClientError> {
    let tls = TlsContext::builder().with_trust_store(trusted.store()).build()?;
    Ok(SharedHttpClient::new(Client { direct: Direct::from_environment(), tls, connectors: Mutex::default() }))
}

/// The variable that names a proxy for requests to `endpoint`, if there is one; NO_PROXY may still leave it out.
pub(super) fn proxy_variable(endpoint: &str) -> Option<&'static str> {
    let of_scheme =
        if endpoint.starts_with("https:") { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let names = of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    names.into_iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[derive(Debug)]
struct Client {
    direct: Direct,
    tls: TlsContext,
    /// Each with its pool of connections; KMS and the metadata services have timeouts of their own.
    connectors: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

/// Of connecting and of reading.
type Timeouts = (Option<Duration>, Option<Duration>);

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        // Each entry is inserted as a whole.
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = connectors.entry(timeouts).or_insert_with(|| {
            SharedHttpConnector::new(Router {
                direct: self.direct.clone(),
                to_metadata: self.connector(settings, components, ProxyConfig::disabled()),
                to_others: self.connector(settings, components, ProxyConfig::from_env()),
            })
        });
        connector.clone()
    }
}

impl Client {
    fn connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
        proxies: ProxyConfig,
    ) -> Connector {
        let mut builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        builder.set_connector_settings(Some(settings.clone())).set_sleep_impl(components.sleep_impl());
        builder.tls_context(self.tls.clone()).proxy_config(proxies).build()
    }
}

/// Sends each request the way that its address asks for.
#[derive(Debug)]
struct Router {
    direct: Direct,
    to_metadata: Connector,
    to_others: Connector,
}

impl HttpConnector for Router {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if self.direct.contains(request.uri()) { self.to_metadata.call(request) } else { self.to_others.call(request) }
    }
}

/// The addresses that are never asked of a proxy.
#[derive(Clone, Debug)]
struct Direct {
    /// Metadata services that the environment names.
    named: Vec<Origin>,
}

impl Direct {
    fn from_environment() -> Self {
        let metadata = env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").ok();
        let container = env::var("AWS_CONTAINER_CREDENTIALS_FULL_URI").ok();
        Self::new(metadata.as_deref(), container.as_deref())
    }

    fn new(metadata: Option<&str>, container: Option<&str>) -> Self {
        // That of EC2 is this machine's by its meaning. Credentials for containers may also come from a host elsewhere.
        let metadata = metadata.and_then(|url| Url::parse(url).ok());
        let container = container.and_then(|url| Url::parse(url).ok()).filter(is_loopback);
        Self { named: metadata.iter().chain(&container).map(Url::origin).collect() }
    }

    fn contains(&self, url: &str) -> bool {
        let Ok(url) = Url::parse(url) else { return false };
        is_link_local(&url) || self.named.contains(&url.origin())
    }
}

/// Whether a URL's host is one of the link, which no other machine can reach: 169.254.169.254 (EC2), 169.254.170.2 (ECS),
/// 169.254.170.23 (EKS), and the addresses fd00:ec2::254 and fd00:ec2::23 that AWS has set apart in IPv6.
fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0x0ec2],
        Some(Host::Domain(_)) | None => false,
    }
}

/// Whether a URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_asked_directly_and_nothing_else_is() {
        let direct = Direct::new(Some("http://[::1]:8111/"), Some("http://localhost:8222/role"));
        for url in [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::254]/latest/api/token",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://[fe80::1]/",
            "http://[::1]:8111/latest/meta-data/placement/region",
            "http://localhost:8222/role",
        ] {
            assert!(direct.contains(url), "{url}");
        }
        for url in [
            "https://kms.eu-central-1.amazonaws.com/",
            "https://sts.amazonaws.com/",
            "http://127.0.0.1:8111/",
            "http://localhost:8223/role",
            "http://10.0.0.1/",
            "https://[fd00:ec3::254]/",
            "https://169.254.169.254.example.com/",
        ] {
            assert!(!direct.contains(url), "{url}");
        }
        let elsewhere = Direct::new(None, Some("https://credentials.example.com/role"));
        assert!(!elsewhere.contains("https://credentials.example.com/role"));
    }
}
