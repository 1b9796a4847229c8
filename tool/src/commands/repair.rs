//! `repair`: what a start refuses, or complains of each time.

use anyhow::Result;
use aws_key_management::keystore::offline::is_unanswered;
use aws_key_management::keystore::offline::repair::{
    By, Examination, Finding, Outcome, OwnMasterKey, Statement, examine,
};
use serde_json::{Value, json};

use super::Folders;
use crate::ending::Ending;
use crate::kms;
use crate::table::{print, print_json};

/// Which folder, what to do, and what the files cannot tell.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    folders: Folders,
    /// Repairs. Without it, nothing is changed
    #[arg(long)]
    yes: bool,
    /// Says that the key files in DIR are those of the datadir, where the files that tie the two together say otherwise or cannot
    /// be read
    #[arg(long)]
    folder_is_right: bool,
    /// Says that a master key is yours: key versions that it wraps are trusted. Its ARN or its id; with key ids before it
    /// (`10-19=ARN`), for those only. May be given several times
    #[arg(long, value_name = "[IDS=]KEY", value_parser = OwnMasterKey::parse)]
    trust_master_key: Vec<OwnMasterKey>,
    /// Removes what key files held before a re-wrap, where KMS unwraps the key files themselves with the credentials of this
    /// command. Otherwise a start of the server does, which proves it with its own
    #[arg(long)]
    forget_before_rewrap: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kms: kms::Connection,
}

/// Says what is to be done, and does it if it may.
pub fn run(options: &Options) -> Result<Ending> {
    let datadir = options.folders.datadir()?;
    let kms = options.kms.connect(None)?;
    let statement = Statement {
        folder_is_right: options.folder_is_right,
        master_keys: options.trust_master_key.clone(),
        forgets_copies: options.forget_before_rewrap,
    };
    let examination = examine(&options.folders.folder, datadir, &kms, &statement, options.kms.time())?;
    let is_to_be_repaired = examination.findings().iter().any(|finding| finding.by == By::Repair);
    if !options.json {
        print(&plan(&examination));
    }
    let outcomes = if options.yes { examination.repair() } else { Vec::new() };
    if options.json {
        print_json(&json(&examination, &outcomes));
    } else if options.yes {
        print(&results(&examination, &outcomes));
    } else if is_to_be_repaired {
        print("Nothing has changed. The same with --yes repairs.\n");
    }
    Ok(match is_to_be_repaired && !options.yes {
        true => Ending::ToRepair,
        false => ending(&examination, &outcomes),
    })
}

fn ending(examination: &Examination, outcomes: &[Outcome]) -> Ending {
    let has = |by| examination.findings().iter().any(|finding| finding.by == by);
    let has_failed = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Failed(error) => Some(is_unanswered(error)),
        _ => None,
    });
    match has_failed {
        Some(false) => Ending::Wrong,
        _ if has(By::Operator) => Ending::Wrong,
        Some(true) => Ending::Unanswered,
        None if has(By::Nobody) => Ending::Unanswered,
        None => Ending::Good,
    }
}

fn plan(examination: &Examination) -> String {
    let findings = examination.findings();
    let mut text = match findings.is_empty() {
        true => format!(
            "nothing to repair in {}: all is as the manifest says. Whether KMS unwraps the keys, `verify` tells\n",
            examination.path().display()
        ),
        false => format!("in {}:\n", examination.path().display()),
    };
    for finding in findings {
        text += &format!("{}: {}\n    {}\n", by(finding.by), found(finding), finding.remedy);
    }
    text
}

fn results(examination: &Examination, outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for (finding, outcome) in examination.findings().iter().zip(outcomes) {
        text += &match outcome {
            Outcome::Left => continue,
            Outcome::Repaired(kept) if kept.is_empty() => format!("repaired: {}\n", found(finding)),
            Outcome::Repaired(kept) => {
                format!("repaired: {}\n    what was there is kept as {}\n", found(finding), kept.join(", "))
            }
            Outcome::Failed(error) => format!("not repaired: {}\n    {error}\n", found(finding)),
            Outcome::NotTried => format!("not tried, after a failure: {}\n", found(finding)),
        };
    }
    text
}

fn found(finding: &Finding) -> String {
    match finding.name {
        // Many errors begin with it.
        Some(name) if !finding.found.starts_with(&name.to_string()) => format!("{name}: {}", finding.found),
        _ => finding.found.clone(),
    }
}

fn by(by: By) -> &'static str {
    match by {
        By::Repair => "to repair",
        By::NextStart => "for the next start of the server",
        By::Operator => "for you",
        By::Nobody => "no answer",
    }
}

fn json(examination: &Examination, outcomes: &[Outcome]) -> Value {
    let mut outcomes = outcomes.iter();
    let findings: Vec<Value> = examination
        .findings()
        .iter()
        .map(|finding| {
            let (outcome, kept, reason) = match outcomes.next() {
                None | Some(Outcome::Left) => (None, Vec::new(), None),
                Some(Outcome::Repaired(kept)) => (Some("repaired"), kept.clone(), None),
                Some(Outcome::Failed(error)) => (Some("failed"), Vec::new(), Some(error.to_string())),
                Some(Outcome::NotTried) => (Some("not tried"), Vec::new(), None),
            };
            json!({
                "key_id": finding.name.map(|name| name.id.value()),
                "key_version": finding.name.map(|name| name.version.value()),
                "found": finding.found,
                "by": match finding.by {
                    By::Repair => "repair",
                    By::NextStart => "next start",
                    By::Operator => "you",
                    By::Nobody => "no answer",
                },
                "remedy": finding.remedy,
                "outcome": outcome,
                "kept_as": kept,
                "reason": reason,
            })
        })
        .collect();
    json!({"folder": examination.path(), "datadir": examination.datadir(), "findings": findings})
}
