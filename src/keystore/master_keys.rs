//! Master keys of certain key ids: tenants who bring their own.

use std::ops::RangeInclusive;

use super::KeyId;
use super::allowed_key_ids::parse_range;
use crate::kms::MasterKeyId;

/// Which master key wraps the data keys of which ids. No id has two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterKeysOfIds(Vec<(RangeInclusive<u32>, MasterKeyId)>);

impl MasterKeysOfIds {
    /// Entries `ids=master key`, separated by semicolons, where `ids` is an id or a range of them, such as
    /// `100-199=arn:aws:kms:..; 200=alias/tenant-b`. Fails with the entry that is wrong, and what is wrong with it.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut entries: Vec<(RangeInclusive<u32>, MasterKeyId)> = Vec::new();
        for part in list.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((ids, name)) = part.split_once('=') else {
                return Err(format!("'{part}' is no ids=master key"));
            };
            let range = parse_range(ids.trim())
                .ok_or_else(|| format!("in '{part}', '{}' is neither a key id nor a range of them", ids.trim()))?;
            let master_key = MasterKeyId::parse(name.trim()).ok_or_else(|| {
                format!("in '{part}', '{}' is no key id, ARN or alias/NAME of a KMS key", name.trim())
            })?;
            let overlaps = |other: &RangeInclusive<u32>| other.start() <= range.end() && range.start() <= other.end();
            if let Some((other, _)) = entries.iter().find(|(other, _)| overlaps(other)) {
                return Err(format!("'{part}' has ids that {}-{} has already", other.start(), other.end()));
            }
            entries.push((range, master_key));
        }
        Ok(Self(entries))
    }

    /// The master key of an id, if it has one of its own.
    pub fn of(&self, id: KeyId) -> Option<&MasterKeyId> {
        self.0.iter().find(|(ids, _)| ids.contains(&id.value())).map(|(_, master_key)| master_key)
    }

    /// The first id of each entry, with its master key.
    pub fn first_ids(&self) -> impl Iterator<Item = (KeyId, &MasterKeyId)> {
        self.0.iter().filter_map(|(ids, master_key)| Some((KeyId::new(*ids.start())?, master_key)))
    }

    /// All master keys that certain ids have.
    pub fn all(&self) -> impl Iterator<Item = &MasterKeyId> {
        self.0.iter().map(|(_, master_key)| master_key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn of(list: &str, id: u32) -> Option<String> {
        let keys = MasterKeysOfIds::parse(list).expect("a list");
        keys.of(KeyId::new(id).expect("an id")).map(|key| key.as_str().to_owned())
    }

    #[test]
    fn an_id_has_the_master_key_of_its_entry_and_others_have_none() {
        let list = " 100-199 = arn:aws:kms:eu-west-1:1:key/a ; 200=alias/tenant-b; ";
        for (id, master_key) in [
            (99, None),
            (100, Some("arn:aws:kms:eu-west-1:1:key/a")),
            (199, Some("arn:aws:kms:eu-west-1:1:key/a")),
            (200, Some("alias/tenant-b")),
            (201, None),
        ] {
            assert_eq!(of(list, id).as_deref(), master_key, "{id}");
        }
        assert_eq!(of("", 1), None);
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        for (list, what) in [
            ("100", "'100' is no ids=master key"),
            ("1=alias/a; x-2=alias/b", "in 'x-2=alias/b', 'x-2' is neither a key id nor a range of them"),
            ("0=alias/a", "in '0=alias/a', '0' is neither a key id nor a range of them"),
            ("1=alias/ a", "in '1=alias/ a', 'alias/ a' is no key id, ARN or alias/NAME of a KMS key"),
            ("1=", "in '1=', '' is no key id, ARN or alias/NAME of a KMS key"),
            ("5-9=alias/a;9-12=alias/b", "'9-12=alias/b' has ids that 5-9 has already"),
            ("5-9=alias/a;6=alias/a", "'6=alias/a' has ids that 5-9 has already"),
        ] {
            assert_eq!(MasterKeysOfIds::parse(list), Err(what.to_owned()), "{list}");
        }
    }
}
