//! `list`: every key version that there is or ever was, from the files alone.

use std::path::PathBuf;

use anyhow::Result;
use aws_key_management::keystore::offline::{self, Listed, Listing, OpenFolder};
use serde_json::{Value, json};

use super::{has_whole_manifest, lines, manifest_json, remarks};
use crate::ending::Ending;
use crate::table::{print, print_json, table};

/// Which folder, and how.
#[derive(clap::Args)]
pub struct Options {
    /// The folder of the key files, or a copy: the datadir, or that of aws_key_management_keyfile_dir
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Lists. AWS is not asked, and nothing is written.
pub fn run(options: &Options) -> Result<Ending> {
    let folder = OpenFolder::to_read(&options.folder)?;
    let listing = offline::list(&folder)?;
    let remarks = remarks(&folder, listing.versions.is_empty())?;
    if options.json {
        print_json(&json(&folder, &listing, &remarks));
    } else {
        print(&text(&listing, &remarks));
    }
    let is_wrong = listing.versions.iter().any(|listed| listed.state.is_wrong())
        || !has_whole_manifest(&folder)
        || folder.elsewhere()?.is_some();
    Ok(if is_wrong { Ending::Wrong } else { Ending::Good })
}

fn text(listing: &Listing, remarks: &[String]) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    rows.extend(listing.versions.iter().map(row));
    let mut text = if listing.versions.is_empty() { String::new() } else { table(&rows) };
    for listed in &listing.versions {
        if let Some(reason) = &listed.reason {
            text += &format!("\n{}: {}: {reason}\n", listed.name, listed.state.as_str());
        }
        if !listed.encryption_context.is_empty() {
            let pairs: Vec<String> =
                listed.encryption_context.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text += &format!("{}: encryption context {}\n", listed.name, pairs.join(","));
        }
        if listed.is_kept_before_rewrap {
            text += &format!("{}: what its file held before a re-wrap is kept beside it\n", listed.name);
        }
        if !listed.extra_master_keys.is_empty() {
            text += &format!("{}: copies of it are wrapped by {}\n", listed.name, listed.extra_master_keys.join(", "));
        }
    }
    text += &lines(remarks);
    if !listing.other_files.is_empty() {
        text += &format!("Other files: {}\n", listing.other_files.join(", "));
    }
    text
}

fn row(listed: &Listed) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        listed.name.id.value().to_string(),
        listed.name.version.value().to_string(),
        if listed.is_latest { "latest" } else { "" }.to_owned(),
        listed.state.as_str().to_owned(),
        or_none(listed.algorithm.map(|algorithm| algorithm.to_string())),
        or_none(listed.created.clone()),
        or_none(listed.format.map(|format| format.to_string())),
        or_none(listed.master_key.clone()),
    ]
}

fn json(folder: &OpenFolder, listing: &Listing, remarks: &[String]) -> Value {
    let versions: Vec<Value> = listing
        .versions
        .iter()
        .map(|listed| {
            json!({
                "key_id": listed.name.id.value(),
                "key_version": listed.name.version.value(),
                "is_latest": listed.is_latest,
                "state": listed.state.as_str(),
                "reason": listed.reason,
                "algorithm": listed.algorithm.map(|algorithm| algorithm.to_string()),
                "created": listed.created,
                "format": listed.format,
                "master_key": listed.master_key,
                "encryption_context": listed.encryption_context,
                "is_kept_before_rewrap": listed.is_kept_before_rewrap,
                "extra_master_keys": listed.extra_master_keys,
            })
        })
        .collect();
    json!({
        "folder": folder.path(),
        "manifest": manifest_json(folder),
        "remarks": remarks,
        "key_versions": versions,
        "other_files": listing.other_files,
    })
}

const HEADINGS: [&str; 8] = ["KEY", "VERSION", "", "STATE", "ALGORITHM", "CREATED", "FORMAT", "MASTER KEY"];
