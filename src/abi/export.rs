//! How a function is given to the server: [`exported`] is the only way.

use std::any::Any;
use std::ffi::{c_uint, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error_log::ErrorLog;
use crate::keystore::Reporter;

/// Defines functions that the server calls. Each argument is named and typed as the body sees it, and says of which
/// arguments of C it is made; `on panic` is what the function answers when its body panics:
///
/// ```text
/// exported! {
///     fn crypt_ctx_update(
///         slot: UsedSlot<'_> = (ctx: *mut c_void),
///         part: InOut<'_> = (src: *const u8, slen: c_uint, dst: *mut u8),
///         written: OutLength<'_> = (dlen: *mut c_uint),
///     ) -> c_int, on panic ERROR {
///         written.answer(|| part.pass_through(slot.context()?))
///     }
/// }
/// ```
///
/// The body is safe code, and the compiler sees to that; what the server has to keep to is said at the type of each
/// argument (see [`Argument`]). A reference in an argument ends with the call.
macro_rules! exported {
    ($(
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident $(<$generic:ident: $bound:path>)? (
            $($argument:ident: $type:ty = ($($raw:ident: $raw_type:ty),+)),+ $(,)?
        ) $(-> $answer:ty)?, on panic $on_panic:tt $body:block
    )+) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// For the server, which passes what each [`Argument`](crate::abi::export::Argument) asks for.
        #[allow(unsafe_code)]
        $visibility unsafe extern "C" fn $name $(<$generic: $bound>)? ($($($raw: $raw_type),+),+) $(-> $answer)? {
            #[forbid(unsafe_code)]
            #[inline(always)]
            fn body $(<$generic: $bound>)? ($($argument: $type),+) $(-> $answer)? $body

            $crate::abi::export::guard(stringify!($name), $on_panic, || {
                $(
                    // SAFETY: the server calls the function, passes what the argument's type asks for, and the body is done
                    // with it when the call ends.
                    let $argument = unsafe { <$type as $crate::abi::export::Argument>::from_raw(($($raw,)+)) };
                )+
                body $(::<$generic>)? ($($argument),+)
            })
        }
    )+};
}
pub(super) use exported;

/// What the body of an [`exported`] function gets in place of one or more arguments of C.
pub(super) trait Argument {
    /// The arguments of C.
    type Raw;

    /// # Safety
    /// `raw` was passed by the server, in a call that lasts as long as the value lives. What else it has to be, each type
    /// says.
    unsafe fn from_raw(raw: Self::Raw) -> Self;
}

/// An argument of C that the plugin has no use for.
pub(super) struct Unused<T>(PhantomData<T>);

impl<T> Plain for Unused<T> {
    type Raw = (T,);

    fn from_plain(_: (T,)) -> Self {
        Self(PhantomData)
    }
}

/// Memory of the server's that a function fills.
pub(super) struct Place<'a, T>(pub(super) &'a mut T);

impl<T> Argument for Place<'_, T> {
    type Raw = (*mut c_void,);

    /// The pointer is to memory for a `T`, aligned for it, which nobody else uses during the call. Whatever lies there,
    /// initialised or not, is a `T`: so that is a `MaybeUninit`, or made of them.
    unsafe fn from_raw((place,): (*mut c_void,)) -> Self {
        // SAFETY: memory that is a `T`, as the caller promises.
        Self(unsafe { &mut *place.cast::<T>() })
    }
}

/// What can be made of any values of C.
pub(super) trait Plain {
    /// The arguments of C.
    type Raw;

    fn from_plain(raw: Self::Raw) -> Self;
}

impl<T: Plain> Argument for T {
    type Raw = T::Raw;

    #[inline(always)]
    unsafe fn from_raw(raw: T::Raw) -> Self {
        T::from_plain(raw)
    }
}

impl Plain for c_uint {
    type Raw = (c_uint,);

    #[inline(always)]
    fn from_plain((number,): (c_uint,)) -> Self {
        number
    }
}

/// Runs `body`; a panic in it ends here, with a line in the error log, and becomes `on_panic`: a panic that left an
/// `extern "C"` function would end the server.
#[inline]
pub(super) fn guard<T>(function: &'static str, on_panic: T, body: impl FnOnce() -> T) -> T {
    // Unwind safety: what is shared with other threads is behind locks and atomics that cope with a panic.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(answer) => answer,
        Err(panic) => {
            log_panic(function, panic);
            on_panic
        }
    }
}

/// Out of line: else each of the functions makes room on the stack for it, in every call.
#[cold]
#[inline(never)]
fn log_panic(function: &'static str, panic: Box<dyn Any + Send>) {
    // The message may not panic again.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        ErrorLog.error(&format!("internal error in {function}: {}. Please report this", message_of(&*panic)));
    }));
    // The payload's own drop may panic too; it is small, and leaking it is safe.
    std::mem::forget(panic);
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(all(test, not(miri)))] // which reports the payloads of the panics, leaked on purpose
mod tests {
    #![allow(clippy::panic)] // clippy sees no tests in the helpers

    use std::cell::Cell;

    use super::*;

    exported! {
        fn divide(_fuse: Fuse = (fuse: u8), divisor: c_uint = (divisor: c_uint)) -> c_uint, on panic 7 {
            if divisor == 1 {
                std::panic::panic_any(3.5_f32);
            }
            6 / divisor
        }
    }

    thread_local! {
        static DROPPED: Cell<usize> = const { Cell::new(0) };
    }

    /// Counts how often it was dropped.
    struct Fuse;

    impl Plain for Fuse {
        type Raw = (u8,);

        fn from_plain(_: (u8,)) -> Self {
            Self
        }
    }

    impl Drop for Fuse {
        fn drop(&mut self) {
            DROPPED.set(DROPPED.get() + 1);
        }
    }

    #[test]
    fn a_panic_becomes_the_value_that_the_function_has_for_it_and_its_arguments_are_dropped() {
        // SAFETY: the function takes any numbers.
        let answers = [2, 0, 1].map(|divisor| unsafe { divide(0, divisor) });
        assert_eq!((answers, DROPPED.get()), ([3, 7, 7], 3));
    }
}
