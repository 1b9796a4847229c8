//! New versions of all keys.
//!
//! They are made in groups (`in_groups.rs`). The numbers depend on what lies in the folder and stands in the manifest since its
//! lock is held.
//!
//! What was generated and is not written when the server ends, or the statement is killed, never was: no number is lost,
//! and no data.

use std::collections::BTreeMap;
use std::time::Duration;

use super::create::{Generated, Maker, NewVersion};
use super::files::KeyFiles;
use super::in_groups::{self, LONGEST_HOLD};
use super::new_keys::Recipe;
use super::published::PublishedKeys;
use super::tries::Tries;
use super::{KeyId, KeyName, KeyStore, KeyStoreError, KeyVersion, given_up, rotate};
use crate::waits;

/// All keys that there ever were, in order, but for those whose latest version nothing needs any more.
pub fn all_ids(files: &KeyFiles, published: &PublishedKeys) -> Result<Vec<KeyId>, KeyStoreError> {
    let mut ids: Vec<KeyId> = files.present()?.into_iter().chain(files.recorded()).map(|name| name.id).collect();
    ids.extend(published.ids());
    ids.sort_unstable();
    ids.dedup();
    let is_retired = |id: KeyId| published.latest(id).is_some_and(|version| files.is_retired(KeyName { id, version }));
    ids.retain(|id| !is_retired(*id));
    Ok(ids)
}

/// A rotation of all keys.
pub struct Rotation<'a> {
    maker: Maker<'a>,
    published: &'a PublishedKeys,
    tries: Tries<'a>,
    made: Vec<NewVersion>,
    /// How long the lock of the folder is held at a time: another server with the same folder waits for it, and not for ever.
    longest_hold: Duration,
}

/// The highest version of each key that has a file, or another copy.
type InFolder = BTreeMap<KeyId, KeyVersion>;

impl<'a> Rotation<'a> {
    /// `failed` is told of each failure.
    pub fn new(maker: Maker<'a>, published: &'a PublishedKeys, failed: &'a dyn Fn(&KeyStoreError)) -> Self {
        Self { maker, published, tries: Tries::new(failed), made: Vec::new(), longest_hold: LONGEST_HOLD }
    }

    #[cfg(test)]
    pub(super) fn with_longest_hold(self, longest_hold: Duration) -> Self {
        Self { longest_hold, ..self }
    }

    /// Rotates all of `ids`, which are different ones; those that fail do not keep the others from being tried, unless these
    /// would fail like it ([`Tries`]). Ends between two keys when the statement is killed. Answers what was made, also if
    /// something failed.
    pub fn run(
        mut self,
        ids: &[KeyId],
        recipe_for: impl Fn(KeyId) -> Recipe,
    ) -> (Vec<NewVersion>, Result<(), KeyStoreError>) {
        for group in in_groups::groups(ids) {
            let generated = self.generate(group, &recipe_for);
            self.store(generated);
        }
        (self.made, self.tries.result(ids.len()))
    }

    /// Asks KMS for the keys of a group.
    fn generate(&mut self, group: &[KeyId], recipe_for: impl Fn(KeyId) -> Recipe) -> Vec<(KeyId, Generated)> {
        let mut in_folder = None;
        let mut all = Vec::new();
        for id in group.iter().copied() {
            let recipe = recipe_for(id);
            let master_key = recipe.master_key.clone();
            if !self.tries.may_try(master_key.as_ref()) {
                continue;
            }
            if waits::must_end() {
                self.tries.end(KeyStoreError::GivenUp(id));
                continue;
            }
            if in_folder.is_none() {
                match self.prepare() {
                    Ok(found) => in_folder = Some(found),
                    Err(error) => self.tries.end(error),
                }
            }
            let Some(in_folder) = &in_folder else { continue };
            let name = next_version(self.maker.files(), self.published, id, in_folder);
            match name.and_then(|name| self.maker.ask_kms(recipe, name)).map_err(|error| given_up(id, error)) {
                Ok(generated) => {
                    self.tries.answered(master_key.as_ref());
                    all.push((id, generated));
                }
                Err(error) => self.tries.failed(master_key.as_ref(), error),
            }
        }
        all
    }

    /// What is to be known before KMS is asked. Fails if no key can be stored.
    fn prepare(&self) -> Result<InFolder, KeyStoreError> {
        let files = self.maker.files();
        files.refresh()?;
        files.check_may_add()?;
        self.maker.check_can_add()?;
        in_folder(files)
    }

    /// Writes the files of a group.
    fn store(&mut self, generated: Vec<(KeyId, Generated)>) {
        let (files, published) = (self.maker.files(), self.published);
        let take = || {
            let adding = files.begin_adding()?;
            // The lock is held now: from here on only somebody who copies files in, and does not ask for it, adds any. His
            // are not overwritten.
            Ok((adding, in_folder(files)?))
        };
        let made = &mut self.made;
        in_groups::store_all(
            generated,
            self.longest_hold,
            &mut self.tries,
            take,
            |adding, in_folder, id, generated| {
                let name = next_version(files, published, id, in_folder)?;
                made.push(generated.write(adding, name)?);
                Ok(())
            },
        );
    }
}

fn next_version(
    files: &KeyFiles,
    published: &PublishedKeys,
    id: KeyId,
    in_folder: &InFolder,
) -> Result<KeyName, KeyStoreError> {
    let version = rotate::version_after(files, published, in_folder.get(&id).copied(), id)?;
    Ok(KeyName { id, version })
}

fn in_folder(files: &KeyFiles) -> Result<InFolder, KeyStoreError> {
    // In order, so the highest comes last.
    Ok(files.in_use()?.into_iter().map(|name| (name.id, name.version)).collect())
}

impl KeyStore {
    /// Rotates all keys; those that fail do not keep the others from being tried, unless these would fail like it. The new
    /// versions are recorded together, and become the latest at the end. Answers how many keys there are. Takes no lock of a
    /// key id: which number a version gets is decided under the lock of the folder, and to hold the locks of many keys while
    /// KMS is asked for each would hold up their callers.
    pub fn rotate_all(&self) -> Result<usize, KeyStoreError> {
        let ids = all_ids(&self.files, self.published).inspect_err(|_| self.figures.rotation_failed())?;
        let Some(first) = ids.first() else { return Ok(0) };
        let failed = |error: &KeyStoreError| {
            self.messages.rotation_failed(error);
            self.note_making(Some(error));
            self.count_rotation(Some(error));
        };
        let rotation = Rotation::new(self.maker(|| self.highest(*first))?, self.published, &failed);
        let mut apart: Vec<KeyStoreError> =
            ids.iter().filter_map(|id| self.check_own_master_key(*id).err()).inspect(failed).collect();
        let is_apart = |id: &KeyId| {
            apart.iter().any(|error| matches!(error, KeyStoreError::OwnMasterKeyGone { id: of, .. } if of == id))
        };
        let to_rotate: Vec<KeyId> = ids.iter().copied().filter(|id| !is_apart(id)).collect();
        let (made, rotated) = rotation.run(&to_rotate, |id| self.new_keys.recipe_for(id));
        for new in &made {
            self.failures.made(new.name.id);
            self.note_making(None);
            self.count_rotation(None);
        }
        // What was made before it had to be ended does not say that more can be.
        if let Err(KeyStoreError::Several { first, skipped: 1.., .. }) = &rotated {
            self.note_making(Some(first));
        }
        self.record(&made);
        self.publish_all_new(&made);
        if !made.is_empty() {
            self.messages.rotated(made.len(), &(self.who)());
        }
        rotated?;
        match apart.len() {
            0 => Ok(ids.len()),
            failed => {
                Err(KeyStoreError::Several { failed, of: ids.len(), skipped: 0, first: Box::new(apart.swap_remove(0)) })
            }
        }
    }
}
