//! The structs of the server's plugin interface (include/mysql/plugin.h and plugin_encryption.h of the server), written
//! down here a second time: what the plugin has from bindgen is compared with it whenever it is loaded.

use std::ffi::{c_char, c_int, c_longlong, c_uint, c_ulong, c_void};
use std::mem::MaybeUninit;

/// `struct st_maria_plugin`: one plugin of a library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub(crate) kind: c_int,
    pub(crate) info: *const Encryption,
    names: [*const c_char; 3],
    license: c_int,
    pub(crate) init: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    pub(crate) deinit: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    number: c_uint,
    pub(crate) status_variables: *const StatusVariable,
    pub(crate) variables: *const *mut Variable,
    pub(crate) version: *const c_char,
    maturity: c_uint,
}

/// `MariaDB_ENCRYPTION_PLUGIN`
pub(crate) const ENCRYPTION_PLUGIN: c_int = 9;

/// What a server takes of `_maria_plugin_interface_version_`: any with this major version.
pub(crate) const INTERFACE_MAJOR: c_int = 1;

/// `struct st_mariadb_encryption`: a plugin's functions. What is `None` the server does itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Encryption {
    pub(crate) interface_version: c_int,
    /// `get_latest_key_version`: key id.
    pub latest_key_version: unsafe extern "C" fn(c_uint) -> c_uint,
    /// `get_key`: key id, key version, place for the key or NULL, length of that place and then of the key.
    pub key: unsafe extern "C" fn(c_uint, c_uint, *mut u8, *mut c_uint) -> c_uint,
    context_size: Option<unsafe extern "C" fn(c_uint, c_uint) -> c_uint>,
    context_init: Option<CtxInit>,
    context_update: Option<CtxUpdate>,
    context_finish: Option<CtxFinish>,
    encrypted_length: Option<unsafe extern "C" fn(c_uint, c_uint, c_uint) -> c_uint>,
}

/// The major version of `MariaDB_ENCRYPTION_INTERFACE_VERSION`, which a server checks.
pub(crate) const ENCRYPTION_MAJOR: c_int = 3;

/// The functions for messages of a plugin that encrypts by itself.
#[derive(Clone, Copy, Debug)]
pub struct Crypt {
    /// `crypt_ctx_size`: key id, key version.
    pub context_size: unsafe extern "C" fn(c_uint, c_uint) -> c_uint,
    /// `crypt_ctx_init`
    pub context_init: CtxInit,
    /// `crypt_ctx_update`
    pub context_update: CtxUpdate,
    /// `crypt_ctx_finish`
    pub context_finish: CtxFinish,
    /// `encrypted_length`: length of the plaintext, key id, key version.
    pub encrypted_length: unsafe extern "C" fn(c_uint, c_uint, c_uint) -> c_uint,
}

impl Encryption {
    /// The functions for messages; `None` if the plugin leaves AES to the server.
    pub fn crypt(&self) -> Option<Crypt> {
        Some(Crypt {
            context_size: self.context_size?,
            context_init: self.context_init?,
            context_update: self.context_update?,
            context_finish: self.context_finish?,
            encrypted_length: self.encrypted_length?,
        })
    }
}

/// Context, key and its length, IV and its length, flags, key id, key version.
pub type CtxInit =
    unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *const u8, c_uint, c_int, c_uint, c_uint) -> c_int;
/// Context, input and its length, output and the place of its length.
pub type CtxUpdate = unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *mut u8, *mut c_uint) -> c_int;
/// Context, output and the place of its length.
pub type CtxFinish = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_uint) -> c_int;

/// `struct st_mysql_show_var`: a status variable, or what its function says of its value.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct StatusVariable {
    pub(crate) name: *const c_char,
    pub(crate) value: *mut c_void,
    pub(crate) kind: c_uint,
}

/// Connection, what the value is, `SHOW_VAR_FUNC_BUFF_SIZE` bytes for it, the session's numbers, GLOBAL or SESSION.
pub(crate) type StatusFn =
    unsafe extern "C" fn(*mut c_void, *mut StatusVariable, *mut c_void, *mut c_void, c_uint) -> c_int;

// `enum_mysql_show_type`, as far as this host knows it.
pub(crate) const SHOW_BOOL: c_uint = 1;
pub(crate) const SHOW_ULONGLONG: c_uint = 4;
pub(crate) const SHOW_CHAR: c_uint = 5;
pub(crate) const SHOW_ARRAY: c_uint = 7;
pub(crate) const SHOW_FUNC: c_uint = 8;

/// What the structs of all variables begin with (`MYSQL_PLUGIN_VAR_HEADER`, then value and default). Every type of a
/// value is aligned to 8 bytes there, because a pointer is in front of it.
#[repr(C)]
pub(crate) struct Variable {
    pub(crate) flags: c_int,
    pub(crate) name: *const c_char,
    comment: *const c_char,
    pub(crate) check: Option<CheckFn>,
    pub(crate) update: Option<UpdateFn>,
    pub(crate) value: *mut c_void,
    /// Begins with a default of the variable's type, at most 8 bytes.
    pub(crate) default: MaybeUninit<u64>,
}

#[cfg(test)]
impl Variable {
    /// A made-up one.
    pub(crate) fn new(
        flags: c_int,
        name: &'static std::ffi::CStr,
        value: *mut c_void,
        default: MaybeUninit<u64>,
    ) -> Self {
        let (name, comment) = (name.as_ptr(), std::ptr::null());
        Self { flags, name, comment, check: None, update: None, value, default }
    }
}

/// Connection, variable, place for the new value, what the statement says.
pub(crate) type CheckFn = unsafe extern "C" fn(*mut c_void, *mut Variable, *mut c_void, *mut SqlValue) -> c_int;
/// Connection, variable, its value, the new value.
pub(crate) type UpdateFn = unsafe extern "C" fn(*mut c_void, *mut Variable, *mut c_void, *const c_void);

/// What follows [`Variable`] in the struct of an enumeration or a set.
#[repr(C)]
pub(crate) struct NamedVariable {
    pub(crate) variable: Variable,
    pub(crate) names: *const TypeLibrary,
}

/// The beginning of `TYPELIB`, alike in all versions.
#[repr(C)]
pub(crate) struct TypeLibrary {
    pub(crate) count: c_uint,
    name: *const c_char,
    pub(crate) names: *const *const c_char,
}

#[cfg(test)]
impl TypeLibrary {
    /// A made-up one.
    pub(crate) const fn new(count: c_uint, names: *const *const c_char) -> Self {
        Self { count, name: std::ptr::null(), names }
    }
}

/// `struct st_mysql_value`: what a SET statement says.
#[repr(C)]
pub(crate) struct SqlValue {
    pub(crate) kind: unsafe extern "C" fn(*mut SqlValue) -> c_int,
    pub(crate) text: unsafe extern "C" fn(*mut SqlValue, *mut c_char, *mut c_int) -> *const c_char,
    pub(crate) real: unsafe extern "C" fn(*mut SqlValue, *mut f64) -> c_int,
    pub(crate) integer: unsafe extern "C" fn(*mut SqlValue, *mut c_longlong) -> c_int,
    pub(crate) is_unsigned: unsafe extern "C" fn(*mut SqlValue) -> c_int,
}

// `PLUGIN_VAR_*`: types, and flags.
pub(crate) const TYPE: c_int = 0x7f;
pub(crate) const BOOL: c_int = 1;
pub(crate) const INT: c_int = 2;
pub(crate) const LONG: c_int = 3;
pub(crate) const LONGLONG: c_int = 4;
pub(crate) const STRING: c_int = 5;
pub(crate) const ENUM: c_int = 6;
pub(crate) const SET: c_int = 7;
pub(crate) const DOUBLE: c_int = 8;
pub(crate) const UNSIGNED: c_int = 0x80;
pub(crate) const OF_THE_SESSION: c_int = 0x100;
pub(crate) const READ_ONLY: c_int = 0x200;
/// `PLUGIN_VAR_MEMALLOC`: the memory of a string belongs to the server.
pub(crate) const SERVER_OWNED: c_int = 0x8000;

// The layout that every server since 10.5 has.
const _: () = assert!(size_of::<Declaration>() == 104);
const _: () = assert!(size_of::<Encryption>() == 64);
const _: () = assert!(size_of::<Variable>() == 56);
const _: () = assert!(size_of::<c_ulong>() == size_of::<u64>());
