//! The variables as the server sees them: it reads what is declared, and SETs.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_longlong};
use std::mem::MaybeUninit;
use std::ptr;

use super::super::export::Argument;
use super::value::Value;
use super::variable::{Check, Update, check, update};
use super::*;

#[test]
fn the_memory_of_a_text_is_the_servers_if_only_the_start_sets_it() {
    let (at_start, at_any_time) = (c::PLUGIN_VAR_READONLY | c::PLUGIN_VAR_MEMALLOC, 0);
    for (variable, flags) in [
        (MASTER_KEY_ID.as_sys_var(), at_any_time),
        (ALLOWED_KEY_IDS.as_sys_var(), at_start),
        (REGION.as_sys_var(), at_start),
        (ENDPOINT_URL.as_sys_var(), at_start),
        (KEYFILE_DIR.as_sys_var(), at_start),
    ] {
        // SAFETY: a static that begins with such a struct, which nobody writes.
        let declaration = unsafe { &*variable.cast::<c::mysql_sysvar_of_string>() };
        assert_eq!(declaration.flags.cast_unsigned(), c::PLUGIN_VAR_STR | flags);
        assert_eq!((declaration.check.is_some(), declaration.update.is_some()), (flags == 0, flags == 0));
    }
}

#[test]
fn a_text_that_was_set_is_the_value_that_the_server_reads() {
    for text in ["alias/mariadb", "arn:aws:kms:us-east-1:123456789012:alias/other", ""] {
        assert_eq!(set(&MASTER_KEY_ID, Expression::Text(text.into())), 0);
        // SAFETY: a static, and no other test sets the variable.
        let value = unsafe { *MASTER_KEY_ID.cell.as_ptr() };
        // SAFETY: after a SET, the pointer is to a string.
        let value = unsafe { CStr::from_ptr(value) };
        assert_eq!(value.to_str(), Ok(text));
    }
}

#[test]
fn a_text_in_another_character_set_than_utf_8_is_refused() {
    let name = "alias/mariadb";
    let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf16le: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf32: Vec<u8> = name.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    for text in [&utf16[..], &utf16le, &utf32, b"alias/mariadb\0", b"\0", b"alias/m\0riadb", b"alias/schl\xfcssel"] {
        assert_eq!(
            refusal(&MASTER_KEY_ID, Expression::Text(text.into())),
            "aws_key_management_master_key_id takes text in UTF-8 without NUL; this is none, or is in another character set, \
             as utf16. Write CONVERT('..' USING utf8mb4)"
        );
        assert_eq!(set(&MASTER_KEY_ID, Expression::Text(text.into())), 1);
    }
}

#[test]
fn a_text_that_has_no_meaning_is_refused_with_its_reason() {
    for text in ["alias/schlüssel", "alias/", "no key", &"a".repeat(2049)] {
        let refusal = refusal(&MASTER_KEY_ID, Expression::Text(text.into()));
        assert!(refusal.starts_with(&format!("'{text}' is no name of a KMS key; ")), "{refusal}");
    }
    assert_eq!(
        refusal(&MASTER_KEY_ID, Expression::Null),
        "aws_key_management_master_key_id cannot be NULL; '' switches the making of new keys off"
    );
}

#[test]
fn a_command_takes_key_ids_and_minus_1_and_nothing_else() {
    let takes = "aws_key_management_rotate_key takes -1 (all keys) and 1 to 4294967295";
    for number in [-2, c_longlong::MIN, 4_294_967_296, c_longlong::MAX] {
        assert_eq!(refusal(&ROTATE_KEY, Expression::Signed(number)), format!("{number} is no key id; {takes}"));
    }
    let largest = format!("18446744073709551615 is no key id; {takes}");
    assert_eq!(refusal(&ROTATE_KEY, Expression::Unsigned(u64::MAX)), largest);
    assert_eq!(refusal(&ROTATE_KEY, Expression::Null), format!("NULL is no key id; {takes}"));
    for number in [-1, 1, 4_294_967_295] {
        assert_eq!(refusal(&ROTATE_KEY, Expression::Signed(number)), "the plugin is not running");
    }
    assert_eq!(set(&ROTATE_KEY, Expression::Signed(0)), 0);
}

/// The expression behind the `=` of a SET.
enum Expression {
    Null,
    Text(Vec<u8>),
    Signed(c_longlong),
    Unsigned(u64),
}

/// SETs a variable as the server does, and answers what its check does.
fn set<K: Check + Update>(variable: &'static Variable<K>, expression: Expression) -> c_int {
    let mut save = MaybeUninit::<u64>::uninit();
    let (sys_var, save) = (variable.as_sys_var(), save.as_mut_ptr().cast());
    let mut value = value_of(expression);
    // SAFETY: the variable is of the kind, the value is one, and what is saved is at most as long as an `u64`.
    let refused = unsafe { check::<K>(ptr::null_mut(), sys_var, save, &raw mut value) };
    if refused == 0 {
        // SAFETY: the check has saved what the update reads.
        unsafe { update::<K>(ptr::null_mut(), sys_var, ptr::null_mut(), save) };
    }
    refused
}

/// What the statement fails with.
fn refusal<K: Check>(variable: &'static Variable<K>, expression: Expression) -> String {
    let mut value = value_of(expression);
    // SAFETY: the value is one.
    let value = unsafe { Value::from_raw((&raw mut value,)) };
    K::check(variable, value).err().expect("accepted")
}

thread_local! {
    static EXPRESSION: RefCell<Expression> = const { RefCell::new(Expression::Null) };
}

/// A value with the functions of the server. They take the expression from where this has put it.
fn value_of(expression: Expression) -> c::st_mysql_value {
    EXPRESSION.replace(match expression {
        // The server ends a text with NUL.
        Expression::Text(text) => Expression::Text([text, vec![0]].concat()),
        other => other,
    });
    c::st_mysql_value {
        value_type: None,
        val_str: Some(val_str),
        val_real: None,
        val_int: Some(val_int),
        is_unsigned: Some(is_unsigned),
    }
}

extern "C" fn val_str(_: *mut c::st_mysql_value, _: *mut c_char, length: *mut c_int) -> *const c_char {
    EXPRESSION.with_borrow(|expression| {
        let Expression::Text(text) = expression else { return ptr::null() };
        // SAFETY: the plugin passes a live local.
        unsafe { *length = text.len() as c_int - 1 };
        text.as_ptr().cast()
    })
}

extern "C" fn val_int(_: *mut c::st_mysql_value, number: *mut c_longlong) -> c_int {
    EXPRESSION.with_borrow(|expression| {
        let value = match expression {
            Expression::Signed(value) => *value,
            Expression::Unsigned(value) => value.cast_signed(),
            _ => return 1,
        };
        // SAFETY: the plugin passes a live local.
        unsafe { *number = value };
        0
    })
}

extern "C" fn is_unsigned(_: *mut c::st_mysql_value) -> c_int {
    EXPRESSION.with_borrow(|expression| matches!(expression, Expression::Unsigned(_)).into())
}
