//! More master keys, under which each new data key is wrapped as well.

use super::trust::is_key_arn;
use crate::kms::MasterKeyId;

/// The ARNs of master keys, in the order in which their copies are tried. None is there twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraMasterKeys(Vec<MasterKeyId>);

impl ExtraMasterKeys {
    /// ARNs of keys, separated by commas. Only an ARN tells the region in which a copy can be unwrapped, and stands for the same
    /// key for ever, which an alias does not. Fails with the part that is wrong.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let key = MasterKeyId::parse(part).filter(|key| is_key_arn(key.as_str())).ok_or_else(|| part.to_owned())?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(Self(keys))
    }

    /// All of them.
    pub fn all(&self) -> &[MasterKeyId] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_the_arn_of_a_key_and_counts_once() {
        let list =
            " arn:aws:kms:eu-west-1:1:key/a,,arn:aws-cn:kms:cn-north-1:2:key/mrk-b , arn:aws:kms:eu-west-1:1:key/a";
        let keys = ExtraMasterKeys::parse(list).expect("a list");
        let keys: Vec<&str> = keys.all().iter().map(MasterKeyId::as_str).collect();
        assert_eq!(keys, ["arn:aws:kms:eu-west-1:1:key/a", "arn:aws-cn:kms:cn-north-1:2:key/mrk-b"]);
        assert_eq!(ExtraMasterKeys::parse("").expect("none"), ExtraMasterKeys::default());
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        for part in [
            "alias/a",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:1:alias/a",
            "arn:aws:kms::1:key/a",
            "arn:aws:kms:eu-west-1::key/a",
            "arn:aws:kms:eu-west-1:x:key/a",
            "arn:aws:kms:eu-west-1:1:key/",
            "arn:aws:s3:eu-west-1:1:key/a",
            "arn::kms:eu-west-1:1:key/a",
            "arn:aws:kms:eu-west-1:1:key/a b",
            "arn:aws:kms:eu-west-1:1:key/a;arn:aws:kms:eu-west-1:1:key/b",
        ] {
            let list = format!("arn:aws:kms:eu-west-1:1:key/good, {part}");
            assert_eq!(ExtraMasterKeys::parse(&list), Err(part.to_owned()));
        }
    }
}
