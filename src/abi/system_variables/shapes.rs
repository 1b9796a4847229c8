//! The shapes of variables, as the server's macros `MYSQL_SYSVAR_*` would make them.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::ptr;

use super::super::bindings as c;
use super::super::boundary::ServerWritable;

// Every variable is an option of the command line too: mariadb-backup passes all of them back in that way.
pub(super) const AT_RUN_TIME: c_int = c::PLUGIN_VAR_RQCMDARG as c_int;
pub(super) const AT_START: c_int = (c::PLUGIN_VAR_RQCMDARG | c::PLUGIN_VAR_READONLY) as c_int;

pub(super) type Check =
    unsafe extern "C" fn(c::MYSQL_THD, *mut c::st_mysql_sys_var, *mut c_void, *mut c::st_mysql_value) -> c_int;
pub(super) type Update = unsafe extern "C" fn(c::MYSQL_THD, *mut c::st_mysql_sys_var, *mut c_void, *const c_void);

pub(super) const fn string_variable(
    name: &'static CStr,
    comment: &'static CStr,
    value: &'static ServerWritable<*mut c_char>,
    at_run_time: Option<(Check, Update)>,
) -> ServerWritable<c::mysql_sysvar_of_string> {
    let (flags, check, update) = match at_run_time {
        Some((check, update)) => (AT_RUN_TIME, Some(check), Some(update)),
        None => (AT_START, None, None),
    };
    ServerWritable::new(c::mysql_sysvar_of_string {
        // Without PLUGIN_VAR_MEMALLOC: the memory of the value is the plugin's (see `values.rs`).
        flags: c::PLUGIN_VAR_STR as c_int | flags,
        name: name.as_ptr(),
        comment: comment.as_ptr(),
        check,
        update,
        value: value.as_ptr(),
        // Never NULL: mariadb-backup would crash on it.
        def_val: c"".as_ptr(),
    })
}

pub(super) const fn int_variable(
    name: &'static CStr,
    comment: &'static CStr,
    value: &'static ServerWritable<c_int>,
    default: c_int,
    max: c_int,
) -> ServerWritable<c::mysql_sysvar_of_int> {
    ServerWritable::new(c::mysql_sysvar_of_int {
        flags: c::PLUGIN_VAR_INT as c_int | AT_START,
        name: name.as_ptr(),
        comment: comment.as_ptr(),
        check: None,
        update: None,
        value: value.as_ptr(),
        def_val: default,
        min_val: 0,
        max_val: max,
        blk_sz: 0,
    })
}

pub(super) const fn enum_variable<const N: usize>(
    name: &'static CStr,
    comment: &'static CStr,
    value: &'static ServerWritable<c_ulong>,
    names: &'static EnumNames<N>,
    update: Update,
) -> ServerWritable<c::mysql_sysvar_of_enum> {
    ServerWritable::new(c::mysql_sysvar_of_enum {
        flags: c::PLUGIN_VAR_ENUM as c_int | AT_RUN_TIME,
        name: name.as_ptr(),
        comment: comment.as_ptr(),
        check: None,
        update: Some(update),
        value: value.as_ptr(),
        def_val: 0,
        typelib: names.typelib.as_ptr().cast(),
    })
}

/// The names of an enumeration's values, ended by NULL.
pub(super) struct EnumNames<const N: usize> {
    pub(super) typelib: ServerWritable<TypeLib>,
}

impl<const N: usize> EnumNames<N> {
    pub(super) const fn new(names: &'static ServerWritable<[*const c_char; N]>) -> Self {
        let typelib = TypeLib {
            count: N as u32 - 1,
            name: c"".as_ptr(),
            type_names: names.as_ptr().cast(),
            type_lengths: ptr::null_mut(),
            hidden_values: ptr::null_mut(),
        };
        Self { typelib: ServerWritable::new(typelib) }
    }
}

/// `TYPELIB` as servers since 11.4.9 and 11.8 have it. Older ones, whose headers the plugin may be built with, know
/// nothing of the last member and never read it; without it, newer ones read what lies behind.
#[repr(C)]
pub(super) struct TypeLib {
    count: u32,
    name: *const c_char,
    type_names: *mut *const c_char,
    type_lengths: *mut u32,
    hidden_values: *mut c_void,
}
