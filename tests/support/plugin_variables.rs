//! A plugin's variables, as a server finds them and fills them in before it calls init.
#![allow(dead_code, reason = "each user needs its part")]

use std::ffi::{CStr, c_char, c_int, c_longlong, c_ulong, c_void};
use std::mem::MaybeUninit;

/// The beginning that the structs of all variables have in common (`MYSQL_PLUGIN_VAR_HEADER` in include/mysql/plugin.h of
/// the server), with value and default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Variable {
    flags: c_int,
    name: *const c_char,
    comment: *const c_char,
    check: *const c_void,
    update: *const c_void,
    value: *mut c_void,
    /// Begins with a default of the variable's type, at most 8 bytes.
    default: MaybeUninit<u64>,
}

/// The variables of a list, which ends in NULL.
///
/// # Safety
/// `list` is the list of variables of a plugin that stays loaded as long as the result is used.
pub unsafe fn variables(mut list: *const *const Variable) -> Vec<Variable> {
    let mut found = Vec::new();
    loop {
        // SAFETY: in the list, which ends in NULL, as does the loop.
        let variable = unsafe { *list };
        if variable.is_null() {
            return found;
        }
        // SAFETY: a variable of the plugin. A copy: the value lies elsewhere.
        found.push(unsafe { *variable });
        // SAFETY: not the last of the list, so there is one behind it.
        list = unsafe { list.add(1) };
    }
}

impl Variable {
    /// One of the types below.
    pub fn kind(&self) -> c_int {
        self.flags & 0x7f
    }

    /// The name without the plugin's.
    ///
    /// # Safety
    /// The plugin is still loaded.
    pub unsafe fn name(&self) -> String {
        // SAFETY: each variable has a name that ends in NUL.
        unsafe { CStr::from_ptr(self.name) }.to_string_lossy().into_owned()
    }

    /// Gives it its default; an error is the number of a type that is not known here.
    ///
    /// # Safety
    /// The plugin is still loaded, and nobody else uses the value.
    pub unsafe fn set_default(&self) -> Result<(), c_int> {
        let size = match self.kind() {
            STRING => size_of::<*const c_char>(),
            BOOL => size_of::<c_char>(),
            INT => size_of::<c_int>(),
            LONG | ENUM => size_of::<c_ulong>(),
            LONGLONG => size_of::<c_longlong>(),
            unknown => return Err(unknown),
        };
        // SAFETY: the default and the value have this type and do not overlap; nobody else uses the value.
        unsafe { std::ptr::copy_nonoverlapping((&raw const self.default).cast::<u8>(), self.value.cast(), size) };
        Ok(())
    }

    /// Gives it a value: a pointer for a string, a char for a bool, an int, a long for an enum.
    ///
    /// # Safety
    /// The plugin is still loaded, the value has the type of the variable, and nobody else uses it.
    pub unsafe fn set<T>(&self, value: T) {
        // SAFETY: a value of this type lies there, as the caller promises.
        unsafe { self.value.cast::<T>().write(value) };
    }
}

pub const BOOL: c_int = 1;
pub const INT: c_int = 2;
pub const LONG: c_int = 3;
pub const LONGLONG: c_int = 4;
pub const STRING: c_int = 5;
pub const ENUM: c_int = 6;
