//! Variables of a made-up plugin.

use std::mem::MaybeUninit;

use super::*;
use crate::declaration::SqlValue;

/// A variable of a made-up plugin.
fn variable(flags: c_int, name: &'static CStr, default: u64) -> *mut Variable {
    with_default(flags, name, MaybeUninit::new(default))
}

fn string(flags: c_int, name: &'static CStr, text: &'static CStr) -> *mut Variable {
    let mut default = MaybeUninit::<u64>::uninit();
    // SAFETY: a live local, which has room and alignment for a pointer.
    unsafe { default.as_mut_ptr().cast::<*const c_char>().write(text.as_ptr()) };
    with_default(c::STRING | flags, name, default)
}

/// Its value has 8 bytes, which nobody has set yet.
fn with_default(flags: c_int, name: &'static CStr, default: MaybeUninit<u64>) -> *mut Variable {
    let value = Box::leak(Box::new(0x5555_5555_5555_5555_u64));
    let variable = Variable::new(flags, name, ptr::from_mut(value).cast(), default);
    ptr::from_mut(Box::leak(Box::new(NamedVariable { variable, names: &raw const NAMES.0 }))).cast()
}

fn at_defaults(variables: &[*mut Variable]) -> Variables {
    let list: Vec<*mut Variable> = variables.iter().copied().chain([ptr::null_mut()]).collect();
    // SAFETY: a list that ends in NULL, of variables that are used by the result alone and never freed.
    unsafe { Variables::at_defaults(list.as_ptr()) }.unwrap()
}

/// The bytes that the plugin finds in a variable.
fn bytes(variable: *mut Variable) -> u64 {
    // SAFETY: one of `variable`.
    let value = unsafe { (*variable).value };
    // SAFETY: the eight bytes that `variable` has made.
    unsafe { value.cast::<u64>().read() }
}

/// The text that the plugin finds in a variable, if there is one.
fn text(variable: *mut Variable) -> Option<String> {
    // SAFETY: one of `variable`.
    let value = unsafe { (*variable).value };
    // SAFETY: a string's, so a pointer.
    let text = unsafe { value.cast::<*const c_char>().read() };
    // SAFETY: a string that ends in NUL, which is still there.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

#[test]
fn a_variable_of_each_type_has_its_default_and_then_what_is_set() {
    let untouched = 0x5555_5555_5555_5555_u64;
    let four = |low: u32| untouched >> 32 << 32 | u64::from(low);
    let cases = [
        (c::BOOL, 0, untouched >> 8 << 8, "on", untouched >> 8 << 8 | 1),
        (c::INT, 60, four(60), "-2", four(-2_i32 as u32)),
        (c::INT | c::UNSIGNED, 60, four(60), "4294967295", four(u32::MAX)),
        (c::LONG, 7, 7, "-1", u64::MAX),
        (c::LONGLONG | c::UNSIGNED, 7, 7, "18446744073709551615", u64::MAX),
        (c::ENUM, 0, 0, "two", 2),
        (c::SET, 1, 1, "two,ZERO", 5),
        (c::DOUBLE, 1.5_f64.to_bits(), 1.5_f64.to_bits(), "2.5", 2.5_f64.to_bits()),
    ];
    for (flags, default, first, set, then) in cases {
        let variable = variable(flags, c"x", default);
        let mut variables = at_defaults(&[variable]);
        assert_eq!(bytes(variable), first, "the default of type {flags:#x}");
        variables.set("x", set.as_ref()).unwrap();
        assert_eq!(bytes(variable), then, "type {flags:#x} set to {set}");
    }
}

#[test]
fn a_string_of_the_server_is_a_copy_that_lasts_until_it_is_freed() {
    let (plain, owned) = (string(0, c"plain", c"a"), string(c::SERVER_OWNED, c"owned", c"a"));
    let mut variables = at_defaults(&[plain, owned]);
    assert_eq!((text(plain).as_deref(), text(owned).as_deref()), (Some("a"), Some("a")));
    assert_ne!(bytes(plain), bytes(owned), "the server owns a copy, also of the default");
    variables.set("plain", "b".as_ref()).unwrap();
    variables.set("owned", "b".as_ref()).unwrap();
    variables.end_of_statement();
    assert_eq!(text(owned).as_deref(), Some("b"));
    variables.free().unwrap();
    assert_eq!(text(owned), None);
}

#[test]
fn a_plugin_that_replaces_a_string_of_the_server_is_found_out() {
    let owned = string(c::SERVER_OWNED, c"owned", c"");
    let mut variables = at_defaults(&[owned]);
    // SAFETY: one of `variable`.
    let value = unsafe { (*owned).value };
    // SAFETY: a string's value, which nobody else uses now.
    unsafe { value.cast::<*const c_char>().write(c"mine".as_ptr()) };
    let error = variables.free().unwrap_err().to_string();
    assert!(error.contains("owned"), "{error}");
}

#[test]
fn what_is_no_value_of_a_variable_is_refused_by_name() {
    let mut variables = at_defaults(&[
        variable(c::ENUM, c"choice", 0),
        variable(c::INT, c"number", 0),
        variable(c::BOOL, c"switch", 0),
    ]);
    for (name, value) in [("choice", "three"), ("number", "x"), ("number", "2147483648"), ("switch", "maybe")] {
        let error = variables.set(name, value.as_ref()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
    assert!(variables.set("another", "1".as_ref()).is_err());
}

#[test]
fn a_variable_that_this_host_cannot_fill_in_is_an_error() {
    for flags in [c::INT | c::OF_THE_SESSION, 9, 0] {
        let list = [variable(flags, c"x", 0), ptr::null_mut()];
        // SAFETY: a list that ends in NULL, of a variable that nobody else uses and that is never freed.
        assert!(unsafe { Variables::at_defaults(list.as_ptr()) }.is_err(), "{flags:#x}");
    }
}

#[test]
fn a_set_statement_is_checked_by_the_plugin_and_then_carried_out_by_it() {
    let asked = variable(c::LONGLONG, c"asked", 0);
    // SAFETY: one of `variable`, which nobody else uses.
    let functions = unsafe { &mut *asked };
    functions.check = Some(at_most_100);
    functions.update = Some(doubled);
    let mut variables = at_defaults(&[asked]);
    variables.set_global("asked", 21).unwrap();
    assert_eq!(bytes(asked), 42);
    let error = variables.set_global("asked", 101).unwrap_err().to_string();
    assert!(error.contains("101") && error.contains("asked"), "{error}");
    assert_eq!(bytes(asked), 42, "a number that is refused is not carried out");
}

#[test]
fn a_set_statement_without_functions_of_the_plugin_just_sets() {
    let (int, long) = (variable(c::INT, c"int", 0), variable(c::LONG, c"long", 0));
    let fixed = variable(c::INT | c::READ_ONLY, c"fixed", 7);
    let mut variables = at_defaults(&[int, long, fixed]);
    variables.set_global("int", -1).unwrap();
    variables.set_global("long", -1).unwrap();
    assert_eq!((bytes(int) as u32, bytes(long)), (u32::MAX, u64::MAX));
    assert_eq!(bytes(int) >> 32, 0x5555_5555, "no more than an int is written");
    assert!(variables.set_global("int", 1 << 31).is_err());
    assert!(variables.set_global("fixed", 8).is_err());
    assert_eq!(bytes(fixed) as u32, 7);
}

unsafe extern "C" fn at_most_100(_: *mut c_void, _: *mut Variable, save: *mut c_void, value: *mut SqlValue) -> c_int {
    let mut number = 0;
    // SAFETY: the value of the statement, which has this function.
    let integer = unsafe { (*value).integer };
    // SAFETY: that value, and a live local.
    unsafe { integer(value, &raw mut number) };
    // SAFETY: room for any number.
    unsafe { save.cast::<i64>().write(number) };
    c_int::from(number > 100)
}

unsafe extern "C" fn doubled(_: *mut c_void, _: *mut Variable, value: *mut c_void, save: *const c_void) {
    // SAFETY: what `at_most_100` left.
    let number = unsafe { save.cast::<i64>().read() };
    // SAFETY: the variable's value.
    unsafe { value.cast::<i64>().write(2 * number) };
}

struct Names(TypeLibrary);
// SAFETY: never written.
unsafe impl Sync for Names {}
struct Pointers([*const c_char; 4]);
// SAFETY: never written.
unsafe impl Sync for Pointers {}
static POINTERS: Pointers = Pointers([c"zero".as_ptr(), c"one".as_ptr(), c"two".as_ptr(), ptr::null()]);
static NAMES: Names = Names(TypeLibrary::new(3, &raw const POINTERS.0 as *const *const c_char));
