//! What can still be read of a damaged manifest, or of a damaged entry of one.
//!
//! What is read is no more than what stands there, and in doubt less: an entry that may have lost its mark is not trusted, one
//! whose digests are no digests is not used, and two that contradict each other are neither. But a number that stands there
//! stays used.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::entry::Entry;
use super::json::time;
use super::manifest::Manifest;
use super::manifest_format::{Row, name_in};
use crate::keystore::KeyName;

/// What can still be read of a damaged manifest.
pub(super) fn salvage(bytes: &[u8]) -> Manifest {
    let mut manifest = Manifest::default();
    let values = match serde_json::from_slice(bytes) {
        Ok(Value::Object(mut whole)) => {
            let of_all = whole.remove("keys");
            if let Some(Value::Array(arns)) = whole.remove("more_master_keys") {
                manifest.more_master_keys.extend(arns.iter().filter_map(|arn| arn.as_str().map(str::to_owned)));
            }
            whole.retain(|name, _| !["format", "inode"].contains(&name.as_str()));
            manifest.other = whole;
            if let Some(Value::Array(values)) = of_all { values } else { entries_in(bytes) }
        }
        _ => entries_in(bytes),
    };
    let mut contradicted = BTreeSet::new();
    for value in values {
        add(&mut manifest, &mut contradicted, value);
    }
    for name in names_in(bytes) {
        let is_known =
            manifest.entry(name).is_some() || manifest.unreadable.iter().any(|value| name_in(value) == Some(name));
        if !is_known {
            manifest.unreadable.push(json!({"key_id": name.id.value(), "key_version": name.version.value()}));
        }
    }
    manifest
}

fn add(manifest: &mut Manifest, contradicted: &mut BTreeSet<KeyName>, value: Value) {
    let (name, entry) = match (name_in(&value), Row::deserialize(&value)) {
        (Some(name), Ok(row)) => (name, row.into_entry(name)),
        _ => return manifest.unreadable.push(value),
    };
    if contradicted.contains(&name) || !is_digest(&entry.file_sha256, 64) || !is_digest(&entry.key_check, 16) {
        return manifest.unreadable.push(unusable(name, value));
    }
    // A field that is not known may be a damaged mark.
    let is_trusted = entry.is_trusted && entry.other.is_empty();
    match manifest.entries.get_mut(&name) {
        None => manifest.insert(Entry { is_trusted, ..entry }),
        Some(before) if before.key_check == entry.key_check && before.algorithm == entry.algorithm => {
            before.is_trusted &= is_trusted;
        }
        Some(before) => {
            // To a Value, this cannot fail.
            manifest.unreadable.extend(serde_json::to_value(Row::from(&*before)).ok().map(|row| unusable(name, row)));
            manifest.unreadable.push(unusable(name, value));
            manifest.entries.remove(&name);
            contradicted.insert(name);
        }
    }
}

/// What is not to be used stays in the manifest, but as no entry that the next start would take for a good one. Which key it is
/// about, it still tells, if it does.
fn unusable(name: KeyName, value: Value) -> Value {
    let check =
        value.get("key_check").filter(|check| check.as_str().is_some_and(|check| is_digest(check, 16))).cloned();
    let mut kept = json!({"key_id": name.id.value(), "key_version": name.version.value(), "damaged": value});
    if let (Some(kept), Some(check)) = (kept.as_object_mut(), check) {
        kept.insert("key_check".to_owned(), check);
    }
    kept
}

/// The entry of a key file that was proven, in place of one that cannot be read: what can be read of that is kept.
pub(super) fn in_place_of_unreadable(mut entry: Entry, unreadable: &Value) -> Entry {
    let text = |field: &str| unreadable.get(field).and_then(Value::as_str);
    if let Some(created) = text("created").filter(|created| time(created).is_some()) {
        created.clone_into(&mut entry.created);
    }
    if let Some(created_by) = text("created_by") {
        created_by.clone_into(&mut entry.created_by);
    }
    let fields = unreadable.as_object().into_iter().flatten();
    let unknown = fields.filter(|(name, _)| !FIELDS.contains(&name.as_str()));
    entry.other.extend(unknown.map(|(name, value)| (name.clone(), value.clone())));
    entry
}

/// All JSON objects with a key id, whole ones.
fn entries_in(bytes: &[u8]) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some(begin) = rest.iter().position(|byte| *byte == b'{') {
        let from_here = rest.get(begin..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_slice(from_here).into_iter::<Value>();
        let length = match values.next() {
            Some(Ok(value)) if value.get("key_id").is_some() => {
                entries.push(value);
                values.byte_offset()
            }
            _ => 1,
        };
        rest = from_here.get(length..).unwrap_or_default();
    }
    entries
}

/// All key versions that are named, though what else was said of them may be gone.
fn names_in(bytes: &[u8]) -> Vec<KeyName> {
    let text = String::from_utf8_lossy(bytes);
    let number = |text: &str| -> Option<u32> {
        let text = text.trim_start().strip_prefix(':')?.trim_start();
        text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let name = |part: &str| {
        let (_, version) = part.split_once("\"key_version\"")?;
        KeyName::new(number(part)?, number(version)?)
    };
    text.split("\"key_id\"").skip(1).filter_map(name).collect()
}

fn is_digest(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Those of an entry: see [`Row`].
const FIELDS: [&str; 13] = [
    "key_id",
    "key_version",
    "created",
    "created_by",
    "algorithm",
    "master_key",
    "former_master_key",
    "file_sha256",
    "key_check",
    "is_trusted",
    "is_left_behind",
    "is_retired",
    "own_master_key",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use std::time::SystemTime;

    use super::*;
    use crate::cipher::Algorithm;
    use crate::keystore::files::Traits;
    use crate::kms::PlainKey;

    fn name(id: u32, version: u32) -> KeyName {
        KeyName::new(id, version).expect("a name")
    }

    fn entry(id: u32, version: u32, key: u8) -> Entry {
        let plain = PlainKey::new(vec![key; 16], Some("arn:aws:kms:x:1:key/k".to_owned()));
        Entry::new(name(id, version), &[key], Algorithm::AesCbc, Traits::of(&plain), SystemTime::UNIX_EPOCH)
    }

    fn text(entries: &[Entry]) -> String {
        let rows: Vec<Row> = entries.iter().map(Row::from).collect();
        serde_json::to_string_pretty(&json!({"format": 1, "inode": 5, "keys": rows})).expect("JSON")
    }

    fn names(manifest: &Manifest) -> Vec<KeyName> {
        manifest.entries.keys().copied().collect()
    }

    #[test]
    fn what_is_whole_is_read_wherever_the_text_is_cut_and_every_number_that_stands_there_stays_used() {
        let retired = Entry { is_retired: true, is_trusted: false, ..entry(7, 2, 3) };
        let all = [entry(1, 1, 1), entry(7, 1, 2), retired];
        let whole = text(&all);
        for end in 0..whole.len() {
            let manifest = salvage(&whole.as_bytes()[..end]);
            for entry in manifest.entries.values() {
                assert!(all.contains(entry), "up to {end}");
            }
            let used = whole[..end].matches("\"key_version\": ").count();
            // Of the last one, the number itself may be cut.
            let told = manifest.entries.len() + manifest.unreadable.len();
            assert!(told == used || told + 1 == used, "up to {end}: {told} of {used}");
        }
        let two = whole.find("AES_CBC").expect("an entry");
        let cut = salvage(&[&whole.as_bytes()[..two], &b"\0\0\0\xff\"}}{"[..], &whole.as_bytes()[two + 40..]].concat());
        assert_eq!(names(&cut), [name(7, 1), name(7, 2)]);
        assert_eq!(cut.highest(name(1, 1).id), Some(name(1, 1).version), "its number is used");
        assert!(cut.entries.values().any(|entry| entry.is_retired && !entry.is_trusted));
    }

    #[test]
    fn of_a_document_that_only_lacks_its_format_all_is_kept() {
        let more = "{\"made_by\": \"us\", \"more_master_keys\": [\"arn:aws:kms:x:1:key/new\"], ";
        let whole = text(&[entry(1, 1, 1)]).replacen('{', more, 1).replace("\"format\": 1", "\"format\": \"x\"");
        let manifest = salvage(whole.as_bytes());
        assert_eq!((names(&manifest), manifest.unreadable.len()), (vec![name(1, 1)], 0));
        assert_eq!(manifest.other.get("made_by"), Some(&json!("us")));
        assert!(manifest.more_master_keys.contains("arn:aws:kms:x:1:key/new"));
    }

    #[test]
    fn an_entry_that_may_be_damaged_is_not_trusted_or_not_used() {
        let cut = |text: String| salvage(&text.as_bytes()[1..]);
        let untrusted = Entry { is_trusted: false, ..entry(1, 9, 9) };
        let whole = text(&[untrusted, entry(1, 1, 1)]);
        let read = cut(whole.replace("is_trusted", "is_trusued"));
        assert_eq!(read.entry(name(1, 9)).map(|entry| entry.is_trusted), Some(false), "the mark is damaged");
        assert_eq!(read.entry(name(1, 1)).map(|entry| entry.is_trusted), Some(true));
        let check = entry(1, 1, 1).key_check;
        for damaged in [format!("{}x", &check[1..]), check[1..].to_owned()] {
            let read = cut(whole.replace(&check, &damaged));
            assert_eq!((names(&read), read.unreadable.len()), (vec![name(1, 9)], 1), "{damaged}");
        }
        // Two that contradict each other, and a third.
        let read = cut(text(&[entry(1, 1, 1), entry(1, 1, 2), entry(1, 1, 1), entry(2, 1, 1)]));
        assert_eq!((names(&read), read.unreadable.len()), (vec![name(2, 1)], 3));
    }

    #[test]
    fn entries_are_found_in_one_line_and_in_a_document_with_something_after_it() {
        let all = [entry(1, 1, 1), entry(7, 1, 2)];
        let rows: Vec<Row> = all.iter().map(Row::from).collect();
        let line = json!({"format": 1, "keys": rows}).to_string();
        for damaged in [&line[..line.len() - 1], &format!("{line}x"), &format!("{line}{{}}")] {
            let read = salvage(damaged.as_bytes());
            assert_eq!((names(&read), read.unreadable.len()), (vec![name(1, 1), name(7, 1)], 0), "{damaged}");
        }
    }

    #[test]
    fn an_entry_that_stands_there_twice_is_trusted_if_both_are_and_used_if_they_are_about_the_same_key() {
        let (one, untrusted) = (entry(1, 1, 1), Entry { is_trusted: false, ..entry(1, 1, 1) });
        let other = Entry { algorithm: Algorithm::AesCtr, ..entry(1, 1, 1) };
        for (two, is_trusted) in [
            ([one.clone(), one.clone()], Some(true)),
            ([one.clone(), untrusted.clone()], Some(false)),
            ([untrusted, one.clone()], Some(false)),
            ([one, other], None),
        ] {
            let read = salvage(&text(&two).as_bytes()[1..]);
            assert_eq!(read.entry(name(1, 1)).map(|entry| entry.is_trusted), is_trusted);
            assert_eq!(read.unreadable.len(), if is_trusted.is_none() { 2 } else { 0 });
        }
    }

    #[test]
    fn a_proven_entry_keeps_what_can_be_read_of_a_damaged_one_and_never_hides_another_key() {
        let mut damaged = serde_json::to_value(Row::from(&entry(1, 1, 1))).expect("JSON");
        damaged["algorithm"] = json!("AES_X");
        damaged["created"] = json!("2020-01-01T00:00:00Z");
        damaged["colour"] = json!("red");
        let made = in_place_of_unreadable(entry(1, 1, 1), &damaged);
        assert_eq!((made.created.as_str(), made.other.len()), ("2020-01-01T00:00:00Z", 1));
    }
}
