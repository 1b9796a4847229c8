//! What new data keys are made with. Set by the server's variables, at any time, from any thread.

use std::sync::{Mutex, PoisonError};

use super::{AllowedKeyIds, ExtraMasterKeys, KeyId, MasterKeysOfIds};
use crate::cipher::Algorithm;
use crate::kms::{EncryptionContext, KeySpec, MasterKeyId};

/// The settings for new data keys; the keys that exist do not depend on them.
pub struct NewKeys {
    now: Mutex<NewKeySettings>,
    allowed: AllowedKeyIds,
}

/// What the variables say.
#[derive(Clone, Debug)]
pub struct NewKeySettings {
    /// Wraps the keys of all ids that have none of their own in `master_keys`. Without one, no such key is made.
    pub master_key: Option<MasterKeyId>,
    /// Wrap the keys of certain ids.
    pub master_keys: MasterKeysOfIds,
    /// Wrap copies of the keys of all ids that have no master key of their own.
    pub extra_master_keys: ExtraMasterKeys,
    /// Is bound into the wrapped keys, with the key id; nothing is if it is empty.
    pub encryption_context: EncryptionContext,
    /// The length of new keys.
    pub spec: KeySpec,
    /// What they encrypt with.
    pub algorithm: Algorithm,
}

/// What one data key is made with.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Wraps it. Without one, it is not made.
    pub master_key: Option<MasterKeyId>,
    /// Wrap copies of it. `None`: it is not known here which do.
    pub extra_master_keys: Option<Vec<MasterKeyId>>,
    /// Whether the key id has that master key of its own. `None`: it is not known here.
    pub has_own_master_key: Option<bool>,
    /// Is bound into the wrapped keys.
    pub encryption_context: EncryptionContext,
    /// Its length.
    pub spec: KeySpec,
    /// What it encrypts with.
    pub algorithm: Algorithm,
}

impl NewKeySettings {
    /// The master key that wraps the keys of an id.
    pub fn master_key_of(&self, id: KeyId) -> Option<&MasterKeyId> {
        self.master_keys.of(id).or(self.master_key.as_ref())
    }

    /// The master keys that wrap copies of the keys of an id. None, if the id has a master key of its own: who takes that away
    /// means that nobody is to unwrap the keys any more.
    pub fn extra_master_keys_of(&self, id: KeyId) -> &[MasterKeyId] {
        if self.master_keys.of(id).is_some() { &[] } else { self.extra_master_keys.all() }
    }

    /// Whether an id has a master key of its own, which is not that of all others as well, as far as the names tell.
    pub fn has_own_master_key(&self, id: KeyId) -> bool {
        self.master_keys.of(id).is_some_and(|own| self.master_key.as_ref() != Some(own))
    }

    /// Whether keys can be made, of some ids at least.
    pub(super) fn has_master_key(&self) -> bool {
        self.master_key.is_some() || self.master_keys.all().next().is_some()
    }

    fn recipe_for(&self, id: KeyId) -> Recipe {
        Recipe {
            master_key: self.master_key_of(id).cloned(),
            extra_master_keys: Some(self.extra_master_keys_of(id).to_vec()),
            has_own_master_key: Some(self.has_own_master_key(id)),
            encryption_context: self.encryption_context.with_key_id(id.value()),
            spec: self.spec,
            algorithm: self.algorithm,
        }
    }
}

impl NewKeys {
    /// What to begin with.
    pub fn new(settings: NewKeySettings, allowed: AllowedKeyIds) -> Self {
        Self { now: Mutex::new(settings), allowed }
    }

    /// Changes something for all keys that are made from now on.
    pub fn change(&self, change: impl FnOnce(&mut NewKeySettings)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn settings(&self) -> NewKeySettings {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn recipe_for(&self, id: KeyId) -> Recipe {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).recipe_for(id)
    }

    /// The master keys that wrap copies of the keys of an id.
    pub(super) fn extra_master_keys_of(&self, id: KeyId) -> Vec<MasterKeyId> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).extra_master_keys_of(id).to_vec()
    }

    /// Whether an id has an entry of its own in `master_keys`.
    pub(super) fn names_own_master_key(&self, id: KeyId) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).master_keys.of(id).is_some()
    }

    pub(super) fn allows(&self, id: KeyId) -> bool {
        self.allowed.contains(id)
    }
}
