//! One lock a key id, so that a call of KMS for one key holds up no caller of another.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::KeyId;
use crate::waits;

/// The key ids that somebody is working on.
#[derive(Default)]
pub(super) struct KeyLocks {
    taken: Mutex<HashSet<KeyId>>,
    released: Condvar,
}

/// The lock of one key id; released when dropped.
pub(super) struct KeyLock<'a> {
    locks: &'a KeyLocks,
    id: KeyId,
}

impl KeyLocks {
    /// Waits until nobody else works on `id`. `None` if the wait had to end.
    pub(super) fn lock(&self, id: KeyId) -> Option<KeyLock<'_>> {
        let mut taken = self.taken();
        while taken.contains(&id) {
            if waits::must_end() {
                return None;
            }
            taken = self.released.wait_timeout(taken, ASK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        taken.insert(id);
        Some(KeyLock { locks: self, id })
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<KeyId>> {
        // The map is whole between any two statements, so a panic elsewhere has not spoilt it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a waiter asks whether the wait has to end.
const ASK_EVERY: Duration = Duration::from_millis(200);

impl Drop for KeyLock<'_> {
    fn drop(&mut self) {
        self.locks.taken().remove(&self.id);
        self.locks.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_lock_holds_up_its_own_key_only() {
        let (one, two) = (KeyId::new(1).expect("id"), KeyId::new(2).expect("id"));
        let locks = KeyLocks::default();
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let first = locks.lock(one).expect("a lock");
            drop(locks.lock(two).expect("a lock"));
            let waiter = scope.spawn(|| {
                let _second = locks.lock(one).expect("a lock");
                assert!(released.load(Ordering::SeqCst));
            });
            std::thread::sleep(Duration::from_millis(50));
            released.store(true, Ordering::SeqCst);
            drop(first);
            waiter.join().expect("the waiter got the lock after it was released");
        });
    }

    #[test]
    fn a_wait_for_a_lock_ends_when_it_must() {
        let one = KeyId::new(1).expect("id");
        let locks = KeyLocks::default();
        let _first = locks.lock(one).expect("a lock");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                waits::tests::MUST_END.set(true);
                locks.lock(one).is_none()
            });
            assert!(waiter.join().expect("no panic"));
        });
    }
}
