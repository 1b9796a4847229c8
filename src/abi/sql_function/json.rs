//! The list of key versions as JSON: an array with an object for each, whose members are the columns of the views.

use serde::Serialize;

use super::super::date::date;
use crate::keystore::{ListedVersion, VersionState};

/// A row. The names are those of other key plugins' tables, where these have such a column.
#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct Row<'a> {
    key_id: u32,
    key_version: u32,
    is_latest: bool,
    state: &'static str,
    algorithm: Option<String>,
    key_bits: Option<usize>,
    created: Option<String>,
    created_by: &'a str,
    master_key: Option<&'a str>,
    wraps: usize,
    context: Option<String>,
    last_verified: Option<String>,
    error: Option<&'a str>,
}

/// In ASCII, so that it is the same in every character set that the server may take it for.
pub(super) fn of(versions: &[ListedVersion]) -> String {
    let rows: Vec<Row<'_>> = versions.iter().map(row).collect();
    // Rows of numbers and texts always become JSON.
    ascii(&serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned()))
}

fn row(version: &ListedVersion) -> Row<'_> {
    Row {
        key_id: version.name.id.value(),
        key_version: version.name.version.value(),
        is_latest: version.is_latest,
        state: state(version.state),
        algorithm: version.algorithm.map(|algorithm| algorithm.to_string()),
        key_bits: version.key_bits,
        created: version.created.map(date),
        created_by: &version.created_by,
        master_key: version.master_key.as_deref(),
        wraps: version.wraps,
        context: version.encryption_context.as_ref().map(|context| {
            let pairs = context.pairs().iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join(",")
        }),
        last_verified: version.last_verified.map(date),
        error: version.error.as_deref(),
    }
}

/// They are documented, so they stay.
fn state(state: VersionState) -> &'static str {
    match state {
        VersionState::Ok => "ok",
        VersionState::Unready => "unready",
        VersionState::NotTrusted => "not trusted",
        VersionState::Failed => "failed",
        VersionState::Missing => "missing",
        VersionState::LeftBehind => "left behind",
        VersionState::Retired => "retired",
        VersionState::NotLoaded => "not loaded",
    }
}

/// The same JSON: outside of its texts, all is ASCII.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}
