//! Which keys are used from a copy in place of their key file, until a re-wrap has made that whole.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::KeyName;
use super::load::LoadReport;

/// Of each, whether its key file is gone or damaged; otherwise KMS did not unwrap it. The lock is held for a moment only.
#[derive(Default)]
pub struct CopiesInUse(Mutex<BTreeMap<KeyName, bool>>);

impl CopiesInUse {
    /// What was loaded.
    pub fn note(&self, report: &LoadReport) {
        let mut in_use = self.in_use();
        for accepted in &report.accepted {
            match &accepted.instead_of {
                Some(instead_of) => in_use.insert(accepted.entry.name, instead_of.is_the_file),
                None => in_use.remove(&accepted.entry.name),
            };
        }
    }

    /// These have whole key files, which were proven. Answers whether it was the last that had none.
    pub fn are_whole<'a>(&self, names: impl Iterator<Item = &'a KeyName>) -> bool {
        let mut in_use = self.in_use();
        let had_none = in_use.values().any(|is_the_file| *is_the_file);
        for name in names {
            in_use.remove(name);
        }
        had_none && !in_use.values().any(|is_the_file| *is_the_file)
    }

    /// Whether every key is from its key file.
    pub fn is_empty(&self) -> bool {
        self.in_use().is_empty()
    }

    /// Whether no key file is gone or damaged.
    pub fn all_have_files(&self) -> bool {
        !self.in_use().values().any(|is_the_file| *is_the_file)
    }

    fn in_use(&self) -> MutexGuard<'_, BTreeMap<KeyName, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
