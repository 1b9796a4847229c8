//! One lock a key id, so that a call of KMS for one key holds up no caller of another.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::KeyId;

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
    /// Waits until nobody else works on `id`.
    pub(super) fn lock(&self, id: KeyId) -> KeyLock<'_> {
        let mut taken =
            self.released.wait_while(self.taken(), |taken| taken.contains(&id)).unwrap_or_else(PoisonError::into_inner);
        taken.insert(id);
        KeyLock { locks: self, id }
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<KeyId>> {
        // The map is whole between any two statements, so a panic elsewhere has not spoilt it.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    use std::time::Duration;

    #[test]
    fn a_lock_holds_up_its_own_key_only() {
        let (one, two) = (KeyId::new(1).expect("id"), KeyId::new(2).expect("id"));
        let locks = KeyLocks::default();
        let released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let first = locks.lock(one);
            drop(locks.lock(two));
            let waiter = scope.spawn(|| {
                let _second = locks.lock(one);
                assert!(released.load(Ordering::SeqCst));
            });
            std::thread::sleep(Duration::from_millis(50));
            released.store(true, Ordering::SeqCst);
            drop(first);
            waiter.join().expect("the waiter got the lock after it was released");
        });
    }
}
