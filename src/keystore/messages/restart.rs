//! What the operator is told of whether a restart would work: one line when something begins to be wrong, and one when it is
//! over.

use std::collections::BTreeSet;

use super::{MOST_LINES, Messages};
use crate::keystore::findings::{News, Problem, Trouble};
use crate::keystore::verify::{About, CopyFailure, Verdict, Verified};
use crate::keystore::{KeyId, KeyStoreError};

/// What a master key wraps.
pub struct Wraps {
    /// How many versions.
    pub count: usize,
    /// The key ids that have it of their own.
    pub own: BTreeSet<KeyId>,
}

impl Messages {
    /// What has changed. `wraps` answers what a master key wraps.
    pub fn restart_news(&self, news: &[News], wraps: impl Fn(Option<&str>) -> Wraps) {
        let begins: Vec<_> = news
            .iter()
            .filter_map(|news| match news {
                News::Begins(problem, trouble) => Some((problem, trouble)),
                News::IsOver(_) => None,
            })
            .collect();
        let over: Vec<&Problem> = news
            .iter()
            .filter_map(|news| match news {
                News::IsOver(problem) => Some(problem),
                News::Begins(..) => None,
            })
            .collect();
        for (problem, trouble) in begins.iter().take(MOST_LINES) {
            self.restart_problem(problem, trouble, &wraps);
        }
        if begins.len() > MOST_LINES {
            let more = begins.len() - MOST_LINES;
            self.0.error(&format!(
                "{more} more problems like these would keep a restart from finding all keys. SET GLOBAL \
                 aws_key_management_verify_keys = -1 shows them"
            ));
        }
        for problem in over.iter().take(MOST_LINES) {
            self.0.note(&format!("{} again", over_text(problem)));
        }
        if over.len() > MOST_LINES {
            self.0.note(&format!("{} more problems like these are over", over.len() - MOST_LINES));
        }
    }

    fn restart_problem(&self, problem: &Problem, trouble: &Trouble, wraps: &impl Fn(Option<&str>) -> Wraps) {
        let why = &trouble.text;
        match problem {
            Problem::Folder => self.0.error(&format!("a restart would find no keys. They are in memory. {why}")),
            Problem::Asking => self.0.error(&format!(
                "a restart would find no keys, since KMS cannot be asked. They are in memory: do not restart the server before \
                 that is mended. {why}"
            )),
            Problem::MasterKey(arn) => {
                let Wraps { count, own } = wraps(arn.as_deref());
                let own = match own.is_empty() {
                    true => String::new(),
                    false => format!(
                        "It is the master key of key id {} alone: if its owner wants the data to be unreadable, leave it so, and restart \
                         when you like: no other key depends on it. ",
                        own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                    ),
                };
                self.0.error(&format!(
                    "a restart would not find {count} key version(s): {} does not unwrap them any more. {own}Those that are loaded are in \
                     memory: do not restart the server before the master key works again, or they are wrapped by another one: SET \
                     GLOBAL aws_key_management_master_key_id to it (or its entry in aws_key_management_master_keys), and \
                     aws_key_management_rewrap_key = -1. {why}",
                    master_key(arn.as_deref())
                ));
            }
            Problem::File(name) if !trouble.can_be_made_anew() => self.0.error(&format!(
                "a restart would not find {name}, whose file {} cannot be read. It is in memory, if it was loaded: do not restart the \
                 server before the file can be read again. What is wrong: {why}",
                name.file_name()
            )),
            Problem::File(name) => self.0.error(&format!(
                "a restart would not find {name}. It is in memory, if it was loaded: before a restart, restore its file {} from a \
                 backup, or have it made anew: SET GLOBAL aws_key_management_rewrap_key = {}. What is wrong: {why}",
                name.file_name(),
                name.id
            )),
            Problem::CopiedFile(name) => self.0.error(&format!(
                "a restart would find {name} only in a copy that another master key wraps. SET GLOBAL \
                 aws_key_management_rewrap_key = {} makes its file {} anew. What is wrong: {why}",
                name.id,
                name.file_name()
            )),
            Problem::Copies(arn) => self.0.warning(&format!(
                "a restart would find {} key version(s) only in copies that another master key wraps: {} does not unwrap their \
                 key files any more. {why}",
                wraps(arn.as_deref()).count,
                master_key(arn.as_deref())
            )),
            Problem::Extra(arn) => self.0.warning(&format!(
                "copies of keys under the extra master key {arn} cannot be used. SET \
                 GLOBAL aws_key_management_rewrap_key = -1 makes the copies anew, once the master key works. {why}"
            )),
            Problem::NewKeys(name) => {
                self.0.warning(&format!("no new key could be made under master key {name}. {why}"));
            }
        }
    }
}

fn over_text(problem: &Problem) -> String {
    match problem {
        Problem::Folder => "a restart would find the folder of the key files".to_owned(),
        Problem::Asking => "a restart could ask KMS".to_owned(),
        Problem::MasterKey(arn) => format!("a restart would find the key versions of {}", master_key(arn.as_deref())),
        Problem::File(name) => format!("a restart would find {name}"),
        Problem::CopiedFile(name) => format!("a restart would find {name} in its file"),
        Problem::Copies(arn) => {
            format!("a restart would find the key versions of {} in their files", master_key(arn.as_deref()))
        }
        Problem::Extra(arn) => format!("copies of keys under the extra master key {arn} can be used"),
        Problem::NewKeys(name) => format!("new keys could be made under master key {name}"),
    }
}

/// What is said of one version to who has asked.
pub fn verified_text(verified: &Verified) -> String {
    let Verified { name, master_key: arn, verdict, is_in_memory, copies, .. } = verified;
    let text = match verdict {
        Verdict::Good => format!("{name}: good, wrapped by {}", master_key(arn.as_deref())),
        Verdict::FromCopy(error) => format!("{name}: only from a copy that another master key wraps: {error}"),
        Verdict::Failed(error) => {
            // Not what its remedy says, which is for a key that is not in memory.
            let (text, remedy) = match About::of(error) {
                About::File if *is_in_memory => {
                    let (trouble, id) = (Trouble::new(error), name.id);
                    let remedy = match trouble.can_be_made_anew() {
                        true => {
                            let is_there = !matches!(
                                error,
                                KeyStoreError::Gone(..)
                                    | KeyStoreError::OnlyCopy { .. }
                                    | KeyStoreError::RetiredInUse(_)
                            );
                            let kept = if is_there { "; what is there is kept as *.damaged" } else { "" };
                            format!(". SET GLOBAL aws_key_management_rewrap_key = {id} makes its file anew{kept}")
                        }
                        false => String::new(),
                    };
                    (trouble.text, remedy)
                }
                _ => (error.to_string(), String::new()),
            };
            let text = text + &remedy;
            // Most of these begin with the key's name.
            if text.contains(&name.to_string()) { text } else { format!("{name}: {text}") }
        }
    };
    let bad = copies.iter().flatten().filter_map(|copy| Some((&copy.master_key, copy.failed.as_ref()?)));
    let bad = bad.map(|(arn, failure)| match failure {
        CopyFailure::Kms(error) => format!("; its copy under the extra master key {arn} is of no use: {error}"),
        CopyFailure::NotAsked => {
            format!("; its copy under the extra master key {arn} was not checked, since others have failed")
        }
        CopyFailure::OtherKey => format!("; its copy under the extra master key {arn} holds another key, or none"),
    });
    let good = copies.iter().flatten().filter(|copy| copy.failed.is_none()).count();
    let good =
        (good > 0).then(|| format!("; {good} good cop{} under extra master keys", if good == 1 { "y" } else { "ies" }));
    text + &bad.chain(good).collect::<String>()
}

fn master_key(arn: Option<&str>) -> String {
    arn.map_or_else(|| "a master key that is not known".to_owned(), |arn| format!("master key {arn}"))
}
