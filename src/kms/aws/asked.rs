//! Where a call of KMS was sent: the SDK takes the endpoint from the settings, the environment, a profile or its own
//! rules.

use std::sync::{Arc, OnceLock};

use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use url::Url;

/// Notes the endpoint of one call, when its request is sent, for the client's later calls too.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    now: Arc<OnceLock<Url>>,
    ever: Endpoint,
}

/// Where a client has sent its requests to, once it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint(Arc<OnceLock<Url>>);

impl Endpoint {
    /// Scheme, host and port.
    pub(super) fn name(&self) -> Option<Box<str>> {
        self.0.get().map(name)
    }
}

impl Asked {
    /// For a call with the client whose endpoint this is.
    pub(super) fn new(ever: Endpoint) -> Self {
        Self { now: Arc::default(), ever }
    }

    /// Scheme, host and port. `None` if nothing was sent: then the time went by, or the call failed, before that.
    pub(super) fn endpoint(&self) -> Option<Box<str>> {
        self.now.get().map(name)
    }

    /// The region of the endpoint's name, if it is one of AWS.
    pub(super) fn region(&self) -> Option<&str> {
        self.now.get().and_then(Url::host_str).and_then(region_of)
    }
}

fn name(url: &Url) -> Box<str> {
    url.origin().ascii_serialization().into()
}

impl Intercept for Asked {
    fn name(&self) -> &'static str {
        "Asked"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Ok(url) = Url::parse(context.request().uri()) {
            // All attempts of a call, and all calls of a client, go to the same endpoint.
            let _ = self.ever.0.set(url.clone());
            let _ = self.now.set(url);
        }
        Ok(())
    }
}

/// `eu-west-1` of `kms.eu-west-1.amazonaws.com`, `vpce-1a2b.kms.eu-west-1.vpce.amazonaws.com` and
/// `kms-fips.eu-west-1.api.aws`.
fn region_of(host: &str) -> Option<&str> {
    const SUFFIXES: &[&str] =
        &[".vpce.amazonaws.com", ".amazonaws.com", ".vpce.amazonaws.com.cn", ".amazonaws.com.cn", ".api.aws"];
    let name = SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix))?;
    let (service, region) = name.rsplit_once('.')?;
    matches!(service.rsplit('.').next(), Some("kms" | "kms-fips")).then_some(region)
}

#[cfg(test)]
impl Asked {
    /// After a request has been sent there.
    pub(super) fn sent_to(url: Url) -> Self {
        Self { now: Arc::new(url.into()), ever: Endpoint::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_an_endpoint_is_read_from_names_of_aws_only() {
        for (host, region) in [
            ("kms.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("kms-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("kms.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("kms.eu-west-1.api.aws", Some("eu-west-1")),
            ("vpce-1a2b-3c4d.kms.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("vpce-1a2b-eu-west-1a.kms.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("kms.example.com", None),
            ("sts.eu-west-1.amazonaws.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }
}
