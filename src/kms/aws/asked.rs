//! Where a call of KMS was sent: the SDK takes the endpoint from the settings, the environment, a profile or its own
//! rules.

use std::sync::{Arc, OnceLock};

use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use url::Url;

/// Notes the endpoint of one call, when its request is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<OnceLock<Url>>);

impl Asked {
    /// Scheme, host and port. `None` if nothing was sent: then the time went by, or the call failed, before that.
    pub(super) fn endpoint(&self) -> Option<String> {
        self.0.get().map(|url| url.origin().ascii_serialization())
    }

    /// The region of the endpoint's name, if it is one of AWS.
    pub(super) fn region(&self) -> Option<&str> {
        self.0.get().and_then(Url::host_str).and_then(region_of)
    }
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
            // All attempts of a call go to the same endpoint.
            let _ = self.0.set(url);
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
