//! What happens when a variable is SET while the server runs.
//!
//! The server calls a check function first, without a lock, and then, if all checks of the statement passed, the update
//! function, under LOCK_global_system_variables, which every new connection needs: so what takes time, or can fail,
//! belongs into the check. `SET GLOBAL .. = DEFAULT` calls the update function only.

use std::ffi::{CStr, c_char, c_int, c_longlong, c_ulong, c_void};

use tracing::level_filters::LevelFilter;

use super::super::bindings as c;
use super::super::boundary::guard;
use super::super::error_log::{self, ErrorLog};
use super::super::plugin;
use super::values;
use crate::cipher::Algorithm;
use crate::keystore::{KeyId, Reporter};
use crate::kms::aws::sdk_log;
use crate::kms::{KeySpec, MasterKeyId};

/// Refuses what no KMS key can be called.
///
/// # Safety
/// As the server calls it: `value` is valid, and `save` has room for a pointer.
pub(super) unsafe extern "C" fn check_master_key_id(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    save: *mut c_void,
    value: *mut c::st_mysql_value,
) -> c_int {
    guard("check of master_key_id", 1, || {
        // SAFETY: `value` is valid, as the caller promises.
        let Some(text) = (unsafe { string_of(value) }) else {
            return refuse("aws_key_management_master_key_id cannot be NULL; '' switches the making of new keys off");
        };
        let name = text.to_string_lossy();
        if !name.is_empty() && MasterKeyId::parse(&name).is_none() {
            return refuse(&format!(
                "'{name}' is no name of a KMS key; aws_key_management_master_key_id takes a key id, an ARN or alias/NAME"
            ));
        }
        // SAFETY: `save` has room for a pointer, as the caller promises.
        unsafe { save.cast::<*const c_char>().write(text.as_ptr()) };
        0
    })
}

/// # Safety
/// As the server calls it: `variable` is the value of master_key_id, `save` what the check function or the default left.
pub(super) unsafe extern "C" fn update_master_key_id(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    variable: *mut c_void,
    save: *const c_void,
) {
    guard("update of master_key_id", (), || {
        // SAFETY: `save` holds a pointer to a string, as the caller promises.
        let text = unsafe { *save.cast::<*const c_char>() };
        // SAFETY: the string ends in NUL and lives until the statement ends; `variable` holds a pointer to a string.
        let name = unsafe { values::replace(variable.cast(), text) };
        let name = String::from_utf8_lossy(&name);
        if let Some(store) = plugin::store() {
            store.new_keys().change(|recipe| recipe.master_key = MasterKeyId::parse(&name));
            store.forget_failures();
        }
    });
}

/// # Safety
/// As the server calls it: `variable` is the value of key_spec, `save` the new one.
pub(super) unsafe extern "C" fn update_key_spec(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    variable: *mut c_void,
    save: *const c_void,
) {
    guard("update of key_spec", (), || {
        // SAFETY: both point to an `unsigned long`, as for every enumeration.
        let value = unsafe { copy_number(variable.cast::<c_ulong>(), save.cast()) };
        if let Some(store) = plugin::store() {
            store.new_keys().change(|recipe| recipe.spec = key_spec(value));
        }
    });
}

/// # Safety
/// As the server calls it: `variable` is the value of encryption_algorithm, `save` the new one.
pub(super) unsafe extern "C" fn update_encryption_algorithm(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    variable: *mut c_void,
    save: *const c_void,
) {
    guard("update of encryption_algorithm", (), || {
        // SAFETY: both point to an `unsigned long`, as for every enumeration.
        let value = unsafe { copy_number(variable.cast::<c_ulong>(), save.cast()) };
        if let Some(store) = plugin::store() {
            store.new_keys().change(|recipe| recipe.algorithm = algorithm(value));
        }
    });
}

/// # Safety
/// As the server calls it: `variable` is the value of log_level, `save` the new one.
pub(super) unsafe extern "C" fn update_log_level(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    variable: *mut c_void,
    save: *const c_void,
) {
    guard("update of log_level", (), || {
        // SAFETY: both point to an `unsigned long`, as for every enumeration.
        let value = unsafe { copy_number(variable.cast::<c_ulong>(), save.cast()) };
        sdk_log::set_level(log_level(value));
    });
}

/// Rotates, and refuses the value if that fails.
///
/// # Safety
/// As the server calls it: `value` is valid, and `save` has room for a `long long`.
pub(super) unsafe extern "C" fn check_rotate_key(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    save: *mut c_void,
    value: *mut c::st_mysql_value,
) -> c_int {
    guard("check of rotate_key", 1, || {
        // SAFETY: `value` is valid, as the caller promises.
        let outcome = match unsafe { number_of(value) } {
            Some(0) => Ok(()),
            Some(-1) => rotate_all(),
            Some(number) => match u32::try_from(number).ok().and_then(KeyId::new) {
                Some(id) => rotate(id),
                None => Err(format!("{number} is no key id; {WHAT_ROTATE_TAKES}")),
            },
            None => Err(format!("NULL is no key id; {WHAT_ROTATE_TAKES}")),
        };
        if let Err(text) = outcome {
            return refuse(&text);
        }
        // SAFETY: `save` has room for a `long long`, as the caller promises.
        unsafe { save.cast::<c_longlong>().write(0) };
        0
    })
}

/// # Safety
/// As the server calls it: `variable` is the value of rotate_key.
pub(super) unsafe extern "C" fn update_rotate_key(
    _: c::MYSQL_THD,
    _: *mut c::st_mysql_sys_var,
    variable: *mut c_void,
    _: *const c_void,
) {
    guard("update of rotate_key", (), || {
        // The check function did the work. The variable reads 0.
        // SAFETY: `variable` points to a `long long`, as the caller promises.
        unsafe { variable.cast::<c_longlong>().write(0) };
    });
}

/// What the number of an enumeration's value stands for; see the names in the parent module.
pub(super) fn key_spec(value: c_ulong) -> KeySpec {
    if value == 1 { KeySpec::Aes256 } else { KeySpec::Aes128 }
}

/// As [`key_spec`].
pub(super) fn algorithm(value: c_ulong) -> Algorithm {
    if value == 1 { Algorithm::AesCtr } else { Algorithm::AesCbc }
}

/// As [`key_spec`]. The SDK has no level of its own for Fatal.
pub(super) fn log_level(value: c_ulong) -> LevelFilter {
    match value {
        0 => LevelFilter::OFF,
        1 | 2 => LevelFilter::ERROR,
        3 => LevelFilter::WARN,
        4 => LevelFilter::INFO,
        5 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

const WHAT_ROTATE_TAKES: &str = "aws_key_management_rotate_key takes -1 (all keys) and 1 to 4294967295";

fn rotate(id: KeyId) -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    store.rotate(id).map(|_| ()).map_err(|error| {
        let text = format!("rotation failed: {error}");
        ErrorLog.error(&text);
        text
    })
}

fn rotate_all() -> Result<(), String> {
    let store = plugin::store().ok_or("the plugin is not running")?;
    // The key store has logged each failure.
    let count = store.rotate_all().map_err(|error| format!("rotation failed: {error}"))?;
    ErrorLog.note(&format!("rotated all {count} keys"));
    Ok(())
}

/// Makes the SET statement fail with `text`.
fn refuse(text: &str) -> c_int {
    error_log::fail_statement(text);
    1
}

/// Copies the new value of a number to the variable, and returns it.
///
/// # Safety
/// `variable` is valid for writes, `save` for reads.
unsafe fn copy_number<T: Copy>(variable: *mut T, save: *const T) -> T {
    // SAFETY: valid for reads, as the caller promises.
    let value = unsafe { *save };
    // SAFETY: valid for writes, as the caller promises.
    unsafe { *variable = value };
    value
}

/// The string of a SET statement, which lives until the statement ends; `None` for NULL.
///
/// # Safety
/// `value` is valid.
unsafe fn string_of<'a>(value: *mut c::st_mysql_value) -> Option<&'a CStr> {
    // SAFETY: valid, as the caller promises.
    let val_str = unsafe { (*value).val_str }?;
    // A buffer without room makes the server put the string into the statement's memory, unless it is empty.
    let mut buffer: [c_char; 1] = [0];
    let mut length: c_int = 0;
    // SAFETY: the buffer is valid for the length that is passed, and the server may write one NUL into it.
    let text = unsafe { val_str(value, buffer.as_mut_ptr(), &raw mut length) };
    if text.is_null() {
        None
    } else if length == 0 || std::ptr::eq(text, buffer.as_ptr()) {
        Some(c"")
    } else {
        // SAFETY: the server ends the string with NUL and keeps it for the statement.
        Some(unsafe { CStr::from_ptr(text) })
    }
}

/// The number of a SET statement, signed or not; `None` for NULL.
///
/// # Safety
/// `value` is valid.
unsafe fn number_of(value: *mut c::st_mysql_value) -> Option<i128> {
    // SAFETY: valid, as the caller promises; a copy of its pointers to functions.
    let functions = unsafe { *value };
    let val_int = functions.val_int?;
    let mut number: c_longlong = 0;
    // SAFETY: `value` is valid, and `number` is a live local.
    if unsafe { val_int(value, &raw mut number) } != 0 {
        return None;
    }
    // SAFETY: `value` is valid.
    let unsigned = functions.is_unsigned.is_some_and(|is_unsigned| unsafe { is_unsigned(value) } != 0);
    Some(if unsigned { i128::from(number.cast_unsigned()) } else { i128::from(number) })
}
