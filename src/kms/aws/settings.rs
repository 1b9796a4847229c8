//! How KMS is reached.

use std::env;
use std::time::Duration;

use url::Url;

use super::aws_files::{OLD, SHARED};
use super::http::is_loopback;

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

/// What an operator has to know of settings that work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// To look at.
    Warning(String),
    /// Good to know.
    Note(String),
}

/// Why KMS cannot be asked at a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadEndpoint {
    /// It holds a user name or a password, for everybody to see who may read the settings.
    Credentials,
    /// It is no URL with http or https and a host.
    NoUrl,
}

impl AwsSettings {
    /// Whether a URL can be that of KMS, or of something in its place.
    pub fn check_endpoint_url(url: &str) -> Result<(), BadEndpoint> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or(BadEndpoint::NoUrl)?;
        match url.username().is_empty() && url.password().is_none() {
            true => Ok(()),
            false => Err(BadEndpoint::Credentials),
        }
    }

    /// What there is to say of these settings, and of the environment that goes with them.
    pub fn remarks(&self) -> Vec<Remark> {
        self.remarks_in(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn remarks_in(&self, variable: impl Fn(&str) -> Option<String>) -> Vec<Remark> {
        let set = self.endpoint_url.clone().map(|url| ("aws_key_management_endpoint_url", url));
        // Where the SDK looks for it then.
        let found =
            ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"].into_iter().find_map(|name| Some((name, variable(name)?)));
        let clear_text = set.or(found).and_then(|(name, url)| clear_text(name, &url));
        let old_file = variable(OLD).filter(|_| variable(SHARED).is_none()).map(|path| old_file(&path));
        clear_text.into_iter().chain(old_file).collect()
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
