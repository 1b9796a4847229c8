//! When a rotation of many keys, or a re-wrap, is not worth going on with: a failure that others would meet too is not looked for again in
//! each of a thousand keys.

use std::io::ErrorKind;

use super::KeyStoreError;
use crate::kms::{Class, MasterKeyId};

/// What came of the tries so far. A master key is the one that is configured for a key, if any is.
pub struct Tries<'a> {
    /// Told of each failure.
    told: &'a dyn Fn(&KeyStoreError),
    failed: usize,
    skipped: usize,
    first: Option<KeyStoreError>,
    /// Nothing is tried any more.
    has_ended: bool,
    /// What KMS has given out already cannot be stored either.
    is_storing_over: bool,
    /// Master keys under which nothing is tried any more.
    ended: Vec<Option<MasterKeyId>>,
    /// Master keys for which KMS has given no answer at the last try.
    silent: Vec<Option<MasterKeyId>>,
    /// For how many master keys KMS has given no answer twice.
    silenced: usize,
}

/// Whose tries would fail like one that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// That key's alone.
    Key,
    /// Those of all keys that have the same master key.
    MasterKey,
    /// All in this process, or in this folder.
    All,
}

impl<'a> Tries<'a> {
    /// `told` is told of each failure.
    pub fn new(told: &'a dyn Fn(&KeyStoreError)) -> Self {
        Self {
            told,
            failed: 0,
            skipped: 0,
            first: None,
            has_ended: false,
            is_storing_over: false,
            ended: Vec::new(),
            silent: Vec::new(),
            silenced: 0,
        }
    }

    /// Whether a key is worth trying. If not, it is counted.
    pub fn may_try(&mut self, master_key: Option<&MasterKeyId>) -> bool {
        let may = !self.has_ended && !self.ended.iter().any(|ended| ended.as_ref() == master_key);
        if !may {
            self.skip(1);
        }
        may
    }

    /// KMS has done what it was asked for.
    pub fn answered(&mut self, master_key: Option<&MasterKeyId>) {
        self.silent.retain(|silent| silent.as_ref() != master_key);
    }

    /// KMS was not asked, or did not do what it was asked for. If it gives no answer, a second key is tried: to find that out
    /// for each of many would take many minutes. If it gives none for a second master key either, all have been tried.
    pub fn failed(&mut self, master_key: Option<&MasterKeyId>, error: KeyStoreError) {
        self.learn(master_key, &error);
        self.count(error);
    }

    /// The same, but the caller counts.
    pub fn learn(&mut self, master_key: Option<&MasterKeyId>, error: &KeyStoreError) {
        let is_silent = matches!(error, KeyStoreError::Kms(_, error) if error.class.is_no_answer());
        let was_silent = self.silent.iter().any(|silent| silent.as_ref() == master_key);
        if is_silent && was_silent {
            self.ended.push(master_key.cloned());
            self.silenced += 1;
            self.has_ended |= self.silenced == 2;
        } else if is_silent {
            self.silent.push(master_key.cloned());
        } else {
            self.answered(master_key);
        }
        match reach(error) {
            Reach::Key => {}
            Reach::MasterKey => self.ended.push(master_key.cloned()),
            Reach::All => self.has_ended = true,
        }
    }

    /// A key that KMS has given out could not be stored.
    pub fn failed_to_store(&mut self, error: KeyStoreError) {
        if reach(&error) == Reach::All {
            return self.end(error);
        }
        self.count(error);
    }

    /// Nothing can be stored: no key is worth trying.
    pub fn end(&mut self, error: KeyStoreError) {
        (self.has_ended, self.is_storing_over) = (true, true);
        self.count(error);
    }

    /// Whether even what KMS has given out already cannot be stored.
    pub fn no_more_can_be_stored(&self) -> bool {
        self.is_storing_over
    }

    /// Keys that are not tried.
    pub fn skip(&mut self, keys: usize) {
        self.skipped += keys;
    }

    /// Fails if one of the keys did; there were so many.
    pub fn result(self, of: usize) -> Result<(), KeyStoreError> {
        let Self { failed, skipped, .. } = self;
        match self.first {
            None => Ok(()),
            Some(first) => Err(KeyStoreError::Several { failed, of, skipped, first: Box::new(first) }),
        }
    }

    fn count(&mut self, error: KeyStoreError) {
        (self.told)(&error);
        self.failed += 1;
        self.first.get_or_insert(error);
    }
}

fn reach(error: &KeyStoreError) -> Reach {
    match error {
        KeyStoreError::Kms(_, error) => match error.class {
            Class::UntrustedCa
            | Class::BadCertificate
            | Class::NoCredentials
            | Class::BadCredentials
            | Class::RoleRefused
            | Class::Clock
            | Class::Config => Reach::All,
            // Also the region: that of a master key stands in its ARN.
            Class::Denied
            | Class::Disabled
            | Class::InvalidState
            | Class::KeyStore
            | Class::NotFound
            | Class::KeyType
            | Class::NoRegion
            | Class::WrongRegion => Reach::MasterKey,
            Class::Throttled
            | Class::Transient
            | Class::Internal
            | Class::Unavailable
            | Class::WrongKey
            | Class::Corrupt
            | Class::Rejected => Reach::Key,
        },
        KeyStoreError::NoMasterKey(_) => Reach::MasterKey,
        // Of one file: another one may be readable.
        KeyStoreError::Io { action, error, .. }
            if action.starts_with("read") && error.kind() == ErrorKind::PermissionDenied =>
        {
            Reach::Key
        }
        KeyStoreError::Io { error, .. } => match error.kind() {
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied => Reach::All,
            _ => Reach::Key,
        },
        KeyStoreError::Locked(_)
        | KeyStoreError::FileSystem { .. }
        | KeyStoreError::NewerManifest(_)
        | KeyStoreError::NewMasterKey { .. }
        | KeyStoreError::Folder(..)
        | KeyStoreError::WrongFolder { .. }
        | KeyStoreError::BackupCreatesNothing(_)
        | KeyStoreError::LockGivenUp(_)
        | KeyStoreError::RecoveryCreatesNothing(..)
        | KeyStoreError::GivenUp(_) => Reach::All,
        _ => Reach::Key,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;
    use crate::keystore::KeyName;
    use crate::kms::{Call, KmsError};

    fn error(class: Class) -> KeyStoreError {
        let name = KeyName::new(1, 2).expect("a name");
        KeyStoreError::Kms(name, KmsError::new(Call::GenerateDataKeyWithoutPlaintext, class, ""))
    }

    /// Fails with these, one after the other. Answers which of three master keys may be tried after each.
    fn after(failures: &[(Option<&str>, Class)]) -> Vec<[bool; 3]> {
        let keys = [None, Some("alias/a"), Some("alias/b")].map(|name| name.and_then(MasterKeyId::parse));
        let told = |_: &KeyStoreError| ();
        let mut tries = Tries::new(&told);
        let after = failures.iter().map(|(name, class)| {
            let master_key = name.and_then(MasterKeyId::parse);
            tries.failed(master_key.as_ref(), error(*class));
            [&keys[0], &keys[1], &keys[2]].map(|key| tries.may_try(key.as_ref()))
        });
        after.collect()
    }

    #[test]
    fn what_is_wrong_with_a_master_key_ends_the_tries_of_its_keys_and_what_is_wrong_here_ends_all() {
        use Class::{Clock, Denied, Disabled, NoCredentials, NoRegion, NotFound, Throttled, UntrustedCa, WrongRegion};
        let (a, b) = (Some("alias/a"), Some("alias/b"));
        for class in [Denied, Disabled, NotFound, WrongRegion, NoRegion] {
            assert_eq!(after(&[(a, class), (b, class)]), [[true, false, true], [true, false, false]], "{class}");
            assert_eq!(after(&[(None, class)]), [[false, true, true]], "{class}");
        }
        for class in [Clock, NoCredentials, UntrustedCa] {
            assert_eq!(after(&[(a, class)]), [[false; 3]], "{class}");
        }
        assert_eq!(after(&[(a, Throttled), (a, Throttled), (a, Throttled)]), [[true; 3]; 3]);
    }

    #[test]
    fn without_an_answer_two_keys_of_a_master_key_are_tried_and_two_master_keys() {
        use Class::{Throttled, Transient};
        let (a, b) = (Some("alias/a"), Some("alias/b"));
        assert_eq!(after(&[(a, Transient), (b, Transient)]), [[true; 3]; 2]);
        assert_eq!(after(&[(a, Transient), (a, Throttled), (a, Transient)]), [[true; 3]; 3]);
        assert_eq!(after(&[(a, Transient), (a, Transient)])[1], [true, false, true]);
        let all = after(&[(a, Transient), (a, Transient), (b, Transient), (b, Transient)]);
        assert_eq!(all[2..], [[true, false, true], [false; 3]]);
    }

    #[test]
    fn a_disk_that_is_full_ends_all_and_one_that_fails_does_not() {
        let told = |_: &KeyStoreError| ();
        for (kind, may) in [(ErrorKind::StorageFull, false), (ErrorKind::Other, true)] {
            let mut tries = Tries::new(&told);
            tries.failed_to_store(KeyStoreError::Io { action: "write", path: "f".into(), error: kind.into() });
            assert_eq!((tries.may_try(None), !tries.no_more_can_be_stored()), (may, may), "{kind}");
            let KeyStoreError::Several { failed, of, skipped, .. } = tries.result(7).expect_err("one failed") else {
                panic!("another error");
            };
            assert_eq!((failed, of, skipped), (1, 7, usize::from(!may)));
        }
    }
}
