//! A value that is read without waiting and replaced as a whole, by one writer at a time.
//!
//! It is `arc_swap`. For the model of the published keys (cargo feature `model`), it is a stand-in whose every step the
//! model checker can interrupt.

use std::sync::Arc;

#[cfg(not(feature = "model"))]
pub(super) use std::sync::{
    Mutex,
    atomic::{AtomicU64, fence},
};

#[cfg(feature = "model")]
pub(super) use shuttle::sync::{
    Mutex,
    atomic::{AtomicU64, fence},
};

#[cfg(not(feature = "model"))]
use arc_swap::ArcSwapOption;

#[cfg(feature = "model")]
use self::stand_in::ArcSwapOption;

/// Nothing, or a value.
#[derive(Default)]
pub(super) struct Swap<T>(ArcSwapOption<T>);

impl<T> Swap<T> {
    pub(super) const fn empty() -> Self {
        Self(ArcSwapOption::const_empty())
    }

    /// Gives `read` the value. Wait-free.
    pub(super) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.load().as_deref().map(read)
    }

    /// Replaces the value by what `next` makes of it. The caller sees to it that nobody else does so at the same time.
    pub(super) fn update(&self, next: impl FnOnce(Option<&T>) -> T) {
        let after = next(self.0.load().as_deref());
        self.0.store(Some(Arc::new(after)));
    }
}

#[cfg(feature = "model")]
mod stand_in {
    use std::sync::Arc;

    use shuttle::sync::Mutex;

    /// What is used of `arc_swap::ArcSwapOption`: each operation is one step.
    #[derive(Default)]
    pub(super) struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

    impl<T> ArcSwapOption<T> {
        pub(super) const fn const_empty() -> Self {
            Self(Mutex::new(None))
        }

        pub(super) fn load(&self) -> Option<Arc<T>> {
            self.0.lock().ok()?.clone()
        }

        pub(super) fn store(&self, value: Option<Arc<T>>) {
            if let Ok(mut now) = self.0.lock() {
                *now = value;
            }
        }
    }
}
