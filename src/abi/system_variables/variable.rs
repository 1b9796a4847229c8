//! What all variables have in common: a row of the table becomes a struct that the server knows, with the functions that it
//! calls when the variable is SET.
//!
//! The server calls a check function first, without a lock, and then, if all checks of the statement passed, the update
//! function, under LOCK_global_system_variables, which every new connection needs: so what takes time, or can fail, belongs
//! into the check. `SET GLOBAL .. = DEFAULT` calls the update function only. A kind without a check function of its own
//! leaves the check to the server.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use super::super::bindings as c;
use super::super::error_log;
use super::super::export::{Argument, Place, Unused, exported};
use super::super::server_writable::ServerWritable;
use super::access::{InInit, InUpdate};
use super::value::Value;

/// A variable: what the server knows of it, its value, and its row of the table.
#[repr(C)]
pub(in crate::abi) struct Variable<K: Kind> {
    /// First: the server passes its address to the functions below.
    pub(super) declaration: ServerWritable<K::Declaration>,
    pub(super) cell: K::Cell,
    pub(super) row: K,
}

/// A kind of variable; its own fields are those of a row.
pub(in crate::abi) trait Kind: Sync + Sized + 'static {
    /// The struct that the server's macros `MYSQL_SYSVAR_*` make for it.
    type Declaration;
    /// Where its value lies. Atomic, as threads of the server may read it at any time (SHOW VARIABLES, also during INSTALL).
    type Cell: Sync;

    /// What init does with the value of the start, before any is read.
    fn at_start(_variable: &Variable<Self>, _init: &InInit<'_>) {}
}

/// A kind that checks the values of a SET.
pub(super) trait Check: Kind {
    /// What the check hands over to the update.
    type Saved;

    /// An error is what the statement fails with.
    fn check(variable: &Variable<Self>, value: Value<'_>) -> Result<Self::Saved, String>;
}

/// A kind that can be SET.
pub(super) trait Update: Kind {
    /// What the check hands over to the update.
    type New: Argument<Raw = (*const c_void,)>;

    /// Stores the value, and does what a SET does.
    fn update(variable: &Variable<Self>, new: Self::New, access: &InUpdate<'_>);
}

/// What a SET does.
pub(in crate::abi) enum OnSet<F> {
    /// The server refuses it: the value is that of the start.
    Refuse,
    /// This is called, with the new value.
    Call(F),
}

impl<F> OnSet<F> {
    /// Every variable is an option of the command line too, with a value: mariadb-backup passes all of them back in that way.
    pub(super) const fn flags(&self) -> c_int {
        let flags = match self {
            Self::Refuse => c::PLUGIN_VAR_RQCMDARG | c::PLUGIN_VAR_READONLY,
            Self::Call(_) => c::PLUGIN_VAR_RQCMDARG,
        };
        flags as c_int
    }
}

impl<K: Kind> Variable<K> {
    /// What stands for the variable in the list of the plugin.
    pub(super) const fn as_sys_var(&'static self) -> *mut c::st_mysql_sys_var {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

impl<K: Kind> Argument for &'static Variable<K> {
    type Raw = (*mut c::st_mysql_sys_var,);

    /// The pointer came from [`Variable::as_sys_var`] of a variable of this kind.
    unsafe fn from_raw((variable,): (*mut c::st_mysql_sys_var,)) -> Self {
        // SAFETY: the pointer is to the beginning of a static of this type, as the caller promises.
        unsafe { &*variable.cast::<Variable<K>>() }
    }
}

exported! {
    pub(super) fn check<K: Check>(
        _thd: Unused<c::MYSQL_THD> = (thd: c::MYSQL_THD),
        variable: &'static Variable<K> = (variable: *mut c::st_mysql_sys_var),
        save: Place<'_, MaybeUninit<K::Saved>> = (save: *mut c_void),
        value: Value<'_> = (value: *mut c::st_mysql_value),
    ) -> c_int, on panic REFUSED {
        // The server has room for a double there.
        const { assert!(size_of::<K::Saved>() <= size_of::<f64>() && align_of::<K::Saved>() <= align_of::<f64>()) };
        match K::check(variable, value) {
            Ok(saved) => {
                save.0.write(saved);
                0
            }
            Err(reason) => {
                error_log::fail_statement(&reason);
                REFUSED
            }
        }
    }

    pub(super) fn update<K: Update>(
        _thd: Unused<c::MYSQL_THD> = (thd: c::MYSQL_THD),
        variable: &'static Variable<K> = (variable: *mut c::st_mysql_sys_var),
        access: InUpdate<'_> = (value: *mut c_void),
        new: K::New = (save: *const c_void),
    ), on panic () {
        K::update(variable, new, &access);
    }
}

const REFUSED: c_int = 1;

/// The table: a static for each row, the list of them that the server reads, and `at_start` for all.
macro_rules! system_variables {
    ($(
        $(#[cfg($($condition:tt)+)])?
        $name:ident: $kind:ident $(<$type:ty>)? { $($fields:tt)* }
    )+) => {
        $(
            $(#[cfg($($condition)+)])?
            pub(in crate::abi) static $name: Variable<$kind $(<$type>)?> =
                Variable::<$kind $(<$type>)?>::new(&$name, $kind { $($fields)* });
        )+

        /// All variables, ended by NULL.
        pub(in crate::abi) static LIST: ServerWritable<[*mut c::st_mysql_sys_var; COUNT + 1]> = ServerWritable::new([
            $($(#[cfg($($condition)+)])? $name.as_sys_var(),)+
            std::ptr::null_mut(),
        ]);

        /// To be called by init before it reads values.
        pub(in crate::abi) fn at_start(init: &InInit<'_>) {
            $($(#[cfg($($condition)+)])? Kind::at_start(&$name, init);)+
        }

        const COUNT: usize = [$($(#[cfg($($condition)+)])? stringify!($name)),+].len();
    };
}
pub(super) use system_variables;
