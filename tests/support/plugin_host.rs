//! Loads the plugin's library as a server does: the symbols that it looks up, the values that it puts into the variables,
//! and the calls that it makes.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_longlong, c_uint, c_ulong, c_void};
use std::path::PathBuf;

use libloading::Library;

/// The loaded plugin. Dropped, it is unloaded.
pub struct Plugin {
    declaration: *const Declaration,
    variables: HashMap<String, *mut Variable>,
    /// What string variables point to. Like a server, not before the plugin has been unloaded is it freed.
    texts: Vec<CString>,
    _library: Library,
}

/// A value for a variable.
#[derive(Debug)]
pub enum Setting<'a> {
    Text(&'a str),
    Number(c_int),
}

impl Plugin {
    /// The library beside this test's program, with all variables at their defaults.
    pub fn load() -> Self {
        let path = library();
        // SAFETY: a library of ours whose initialisers do nothing special.
        let library = unsafe { Library::new(&path) }.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // SAFETY: the symbol is an array of declarations.
        let symbol = unsafe { library.get::<*const Declaration>(b"_maria_plugin_declarations_") };
        let declaration: *const Declaration = *symbol.expect("the declarations");
        // SAFETY: the library is loaded, and its first declaration is one.
        let list = unsafe { (*declaration).system_variables };
        let mut plugin = Self { declaration, variables: HashMap::new(), texts: Vec::new(), _library: library };
        let mut place = list;
        loop {
            // SAFETY: in the list, which ends in NULL, as does the loop.
            let variable = unsafe { *place };
            if variable.is_null() {
                break;
            }
            // SAFETY: not the last of the list, so there is one behind it.
            place = unsafe { place.add(1) };
            // SAFETY: a variable of the loaded library.
            let name = unsafe { (*variable).name };
            // SAFETY: each variable has a name that ends in NUL.
            let name = unsafe { CStr::from_ptr(name) };
            plugin.variables.insert(name.to_str().expect("UTF-8").to_owned(), variable);
            plugin.set_default(variable);
        }
        plugin
    }

    /// Gives a variable a value.
    pub fn set(&mut self, name: &str, value: &Setting<'_>) {
        let variable = *self.variables.get(name).unwrap_or_else(|| panic!("there is no variable {name}"));
        // SAFETY: a variable of the loaded library.
        let Variable { flags, value: place, .. } = unsafe { *variable };
        match (value, flags & TYPE) {
            (Setting::Text(text), STRING) => {
                let text = CString::new(*text).expect("no NUL");
                // SAFETY: a string variable's value is a pointer, which only the plugin's init reads.
                unsafe { *place.cast::<*const c_char>() = text.as_ptr() };
                self.texts.push(text);
            }
            // SAFETY: an int variable's value is an int, which only the plugin's init reads.
            (Setting::Number(number), INT) => unsafe { *place.cast::<c_int>() = *number },
            _ => panic!("{value:?} is no value for {name}"),
        }
    }

    /// Calls the plugin's init. 0 is success.
    pub fn init(&self) -> c_int {
        let init = self.declaration().init;
        // SAFETY: the plugin takes anything for the argument, which it does not look at.
        unsafe { init(std::ptr::null_mut()) }
    }

    /// Calls the plugin's deinit.
    pub fn deinit(&self) -> c_int {
        let deinit = self.declaration().deinit;
        // SAFETY: as in `init`.
        unsafe { deinit(std::ptr::null_mut()) }
    }

    /// Calls the first of the encryption plugin's functions.
    pub fn latest_key_version(&self, id: c_uint) -> c_uint {
        // SAFETY: `info` of an encryption plugin points to such a struct.
        let function = unsafe { (*self.declaration().info).latest_key_version };
        // SAFETY: the plugin is initialised, and the function takes any id.
        unsafe { function(id) }
    }

    fn declaration(&self) -> &Declaration {
        // SAFETY: in the library, which is loaded as long as `self` lives; the plugin never writes it.
        unsafe { &*self.declaration }
    }

    fn set_default(&mut self, variable: *mut Variable) {
        // SAFETY: a variable of the loaded library.
        let Variable { flags, value, default, .. } = unsafe { *variable };
        match flags & TYPE {
            STRING => {
                // SAFETY: the default of a string variable is a pointer.
                let text = unsafe { default.text };
                // SAFETY: the value of a string variable is one too.
                unsafe { *value.cast::<*const c_char>() = text };
            }
            INT => {
                // SAFETY: the default of an int variable is an int.
                let number = unsafe { default.int };
                // SAFETY: the value of an int variable is one too.
                unsafe { *value.cast::<c_int>() = number };
            }
            ENUM => {
                // SAFETY: the default of an enum variable is an unsigned long.
                let number = unsafe { default.long };
                // SAFETY: the value of an enum variable is one too.
                unsafe { *value.cast::<c_ulong>() = number };
            }
            LONGLONG => {
                // SAFETY: the default of a longlong variable is one.
                let number = unsafe { default.longlong };
                // SAFETY: the value of a longlong variable is one too.
                unsafe { *value.cast::<c_longlong>() = number };
            }
            // The feature `mock`, which is off by default, and so is the variable.
            BOOL => {}
            other => panic!("a variable of an unknown type, {other}"),
        }
    }
}

/// `struct st_maria_plugin` (include/mysql/plugin.h of the server).
#[repr(C)]
struct Declaration {
    kind: c_int,
    info: *const Encryption,
    names: [*const c_char; 3],
    license: c_int,
    init: unsafe extern "C" fn(*mut c_void) -> c_int,
    deinit: unsafe extern "C" fn(*mut c_void) -> c_int,
    version: c_uint,
    status_variables: *const c_void,
    system_variables: *const *mut Variable,
}

/// The beginning of `struct st_mariadb_encryption` (include/mysql/plugin_encryption.h).
#[repr(C)]
struct Encryption {
    interface_version: c_int,
    latest_key_version: unsafe extern "C" fn(c_uint) -> c_uint,
}

/// The beginning that the structs of all variables have in common (`MYSQL_PLUGIN_VAR_HEADER`), with value and default.
#[repr(C)]
#[derive(Clone, Copy)]
struct Variable {
    flags: c_int,
    name: *const c_char,
    comment: *const c_char,
    check: *const c_void,
    update: *const c_void,
    value: *mut c_void,
    default: Default,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Default {
    text: *const c_char,
    int: c_int,
    long: c_ulong,
    longlong: c_longlong,
}

const TYPE: c_int = 0x7f;
const BOOL: c_int = 1;
const INT: c_int = 2;
const LONGLONG: c_int = 4;
const STRING: c_int = 5;
const ENUM: c_int = 6;

/// Cargo puts the library beside the programs of the tests.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("a folder").join("libaws_key_management.so")
}
