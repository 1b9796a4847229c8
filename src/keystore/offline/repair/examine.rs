//! What is wrong with a folder, and what is to be done about it. Nothing is written.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::prove::{is_gone_or_damaged, list, prove};
use super::{By, Examination, Finding, Statement, Step};
use crate::keystore::files::{self, Disk, Entry, FoundFolders, KeyFiles, Needing, SystemDisk, Tie, WholeManifest};
use crate::keystore::offline::{NOT_TRUSTED, closed_text, gone, is_unanswered};
use crate::keystore::start::{self, Survey};
use crate::keystore::{KeyName, KeyStoreError};
use crate::kms::Kms;

/// Looks at a folder. KMS is asked about the key files of which the manifest does not say that they are as they were, and about
/// those with a copy; it gets `time` to answer.
pub fn examine(
    folder: &Path,
    datadir: &Path,
    kms: &dyn Kms,
    statement: &Statement,
    time: Duration,
) -> Result<Examination, KeyStoreError> {
    examine_on(Arc::new(SystemDisk), folder, datadir, kms, statement, time)
}

pub(in crate::keystore) fn examine_on(
    disk: Arc<dyn Disk>,
    folder: &Path,
    datadir: &Path,
    kms: &dyn Kms,
    statement: &Statement,
    time: Duration,
) -> Result<Examination, KeyStoreError> {
    let folders = FoundFolders::open(disk, folder, datadir)?;
    let files = folders.to_read();
    let deadline = Instant::now() + time;
    let mut examining = Examining { folders: &folders, files, kms, statement, deadline, findings: Vec::new() };
    if examining.tie()? {
        examining.keys()?;
        examining.temporary_files()?;
    }
    let findings = examining.findings;
    Ok(Examination { folders, findings })
}

pub(super) struct Examining<'a> {
    folders: &'a FoundFolders,
    pub(super) files: KeyFiles,
    pub(super) kms: &'a dyn Kms,
    statement: &'a Statement,
    pub(super) deadline: Instant,
    findings: Vec<Finding>,
}

/// What came of the key files, in the order in which it is told.
#[derive(Default)]
struct Sorted {
    /// Proven, under a master key that the operator has named, and not trusted so far.
    to_record: Vec<Entry>,
    /// Proven to be as the manifest says, with a copy beside them.
    with_copies: Vec<Entry>,
    /// Proven, not known to the manifest, and under a master key that the operator has not named.
    not_named: Vec<Entry>,
    /// The manifest does not know them, and the next start decides.
    new: Vec<KeyName>,
    /// At fault, with what they hold.
    at_fault: Vec<(KeyName, KeyStoreError)>,
}

impl Examining<'_> {
    pub(super) fn add(&mut self, name: Option<KeyName>, found: impl Into<String>, by: By, remedy: impl Into<String>) {
        self.findings.push(Finding { name, found: found.into(), by, remedy: remedy.into(), step: None });
    }

    pub(super) fn add_step(
        &mut self,
        name: Option<KeyName>,
        found: impl Into<String>,
        remedy: impl Into<String>,
        step: Step,
    ) {
        let (found, remedy) = (found.into(), remedy.into());
        self.findings.push(Finding { name, found, by: By::Repair, remedy, step: Some(step) });
    }

    pub(super) fn add_error(&mut self, name: KeyName, error: &KeyStoreError) {
        match is_unanswered(error) {
            true => self.add(Some(name), error.to_string(), By::Nobody, "repair again when KMS answers"),
            false if matches!(error, KeyStoreError::Gone(..)) => {
                let found = gone(name, &self.files.path_of(name));
                self.add(Some(name), found, By::Operator, "it is left as it is");
            }
            // Where all that it could know can be read.
            false if self.is_unknown(name) => {
                let remedy = "it is left as it is. The manifest does not know this version: if no data needs it, move the file away";
                self.add(Some(name), error.without_remedy(), By::Operator, remedy);
            }
            false => self.add(Some(name), error.to_string(), By::Operator, "it is left as it is"),
        }
    }

    /// Whether the manifest is whole, and knows nothing of a version.
    fn is_unknown(&self, name: KeyName) -> bool {
        let is_whole = *self.folders.manifest() == WholeManifest::Good && self.folders.unreadable().is_empty();
        is_whole && self.files.entry(name).is_none()
    }

    /// What ties the datadir to the folder. Answers whether the folder is the right one.
    fn tie(&mut self) -> Result<bool, KeyStoreError> {
        let (folder, datadir) = (self.folders.path().display(), self.folders.datadir().display());
        match self.folders.tie()? {
            Tie::Good => {
                self.beside_tie()?;
                return Ok(true);
            }
            Tie::Lost(error) => {
                let remedy = "nothing in this folder can put it right, and nothing else was looked at";
                self.add(None, error.to_string(), By::Operator, remedy);
            }
            Tie::Broken(tie) if tie.is_proven || self.statement.folder_is_right => {
                let because = if tie.is_proven { "what is left of the two files says so" } else { "as you say" };
                let remedy = format!("{datadir} is told anew that its keys lie in {folder}: {because}");
                self.add_step(None, tie.error.to_string(), remedy, Step::Tie(tie));
                return Ok(true);
            }
            Tie::Broken(tie) => {
                let remedy = format!(
                    "nothing says that the key files in {folder} are those of {datadir}. With others, the server would call its \
                     tables corrupted. If you know that they are, say so with --folder-is-right. Nothing else was looked at"
                );
                self.add(None, tie.error.to_string(), By::Operator, remedy);
            }
        }
        Ok(false)
    }

    /// What a start accepts, although it may not be as it was.
    fn beside_tie(&mut self) -> Result<(), KeyStoreError> {
        let folder = self.folders.path().display();
        if !self.folders.is_remembered()? && !self.files.present()?.is_empty() {
            let found = format!("the datadir does not remember that its keys lie in {folder}");
            let remedy = "it does after the next start that loads them. Until then nobody would notice that the folder is empty or \
                          another one, and new keys would be made: see that aws_key_management_keyfile_dir is set to it";
            self.add(None, found, By::NextStart, remedy);
        }
        let strays = self.folders.strays()?;
        if let Some(first) = strays.first() {
            let found = format!(
                "{first} and {} other files of keys lie in the datadir, but its keys in {folder}: no start reads them there",
                strays.len() - 1
            );
            let remedy =
                "they are left. Move them away, unless the keys in the folder lack one of them: then copy that there";
            self.add(None, found, By::Operator, remedy);
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<(), KeyStoreError> {
        if let WholeManifest::Newer(format) = self.folders.manifest() {
            let found = KeyStoreError::NewerManifest(*format).to_string();
            self.add(None, found, By::Operator, "it is left alone, and so are the key files");
            return Ok(());
        }
        let survey = start::survey(&self.files)?;
        self.without_any_key(&survey);
        self.closed();
        self.needed_by_data(&survey);
        let kept = self.files.kept_before_rewrap()?;
        let sorted = self.sort(&survey, &kept);
        // A manifest that is not on the disk cannot be what a copy is proven by.
        let is_known = self.manifest(&survey, &sorted);
        let Sorted { with_copies, at_fault, .. } = sorted;
        self.put_back(&survey, at_fault, &kept, is_known);
        self.copies(with_copies, &kept, is_known);
        Ok(())
    }

    /// Nothing of any key, where there is data that needs one.
    fn without_any_key(&mut self, survey: &Survey) {
        let has_none = survey.count() == 0 && self.files.retired().is_empty();
        if let Some(data) = self.folders.encrypted_file().filter(|_| has_none) {
            let found =
                format!("there is no key in {}, but {} is encrypted", self.folders.path().display(), data.display());
            let remedy = "restore the aws-kms-key.* files that belong to this data from a backup, or give the folder in which they lie \
                          (aws_key_management_keyfile_dir)";
            self.add(None, found, By::Operator, remedy);
        }
    }

    /// Files that whoever repairs can read, and the server cannot.
    fn closed(&mut self) {
        let datadir = self.folders.datadir();
        for (file, closed) in self.files.closed_to_owner_of(datadir).unwrap_or_default() {
            let found = closed_text(&file, closed);
            let path = self.folders.path().join(&file);
            let remedy = match closed.owner.0 == closed.to {
                true => format!("left. Let the server's user read it: chmod u+r {}", path.display()),
                false => format!(
                    "left. Give it to the server's user: chown --reference={} {}",
                    self.folders.datadir().display(),
                    path.display()
                ),
            };
            self.add(KeyName::parse(&file), found, By::Operator, remedy);
        }
    }

    /// Versions that data needs, and that were retired, or that nothing is known of.
    fn needed_by_data(&mut self, survey: &Survey) {
        // If there are none, that has been told.
        let has_keys = survey.count() > 0 || !self.files.retired().is_empty();
        let is_gone = |name: KeyName| survey.present.binary_search(&name).is_err();
        let Needing { needing, not_read } = self.files.needing(self.folders.datadir(), &is_gone);
        for (name, path) in needing {
            let in_memory = format!(
                "If the server is running and has it in memory, SET GLOBAL aws_key_management_rewrap_key = {} makes it anew: do not \
                 restart the server before",
                name.id
            );
            if self.files.is_retired(name) {
                let found = format!("it was retired, and {} is encrypted with it", path.display());
                let remedy = format!("put its key file {} back from where it was kept. {in_memory}", name.file_name());
                self.add(Some(name), found, By::Operator, remedy);
            } else if has_keys && !self.files.is_recorded(name) && !self.folders.unreadable().contains(&Some(name)) {
                let found = format!("{} is encrypted with it, and nothing is known of it here", path.display());
                let remedy = format!(
                    "restore its key file {} and the manifest from a backup. No key of this id is made as long as such data is there",
                    name.file_name()
                );
                self.add(Some(name), found, By::Operator, remedy);
            }
        }
        let not_read = if self.files.retired().is_empty() { Vec::new() } else { not_read };
        if let Some(first) = not_read.first() {
            let found = format!(
                "{} and {} more files could not be read: whether they need a version that was retired cannot be told",
                first.display(),
                not_read.len() - 1
            );
            self.add(None, found, By::Operator, "look at the first of them");
        }
    }

    /// Looks at the key files, and asks KMS about those that may not be what they should.
    fn sort(&mut self, survey: &Survey, kept: &[KeyName]) -> Sorted {
        let mut sorted = Sorted::default();
        let has_statement = !self.statement.master_keys.is_empty();
        let forgets = self.statement.forgets_copies;
        let mut to_prove = Vec::new();
        for name in survey.present.iter().copied() {
            let stored = match self.files.read(name) {
                Ok(stored) => stored,
                Err(error) => {
                    sorted.at_fault.push((name, error));
                    continue;
                }
            };
            match self.files.entry(name) {
                None if has_statement => to_prove.push(stored),
                None => sorted.new.push(name),
                Some(_) if forgets && kept.contains(&name) || !self.files.is_as_recorded(&stored) => {
                    to_prove.push(stored)
                }
                Some(entry) if entry.is_trusted => {}
                Some(entry) if self.statement.names(&entry) => to_prove.push(stored),
                Some(entry) => self.not_trusted(&entry),
            }
        }
        let proofs = prove(&self.files, self.kms, &to_prove, self.deadline);
        for (stored, proof) in to_prove.iter().zip(proofs) {
            match proof {
                Ok((entry, finding)) => self.proven(entry, finding, &mut sorted),
                Err(error) if is_gone_or_damaged(&error) => sorted.at_fault.push((stored.name, error)),
                Err(error) => self.add_error(stored.name, &error),
            }
        }
        self.not_named(&mut sorted);
        let gone =
            survey.without_file().into_iter().map(|name| (name, KeyStoreError::Gone(name, self.files.path_of(name))));
        sorted.at_fault.extend(gone);
        sorted.at_fault.sort_by_key(|(name, _)| *name);
        sorted
    }

    fn proven(&mut self, entry: Entry, finding: files::Finding, sorted: &mut Sorted) {
        let name = entry.name;
        let is_named = self.statement.names(&entry);
        match self.files.is_trusted(name) {
            None if !is_named => sorted.not_named.push(entry),
            Some(false) if !is_named => self.not_trusted(&entry),
            Some(true) if finding == files::Finding::Rewrapped => {
                let found = "its file is another than the one that the manifest knows, and holds the same key";
                self.add(Some(name), found, By::NextStart, "recorded");
            }
            // Of what is as the manifest says, KMS was asked only to forget the copy.
            Some(true) => sorted.with_copies.push(entry),
            Some(false) => {
                let mut entry = entry;
                entry.is_trusted = true;
                sorted.to_record.push(entry);
            }
            None => sorted.to_record.push(self.folders.in_place_of_unreadable(entry)),
        }
    }

    /// Proven, not known to the manifest, and under a master key that the operator has not named.
    fn not_named(&mut self, sorted: &mut Sorted) {
        let known = self.folders.master_keys_with(&sorted.to_record);
        for entry in std::mem::take(&mut sorted.not_named) {
            let arn = entry.master_key().unwrap_or("an unknown master key");
            if known.contains(arn) {
                sorted.new.push(entry.name);
                continue;
            }
            let found = format!("its file is wrapped by {arn}, which neither the manifest nor you name");
            let remedy = "it is not recorded. If that is your master key, name it with --trust-master-key; otherwise find out who has \
                          put the file here";
            self.add(Some(entry.name), found, By::Operator, remedy);
        }
    }

    fn not_trusted(&mut self, entry: &Entry) {
        let found =
            format!("its file is wrapped by {}: {NOT_TRUSTED}", entry.master_key().unwrap_or("no known master key"));
        self.add(
            Some(entry.name),
            found,
            By::Operator,
            "it stays so, unless you name that master key with --trust-master-key",
        );
    }

    /// Answers whether what is known of the keys is in the manifest, or is going to be.
    fn manifest(&mut self, survey: &Survey, sorted: &Sorted) -> bool {
        let Sorted { to_record, new, at_fault, .. } = sorted;
        let at_fault: Vec<KeyName> = at_fault.iter().map(|(name, _)| *name).collect();
        let path = self.folders.manifest_path();
        let path = path.display();
        let mut entries = to_record.clone();
        let names: Vec<KeyName> = entries.iter().map(|entry| entry.name).collect();
        let recorded = match names.is_empty() {
            true => String::new(),
            false => format!(": {}, which KMS has unwrapped, under master keys that you name", list(&names)),
        };
        let found = match self.folders.manifest() {
            WholeManifest::Good => {
                self.new_ones(new);
                self.unreadable(survey, &[&names[..], &at_fault].concat());
                if !entries.is_empty() {
                    entries.extend(self.left_behind(survey));
                    let found = "the manifest does not know key files, or does not trust them".to_owned();
                    let remedy = format!("recorded as trusted{recorded}");
                    self.add_step(None, found, remedy, Step::Manifest(entries));
                }
                return true;
            }
            WholeManifest::Missing { .. } if survey.present.is_empty() && survey.without_file().is_empty() => {
                return true;
            }
            WholeManifest::Missing { is_put_aside: false } => format!("there is no manifest: {path}"),
            WholeManifest::Missing { is_put_aside: true } => {
                format!(
                    "there is no manifest, {path}, but a damaged one that was put aside: move it away if it is of another time"
                )
            }
            WholeManifest::Damaged(reason) => format!("the manifest {path} is damaged ({reason})"),
            WholeManifest::Newer(_) => return false,
        };
        let read = self.files.recorded().len() + self.files.retired().len();
        if self.folders.master_keys_with(&entries).is_empty() {
            if self.findings.iter().any(|finding| finding.by == By::Nobody) {
                self.add(None, found, By::Nobody, "repair again when KMS answers");
                return false;
            }
            let remedy = format!(
                "nothing that is left of it names a master key. Restore it from a backup; or name the master keys of this server with \
                 --trust-master-key, and it is made of the key files that they wrap. Otherwise the next start of the server makes \
                 it of all {} key files, and trusts all of them: normal after another plugin",
                survey.present.len()
            );
            self.add(None, found, By::Operator, remedy);
            return false;
        }
        let of =
            format!("made anew of {read} entries that can still be read, and of {} key files{recorded}", names.len());
        let remedy = format!("{of}. What is there is kept under another name");
        self.add_step(None, found, remedy, Step::Manifest(entries));
        self.new_ones(new);
        self.unreadable(survey, &[&names[..], &at_fault].concat());
        true
    }

    fn new_ones(&mut self, names: &[KeyName]) {
        let unreadable = self.folders.unreadable();
        for name in names.iter().copied().filter(|name| !unreadable.contains(&Some(*name))) {
            let remedy = "adopted, and trusted if its master key is one that the server knows";
            self.add(Some(name), "the manifest does not know its file", By::NextStart, remedy);
        }
    }

    /// Entries that cannot be read, but for those of versions of which something else is `told`.
    fn unreadable(&mut self, survey: &Survey, told: &[KeyName]) {
        for name in self.folders.unreadable() {
            const FOUND: &str = "its entry in the manifest cannot be read";
            match name {
                Some(name) if told.contains(&name) => {}
                Some(name) if survey.present.binary_search(&name).is_ok() => {
                    let remedy = "made anew of the key file, if KMS unwraps that";
                    self.add(Some(name), FOUND, By::NextStart, remedy);
                }
                Some(name) => {
                    let remedy =
                        "it is left, and its number stays used. Restore its key file from a backup if data needs it";
                    self.add(Some(name), format!("{FOUND}, and its file is gone"), By::Operator, remedy);
                }
                None => {
                    let found = "an entry of the manifest cannot be read, nor which key it is about";
                    let remedy =
                        "it is left: a later version of the plugin may have written it. Otherwise take it out by hand";
                    self.add(None, found, By::Operator, remedy);
                }
            }
        }
    }

    /// To write a manifest that was copied here makes it forget that it was. So what was left behind is marked as such before, as
    /// far as the files tell that it is not needed.
    pub(super) fn left_behind(&self, survey: &Survey) -> Vec<Entry> {
        let mut entries = survey.left_behind.clone();
        let has_another = |entry: &Entry| {
            let of_key = survey.present.iter().filter(|name| name.id == entry.name.id);
            let is_good =
                |name: &KeyName| self.files.read(*name).is_ok_and(|stored| self.files.is_as_recorded(&stored));
            of_key.filter(|name| self.files.is_trusted(**name) == Some(true)).any(is_good)
        };
        entries.retain(has_another);
        entries
    }

    fn temporary_files(&mut self) -> Result<(), KeyStoreError> {
        let count = self.folders.temporary_files()?;
        if count > 0 {
            let found = format!("{count} temporary file(s) that a stopped server has left");
            self.add_step(None, found, "removed: nobody has used what is in them", Step::RemoveTemporaryFiles);
        }
        Ok(())
    }
}
