//! Loads the plugin's library as a server does: the symbols that it looks up, the values that it puts into the variables,
//! and the calls that it makes.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;

use libloading::Library;

use crate::plugin_variables::{self, Variable};

/// The loaded plugin. Dropped, it is unloaded.
pub struct Plugin {
    declaration: *const Declaration,
    variables: HashMap<String, Variable>,
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
        // SAFETY: the list of a plugin that stays loaded as long as `Self`.
        let variables = unsafe { plugin_variables::variables(list) };
        let variables = variables.into_iter().map(|variable| {
            // SAFETY: the plugin is loaded.
            let name = unsafe { variable.name() };
            // SAFETY: the plugin is loaded, and not initialised yet.
            unsafe { variable.set_default() }.unwrap_or_else(|kind| panic!("{name} is of an unknown type, {kind}"));
            (name, variable)
        });
        Self { declaration, variables: variables.collect(), texts: Vec::new(), _library: library }
    }

    /// Gives a variable a value.
    pub fn set(&mut self, name: &str, value: &Setting<'_>) {
        let variable = *self.variables.get(name).unwrap_or_else(|| panic!("there is no variable {name}"));
        match (value, variable.kind()) {
            (Setting::Text(text), plugin_variables::STRING) => {
                let text = CString::new(*text).expect("no NUL");
                // SAFETY: a string variable's value is a pointer, which only the plugin's init reads.
                unsafe { variable.set(text.as_ptr()) };
                self.texts.push(text);
            }
            // SAFETY: an int variable's value is an int, which only the plugin's init reads.
            (Setting::Number(number), plugin_variables::INT) => unsafe { variable.set(*number) },
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
    system_variables: *const *const Variable,
}

/// The beginning of `struct st_mariadb_encryption` (include/mysql/plugin_encryption.h).
#[repr(C)]
struct Encryption {
    interface_version: c_int,
    latest_key_version: unsafe extern "C" fn(c_uint) -> c_uint,
}

/// Cargo puts the library beside the programs of the tests.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("a folder").join("libaws_key_management.so")
}
