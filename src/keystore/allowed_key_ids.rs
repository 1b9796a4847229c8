//! The key ids for which a key may be made.

use std::ops::RangeInclusive;

use super::KeyId;

/// The key ids for which a key may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedKeyIds(Vec<RangeInclusive<u32>>);

impl AllowedKeyIds {
    /// Ids and ranges of ids, separated by commas, such as `1-10,100`. An empty list allows all. Fails with the part
    /// that is neither an id nor a range.
    pub fn parse(list: &str) -> Result<Self, String> {
        let parts = list.split(',').map(str::trim);
        if list.trim().is_empty() {
            return Ok(Self(vec![1..=u32::MAX]));
        }
        let ranges = parts.map(|part| parse_range(part).ok_or_else(|| part.to_owned()));
        ranges.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn contains(&self, id: KeyId) -> bool {
        self.0.iter().any(|range| range.contains(&id.value()))
    }
}

/// One id, or the first and the last of several: `7`, `10-19`.
pub(super) fn parse_range(part: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let id = |text: &str| text.trim().parse().ok().and_then(KeyId::new).map(KeyId::value);
    let (first, last) = (id(first)?, id(last)?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn allows(list: &str, id: u32) -> bool {
        AllowedKeyIds::parse(list).expect(list).contains(KeyId::new(id).expect("an id"))
    }

    #[test]
    fn a_list_allows_its_ids_and_ranges_and_no_other() {
        for id in [1, 7, 10, 100, u32::MAX] {
            assert!(allows("", id) && allows("1-10,100, 4294967295", id), "{id}");
        }
        for id in [11, 99, 101] {
            assert!(!allows("1-10,100", id), "{id}");
        }
    }

    #[test]
    fn what_is_no_list_of_ids_is_named() {
        for (list, part) in
            [("0", "0"), ("1,x", "x"), ("1,,2", ""), ("5-3", "5-3"), ("-1", "-1"), ("4294967296", "4294967296")]
        {
            assert_eq!(AllowedKeyIds::parse(list), Err(part.to_owned()));
        }
    }
}
