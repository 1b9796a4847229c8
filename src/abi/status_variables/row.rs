//! A row of the table becomes a struct that the server knows, with a function that it calls whenever it shows the variable.
//!
//! The server calls the function under a lock that it needs for all status variables (LOCK_all_status_vars), from any
//! connection, and also for variables that the statement does not ask for: so the function does not wait.

use std::ffi::{c_int, c_void};

use super::super::bindings as c;
use super::super::export::{Place, Unused, exported};
use super::super::plugin::{self, Figures};
use super::super::server_writable::ServerWritable;
use super::value::{Answer, Buffer, Value};

/// What a row shows.
pub(super) trait Row: 'static {
    type Value: Value;

    /// To be called while the plugin is initialised. Does not wait.
    fn value(figures: &Figures) -> Self::Value;
}

exported! {
    pub(super) fn show<R: Row>(
        _thd: Unused<c::MYSQL_THD> = (thd: c::MYSQL_THD),
        answer: Place<'_, Answer> = (answer: *mut c_void),
        buffer: Place<'_, Buffer> = (buffer: *mut c_void),
        _status: Unused<*mut c_void> = (status: *mut c_void),
        _scope: Unused<c::enum_var_type> = (scope: c::enum_var_type),
    ) -> c_int, on panic 0 {
        // The server reads an answer in any case, also after a panic.
        answer.0.give(&R::Value::default(), buffer.0);
        if let Some(figures) = plugin::figures() {
            answer.0.give(&R::value(&figures), buffer.0);
        }
        0
    }
}

/// The end of a list.
pub(super) const END: c::st_mysql_show_var = c::st_mysql_show_var {
    name: std::ptr::null(),
    value: std::ptr::null_mut(),
    type_: c::enum_mysql_show_type_SHOW_UNDEF,
};

/// What stands for a row in its list. `name` ends in NUL, here and below.
pub(super) const fn of_row<R: Row>(name: &'static str) -> c::st_mysql_show_var {
    c::st_mysql_show_var {
        name: name.as_ptr().cast(),
        value: show::<R> as *mut c_void,
        // Not SHOW_SIMPLE_FUNC, which performance_schema does not know.
        type_: c::enum_mysql_show_type_SHOW_FUNC,
    }
}

/// A list within a list: the names of its rows begin with `name`, and `_`.
pub(super) const fn of_list<const N: usize>(
    name: &'static str,
    list: &'static ServerWritable<[c::st_mysql_show_var; N]>,
) -> c::st_mysql_show_var {
    c::st_mysql_show_var {
        name: name.as_ptr().cast(),
        value: list.as_ptr().cast(),
        type_: c::enum_mysql_show_type_SHOW_ARRAY,
    }
}

/// A list that the server reads: rows, `name: type = |figures| value`, and after them lists within the list, `"name": LIST`.
macro_rules! list {
    (
        $(#[$meta:meta])*
        $visibility:vis static $list:ident = {
            $($name:ident: $type:ty = |$figures:pat_param| $value:expr;)+
            $($prefix:literal: $inner:ident;)*
        }
    ) => {
        $(#[$meta])*
        $visibility static $list: ServerWritable<
            [c::st_mysql_show_var; [$(stringify!($name),)+ $($prefix,)*].len() + 1]
        > = ServerWritable::new([
            $({
                struct This;

                impl Row for This {
                    type Value = $type;

                    fn value($figures: &Figures) -> $type {
                        $value
                    }
                }

                of_row::<This>(concat!(stringify!($name), "\0"))
            },)+
            $(of_list(concat!($prefix, "\0"), &$inner),)*
            END,
        ]);
    };
}
pub(super) use list;
