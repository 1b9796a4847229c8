//! A plugin's status variables, read as by SHOW GLOBAL STATUS.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_uint, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use anyhow::{Result, bail, ensure};

use crate::declaration::{self as c, StatusFn, StatusVariable};

/// Names and values of all of a list, with the prefix that a server puts before each.
///
/// # Safety
/// `list` is NULL, or a plugin's list of status variables, and the plugin stays loaded meanwhile.
pub(crate) unsafe fn read(prefix: &str, mut list: *const StatusVariable) -> Result<BTreeMap<String, String>> {
    let mut shown = BTreeMap::new();
    while !list.is_null() {
        // SAFETY: in the list, whose end the loop does not pass.
        let StatusVariable { name, value, kind } = unsafe { *list };
        if name.is_null() {
            break;
        }
        // SAFETY: a name ends in NUL.
        let name = format!("{prefix}_{}", unsafe { CStr::from_ptr(name) }.to_string_lossy());
        match kind {
            // SAFETY: the value of such a variable is a list.
            c::SHOW_ARRAY => shown.extend(unsafe { read(&name, value.cast()) }?),
            c::SHOW_FUNC => {
                // SAFETY: the value of such a variable is a function of this type.
                let function = unsafe { std::mem::transmute::<*mut c_void, StatusFn>(value) };
                // SAFETY: that function, of a plugin that is loaded.
                shown.insert(name, unsafe { ask(function) }?);
            }
            // A server would zero a number when it executes FLUSH STATUS.
            _ => bail!("{name} has the type {kind}, which this host does not know"),
        }
        // SAFETY: this was not the end of the list.
        list = unsafe { list.add(1) };
    }
    Ok(shown)
}

/// # Safety
/// `function` is one of a status variable.
unsafe fn ask(function: StatusFn) -> Result<String> {
    // A server has nothing there before the call; a text that is not ended would show what lies behind the buffer.
    let mut answer = MaybeUninit::<StatusVariable>::uninit();
    let mut buffer = Buffer { room: [MaybeUninit::new(0xa5); 2048], guard: [GUARD; 64] };
    let room = (&raw mut buffer.room).cast();
    // SAFETY: what the function is for.
    let failed = unsafe { function(ptr::null_mut(), answer.as_mut_ptr(), room, ptr::null_mut(), SHOW_OPT_GLOBAL) };
    ensure!(failed == 0 && buffer.guard == [GUARD; 64], "the function failed, or has written beyond its buffer");
    // SAFETY: the function has said what the value is.
    let kind = unsafe { (*answer.as_ptr()).kind };
    // SAFETY: and where it lies.
    let value = unsafe { (*answer.as_ptr()).value };
    Ok(match kind {
        // SAFETY: such a value is a byte.
        c::SHOW_BOOL => if unsafe { value.cast::<u8>().read() } == 0 { "OFF" } else { "ON" }.to_owned(),
        // SAFETY: such a value is a number.
        c::SHOW_ULONGLONG => unsafe { value.cast::<u64>().read_unaligned() }.to_string(),
        // SAFETY: such a value is a text that ends in NUL.
        c::SHOW_CHAR => unsafe { CStr::from_ptr(value.cast()) }.to_string_lossy().into_owned(),
        other => bail!("a value of the type {other}"),
    })
}

#[repr(C)]
struct Buffer {
    room: [MaybeUninit<u8>; 2048],
    guard: [u8; 64],
}

const GUARD: u8 = 0x5a;

/// `enum_var_type`
const SHOW_OPT_GLOBAL: c_uint = 2;
