//! `verify`: a fire drill, for a server's key files and for backups of them.

use std::path::PathBuf;

use anyhow::Result;
use aws_key_management::keystore::offline::{self, ManifestState, OpenFolder, Verdict, Verification};
use serde_json::{Value, json};

use super::{has_whole_manifest, lines, manifest_json, remarks};
use crate::ending::Ending;
use crate::kms;
use crate::table::{print, print_json};

/// Which folder, and how KMS is reached.
#[derive(clap::Args)]
pub struct Options {
    /// The folder of the key files, or a copy: the datadir, a backup, or the folder of aws_key_management_keyfile_dir
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Accepts a folder without a manifest, though then nobody can tell whether a key file is missing: one that only the C++
    /// plugin has used
    #[arg(long)]
    no_manifest: bool,
    /// Accepts key versions that are missing and were made while the copy was taken, as far as that can be told
    #[arg(long)]
    allow_left_behind: bool,
    #[command(flatten)]
    kms: kms::Connection,
}

/// Verifies. Nothing is written.
pub fn run(options: &Options) -> Result<Ending> {
    let folder = OpenFolder::to_read(&options.folder)?;
    let kms = options.kms.connect(None)?;
    let verification = offline::verify(&folder, &kms, options.kms.time())?;
    if let Some(error) = &verification.not_locked {
        eprintln!(
            "aws-key-management: warning: the memory of the keys could not be locked, and may have been written to swap space: \
             {error}"
        );
    }
    let mut remarks = remarks(&folder, verification.versions.is_empty())?;
    let is_where_the_keys_are = folder.elsewhere()?.is_none();
    let as_datadir = folder.check_as_datadir();
    if let (Err(error), true) = (&as_datadir, is_where_the_keys_are) {
        remarks.push(error.to_string());
    }
    let closed = folder.closed_to_the_server()?;
    remarks.extend(closed.iter().map(|closed| format!("{closed}. `repair` says what to do")));
    if let [first, more @ ..] = &verification.not_read[..] {
        let more = if more.is_empty() { String::new() } else { format!(", nor could {} more files", more.len()) };
        remarks.push(format!(
            "{}{more} could not be read: whether it needs a version that was retired cannot be told",
            first.display()
        ));
    }
    if options.json {
        print_json(&json(&folder, &verification, &remarks));
    } else {
        print(&text(&verification, &remarks));
    }
    let is_whole = match folder.manifest() {
        ManifestState::Missing => options.no_manifest,
        _ => has_whole_manifest(&folder),
    };
    let has_all = options.allow_left_behind || !verification.has_left_behind();
    Ok(match verification.verdict() {
        Verdict::Good | Verdict::Unanswered
            if !(is_whole && is_where_the_keys_are && as_datadir.is_ok() && closed.is_empty() && has_all) =>
        {
            Ending::Wrong
        }
        Verdict::Good => Ending::Good,
        Verdict::Wrong => Ending::Wrong,
        Verdict::Unanswered => Ending::Unanswered,
    })
}

fn text(verification: &Verification, remarks: &[String]) -> String {
    let mut text = String::new();
    for version in &verification.versions {
        if let Some(reason) = version.found.reason() {
            text += &format!("{}: {}: {reason}\n", version.name, version.found.as_str());
        }
    }
    text += &lines(remarks);
    let master_keys = verification.master_keys();
    text += &format!(
        "{} of {} key versions are good. Master keys: {}",
        verification.good(),
        verification.needed(),
        master_keys.len()
    );
    if master_keys.is_empty() {
        text += "\n";
        return text;
    }
    text += ". A server that starts with these files needs kms:Decrypt on\n";
    for master_key in master_keys {
        text += &format!("  {master_key}\n");
    }
    text
}

fn json(folder: &OpenFolder, verification: &Verification, remarks: &[String]) -> Value {
    let versions: Vec<Value> = verification
        .versions
        .iter()
        .map(|version| {
            json!({
                "key_id": version.name.id.value(),
                "key_version": version.name.version.value(),
                "found": version.found.as_str(),
                "reason": version.found.reason(),
                "master_key": version.master_key,
            })
        })
        .collect();
    let verdict = match verification.verdict() {
        Verdict::Good => "good",
        Verdict::Wrong => "wrong",
        Verdict::Unanswered => "no answer",
    };
    json!({
        "folder": folder.path(),
        "verdict": verdict,
        "good": verification.good(),
        "needed": verification.needed(),
        "master_keys": verification.master_keys(),
        "manifest": manifest_json(folder),
        "remarks": remarks,
        "key_versions": versions,
    })
}
