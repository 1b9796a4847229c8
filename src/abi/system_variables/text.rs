//! Variables that are text.
//!
//! The memory of a text that only the start sets is the server's (PLUGIN_VAR_MEMALLOC). That of a text which can be SET is
//! the plugin's, since the server leaves the allocating to a plugin that has an update function: and as what the server
//! itself has put into such a variable is freed when an INSTALL statement ends, init replaces it by a copy.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::super::bindings as c;
use super::super::server_text::{ServerText, TextCell};
use super::super::server_writable::ServerWritable;
use super::access::{InInit, InUpdate};
use super::value::{New, Value};
use super::variable::{Check, Kind, OnSet, Update, Variable, check, update};

/// A row: a string, empty by default.
pub(in crate::abi) struct Text<T: 'static> {
    pub(super) name: &'static CStr,
    pub(super) comment: &'static CStr,
    /// What it stands for. The error is what a SET fails with, after the plugin's name. An empty text is never an error.
    pub(super) meaning: fn(&OsStr) -> Result<T, String>,
    pub(super) on_set: OnSet<SetText<T>>,
}

/// What a SET does with a text.
pub(in crate::abi) struct SetText<T> {
    pub(super) change: fn(T),
    /// What an empty text does, for the message that NULL cannot be: "switches .. off".
    pub(super) empty: &'static str,
}

impl<T: 'static> Kind for Text<T> {
    type Declaration = c::mysql_sysvar_of_string;
    type Cell = TextCell;

    fn at_start(variable: &Variable<Self>, init: &InInit<'_>) {
        if !variable.row.is_the_servers() {
            variable.cell.keep(variable.cell.read(init), init);
        }
    }
}

impl<T: 'static> Variable<Text<T>> {
    pub(super) const fn new(this: &'static Self, row: Text<T>) -> Self {
        let declaration = c::mysql_sysvar_of_string {
            flags: (c::PLUGIN_VAR_STR | if row.is_the_servers() { c::PLUGIN_VAR_MEMALLOC } else { 0 }) as c_int
                | row.on_set.flags(),
            name: row.name.as_ptr(),
            comment: row.comment.as_ptr(),
            check: if row.is_the_servers() { None } else { Some(check::<Text<T>>) },
            update: if row.is_the_servers() { None } else { Some(update::<Text<T>>) },
            value: this.cell.as_ptr(),
            // Never NULL: mariadb-backup would crash on it.
            def_val: c"".as_ptr().cast_mut(),
        };
        Self { declaration: ServerWritable::new(declaration), cell: TextCell::new(), row }
    }

    /// What the value stands for. An error is what a SET of it would fail with.
    pub(in crate::abi) fn read(&self, init: &InInit<'_>) -> Result<T, String> {
        (self.row.meaning)(&self.text(init))
    }

    /// The value as it is.
    pub(in crate::abi) fn text(&self, init: &InInit<'_>) -> OsString {
        OsString::from_vec(self.cell.read(init).into_bytes())
    }
}

impl<T> Text<T> {
    const fn is_the_servers(&self) -> bool {
        matches!(self.on_set, OnSet::Refuse)
    }
}

impl<T: 'static> Check for Text<T> {
    type Saved = *const c_char;

    fn check(variable: &Variable<Self>, value: Value<'_>) -> Result<*const c_char, String> {
        let name = variable.row.name.to_string_lossy();
        let Ok(text) = value.text() else {
            return Err(format!(
                "aws_key_management_{name} takes text in UTF-8 without NUL; this is none, or is in another character set, as \
                 utf16. Write CONVERT('..' USING utf8mb4)"
            ));
        };
        let Some(text) = text else {
            let hint = match &variable.row.on_set {
                OnSet::Call(set) => format!("; '' {}", set.empty),
                OnSet::Refuse => String::new(),
            };
            return Err(format!("aws_key_management_{name} cannot be NULL{hint}"));
        };
        (variable.row.meaning)(OsStr::from_bytes(text.to_bytes())).map(|_| text.as_ptr())
    }
}

impl<T: 'static> Update for Text<T> {
    type New = New<ServerText>;

    fn update(variable: &Variable<Self>, New(text): New<ServerText>, access: &InUpdate<'_>) {
        let text = text.to_owned().unwrap_or_default();
        let meaning = (variable.row.meaning)(OsStr::from_bytes(text.as_bytes()));
        variable.cell.keep(text, access);
        if let (OnSet::Call(set), Ok(meaning)) = (&variable.row.on_set, meaning) {
            (set.change)(meaning);
        }
    }
}
