//! How KMS is reached.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::aws_files::{OLD, SHARED};
use super::endpoints::{Plain, of_environment, region_of_aws};
use super::http::is_loopback;
use crate::kms::MasterKeyId;

/// How KMS is reached. What is not set here, the SDK finds in the environment, the AWS files of the server's user, or
/// the instance's metadata.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// The default region, such as `eu-central-1`: asked where no name of a master key tells another. If nobody sets it, it
    /// is that of `master_key`, or of `endpoint_url`, if they name one, and without one anywhere, us-east-1.
    pub region: Option<String>,
    /// Replaces the endpoint of KMS in the default region, such as `https://vpce-1a2b.kms.eu-central-1.vpce.amazonaws.com`.
    pub endpoint_url: Option<String>,
    /// Replace the endpoints of KMS in these regions.
    pub region_endpoints: BTreeMap<String, String>,
    /// Asked, in this order, for a multi-region key whose own region does not answer.
    pub fallback_regions: Vec<String>,
    /// Wraps new keys.
    pub master_key: Option<MasterKeyId>,
    /// Wrap certain keys, or keys besides it.
    pub other_master_keys: Vec<MasterKeyId>,
    /// How long a connection may take to be made, and one attempt of a call to be answered.
    pub request_timeout: Option<Duration>,
}

/// What an operator has to know of settings that work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// To look at.
    Warning(String),
    /// Good to know.
    Note(String),
}

impl AwsSettings {
    /// What there is to say of these settings, and of the environment that goes with them.
    pub fn remarks(&self) -> Vec<Remark> {
        self.remarks_in(of_environment)
    }

    fn remarks_in(&self, variable: impl Fn(&str) -> Option<String>) -> Vec<Remark> {
        let of_regions = self.region_endpoints.values().map(|url| ("aws_key_management_endpoint_url", url.clone()));
        let plain = self.plain_endpoint(&variable).map(|Plain { name, url, .. }| (name, url));
        let endpoints = plain.into_iter().chain(of_regions);
        let clear_text = endpoints.filter_map(|(name, url)| clear_text(name, &url));
        let old_file = variable(OLD).filter(|_| variable(SHARED).is_none()).map(|path| old_file(&path));
        clear_text
            .chain(old_file)
            .chain(self.contradiction())
            .chain(self.foreign_endpoint(&variable))
            .chain(self.useless_fallback())
            .collect()
    }

    /// The region that is asked where nothing names another one. `None` leaves it to the SDK to find it.
    pub fn default_region(&self) -> Option<&str> {
        let of_master_key = || self.master_key.as_ref()?.region();
        self.region.as_deref().or_else(of_master_key).or_else(|| region_of_aws(self.endpoint_url.as_ref()?))
    }

    /// The regions that settings name, the fallback regions aside: a key of which nothing is known may be in one of them.
    pub(super) fn named_regions(&self) -> impl Iterator<Item = &str> {
        self.master_keys().filter_map(MasterKeyId::region).chain(self.region_endpoints.keys().map(String::as_str))
    }

    pub(super) fn master_keys(&self) -> impl Iterator<Item = &MasterKeyId> {
        self.master_key.iter().chain(&self.other_master_keys)
    }

    fn contradiction(&self) -> Option<Remark> {
        let (region, other) = (self.region.as_deref()?, self.master_key.as_ref()?.region()?);
        (region != other).then(|| {
            Remark::Warning(format!(
                "aws_key_management_region is {region}, but the master key of aws_key_management_master_key_id is in {other}: \
                 new keys are asked for there, and only what no ARN places elsewhere is asked in {region}. Correct one of them"
            ))
        })
    }

    fn useless_fallback(&self) -> Option<Remark> {
        let master_key = self.master_key.as_ref().filter(|_| !self.fallback_regions.is_empty())?;
        master_key.multi_region_id().is_none().then(|| {
            Remark::Note(format!(
                "aws_key_management_fallback_regions makes no new keys under {master_key}: only the id or the ARN of a \
                 multi-region key (mrk-..) names its replicas, too"
            ))
        })
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        match self.request_timeout {
            Some(timeout) => {
                Timeouts { connect: timeout, attempt: timeout, operation: timeout * 3 + Duration::from_secs(5) }
            }
            None => Timeouts {
                connect: Duration::from_millis(3100),
                attempt: Duration::from_secs(5),
                operation: Duration::from_secs(20),
            },
        }
    }
}

/// How long the SDK waits.
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) attempt: Duration,
    /// All attempts together, with the pauses between them and the search for credentials.
    pub(super) operation: Duration,
}

/// The endpoint's answers hold data keys, which only TLS hides from the network.
fn clear_text(name: &str, url: &str) -> Option<Remark> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "http" && !is_loopback(url))?;
    Some(Remark::Warning(format!(
        "{name} is {}: data keys cross the network in the clear, for everybody who can listen there. Use an https:// \
         endpoint",
        url.origin().ascii_serialization()
    )))
}

fn old_file(path: &str) -> Remark {
    Remark::Note(format!(
        "credentials are taken from {path}, which {OLD} names. Other tools of AWS know {SHARED} instead"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)] // clippy sees no tests in the helpers

    use super::*;

    fn warning(endpoint_url: Option<&str>, environment: &[(&str, &str)]) -> Option<String> {
        let settings = AwsSettings { endpoint_url: endpoint_url.map(str::to_owned), ..AwsSettings::default() };
        let variable =
            |name: &str| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_string());
        match settings.remarks_in(variable).as_slice() {
            [] => None,
            [Remark::Warning(text)] => Some(text.clone()),
            more => panic!("{more:?}"),
        }
    }

    #[test]
    fn an_endpoint_without_tls_is_warned_of_unless_it_is_on_this_machine() {
        for url in ["http://kms.example.com:8080", "http://10.1.2.3", "http://[fd00::1]/", "HTTP://kms.example.com"] {
            let text = warning(Some(url), &[]).unwrap_or_else(|| panic!("{url}"));
            assert!(text.starts_with("aws_key_management_endpoint_url is http://"), "{text}");
            assert!(text.contains("data keys cross the network in the clear"), "{text}");
        }
        for url in [
            "https://kms.example.com",
            "http://127.0.0.1:4100",
            "http://127.8.9.1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert_eq!(warning(Some(url), &[]), None, "{url}");
        }
        assert_eq!(warning(None, &[]), None);
    }

    fn settings(region: Option<&str>, master_key: &str) -> AwsSettings {
        AwsSettings {
            region: region.map(str::to_owned),
            master_key: MasterKeyId::parse(master_key),
            ..AwsSettings::default()
        }
    }

    #[test]
    fn a_region_that_is_set_comes_before_that_of_the_master_key_and_a_contradiction_is_warned_of() {
        let arn = "arn:aws:kms:eu-west-1:1:key/a";
        for (region, master_key, default, is_contradiction) in [
            (None, arn, Some("eu-west-1"), false),
            (Some("eu-west-1"), arn, Some("eu-west-1"), false),
            (Some("us-east-1"), arn, Some("us-east-1"), true),
            (Some("us-east-1"), "alias/a", Some("us-east-1"), false),
            (None, "alias/a", None, false),
        ] {
            let settings = settings(region, master_key);
            assert_eq!(settings.default_region(), default);
            let remarks = settings.remarks_in(|_| None);
            let warns = matches!(remarks.as_slice(), [Remark::Warning(text)] if text.contains("us-east-1, but"));
            assert_eq!((warns, remarks.is_empty()), (is_contradiction, !is_contradiction), "{remarks:?}");
        }
    }

    #[test]
    fn fallback_regions_that_do_nothing_for_new_keys_are_noted() {
        for (master_key, is_noted) in
            [("arn:aws:kms:eu-west-1:1:key/mrk-1", false), ("mrk-1", false), ("alias/a", true)]
        {
            let settings = AwsSettings { fallback_regions: vec!["us-east-1".to_owned()], ..settings(None, master_key) };
            let remarks = settings.remarks_in(|_| None);
            assert_eq!(matches!(remarks.as_slice(), [Remark::Note(_)]), is_noted, "{remarks:?}");
        }
    }

    #[test]
    fn a_call_has_time_for_three_attempts_and_the_pauses_between_them() {
        for request_timeout in [None, Some(Duration::from_secs(1)), Some(Duration::from_secs(60))] {
            let timeouts = AwsSettings { request_timeout, ..AwsSettings::default() }.timeouts();
            assert!(timeouts.operation >= timeouts.attempt * 3 + Duration::from_secs(5), "{request_timeout:?}");
            assert!(timeouts.connect <= timeouts.attempt, "{request_timeout:?}");
        }
    }

    #[test]
    fn the_variable_of_the_old_plugin_is_noted_where_it_counts() {
        let remarks = |variables: &[&str]| {
            let path = |name: &str| variables.contains(&name).then(|| "/etc/aws".to_owned());
            AwsSettings::default().remarks_in(path)
        };
        let noted = remarks(&[OLD]);
        assert!(matches!(noted.as_slice(), [Remark::Note(text)] if text.contains("/etc/aws") && text.contains(SHARED)));
        assert_eq!(remarks(&[OLD, SHARED]), []);
        assert_eq!(remarks(&[SHARED]), []);
    }

    #[test]
    fn an_endpoint_of_the_environment_is_warned_of_where_it_is_the_one_that_is_asked() {
        let kms = ("AWS_ENDPOINT_URL_KMS", "http://name:password@kms.example.com/path");
        let all = ("AWS_ENDPOINT_URL", "http://aws.example.com");
        let text = warning(None, &[all, kms]).unwrap_or_default();
        assert!(text.starts_with("AWS_ENDPOINT_URL_KMS is http://kms.example.com: "), "{text}");
        assert!(warning(None, &[all]).is_some_and(|text| text.starts_with("AWS_ENDPOINT_URL is ")));
        assert_eq!(warning(Some("https://kms.example.com"), &[all, kms]), None);
    }
}
