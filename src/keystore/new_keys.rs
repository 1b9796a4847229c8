//! What new data keys are made with. Set by the server's variables, at any time, from any thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::kms::{KeySpec, MasterKeyId};

/// The settings for new data keys; the keys that exist do not depend on them.
pub struct NewKeys {
    master_key: Mutex<Option<Arc<MasterKeyId>>>,
    is_aes_256: AtomicBool,
}

impl NewKeys {
    /// Without a master key, no new keys are made.
    pub fn new(master_key: Option<MasterKeyId>, spec: KeySpec) -> Self {
        Self { master_key: Mutex::new(master_key.map(Arc::new)), is_aes_256: AtomicBool::new(spec == KeySpec::Aes256) }
    }

    /// For all keys that are made from now on.
    pub fn set_master_key(&self, master_key: Option<MasterKeyId>) {
        *self.master_key.lock().unwrap_or_else(PoisonError::into_inner) = master_key.map(Arc::new);
    }

    /// For all keys that are made from now on.
    pub fn set_spec(&self, spec: KeySpec) {
        self.is_aes_256.store(spec == KeySpec::Aes256, Ordering::Relaxed);
    }

    pub(super) fn current(&self) -> (Option<Arc<MasterKeyId>>, KeySpec) {
        let master_key = self.master_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let spec = if self.is_aes_256.load(Ordering::Relaxed) { KeySpec::Aes256 } else { KeySpec::Aes128 };
        (master_key, spec)
    }
}
