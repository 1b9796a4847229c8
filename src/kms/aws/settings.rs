//! How KMS is reached.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use url::Url;

use super::aws_files::{OLD, SHARED};
use super::http::is_loopback;
use super::region_lists::is_region;
use crate::kms::MasterKeyId;

/// How KMS is reached. What is not set here, the SDK finds in the environment, the AWS files of the server's user, or
/// the instance's metadata.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// The default region, such as `eu-central-1`: asked where no name of a master key tells another. If nobody sets it, it
    /// is that of `master_key`, and without one anywhere, us-east-1.
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
        self.remarks_in(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn remarks_in(&self, variable: impl Fn(&str) -> Option<String>) -> Vec<Remark> {
        let of_regions = self.region_endpoints.values().map(|url| ("aws_key_management_endpoint_url", url.clone()));
        let endpoints = self.plain_endpoint(&variable).into_iter().chain(of_regions);
        let clear_text = endpoints.filter_map(|(name, url)| clear_text(name, &url));
        let old_file = variable(OLD).filter(|_| variable(SHARED).is_none()).map(|path| old_file(&path));
        clear_text
            .chain(old_file)
            .chain(self.contradiction())
            .chain(self.foreign_endpoint())
            .chain(self.useless_fallback())
            .collect()
    }

    /// The region that is asked where nothing names another one. `None` leaves it to the SDK to find it.
    pub fn default_region(&self) -> Option<&str> {
        self.region.as_deref().or_else(|| self.master_key.as_ref()?.region())
    }

    /// The URL that serves a region, if it is not the region's own.
    pub(super) fn endpoint(&self, region: &str, is_default: bool) -> Option<&str> {
        // One that names its region serves that, and no other: AWS refuses what was signed for another one.
        let is_its = |url: &&String| region_of_aws(url).map_or(is_default, |of_url| of_url == region);
        let plain = self.endpoint_url.as_ref().filter(is_its);
        self.region_endpoints.get(region).or(plain).map(String::as_str)
    }

    /// What a restart with this master key in `aws_key_management_master_key_id` would make different of where KMS is asked,
    /// while the default region is `now`: what an operator has to write down before. `None` if there is nothing.
    pub fn after_restart(&self, master_key: &MasterKeyId, now: &str) -> Option<String> {
        self.after_restart_in(master_key, now, |name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn after_restart_in(
        &self,
        master_key: &MasterKeyId,
        now: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let then = master_key.region().filter(|then| *then != now && !now.is_empty())?;
        if self.region.is_some() || self.region_endpoints.contains_key(then) {
            return None;
        }
        let (name, _) = self.plain_endpoint(variable).filter(|(_, url)| region_of_aws(url).is_none())?;
        Some(format!(
            "after a restart with this master key, the default region is {then}, since aws_key_management_region is empty, and \
             {name} is asked for that region; now it is {now}, and {name} is asked for that. Before a restart, write into the option file \
             what is right for you: aws_key_management_region = {now}, or aws_key_management_endpoint_url = \
             '{now}=URL' or '{then}=URL'"
        ))
    }

    /// The endpoint that is set for the default region, and where it is set, as far as that can be told without reading the
    /// profiles.
    fn plain_endpoint(&self, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
        let set = self.endpoint_url.clone().map(|url| ("aws_key_management_endpoint_url", url));
        // Where the SDK looks for it then.
        let found =
            || ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"].into_iter().find_map(|name| Some((name, variable(name)?)));
        set.or_else(found)
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

    /// An endpoint that AWS has for another region.
    fn foreign_endpoint(&self) -> Option<Remark> {
        let (region, of_url) = (self.default_region()?, region_of_aws(self.endpoint_url.as_ref()?)?);
        (region != of_url && !self.region_endpoints.contains_key(region)).then(|| {
            Remark::Warning(format!(
                "aws_key_management_endpoint_url is an endpoint of {of_url}, and is asked for that region only; {region}, where keys \
                 are asked for that no ARN places elsewhere, is asked at its own endpoint. If it needs another one, add \
                 '; {region}=URL'"
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

/// The region that a URL of AWS names: `kms.eu-west-1.amazonaws.com`, `kms-fips.us-east-1.api.aws`,
/// `vpce-1a-2b.kms.eu-west-1.vpce.amazonaws.com`. `None` for any other.
fn region_of_aws(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_end_matches('.');
    let is_of_aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| host.ends_with(end));
    let mut labels = host.split('.').skip_while(|label| !matches!(*label, "kms" | "kms-fips")).skip(1);
    labels.next().filter(|region| is_of_aws && is_region(region)).map(str::to_owned)
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
    #![allow(clippy::panic, clippy::expect_used)] // clippy sees no tests in the helpers

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
    fn an_endpoint_serves_its_region_and_one_without_a_region_the_default_one() {
        let settings = AwsSettings {
            endpoint_url: Some("https://default".to_owned()),
            region_endpoints: [("us-east-1".to_owned(), "http://us.example.com".to_owned())].into(),
            ..settings(Some("eu-west-1"), "alias/a")
        };
        assert_eq!(settings.endpoint("eu-west-1", true), Some("https://default"));
        assert_eq!(settings.endpoint("us-east-1", false), Some("http://us.example.com"));
        assert_eq!(settings.endpoint("us-west-1", false), None);
        assert_eq!(settings.endpoint("us-east-1", true), Some("http://us.example.com"));
        let remarks = settings.remarks_in(|_| None);
        assert!(matches!(remarks.as_slice(), [Remark::Warning(text)] if text.contains("http://us.example.com")));
    }

    #[test]
    fn an_endpoint_of_aws_serves_the_region_that_it_names_and_no_other() {
        let vpce = "https://vpce-1a-2b.kms.eu-central-1.vpce.amazonaws.com";
        let moved =
            AwsSettings { endpoint_url: Some(vpce.to_owned()), ..settings(None, "arn:aws:kms:eu-west-1:1:key/a") };
        assert_eq!(moved.endpoint("eu-west-1", true), None);
        assert_eq!(moved.endpoint("eu-central-1", false), Some(vpce));
        let remarks = moved.remarks_in(|_| None);
        assert!(
            matches!(remarks.as_slice(), [Remark::Warning(text)] if text.contains("of eu-central-1") && text.contains("eu-west-1=URL")),
            "{remarks:?}"
        );
        let at_home = AwsSettings { region: Some("eu-central-1".to_owned()), ..moved };
        assert_eq!(at_home.endpoint("eu-central-1", true), Some(vpce));
        for (url, region) in [
            ("https://kms.us-gov-east-1.amazonaws.com", Some("us-gov-east-1")),
            ("https://kms-fips.us-east-1.amazonaws.com:443/", Some("us-east-1")),
            ("https://kms.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("https://kms.eu-west-1.api.aws", Some("eu-west-1")),
            ("https://kms.eu-west-1.example.com", None),
            ("https://kms.amazonaws.com", None),
            ("http://127.0.0.1:5000", None),
            ("https://sts.eu-west-1.amazonaws.com", None),
        ] {
            assert_eq!(region_of_aws(url).as_deref(), region, "{url}");
        }
    }

    #[test]
    fn who_moves_to_another_region_is_told_where_a_restart_would_ask_for_it() {
        let new = MasterKeyId::parse("arn:aws:kms:eu-west-1:1:key/new").expect("an ARN");
        let old = "arn:aws:kms:eu-central-1:1:key/old";
        let told = |settings: AwsSettings, environment: Option<&str>| {
            settings.after_restart_in(&new, "eu-central-1", |name| {
                environment.filter(|_| name == "AWS_ENDPOINT_URL_KMS").map(str::to_owned)
            })
        };
        let plain = AwsSettings { endpoint_url: Some("https://10.0.0.1".to_owned()), ..settings(None, old) };
        let text = told(plain.clone(), None).expect("told");
        assert!(
            text.contains("aws_key_management_region = eu-central-1") && text.contains("'eu-west-1=URL'"),
            "{text}"
        );
        let text = told(settings(None, old), Some("https://10.0.0.1")).expect("told");
        assert!(text.contains("AWS_ENDPOINT_URL_KMS is asked for that region"), "{text}");
        let own = [("eu-west-1".to_owned(), "https://10.0.0.2".to_owned())];
        for nothing_changes in [
            settings(None, old),
            AwsSettings { region: Some("eu-central-1".to_owned()), ..plain.clone() },
            AwsSettings { region_endpoints: own.into(), ..plain.clone() },
            AwsSettings { endpoint_url: Some("https://kms.eu-central-1.amazonaws.com".to_owned()), ..plain.clone() },
        ] {
            assert_eq!(told(nothing_changes, None), None);
        }
        assert_eq!(plain.after_restart_in(&new, "eu-west-1", |_| None), None, "it is the default region already");
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
