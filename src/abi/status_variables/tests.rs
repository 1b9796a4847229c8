//! The list as the server reads it: what is declared, and what the functions answer.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use super::value::{Answer, Buffer, Value};
use super::*;

#[test]
fn each_variable_has_a_name_of_its_own_that_the_server_does_not_cut_and_that_has_no_prefix() {
    let names: Vec<String> = shown().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    for name in &names {
        assert!("aws_key_management_".len() + name.len() < 64, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!name.starts_with("aws"), "the server would not put the plugin's name before the others: {name}");
    }
    for call in ["", "decrypt_", "encrypt_", "generate_"] {
        for number in ["calls", "calls_failed", "calls_throttled", "retries", "time_us", "max_time_us"] {
            assert!(names.contains(&format!("kms_{call}{number}")), "kms_{call}{number}: {names:?}");
        }
    }
}

#[test]
fn the_documents_know_all_of_them_and_no_others() {
    let document = include_str!("../../../docs/monitoring.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let documented: BTreeSet<String> = rows.flat_map(|(names, _)| names.split("`, `").map(str::to_owned)).collect();
    assert_eq!(documented, shown().into_iter().map(|(name, _)| name).collect());
}

#[test]
fn while_the_plugin_is_not_initialised_numbers_are_0_switches_off_and_texts_empty() {
    for (name, value) in shown() {
        assert!(matches!(value.as_str(), "0" | "OFF" | ""), "{name}: {value}");
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_between_two_characters_and_ends_within_the_buffer() {
    assert_eq!(put(&"x".repeat(2047)), "x".repeat(2047));
    assert_eq!(put(&"x".repeat(2048)), "x".repeat(2047));
    assert_eq!(put(&"\u{e9}".repeat(2000)), "\u{e9}".repeat(1023));
    assert_eq!(put(&"a\0b".to_owned()), "a b");
}

#[test]
fn numbers_switches_and_dates_are_shown_as_the_server_and_its_exporter_read_them() {
    assert_eq!((put(&u64::MAX), put(&0_u64)), (u64::MAX.to_string(), "0".to_owned()));
    assert_eq!((put(&true), put(&false)), ("ON".to_owned(), "OFF".to_owned()));
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(put(&at(0)), "1970-01-01 00:00:00");
    assert_eq!(put(&Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_489_805_999))), "2026-11-24 03:10:05");
    assert_eq!(put(&None::<SystemTime>), "");
}

#[test]
#[cfg(not(miri))] // which reports the payload of the panic, leaked on purpose
fn a_row_that_panics_shows_nothing() {
    struct Panics;
    #[derive(Default)]
    struct AtFirst(bool);
    impl Value for AtFirst {
        fn put(&self, buffer: &mut Buffer) -> c::enum_mysql_show_type {
            0_u64.put(buffer)
        }
    }
    impl Row for Panics {
        type Value = AtFirst;
        fn value(_: &Figures) -> AtFirst {
            panic!("as planned")
        }
    }
    assert!(!AtFirst::default().0);
    assert_eq!(ask(row::show::<Panics>), "0");
}

/// All variables, as SHOW STATUS finds them, without the plugin's name.
fn shown() -> Vec<(String, String)> {
    let mut shown = Vec::new();
    collect("", LIST.as_ptr().cast(), &mut shown);
    shown
}

fn collect(prefix: &str, mut list: *const c::st_mysql_show_var, shown: &mut Vec<(String, String)>) {
    loop {
        // SAFETY: in a list of the plugin.
        let variable = unsafe { *list };
        if variable.name.is_null() {
            return;
        }
        // SAFETY: not the end of the list.
        list = unsafe { list.add(1) };
        // SAFETY: the name of a variable.
        let name = unsafe { CStr::from_ptr(variable.name) }.to_str().expect("ASCII");
        let name = format!("{prefix}{name}");
        match variable.type_ {
            c::enum_mysql_show_type_SHOW_ARRAY => collect(&format!("{name}_"), variable.value.cast(), shown),
            c::enum_mysql_show_type_SHOW_FUNC => {
                // SAFETY: the value of such a variable is a function of this type.
                let function = unsafe { std::mem::transmute::<*mut c_void, Function>(variable.value) };
                shown.push((name, ask(function)));
            }
            other => panic!("{name} has type {other}"),
        }
    }
}

type Function = unsafe extern "C" fn(c::MYSQL_THD, *mut c_void, *mut c_void, *mut c_void, c::enum_var_type) -> c_int;

/// Asks a function for its value, with memory that nobody has initialised.
fn ask(function: Function) -> String {
    let mut answer = MaybeUninit::<c::st_mysql_show_var>::uninit();
    let mut buffer: Buffer = [MaybeUninit::uninit(); 2048];
    let (at, room) = (answer.as_mut_ptr(), (&raw mut buffer).cast::<c_void>());
    // SAFETY: what the server passes.
    let result = unsafe { function(ptr::null_mut(), at.cast(), room, ptr::null_mut(), 0) };
    assert_eq!(result, 0);
    // SAFETY: the function has said what the value is, and where.
    let kind = unsafe { (*at).type_ };
    // SAFETY: as above.
    let value = unsafe { (*at).value };
    assert_eq!(value, room);
    read(kind, &buffer)
}

fn put(value: &impl Value) -> String {
    let mut buffer: Buffer = [MaybeUninit::uninit(); 2048];
    let mut answer = MaybeUninit::<Answer>::uninit();
    // SAFETY: an answer is made of memory that need not be initialised.
    unsafe { answer.assume_init_mut() }.give(value, &mut buffer);
    read(value.put(&mut buffer), &buffer)
}

/// As the server reads it.
fn read(kind: c::enum_mysql_show_type, buffer: &Buffer) -> String {
    let bytes = buffer.as_ptr().cast::<u8>();
    match kind {
        // SAFETY: the value is a number.
        c::enum_mysql_show_type_SHOW_ULONGLONG => unsafe { bytes.cast::<u64>().read_unaligned() }.to_string(),
        // SAFETY: the value is a byte.
        c::enum_mysql_show_type_SHOW_BOOL => match unsafe { bytes.read() } {
            0 => "OFF".to_owned(),
            1 => "ON".to_owned(),
            other => panic!("{other} is no bool"),
        },
        c::enum_mysql_show_type_SHOW_CHAR => {
            // SAFETY: the value is a text that ends in NUL; that it does so within the buffer, Miri sees.
            let text = unsafe { CStr::from_ptr(bytes.cast()) };
            text.to_str().expect("UTF-8").to_owned()
        }
        other => panic!("a value of type {other}"),
    }
}
