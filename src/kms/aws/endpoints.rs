//! Where KMS is asked in place of a region's own endpoint, and what a restart would make different of that.
//!
//! A URL that is set without a region is that of the default region; one of AWS serves the region that it names, and no other:
//! AWS refuses what was signed for another one.

use std::env;

use url::Url;

use super::region_lists::is_region;
use super::settings::{AwsSettings, Remark};
use crate::kms::MasterKeyId;

/// What is asked for calls in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// This URL.
    Url(String),
    /// The region's own, whatever the environment says.
    OfRegion,
    /// What the SDK finds: what the environment or a profile says, or the region's own.
    OfSdk,
}

/// A variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl AwsSettings {
    /// What is asked for calls in a region, which is the default one or not.
    pub(super) fn endpoint(&self, region: &str, is_default: bool) -> Address {
        self.endpoint_in(region, is_default, &of_environment)
    }

    fn endpoint_in(&self, region: &str, is_default: bool, variable: Variable<'_>) -> Address {
        if let Some(url) = self.region_endpoints.get(region) {
            return Address::Url(url.clone());
        }
        // What the environment says is of the default region, too.
        match self.plain_endpoint(variable) {
            Some(Plain { url, .. }) if region_of_aws(&url) == Some(region) => Address::Url(url),
            Some(Plain { url, .. }) if region_of_aws(&url).is_some() => Address::OfRegion,
            Some(Plain { url, is_set: true, .. }) if is_default => Address::Url(url),
            _ if is_default => Address::OfSdk,
            _ => Address::OfRegion,
        }
    }

    /// What a restart with this master key in `aws_key_management_master_key_id` would make different of where KMS is asked,
    /// while the default region is `now`: what an operator has to write down before. `None` if there is nothing.
    pub fn after_restart(&self, master_key: &MasterKeyId, now: &str) -> Option<String> {
        self.after_restart_in(master_key, now, &of_environment)
    }

    fn after_restart_in(&self, master_key: &MasterKeyId, now: &str, variable: Variable<'_>) -> Option<String> {
        if self.region.is_some() || now.is_empty() {
            return None;
        }
        let advice = format!("Before a restart, write aws_key_management_region = {now} into the option file");
        let Some(then) = master_key.region() else {
            // Somewhere else it may be another one, or none.
            self.master_key.as_ref()?.region()?;
            return Some(format!(
                "the name of this master key tells no region, and aws_key_management_region is empty: after a restart it is looked for \
                 where the AWS SDK finds a region (environment, profile, instance metadata), and now in {now}. {advice}, or name the \
                 master key by its ARN"
            ));
        };
        let Plain { name, url, .. } = self.plain_endpoint(variable).filter(|_| then != now)?;
        if region_of_aws(&url).is_some() {
            return None;
        }
        let of_then = match self.region_endpoints.contains_key(then) {
            true => String::new(),
            false => format!(", and {name} is asked for that"),
        };
        Some(format!(
            "after a restart with this master key, the default region is {then}, since aws_key_management_region is empty{of_then}; now it \
             is {now}, and {name} is asked for {now}. {advice}; or give each URL its region in aws_key_management_endpoint_url: \
             '{now}=URL', and '{then}=URL' if that needs one"
        ))
    }

    /// The endpoint that is set for the default region, as far as that can be told without reading the profiles.
    pub(super) fn plain_endpoint(&self, variable: Variable<'_>) -> Option<Plain> {
        if let Some(url) = self.endpoint_url.clone() {
            return Some(Plain { name: "aws_key_management_endpoint_url", url, is_set: true });
        }
        if variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        // Where the SDK looks for it then.
        let of = |name| Some(Plain { name, url: variable(name)?, is_set: false });
        of("AWS_ENDPOINT_URL_KMS").or_else(|| of("AWS_ENDPOINT_URL"))
    }

    /// An endpoint that AWS has for another region than the default one.
    pub(super) fn foreign_endpoint(&self, variable: Variable<'_>) -> Option<Remark> {
        let region = self.default_region()?;
        let Plain { name, url, .. } = self.plain_endpoint(variable)?;
        let of_url = region_of_aws(&url)?;
        (region != of_url && !self.region_endpoints.contains_key(region)).then(|| {
            Remark::Warning(format!(
                "{name} is an endpoint of {of_url}, and is asked for that region only; {region}, where keys are asked for that no ARN \
                 places elsewhere, is asked at its own endpoint. If it needs another one, add '{region}=URL' to \
                 aws_key_management_endpoint_url"
            ))
        })
    }
}

/// An endpoint that is set without a region.
pub(super) struct Plain {
    /// Where it is set.
    pub(super) name: &'static str,
    pub(super) url: String,
    /// Whether that is a variable of the server.
    is_set: bool,
}

pub(super) fn of_environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The region that a URL of AWS names: `kms.eu-west-1.amazonaws.com`, `kms-fips.us-east-1.api.aws`,
/// `vpce-1a-2b.kms.eu-west-1.vpce.amazonaws.com`. `None` for any other.
pub(super) fn region_of_aws(url: &str) -> Option<&str> {
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host_str()?.trim_end_matches('.');
    let is_of_aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|end| host.ends_with(end));
    let mut labels = host.split('.').skip_while(|label| !matches!(*label, "kms" | "kms-fips")).skip(1);
    let region = labels.next().filter(|region| is_of_aws && is_region(region))?;
    // The host of `parsed` is in lower case.
    let at = url.to_ascii_lowercase().find(&format!(".{region}."))? + 1;
    url.get(at..at + region.len()).filter(|found| *found == region)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    const OLD: &str = "arn:aws:kms:eu-central-1:1:key/old";
    const VPCE: &str = "https://vpce-1a-2b.kms.eu-central-1.vpce.amazonaws.com";

    fn settings(region: Option<&str>, master_key: &str) -> AwsSettings {
        AwsSettings {
            region: region.map(str::to_owned),
            master_key: MasterKeyId::parse(master_key),
            ..AwsSettings::default()
        }
    }

    fn with_url(url: &str) -> AwsSettings {
        AwsSettings { endpoint_url: Some(url.to_owned()), ..settings(None, OLD) }
    }

    fn none(_: &str) -> Option<String> {
        None
    }

    fn url(url: &str) -> Address {
        Address::Url(url.to_owned())
    }

    #[test]
    fn an_endpoint_serves_its_region_and_one_without_a_region_the_default_one() {
        let settings = AwsSettings {
            endpoint_url: Some("https://default".to_owned()),
            region_endpoints: [("us-east-1".to_owned(), "http://us.example.com".to_owned())].into(),
            ..settings(Some("eu-west-1"), "alias/a")
        };
        assert_eq!(settings.endpoint_in("eu-west-1", true, &none), url("https://default"));
        assert_eq!(settings.endpoint_in("us-east-1", false, &none), url("http://us.example.com"));
        assert_eq!(settings.endpoint_in("us-west-1", false, &none), Address::OfRegion);
        assert_eq!(settings.endpoint_in("us-east-1", true, &none), url("http://us.example.com"));
        let unset = AwsSettings { endpoint_url: None, ..settings };
        assert_eq!(unset.endpoint_in("eu-west-1", true, &|_| Some("https://10.0.0.1".to_owned())), Address::OfSdk);
        assert_eq!(unset.endpoint_in("us-west-1", false, &|_| Some("https://10.0.0.1".to_owned())), Address::OfRegion);
    }

    #[test]
    fn an_endpoint_of_aws_serves_the_region_that_it_names_and_no_other_wherever_it_is_set() {
        let of_environment = |name: &str| (name == "AWS_ENDPOINT_URL_KMS").then(|| VPCE.to_owned());
        let ignored = |name: &str| match name {
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS" => Some("true".to_owned()),
            name => of_environment(name),
        };
        let new = "arn:aws:kms:eu-west-1:1:key/a";
        let set = AwsSettings { master_key: MasterKeyId::parse(new), ..with_url(VPCE) };
        for (settings, variable) in [(set.clone(), &none as Variable<'_>), (settings(None, new), &of_environment)] {
            assert_eq!(settings.endpoint_in("eu-west-1", true, variable), Address::OfRegion);
            assert_eq!(settings.endpoint_in("eu-central-1", false, variable), url(VPCE));
            let warned = settings.foreign_endpoint(variable).expect("a warning");
            assert!(
                matches!(&warned, Remark::Warning(text) if text.contains("of eu-central-1") && text.contains("eu-west-1=URL")),
                "{warned:?}"
            );
            let at_home = AwsSettings { region: Some("eu-central-1".to_owned()), ..settings };
            assert_eq!(at_home.endpoint_in("eu-central-1", true, variable), url(VPCE));
            assert_eq!(at_home.foreign_endpoint(variable), None);
        }
        assert_eq!(settings(None, new).endpoint_in("eu-west-1", true, &ignored), Address::OfSdk);
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
            assert_eq!(region_of_aws(url), region, "{url}");
        }
    }

    #[test]
    fn where_nothing_else_names_a_region_the_endpoint_does() {
        let settings = AwsSettings { master_key: MasterKeyId::parse("alias/a"), ..with_url(VPCE) };
        assert_eq!(settings.default_region(), Some("eu-central-1"));
        assert_eq!(with_url("https://10.0.0.1").default_region(), Some("eu-central-1"), "of the ARN");
        assert_eq!(AwsSettings { master_key: None, ..with_url("https://10.0.0.1") }.default_region(), None);
    }

    #[test]
    fn who_moves_to_another_region_is_told_where_a_restart_would_ask_for_it() {
        let new = MasterKeyId::parse("arn:aws:kms:eu-west-1:1:key/new").expect("an ARN");
        let told = |settings: &AwsSettings, environment: Option<&str>| {
            settings.after_restart_in(&new, "eu-central-1", &|name| {
                environment.filter(|_| name == "AWS_ENDPOINT_URL_KMS").map(str::to_owned)
            })
        };
        let plain = with_url("https://10.0.0.1");
        let text = told(&plain, None).expect("told");
        assert!(
            text.contains("aws_key_management_region = eu-central-1") && text.contains("'eu-west-1=URL'"),
            "{text}"
        );
        let text = told(&settings(None, OLD), Some("https://10.0.0.1")).expect("told");
        assert!(text.contains("and AWS_ENDPOINT_URL_KMS is asked for that"), "{text}");
        // The old region loses its endpoint.
        let own = [("eu-west-1".to_owned(), "https://10.0.0.2".to_owned())];
        let text = told(&AwsSettings { region_endpoints: own.into(), ..plain.clone() }, None).expect("told");
        assert!(text.contains("'eu-central-1=URL'") && !text.contains("is asked for that;"), "{text}");
        for nothing_changes in [
            settings(None, OLD),
            AwsSettings { region: Some("eu-central-1".to_owned()), ..plain.clone() },
            with_url(VPCE),
        ] {
            assert_eq!(told(&nothing_changes, None), None);
        }
        assert_eq!(told(&settings(None, OLD), Some(VPCE)), None);
        assert_eq!(plain.after_restart_in(&new, "eu-west-1", &none), None, "it is the default region already");
        // A name without a region, where an ARN had one.
        let alias = MasterKeyId::parse("alias/new").expect("a name");
        let text = plain.after_restart_in(&alias, "eu-central-1", &none).expect("told");
        assert!(
            text.contains("tells no region") && text.contains("aws_key_management_region = eu-central-1"),
            "{text}"
        );
        assert_eq!(settings(None, "alias/old").after_restart_in(&alias, "eu-central-1", &none), None);
    }
}
