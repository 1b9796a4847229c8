//! Lists of regions, and of their endpoints, as an operator writes them.

use std::collections::BTreeMap;

use url::Url;

/// Endpoints of KMS in place of the regions' own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// That of the default region.
    pub default: Option<String>,
    /// Those of certain regions.
    pub of_regions: BTreeMap<String, String>,
}

impl Endpoints {
    /// A URL for the default region, and entries `region=URL` for others, separated by semicolons, such as
    /// `https://kms.example.com; us-east-1=https://kms.us.example.com`. Fails with what is wrong.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut endpoints = Self::default();
        for part in list.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let pair = part.split_once('=').map(|(name, url)| (name.trim(), url.trim()));
            let (region, url) = match pair.filter(|(name, _)| !name.contains("://")) {
                Some((name, url)) if is_region(name) => (Some(name), url),
                Some((name, _)) => return Err(format!("'{}' is no AWS region", name.escape_default())),
                None => (None, part),
            };
            check_url(url)?;
            let before = match region {
                Some(region) => endpoints.of_regions.insert(region.to_owned(), url.to_owned()),
                None => endpoints.default.replace(url.to_owned()),
            };
            if before.is_some() {
                return Err(format!("{} has two URLs", region.unwrap_or("the default region")));
            }
        }
        Ok(endpoints)
    }
}

/// Regions, separated by commas, in their order. Fails with what is wrong.
pub fn parse_regions(list: &str) -> Result<Vec<String>, String> {
    let mut regions = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !is_region(name) {
            return Err(format!("'{}' is no AWS region", name.escape_default()));
        }
        if regions.iter().any(|region| region == name) {
            return Err(format!("{name} is there twice"));
        }
        regions.push(name.to_owned());
    }
    Ok(regions)
}

/// Whether it has the form of `eu-west-1`, `us-gov-east-1` or `eusc-de-east-1`. New regions are no error.
pub(super) fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    words.len() >= 2 && words.iter().all(is_word) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        // Everybody who may read variables would see them.
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("it holds a user name or password, which it may not".to_owned())
        }
        Some(_) => Ok(()),
        None => Err(format!("'{text}' is no URL such as https://kms.eu-central-1.amazonaws.com")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn endpoints(default: Option<&str>, of_regions: &[(&str, &str)]) -> Endpoints {
        let of_regions = of_regions.iter().map(|(region, url)| ((*region).to_owned(), (*url).to_owned())).collect();
        Endpoints { default: default.map(str::to_owned), of_regions }
    }

    #[test]
    fn a_url_alone_is_of_the_default_region_and_others_name_theirs() {
        for (list, expected) in [
            ("", endpoints(None, &[])),
            ("https://kms.example.com", endpoints(Some("https://kms.example.com"), &[])),
            ("http://[::1]:8/a?b=c", endpoints(Some("http://[::1]:8/a?b=c"), &[])),
            (
                " https://a ; us-east-1 = https://b;us-gov-west-1=http://c:1; ",
                endpoints(Some("https://a"), &[("us-east-1", "https://b"), ("us-gov-west-1", "http://c:1")]),
            ),
            ("us-east-1=https://b", endpoints(None, &[("us-east-1", "https://b")])),
        ] {
            assert_eq!(Endpoints::parse(list), Ok(expected), "{list}");
        }
    }

    #[test]
    fn what_is_wrong_with_endpoints_is_said_without_a_password() {
        for (list, wrong) in [
            ("kms.example.com", "'kms.example.com' is no URL"),
            ("ftp://a", "'ftp://a' is no URL"),
            ("us-east-1=kms.example.com", "'kms.example.com' is no URL"),
            ("us-east-1=", "'' is no URL"),
            ("somewhere=https://a", "'somewhere' is no AWS region"),
            ("https://a;https://b", "the default region has two URLs"),
            ("us-east-1=https://a;us-east-1=https://b", "us-east-1 has two URLs"),
            ("us-east-1=https://db:secret@a", "it holds a user name or password"),
            ("https://secret@a", "it holds a user name or password"),
            ("https://:secret@a", "it holds a user name or password"),
        ] {
            let error = Endpoints::parse(list).expect_err(list);
            assert!(error.starts_with(wrong) && !error.contains("secret"), "{list}: {error}");
        }
    }

    #[test]
    fn regions_keep_their_order_and_what_is_none_is_named() {
        assert_eq!(parse_regions(" "), Ok(Vec::new()));
        assert_eq!(
            parse_regions(" us-west-2, eu-west-1,eusc-de-east-1,ap-southeast-12"),
            Ok(["us-west-2", "eu-west-1", "eusc-de-east-1", "ap-southeast-12"].map(str::to_owned).to_vec())
        );
        for name in
            ["eu-west-1a", "eu-west", "EU-WEST-1", "eu west 1", "eu-1", "-west-1", "eu-west-", "europe", "eu;west-1"]
        {
            assert_eq!(parse_regions(&format!("us-east-1,{name}")), Err(format!("'{name}' is no AWS region")));
        }
        assert_eq!(parse_regions("eu-west-1,us-east-1,eu-west-1"), Err("eu-west-1 is there twice".to_owned()));
    }
}
