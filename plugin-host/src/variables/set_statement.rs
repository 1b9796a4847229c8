//! `SET GLOBAL`: the plugin's check function, which may take its time and may refuse, then its update function.

use std::ffi::{c_char, c_double, c_int, c_longlong};
use std::ptr;

use anyhow::{Result, ensure};

use super::Variables;
use crate::declaration::{self as c, SqlValue};

impl Variables {
    /// `SET GLOBAL name = number`, as a server executes it. An error if the plugin refuses the number.
    pub(crate) fn set_global(&mut self, name: &str, number: i64) -> Result<()> {
        let entry = self.named(name)?;
        ensure!(entry.flags & c::READ_ONLY == 0, "the variable {name} is read only");
        ensure!(matches!(entry.kind(), c::INT | c::LONG | c::LONGLONG), "the variable {name} takes no number");
        // A server has room for a double there.
        let mut save = 0_u64;
        if let Some(check) = entry.check {
            let mut value = Number { functions: FUNCTIONS, number };
            let place = (&raw mut save).cast();
            // SAFETY: the variable is the plugin's own, `place` has room for any number, and the value is a live local that
            // begins with its functions. A statement without a connection has NULL in its place.
            let refused = unsafe { check(ptr::null_mut(), entry.place.as_ptr(), place, (&raw mut value).cast()) };
            ensure!(refused == 0, "the plugin refuses {number} for the variable {name} ({refused})");
        } else if entry.kind() == c::INT {
            save = u64::from_ne_bytes(padded(i32::try_from(number)?.to_ne_bytes()));
        } else {
            save = number.cast_unsigned();
        }
        if let Some(update) = entry.update {
            let (variable, value) = (entry.place.as_ptr(), entry.value);
            // SAFETY: the variable is the plugin's own, with its value, and in `save` is what the check function left. The
            // exclusive reference is the lock that a server holds meanwhile.
            unsafe { update(ptr::null_mut(), variable, value, (&raw const save).cast()) };
        } else {
            entry.write(&save.to_ne_bytes()[..entry.size()]);
        }
        Ok(())
    }
}

/// The bytes of a number at the beginning of `save`.
fn padded([a, b, c, d]: [u8; 4]) -> [u8; 8] {
    [a, b, c, d, 0, 0, 0, 0]
}

/// What a statement says: a number that is not NULL.
#[repr(C)]
struct Number {
    /// First, so that a pointer to them is one to the whole.
    functions: SqlValue,
    number: c_longlong,
}

const FUNCTIONS: SqlValue = SqlValue { kind, text, real, integer, is_unsigned };

unsafe extern "C" fn kind(_: *mut SqlValue) -> c_int {
    /// `MYSQL_VALUE_TYPE_INT`
    const INTEGER: c_int = 2;
    INTEGER
}

/// Nobody asks a number for its text, which would need memory of the statement.
unsafe extern "C" fn text(_: *mut SqlValue, _: *mut c_char, _: *mut c_int) -> *const c_char {
    ptr::null()
}

/// # Safety
/// `value` is a [`Number`], `place` has room for the result.
unsafe extern "C" fn real(value: *mut SqlValue, place: *mut c_double) -> c_int {
    // SAFETY: a `Number`, as the caller promises, which nobody writes.
    let number = unsafe { (*value.cast::<Number>()).number };
    // SAFETY: room for a double, as the caller promises.
    unsafe { place.write(number as c_double) };
    0
}

/// # Safety
/// `value` is a [`Number`], `place` has room for the result.
unsafe extern "C" fn integer(value: *mut SqlValue, place: *mut c_longlong) -> c_int {
    // SAFETY: a `Number`, as the caller promises, which nobody writes.
    let number = unsafe { (*value.cast::<Number>()).number };
    // SAFETY: room for a `long long`, as the caller promises.
    unsafe { place.write(number) };
    0
}

unsafe extern "C" fn is_unsigned(_: *mut SqlValue) -> c_int {
    0
}
