//! `rewrap`: all keys under another master key.

use anyhow::Result;
use aws_key_management::keystore::KeyId;
use aws_key_management::keystore::offline::{self, Rewrapping, is_unanswered};
use aws_key_management::kms::MasterKeyId;
use serde_json::{Value, json};

use super::Folders;
use crate::ending::Ending;
use crate::kms;
use crate::table::{print, print_json};

/// Which folder, which master key, and how KMS is reached.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    folders: Folders,
    /// Wraps the keys from now on: an ARN, a key id or alias/NAME
    #[arg(long, value_name = "KEY", value_parser = master_key)]
    master_key: MasterKeyId,
    /// Only the versions of this key
    #[arg(long, value_name = "ID", value_parser = key_id)]
    key: Option<KeyId>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kms: kms::Connection,
}

/// Wraps anew. What fails is as it was.
pub fn run(options: &Options) -> Result<Ending> {
    let folder = options.folders.open_to_write()?;
    let kms = options.kms.connect(Some(&options.master_key))?;
    let rewrapping = offline::rewrap(&folder, &kms, &options.master_key, options.key, options.kms.time())?;
    if let Some(error) = &rewrapping.not_recorded {
        eprintln!(
            "aws-key-management: warning: the manifest does not say it yet; the next start of the server records it: {error}"
        );
    }
    if options.json {
        print_json(&json(&rewrapping));
    } else {
        print(&text(&rewrapping));
    }
    Ok(match rewrapping.failed.as_slice() {
        [] => Ending::Good,
        failed if failed.iter().all(|(_, error)| is_unanswered(error)) => Ending::Unanswered,
        _ => Ending::Wrong,
    })
}

fn text(rewrapping: &Rewrapping) -> String {
    let mut text = String::new();
    for (name, before, now) in &rewrapping.done {
        let arn = |arn: &Option<String>| arn.clone().unwrap_or_else(|| "an unknown master key".to_owned());
        text += &format!("{name}: wrapped by {}, before by {}\n", arn(now), arn(before));
    }
    for (name, error) in &rewrapping.failed {
        text += &format!("{name}: wrapped as before: {error}\n");
    }
    let not_tried = rewrapping.not_tried.len();
    if not_tried > 0 {
        text += &format!("{not_tried} more are as before, and were not tried: they would fail likewise\n");
    }
    let done = rewrapping.done.len();
    let all = done + rewrapping.failed.len() + not_tried;
    text += &format!("{done} of {all} key versions are wrapped anew\n");
    if let [first, more @ ..] = &rewrapping.of_own_master_keys[..] {
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        text += &format!(
            "{first}{more} had a master key of the key id's own (aws_key_management_master_keys), and are wrapped by this one now, like \
             all others: correct the entry, or wrap them by theirs again with --key\n"
        );
    }
    if done > 0 {
        text += "New keys are wrapped as the server's option file says: set aws_key_management_master_key_id (or the entry in \
                 aws_key_management_master_keys) to this master key there.\n";
        text += "What their files held is kept beside them, as *.before-rewrap, until a start of the server has proven the new \
                 ones. Do not delete the old master key as long as there are backups that need it.\n";
    }
    text
}

fn json(rewrapping: &Rewrapping) -> Value {
    let done = rewrapping.done.iter().map(|(name, before, now)| {
        json!({
            "key_id": name.id.value(), "key_version": name.version.value(),
            "before": before, "master_key": now, "reason": null,
        })
    });
    let failed = rewrapping.failed.iter().map(|(name, error)| {
        json!({
            "key_id": name.id.value(), "key_version": name.version.value(),
            "before": null, "master_key": null, "reason": error.to_string(),
        })
    });
    let not_tried = rewrapping.not_tried.iter().map(|name| {
        json!({
            "key_id": name.id.value(), "key_version": name.version.value(),
            "before": null, "master_key": null, "reason": "not tried: it would fail like the others",
        })
    });
    json!({
        "rewrapped": rewrapping.done.len(),
        "had_own_master_key": rewrapping.of_own_master_keys.len(),
        "failed": rewrapping.failed.len(),
        "not_tried": rewrapping.not_tried.len(),
        "key_versions": done.chain(failed).chain(not_tried).collect::<Vec<_>>(),
    })
}

/// Of a command line.
pub fn master_key(text: &str) -> Result<MasterKeyId, String> {
    MasterKeyId::parse(text).ok_or_else(|| "no KMS key has this name: give its ARN, its id or alias/NAME".to_owned())
}

fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().ok().and_then(KeyId::new).ok_or_else(|| "a key id is a number from 1 to 4294967295".to_owned())
}
