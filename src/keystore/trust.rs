//! Which of the keys that were found may encrypt new data. Who can put a file into the key folder can give it a higher
//! number, wrapped by a master key of his own; it must not become the latest version.
//!
//! What is known stands in the manifest, so this holds as long as that is out of his reach: without a usable manifest,
//! nothing is known, and all files are trusted.

use std::collections::BTreeSet;

use super::NewKeySettings;
use super::files::{Finding, KeyFiles};
use super::load_report::AcceptedKey;
use crate::kms::MasterKeyId;

/// What is known of master keys: from the manifest, which has those of all key versions that were made or accepted here,
/// and from the configuration.
pub struct KnownMasterKeys<'a> {
    in_manifest: BTreeSet<String>,
    configured: &'a NewKeySettings,
}

impl<'a> KnownMasterKeys<'a> {
    /// `configured` says what new keys are wrapped by.
    pub fn new(files: &KeyFiles, configured: &'a NewKeySettings) -> Self {
        let in_manifest = files.master_keys().iter().map(|arn| without_region(arn)).collect();
        Self { in_manifest, configured }
    }

    /// Whether a key that was found may encrypt new data. At the first start on key files of another plugin, or without a
    /// manifest, nothing is known, and all may.
    pub fn trust(&self, files: &KeyFiles, found: &AcceptedKey) -> bool {
        let Some(arn) = found.entry.master_key() else { return true };
        let id = found.entry.name.id;
        let is_set = self.configured.master_key_of(id).is_some_and(|configured| names(configured, arn));
        // What a tenant has brought for his ids is not known for others.
        let is_of_others = || {
            let of_all = self.configured.master_key.as_ref().is_some_and(|of_all| names(of_all, arn));
            !of_all && self.configured.master_keys.all().any(|of_some| names(of_some, arn))
        };
        let is_in_manifest = self.in_manifest.contains(&without_region(arn));
        let was_trusted = || files.is_trusted(found.entry.name) == Some(true) && found.finding != Finding::New;
        is_set || was_trusted() || self.in_manifest.is_empty() || (is_in_manifest && !is_of_others())
    }
}

/// Whether the setting is this key's id or ARN. What an alias stands for, only KMS knows.
pub fn names(configured: &MasterKeyId, arn: &str) -> bool {
    let configured = configured.as_str();
    arn.rsplit_once(":key/").is_some_and(|(_, id)| id == configured)
        || without_region(configured) == without_region(arn)
}

/// Whether this is the ARN of a master key, with its region and account.
pub fn is_key_arn(name: &str) -> bool {
    let parts: Vec<&str> = name.split(':').collect();
    let [arn, partition, service, region, account, key] = parts[..] else { return false };
    let is_number = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    let has_id = key.strip_prefix("key/").is_some_and(|id| !id.is_empty() && !id.contains('/'));
    (arn, service) == ("arn", "kms") && !partition.is_empty() && !region.is_empty() && is_number && has_id
}

/// Whether two ARNs are of the same master key.
pub fn is_same_master_key(one: &str, other: &str) -> bool {
    without_region(one) == without_region(other)
}

/// How many master keys these ARNs are of.
pub fn count_master_keys<'a>(arns: impl IntoIterator<Item = &'a str>) -> usize {
    arns.into_iter().map(without_region).collect::<BTreeSet<String>>().len()
}

/// The replicas of a multi-region key are one key: their ARNs differ in the region.
fn without_region(arn: &str) -> String {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        [arn, partition, service, _, account, key] if key.starts_with("key/mrk-") => {
            [arn, partition, service, "", account, key].join(":")
        }
        _ => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_a_master_key_by_its_id_or_its_arn_in_any_region_of_a_multi_region_key() {
        let arn = "arn:aws:kms:eu-west-1:1:key/mrk-1234";
        let names = |setting: &str, arn| names(&MasterKeyId::parse(setting).expect("a name"), arn);
        for setting in ["mrk-1234", arn, "arn:aws:kms:us-east-1:1:key/mrk-1234"] {
            assert!(names(setting, arn), "{setting}");
        }
        for setting in ["mrk-123", "1234", "alias/mrk-1234", "arn:aws:kms:eu-west-1:2:key/mrk-1234"] {
            assert!(!names(setting, arn), "{setting}");
        }
        assert!(!names("arn:aws:kms:us-east-1:1:key/1234", "arn:aws:kms:eu-west-1:1:key/1234"));
    }
}
