//! A plugin's variables, filled in as a server does it: defaults first, then what stands on the command line, as text.
//!
//! A string with the flag `PLUGIN_VAR_MEMALLOC` belongs to the server, its default too, until the plugin has been
//! deinitialised. Any other string lies in memory that is gone when the INSTALL statement has ended.

mod set_statement;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{self, NonNull};
use std::slice;

use anyhow::{Context, Result, bail, ensure};

use crate::declaration::{self as c, CheckFn, NamedVariable, TypeLibrary, UpdateFn, Variable};

/// All variables of a plugin. Dropped, those that belong to the server are freed.
pub(crate) struct Variables {
    all: Vec<Entry>,
}

struct Entry {
    /// The plugin's struct.
    place: NonNull<Variable>,
    name: String,
    flags: c_int,
    check: Option<CheckFn>,
    update: Option<UpdateFn>,
    value: *mut c_void,
    /// The names of an enumeration or a set.
    names: Vec<String>,
    /// What a string points to.
    text: Option<Text>,
}

impl Variables {
    /// Finds them and gives each its default.
    ///
    /// # Safety
    /// `list` is NULL, or the list of variables of a plugin, ended by NULL. As long as the result lives, the plugin stays
    /// loaded, and nobody uses its variables but the result and the plugin's own functions.
    pub(crate) unsafe fn at_defaults(mut list: *const *mut Variable) -> Result<Self> {
        let mut all = Vec::new();
        while !list.is_null() {
            // SAFETY: in the list, whose end the loop does not pass.
            let Some(place) = NonNull::new(unsafe { *list }) else { break };
            // SAFETY: a variable of the plugin, as the caller promises.
            let mut entry = unsafe { Entry::of(place) }?;
            // SAFETY: that variable; its default has not been taken yet.
            unsafe { entry.set_default() };
            all.push(entry);
            // SAFETY: this was not the NULL at the end, so there is one more.
            list = unsafe { list.add(1) };
        }
        Ok(Self { all })
    }

    /// Gives a variable a value, written as on a command line: `ON`, a number, a name of an enumeration, a text.
    pub(crate) fn set(&mut self, name: &str, value: &OsStr) -> Result<()> {
        let entry = self.named(name)?;
        entry.set(value).with_context(|| format!("the variable {name} cannot be {}", value.display()))
    }

    /// Frees what a server has only while it executes INSTALL.
    pub(crate) fn end_of_statement(&mut self) {
        self.all.iter_mut().filter(|entry| !entry.is_server_owned()).for_each(|entry| entry.text = None);
    }

    /// Frees what belongs to the server, after deinit. An error if the plugin has put another pointer there: a server would
    /// free that one.
    pub(crate) fn free(&mut self) -> Result<()> {
        let mut replaced = Vec::new();
        for entry in self.all.iter_mut().filter(|entry| entry.is_server_owned()) {
            if !entry.free() {
                replaced.push(entry.name.as_str());
            }
        }
        ensure!(replaced.is_empty(), "the plugin has replaced memory of the server in {}", replaced.join(", "));
        Ok(())
    }

    fn named(&mut self, name: &str) -> Result<&mut Entry> {
        let entry = self.all.iter_mut().find(|entry| entry.name == name);
        entry.with_context(|| format!("the plugin has no variable {name}"))
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        // Who wants to hear of an error has called it before.
        let _ = self.free();
    }
}

impl Entry {
    /// # Safety
    /// `place` is a variable of a plugin, as for [`Variables::at_defaults`].
    unsafe fn of(place: NonNull<Variable>) -> Result<Self> {
        // SAFETY: a variable, which nobody writes meanwhile, as the caller promises.
        let Variable { flags, name, check, update, value, .. } = unsafe { place.as_ref() };
        // SAFETY: each variable has a name that ends in NUL.
        let name = unsafe { CStr::from_ptr(*name) }.to_string_lossy().into_owned();
        ensure!(
            flags & c::OF_THE_SESSION == 0,
            "the variable {name} is one of the session, which this host has none of"
        );
        let kind = flags & c::TYPE;
        ensure!((c::BOOL..=c::DOUBLE).contains(&kind), "the variable {name} is of an unknown type, {kind}");
        ensure!(!value.is_null(), "the variable {name} has no value");
        let names = if matches!(kind, c::ENUM | c::SET) {
            // SAFETY: the struct of a variable of these types has the member, which is read and not written.
            let library = unsafe { (*place.cast::<NamedVariable>().as_ptr()).names };
            // SAFETY: it points to the variable's names, as for every variable of these types.
            unsafe { names(library) }
        } else {
            Vec::new()
        };
        Ok(Self { place, name, flags: *flags, check: *check, update: *update, value: *value, names, text: None })
    }

    /// # Safety
    /// As for [`Entry::of`].
    unsafe fn set_default(&mut self) {
        // SAFETY: a variable, as the caller promises; its place is taken, and nothing read.
        let default: *const u8 = unsafe { &raw const (*self.place.as_ptr()).default }.cast();
        if self.kind() != c::STRING {
            // SAFETY: default and value both have the type of the variable, and nobody else uses either.
            return unsafe { ptr::copy_nonoverlapping(default, self.value.cast(), self.size()) };
        }
        // SAFETY: the default of a string is a pointer, aligned as `Variable` says.
        let text = unsafe { default.cast::<*const c_char>().read() };
        if self.is_server_owned() && !text.is_null() {
            // SAFETY: a string of the plugin, which ends in NUL.
            let copy = unsafe { CStr::from_ptr(text) }.to_owned();
            return self.point_to(copy);
        }
        // SAFETY: the value of a string is a pointer, and nobody else uses it.
        unsafe { self.value.cast::<*const c_char>().write(text) };
    }

    fn set(&mut self, value: &OsStr) -> Result<()> {
        if self.kind() == c::STRING {
            self.point_to(CString::new(value.as_bytes())?);
            return Ok(());
        }
        let text = value.to_str().context("it is not UTF-8")?;
        match self.kind() {
            c::BOOL => self.write(&[u8::from(switch(text)?)]),
            c::INT if self.is_unsigned() => self.write(&text.parse::<u32>()?.to_ne_bytes()),
            c::INT => self.write(&text.parse::<i32>()?.to_ne_bytes()),
            c::LONG | c::LONGLONG if self.is_unsigned() => self.write(&text.parse::<u64>()?.to_ne_bytes()),
            c::LONG | c::LONGLONG => self.write(&text.parse::<i64>()?.to_ne_bytes()),
            c::ENUM => self.write(&self.number_of(text)?.to_ne_bytes()),
            c::SET => {
                let members = text.split(',').filter(|name| !name.is_empty());
                let bits = members.map(|name| Ok(1_u64 << self.number_of(name)?));
                self.write(&bits.sum::<Result<u64>>()?.to_ne_bytes());
            }
            // The last of the types: see `of`.
            _ => self.write(&text.parse::<f64>()?.to_ne_bytes()),
        }
        Ok(())
    }

    /// Puts the bytes of a value there.
    fn write(&mut self, bytes: &[u8]) {
        assert!(self.kind() != c::STRING && bytes.len() == self.size(), "{}: a value of another type", self.name);
        // SAFETY: a number with this many bytes lies there, and nobody else uses it: see `Variables::at_defaults`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.value.cast(), bytes.len()) };
    }

    /// Puts a string there, which lives until it is replaced or freed.
    fn point_to(&mut self, text: CString) {
        assert!(self.kind() == c::STRING, "{}: a value of another type", self.name);
        let text = Text(text.into_raw());
        // SAFETY: the value of a string is a pointer, and nobody else uses it: see `Variables::at_defaults`.
        unsafe { self.value.cast::<*const c_char>().write(text.0) };
        self.text = Some(text);
    }

    /// Frees the string, and lets the variable point nowhere. `false` if it did not point to the string any more.
    fn free(&mut self) -> bool {
        let value: *mut *const c_char = self.value.cast();
        // SAFETY: the value of a string is a pointer, and nobody else uses it: see `Variables::at_defaults`.
        let found = unsafe { value.replace(ptr::null()) };
        let ours = self.text.take();
        found == ours.as_ref().map_or(ptr::null(), |text| text.0.cast_const())
    }

    fn kind(&self) -> c_int {
        self.flags & c::TYPE
    }

    fn is_unsigned(&self) -> bool {
        self.flags & c::UNSIGNED != 0
    }

    fn is_server_owned(&self) -> bool {
        self.kind() == c::STRING && self.flags & c::SERVER_OWNED != 0
    }

    /// Bytes of a value.
    fn size(&self) -> usize {
        match self.kind() {
            c::BOOL => 1,
            c::INT => 4,
            _ => 8,
        }
    }

    fn number_of(&self, name: &str) -> Result<u64> {
        let place = self.names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let place = place.with_context(|| format!("{name} is none of {}", self.names.join(", ")))?;
        Ok(place as u64)
    }
}

/// A string to which the plugin has a pointer: not a `CString`, which would claim to have the only one.
struct Text(*mut c_char);

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: made by `CString::into_raw` in `Entry::point_to`, and freed once, here.
        drop(unsafe { CString::from_raw(self.0) });
    }
}

/// # Safety
/// `library` points to names of a plugin that is loaded.
unsafe fn names(library: *const TypeLibrary) -> Vec<String> {
    // SAFETY: names of a loaded plugin, as the caller promises.
    let TypeLibrary { count, names, .. } = unsafe { &*library };
    // SAFETY: there are `count` names, and nobody writes them.
    let names = unsafe { slice::from_raw_parts(*names, *count as usize) };
    let name = |name: &*const c_char| {
        // SAFETY: a name ends in NUL.
        unsafe { CStr::from_ptr(*name) }.to_string_lossy().into_owned()
    };
    names.iter().map(name).collect()
}

fn switch(text: &str) -> Result<bool> {
    match text.to_ascii_uppercase().as_str() {
        "1" | "ON" | "TRUE" => Ok(true),
        "0" | "OFF" | "FALSE" => Ok(false),
        _ => bail!("it is neither ON nor OFF"),
    }
}
