//! Names and values that KMS binds into a wrapped key.

use std::collections::BTreeMap;

/// Names and values that KMS binds into a wrapped key, and wants to see again when it unwraps it. They are no secret:
/// CloudTrail logs them, and a key policy can ask for them (`kms:EncryptionContext:NAME`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// Pairs `name=value`, separated by commas; white space around names and values does not count. An empty list is an
    /// empty context. Fails with what is wrong.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut pairs = BTreeMap::new();
        if list.trim().is_empty() {
            return Ok(Self(pairs));
        }
        for part in list.split(',') {
            let pair = part.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
            let Some((name, value)) = pair.filter(|(name, value)| !name.is_empty() && !value.is_empty()) else {
                return Err(format!("'{}' is no name=value", part.trim()));
            };
            if name == KEY_ID {
                return Err(format!("the plugin itself binds {KEY_ID}"));
            }
            if part.chars().any(char::is_control) {
                return Err(format!("the pair of '{}' holds a control character", name.escape_default()));
            }
            if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(format!("'{name}' is there twice"));
            }
        }
        let context = Self(pairs);
        // What `with_key_id` adds has its place, too.
        match context.bytes() + KEY_ID.len() + 10 > LONGEST {
            true => Err(format!("it is longer than the {LONGEST} bytes that KMS takes")),
            false => Ok(context),
        }
    }

    /// What a key file says was bound into its wrapped key.
    pub(crate) fn of(pairs: BTreeMap<String, String>) -> Self {
        Self(pairs)
    }

    /// The same, and which key it is, so that KMS refuses to unwrap it as another. Nothing is bound into a key without a
    /// context: the plugin that this one replaces could not read its file.
    pub fn with_key_id(&self, id: u32) -> Self {
        let mut context = self.clone();
        if !context.is_empty() {
            context.0.insert(KEY_ID.to_owned(), id.to_string());
        }
        context
    }

    /// Whether it may be that of a key: it names no other.
    pub fn may_be_of(&self, id: u32) -> bool {
        self.0.get(KEY_ID).is_none_or(|bound| *bound == id.to_string())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names with their values.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The name under which the key id is bound.
const KEY_ID: &str = "mariadb_key_id";

/// In bytes. KMS does not say; other services of AWS take 8192 for it as JSON, and half of that leaves room for that form.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn pairs(context: &EncryptionContext) -> Vec<(&str, &str)> {
        context.pairs().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn a_list_of_pairs_is_bound_with_the_key_id() {
        let context = EncryptionContext::parse(" server = db1 , stage=prod=2").expect("a context");
        assert_eq!(pairs(&context), [("server", "db1"), ("stage", "prod=2")]);
        let bound = context.with_key_id(7);
        assert_eq!(pairs(&bound), [("mariadb_key_id", "7"), ("server", "db1"), ("stage", "prod=2")]);
        assert!(bound.may_be_of(7) && !bound.may_be_of(70) && context.may_be_of(7));
    }

    #[test]
    fn without_pairs_nothing_is_bound() {
        let context = EncryptionContext::parse("  ").expect("a context");
        assert!(context.is_empty() && context.with_key_id(7).is_empty() && context.may_be_of(7));
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named() {
        for (list, what) in [
            ("server", "'server' is no name=value"),
            ("a=1,,b=2", "'' is no name=value"),
            ("a=", "'a=' is no name=value"),
            ("=1", "'=1' is no name=value"),
            ("a=1,a=2", "'a' is there twice"),
            ("mariadb_key_id=9", "the plugin itself binds mariadb_key_id"),
            ("a=1\u{7}2", "the pair of 'a' holds a control character"),
        ] {
            assert_eq!(EncryptionContext::parse(list), Err(what.to_owned()));
        }
    }

    #[test]
    fn a_context_is_as_long_as_kms_takes_it_with_the_longest_key_id() {
        let list = |length: usize| format!("name={},other=value", "x".repeat(length));
        let bytes = |list: &str| -> usize {
            let bound = EncryptionContext::parse(list).expect("a context").with_key_id(u32::MAX);
            bound.pairs().iter().map(|(name, value)| [name.as_str(), value].concat().len()).sum()
        };
        let longest = 4096 - bytes(&list(1)) + 1;
        assert_eq!(bytes(&list(longest)), 4096);
        assert!(EncryptionContext::parse(&list(longest + 1)).expect_err("too long").contains("4096 bytes"));
    }
}
