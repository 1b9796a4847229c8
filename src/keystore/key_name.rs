//! What data keys are called: ids, versions, and the names of their files.

use std::fmt;
use std::ops::RangeInclusive;

/// A data key's number: any 32-bit number but 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u32);

impl KeyId {
    /// The server's own, which every server has.
    pub const DEFAULT: Self = Self(1);

    /// `None` for 0.
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// A version of a data key: from 1 up. Neither 0 ("not encrypted") nor 2^32-1 ("invalid") is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(u32);

impl KeyVersion {
    /// The version that every key begins with.
    pub const FIRST: Self = Self(1);

    /// The highest there is.
    pub const LAST: Self = Self(u32::MAX - 1);

    /// `None` for the two numbers that the server uses for something else.
    pub const fn new(version: u32) -> Option<Self> {
        if version == 0 || version == u32::MAX { None } else { Some(Self(version)) }
    }

    /// The number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The version after this one.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).and_then(Self::new)
    }
}

/// A key id with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// Which key.
    pub id: KeyId,
    /// Which version of it.
    pub version: KeyVersion,
}

impl KeyName {
    /// `None` if one of the numbers cannot be.
    pub fn new(id: u32, version: u32) -> Option<Self> {
        Some(Self { id: KeyId::new(id)?, version: KeyVersion::new(version)? })
    }

    /// As one number, which is not 0: the id above, the version below.
    #[inline]
    pub fn word(self) -> u64 {
        u64::from(self.id.0) << 32 | u64::from(self.version.0)
    }

    /// The name of the key's file.
    pub fn file_name(self) -> String {
        format!("{PREFIX}{}.{}", self.id.0, self.version.0)
    }

    /// The name of the file that keeps what was in the key's file before it was re-wrapped.
    pub fn file_name_before_rewrap(self) -> String {
        self.file_name() + BEFORE_REWRAP
    }

    /// The key of a file that keeps what was in another before that was re-wrapped; `None` for all other names.
    pub fn parse_before_rewrap(file_name: &str) -> Option<Self> {
        Self::parse(file_name.strip_suffix(BEFORE_REWRAP)?)
    }

    /// The name of the file that keeps what was in the place of the key's file, and was at fault.
    pub fn file_name_damaged(self) -> String {
        self.file_name() + DAMAGED
    }

    /// The name of the file with copies of the key, wrapped by more master keys.
    pub fn file_name_extra(self) -> String {
        self.file_name() + EXTRA
    }

    /// The name of the file that keeps what had the name of a file with copies, and was none.
    pub fn file_name_extra_damaged(self) -> String {
        self.file_name_extra() + DAMAGED
    }

    /// The key of a file with copies of it; `None` for all other names.
    pub fn parse_extra(file_name: &str) -> Option<Self> {
        Self::parse(file_name.strip_suffix(EXTRA)?)
    }

    /// The names of all versions that a key may have.
    pub fn all_of(id: KeyId) -> RangeInclusive<Self> {
        Self { id, version: KeyVersion::FIRST }..=Self { id, version: KeyVersion::LAST }
    }

    /// What the names of all files of a key begin with.
    pub fn prefix(id: KeyId) -> String {
        format!("{PREFIX}{}.", id.0)
    }

    /// `None` for all that is no name of a key file, numbers with leading zeros or signs included.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (id, version) = file_name.strip_prefix(PREFIX)?.split_once('.')?;
        let name = Self::new(id.parse().ok()?, version.parse().ok()?)?;
        (name.file_name() == file_name).then_some(name)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} version {}", self.id.0, self.version.0)
    }
}

/// mariadb-backup copies all files of the datadir whose names begin with `aws-kms-key`.
const PREFIX: &str = "aws-kms-key.";

/// The plugin that this one replaces takes no such name for that of a key file.
const BEFORE_REWRAP: &str = ".before-rewrap";

/// Nor such a one.
const DAMAGED: &str = ".damaged";

/// Nor such a one.
const EXTRA: &str = ".extra";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_key_files_are_parsed_and_nothing_else() {
        for (id, version) in [(1, 1), (7, 12), (100_000, 1), (u32::MAX, u32::MAX - 1)] {
            let name = KeyName::new(id, version).expect("a name");
            assert_eq!(KeyName::parse(&name.file_name()), Some(name));
            assert_eq!(KeyName::parse_before_rewrap(&name.file_name_before_rewrap()), Some(name));
            assert_eq!(KeyName::parse_before_rewrap(&name.file_name()), None);
            assert_eq!(KeyName::parse(&name.file_name_before_rewrap()), None);
            assert_eq!(KeyName::parse_extra(&name.file_name_extra()), Some(name));
            assert_eq!(KeyName::parse_extra(&name.file_name()), None);
            assert_eq!(KeyName::parse(&name.file_name_extra()), None);
        }
        for name in [
            "aws-kms-key.1",
            "aws-kms-key.1.",
            "aws-kms-key.0.1",
            "aws-kms-key.1.0",
            "aws-kms-key.1.4294967295",
            "aws-kms-key.4294967296.1",
            "aws-kms-key.01.1",
            "aws-kms-key.+1.1",
            "aws-kms-key.-1.1",
            "aws-kms-key.1.1.bak",
            "aws-kms-key.1.1~",
            "aws-kms-key.manifest.json",
            "aws-kms-key. 1.1",
            "ibdata1",
        ] {
            assert_eq!(KeyName::parse(name), None, "{name}");
        }
    }
}
