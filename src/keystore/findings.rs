//! What the checks have found so far: what keeps a restart from working, and what of that is news.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::verify::{About, CheckedCopy, CopyFailure, Verdict, Verified};
use super::{KeyName, KeyStoreError};
use crate::kms::KmsError;

/// What the checks have found. The lock is held for moments.
#[derive(Default)]
pub struct Findings(Mutex<State>);

#[derive(Default)]
struct State {
    /// What is wrong, by version, with its master key.
    failing: BTreeMap<KeyName, (Option<String>, Trouble)>,
    from_copies: BTreeMap<KeyName, (Option<String>, Trouble)>,
    /// Copies under extra master keys that are of no use, by version and ARN.
    bad_copies: BTreeMap<(KeyName, String), Trouble>,
    /// Rounds in a row in which KMS did not answer for an extra master key.
    extra_without_answer: BTreeMap<String, usize>,
    /// Versions of which nothing is known, since KMS could not be asked, and why.
    unknown: BTreeMap<KeyName, KmsError>,
    /// Rounds in a row in which KMS did not answer.
    rounds_without_answer: usize,
    folder: Option<Trouble>,
    /// Whether a check has ever been about all versions.
    has_seen_all: bool,
    /// Master keys under which KMS would make no key, and why.
    making: BTreeMap<String, Trouble>,
    makings_without_answer: usize,
    /// What is in the log.
    told: BTreeMap<Problem, Trouble>,
}

/// What something is wrong with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The folder of the key files.
    Folder,
    /// KMS cannot be asked.
    Asking,
    /// A master key, which unwraps nothing. `None` if it is not known which wraps the version.
    MasterKey(Option<String>),
    /// A key file.
    File(KeyName),
    /// A key file of whose key there is a copy that another master key wraps.
    CopiedFile(KeyName),
    /// A master key, which unwraps nothing, so that other copies are used.
    Copies(Option<String>),
    /// An extra master key, under which copies are of no use.
    Extra(String),
    /// A master key under which no key can be made.
    NewKeys(String),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The same for all that is alike.
    kind: String,
    /// For the log.
    pub text: String,
    about: Cause,
}

/// Where the trouble lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// In the file.
    File,
    /// In the file, but the key could be had from a copy.
    CopiedFile,
    /// In the folder, which does not answer for the file.
    Folder,
    /// In KMS, or on the way to it.
    Kms,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Something is wrong from now on, or is so for another reason.
    Begins(Problem, Trouble),
    /// It is not any more.
    IsOver(Problem),
}

/// What a check was about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// All versions.
    pub is_all: bool,
    /// Somebody has asked for it: that KMS does not answer once more does not count.
    pub was_asked_for: bool,
}

/// What all that was found comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether a start would find all versions.
    pub would_start: bool,
    /// Whether none would be from another copy. `None` as long as not all have been checked.
    pub is_fully_wrapped: Option<bool>,
    /// Whether KMS would make keys under each master key.
    pub can_make_keys: bool,
}

impl Findings {
    /// Takes what a check has found. What `is_known` as failed to who tries it again is not told once more.
    pub fn verified(&self, verified: Vec<Verified>, scope: Scope, is_known: impl Fn(KeyName) -> bool) -> Vec<News> {
        let mut state = self.state();
        if scope.is_all {
            let names: BTreeSet<KeyName> = verified.iter().map(|verified| verified.name).collect();
            state.keep_only(|name| names.contains(name));
        }
        state.take_copies(&verified, scope);
        let (mut without_answer, mut has_answer) = (false, false);
        for Verified { name, master_key, verdict, .. } in verified {
            let about = match &verdict {
                Verdict::Failed(error) => Some(About::of(error)),
                _ => None,
            };
            if let (Some(About::Asking | About::NoAnswer), Verdict::Failed(KeyStoreError::Kms(_, error))) =
                (about, &verdict)
            {
                without_answer |= about == Some(About::NoAnswer);
                state.unknown.insert(name, error.clone());
                continue;
            }
            has_answer |= !matches!(about, Some(About::File));
            state.forget(name);
            match verdict {
                Verdict::Good => {}
                Verdict::FromCopy(error) => {
                    state.from_copies.insert(name, (master_key, Trouble::of_kms(&error)));
                }
                Verdict::Failed(_) if is_known(name) => {}
                Verdict::Failed(error) => {
                    state.failing.insert(name, (master_key, Trouble::new(&error)));
                }
            }
        }
        state.rounds_without_answer = match (without_answer, has_answer) {
            (true, _) if scope.was_asked_for => state.rounds_without_answer,
            (true, _) => state.rounds_without_answer + 1,
            (false, true) if state.unknown.is_empty() => 0,
            (false, _) => state.rounds_without_answer,
        };
        state.has_seen_all |= scope.is_all && state.unknown.is_empty();
        state.folder = None;
        state.news()
    }

    /// The folder of the key files could not be read, or is another one.
    pub fn folder_failed(&self, error: &KeyStoreError) -> Vec<News> {
        let mut state = self.state();
        state.folder = Some(Trouble { kind: error.kind(), text: error.to_string(), about: Cause::File });
        state.news()
    }

    /// Takes whether KMS would make keys under these master keys, which are all that are configured.
    pub fn making(&self, asked: Vec<(String, Result<(), KmsError>)>) -> Vec<News> {
        let mut state = self.state();
        let is_without_answer = |error: &KmsError| matches!(About::of_class(error.class), About::NoAnswer);
        let failed = || asked.iter().filter_map(|(master_key, answer)| Some((master_key, answer.as_ref().err()?)));
        state.makings_without_answer = match failed().any(|(_, error)| is_without_answer(error)) {
            true => state.makings_without_answer + 1,
            false => 0,
        };
        let may_pass = state.makings_without_answer < ROUNDS_WITHOUT_ANSWER;
        let before = std::mem::take(&mut state.making);
        // One that is not configured any more is not well again: it is of no account.
        let is_asked = |name: &String| asked.iter().any(|(master_key, _)| master_key == name);
        state.told.retain(|problem, _| !matches!(problem, Problem::NewKeys(name) if !is_asked(name)));
        for (master_key, error) in failed() {
            let trouble = match may_pass && is_without_answer(error) {
                true => before.get(master_key).cloned(),
                false => Some(Trouble::of_kms(error)),
            };
            state.making.extend(trouble.map(|trouble| (master_key.clone(), trouble)));
        }
        state.news()
    }

    /// Forgets what was found of others than `needed`, which are in order: of versions that somebody has retired meanwhile.
    pub fn keep_only(&self, needed: &[KeyName]) {
        let mut state = self.state();
        let is_needed = |name: &KeyName| needed.binary_search(name).is_ok();
        state.keep_only(is_needed);
        // That nobody needs it any more does not make it good again.
        state.told.retain(|problem, _| match problem {
            Problem::File(name) | Problem::CopiedFile(name) => is_needed(name),
            _ => true,
        });
    }

    /// What is to be checked again before long, in order. What would be used from a copy has time.
    pub fn open(&self) -> Vec<KeyName> {
        let state = self.state();
        let names = state.failing.keys().chain(state.unknown.keys());
        names.copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether a version is only to be had from a copy, since a master key has failed.
    pub fn has_from_copies(&self) -> bool {
        !self.state().from_copies.is_empty()
    }

    /// The versions that a start would not find in their files, and why.
    pub fn unready(&self) -> BTreeMap<KeyName, String> {
        self.state().failing.iter().map(|(name, (_, trouble))| (*name, trouble.text.clone())).collect()
    }

    /// Whether anything is to be checked again before long.
    pub fn is_open(&self) -> bool {
        let state = self.state();
        let has_names = !state.failing.is_empty() || !state.unknown.is_empty();
        has_names || state.folder.is_some() || !state.making.is_empty() || state.makings_without_answer > 0
    }

    /// What all that comes to.
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let is_about_start =
            |problem: &Problem| !matches!(problem, Problem::Copies(_) | Problem::Extra(_) | Problem::NewKeys(_));
        Summary {
            would_start: !state.told.keys().any(is_about_start),
            is_fully_wrapped: match state.from_copies.is_empty() && state.bad_copies.is_empty() {
                true => state.has_seen_all.then_some(true),
                false => Some(false),
            },
            can_make_keys: state.making.is_empty(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, name: KeyName) {
        self.failing.remove(&name);
        self.from_copies.remove(&name);
        self.unknown.remove(&name);
    }

    fn keep_only(&mut self, is_needed: impl Fn(&KeyName) -> bool) {
        self.failing.retain(|name, _| is_needed(name));
        self.from_copies.retain(|name, _| is_needed(name));
        self.unknown.retain(|name, _| is_needed(name));
        self.bad_copies.retain(|(name, _), _| is_needed(name));
    }

    fn take_copies(&mut self, verified: &[Verified], scope: Scope) {
        let (mut with_answer, mut without_answer) = (BTreeSet::new(), BTreeMap::new());
        for (name, copies) in verified.iter().filter_map(|verified| Some((verified.name, verified.copies.as_ref()?))) {
            let is_undecided = |arn: &String| copies.iter().any(|copy| copy.master_key == *arn && copy.is_undecided());
            self.bad_copies.retain(|(of, arn), _| *of != name || is_undecided(arn));
            for copy in copies {
                let CheckedCopy { master_key, failed } = copy;
                let trouble = match failed {
                    Some(CopyFailure::Kms(error)) if copy.is_undecided() => {
                        without_answer.insert(master_key.clone(), (name, error.clone()));
                        continue;
                    }
                    Some(CopyFailure::NotAsked) => continue,
                    Some(CopyFailure::Kms(error)) => Some(Trouble::of_kms(error)),
                    Some(CopyFailure::OtherKey) => Some(Trouble::of_other_key()),
                    None => None,
                };
                self.bad_copies.extend(trouble.map(|trouble| ((name, master_key.clone()), trouble)));
                with_answer.insert(master_key);
            }
        }
        // One that wraps no copy any more is of no account.
        let is_in_use = |arn: &String| !scope.is_all || without_answer.contains_key(arn);
        self.extra_without_answer.retain(|arn, _| !with_answer.contains(arn) && is_in_use(arn));
        for (arn, (name, error)) in without_answer {
            let rounds = self.extra_without_answer.entry(arn.clone()).or_default();
            *rounds += usize::from(!scope.was_asked_for);
            if *rounds >= ROUNDS_WITHOUT_ANSWER {
                self.bad_copies.insert((name, arn), Trouble::of_kms(&error));
            }
        }
    }

    /// What is wrong now, against what is in the log.
    fn news(&mut self) -> Vec<News> {
        let now = self.problems();
        let is_news = |(problem, trouble): &(&Problem, &Trouble)| {
            self.told.get(problem).is_none_or(|told| told.kind != trouble.kind)
        };
        let begins = now.iter().filter(is_news);
        let begins = begins.map(|(problem, trouble)| News::Begins(problem.clone(), trouble.clone()));
        // What has got worse is not over.
        let is_worse = |problem: &Problem| match problem {
            Problem::Copies(arn) => now.contains_key(&Problem::MasterKey(arn.clone())),
            Problem::CopiedFile(name) => now.contains_key(&Problem::File(*name)),
            _ => false,
        };
        let over = self.told.keys().filter(|problem| !now.contains_key(problem) && !is_worse(problem));
        let over = over.cloned().map(News::IsOver);
        let news = begins.chain(over).collect();
        self.told = now;
        news
    }

    fn problems(&self) -> BTreeMap<Problem, Trouble> {
        let mut problems = BTreeMap::new();
        problems.extend(self.folder.iter().map(|trouble| (Problem::Folder, trouble.clone())));
        let counts = self.rounds_without_answer >= ROUNDS_WITHOUT_ANSWER;
        let telling = |error: &&KmsError| counts || About::of_class(error.class) == About::Asking;
        let asking = self.unknown.values().find(telling);
        problems.extend(asking.map(|error| (Problem::Asking, Trouble::of_kms(error))));
        for (name, (master_key, trouble)) in &self.failing {
            let problem = match trouble.about {
                Cause::Kms => Problem::MasterKey(master_key.clone()),
                Cause::CopiedFile => Problem::CopiedFile(*name),
                Cause::File | Cause::Folder => Problem::File(*name),
            };
            problems.entry(problem).or_insert_with(|| trouble.clone());
        }
        for (master_key, trouble) in self.from_copies.values() {
            problems.entry(Problem::Copies(master_key.clone())).or_insert_with(|| trouble.clone());
        }
        for ((_, arn), trouble) in &self.bad_copies {
            problems.entry(Problem::Extra(arn.clone())).or_insert_with(|| trouble.clone());
        }
        let making = self.making.iter();
        problems.extend(making.map(|(master_key, trouble)| (Problem::NewKeys(master_key.clone()), trouble.clone())));
        problems
    }
}

impl Trouble {
    /// Of a key version.
    pub fn new(error: &KeyStoreError) -> Self {
        match error {
            KeyStoreError::Kms(_, error) if About::of_class(error.class) != About::File => Self::of_kms(error),
            // What its remedy says is for a key that is not in memory.
            KeyStoreError::Kms(_, error) => {
                let request = error.request_id.as_ref().map(|id| format!(". Request {id}")).unwrap_or_default();
                let text = error.what() + &request;
                Self { text, about: Cause::File, ..Self::of_kms(error) }
            }
            error => {
                let about = match error {
                    KeyStoreError::OnlyCopy { .. } => Cause::CopiedFile,
                    error if error.is_no_answer_of_the_folder() => Cause::Folder,
                    _ => Cause::File,
                };
                Self { kind: error.kind(), text: error.without_remedy(), about }
            }
        }
    }

    /// Whether a re-wrap could make the file anew: not in a folder that does not answer.
    pub fn can_be_made_anew(&self) -> bool {
        self.about != Cause::Folder
    }

    fn of_other_key() -> Self {
        let text = "They hold another key, or none".to_owned();
        Self { kind: text.clone(), text, about: Cause::File }
    }

    fn of_kms(error: &KmsError) -> Self {
        Self { kind: error.kind(), text: error.to_string(), about: Cause::Kms }
    }
}

/// KMS may be out of reach for a moment without a word.
pub const ROUNDS_WITHOUT_ANSWER: usize = 3;
