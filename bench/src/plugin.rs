//! An encryption plugin in this process, loaded and called as a server does it.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use libloading::Library;

use crate::plugin_variables::{self, BOOL, STRING, Variable};

/// A plugin that has been initialised.
pub struct Plugin {
    encryption: Encryption,
    deinit: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    version: String,
    /// What the plugin's string variables point to.
    _texts: Vec<CString>,
}

/// A value for a variable.
#[derive(Debug)]
pub enum Setting<'a> {
    /// For a string.
    Text(&'a str),
    /// For a variable that is ON or OFF.
    Switch(bool),
}

impl Plugin {
    /// Loads the library, puts `settings` into its variables and the defaults into all others, and initialises it. The
    /// library is never unloaded. Two plugins are two libraries, so two files.
    pub fn load(library: &Path, settings: &[(&str, Setting<'_>)]) -> Result<Self> {
        // SAFETY: a plugin's library, whose initialisers are made for being loaded into any server.
        let library = unsafe { Library::new(library) }.with_context(|| format!("loading {}", library.display()))?;
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the symbol is an array of declarations.
        let symbol = unsafe { library.get::<*const Declaration>(b"_maria_plugin_declarations_") };
        let declaration: *const Declaration = *symbol.context("no plugin")?;
        // SAFETY: the array has at least one member, and stays where it is as long as the library is loaded.
        let Declaration { kind, info, init, deinit, variables, version, .. } = unsafe { *declaration };
        ensure!(kind == ENCRYPTION_PLUGIN, "not an encryption plugin but of the kind {kind}");
        let mut texts = Vec::new();
        // SAFETY: the list of the declaration, and the plugin is not initialised yet.
        unsafe { set_variables(variables, settings, &mut texts) }?;
        // SAFETY: the plugins take anything for the argument, which they do not look at; the variables have values.
        let result = init.map_or(0, |init| unsafe { init(std::ptr::null_mut()) });
        ensure!(result == 0, "the plugin's init failed ({result})");
        // SAFETY: `info` of an encryption plugin points to such a struct. A copy, because init may have changed it, and
        // nothing does later.
        let encryption = unsafe { *info };
        // SAFETY: the version is NULL or a string that ends in NUL.
        let version = unsafe { text(version) }.unwrap_or_default();
        Ok(Self { encryption, deinit, version, _texts: texts })
    }

    /// What the plugin calls its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// `get_latest_key_version`
    pub fn latest_key_version(&self, id: u32) -> u32 {
        // SAFETY: the plugin is initialised, and the function takes any id, from any thread.
        unsafe { (self.encryption.latest_key_version)(id) }
    }

    /// `get_key`: copies a key into `key` and returns its length, or the plugin's error.
    pub fn key(&self, id: u32, version: u32, key: &mut [u8; 32]) -> Result<usize, c_uint> {
        let mut length = key.len() as c_uint;
        // SAFETY: the buffer is valid for the length that is passed; any id and version may be asked for.
        let result = unsafe { (self.encryption.key)(id, version, key.as_mut_ptr(), &raw mut length) };
        if result == 0 { Ok(length as usize) } else { Err(result) }
    }

    /// The functions for messages. Not those of a plugin that leaves AES to the server: it calls services that only a
    /// server has.
    pub fn crypt(&self) -> Result<Crypt> {
        let Encryption { ctx_size, ctx_init, ctx_update, ctx_finish, .. } = self.encryption;
        let (Some(size), Some(init), Some(update), Some(finish)) = (ctx_size, ctx_init, ctx_update, ctx_finish) else {
            bail!("the plugin has no AES");
        };
        // SAFETY: takes any id and version.
        let size = unsafe { size(1, 1) } as usize;
        ensure!(size <= size_of::<Memory>(), "a context of the plugin takes {size} bytes, more than expected");
        Ok(Crypt { init, update, finish })
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(deinit) = self.deinit {
            // SAFETY: as for init; nobody calls the plugin any more.
            unsafe { deinit(std::ptr::null_mut()) };
        }
    }
}

/// A plugin's functions for messages. To be used while the plugin is there.
#[derive(Clone, Copy)]
pub struct Crypt {
    init: CtxInit,
    update: CtxUpdate,
    finish: CtxFinish,
}

impl Crypt {
    /// A whole message in several updates, with the context on the stack as the server has it. Returns how much was
    /// written to `output`, which must be at least [`SLACK`] bytes longer than the input, or the plugin's error.
    pub fn message(
        &self,
        name: KeyName,
        flags: c_int,
        key: &[u8],
        iv: &[u8],
        parts: &[&[u8]],
        output: &mut [u8],
    ) -> Result<usize, c_int> {
        assert!(output.len() >= parts.iter().map(|part| part.len()).sum::<usize>() + SLACK);
        let mut memory = MaybeUninit::<Memory>::uninit();
        let ctx: *mut c_void = memory.as_mut_ptr().cast();
        let KeyName { id, version } = name;
        let (key_len, iv_len) = (key.len() as c_uint, iv.len() as c_uint);
        // SAFETY: the memory has what the plugin asks for (see `Plugin::crypt`) and stays where it is until the end;
        // key and IV go with their lengths.
        check(unsafe { (self.init)(ctx, key.as_ptr(), key_len, iv.as_ptr(), iv_len, flags, id, version) })?;
        let mut total = 0;
        let mut result = Ok(());
        for part in parts {
            let mut written: c_uint = 0;
            let place = output[total..].as_mut_ptr();
            // SAFETY: the context is initialised and not finished; the output has two blocks more than the input.
            result = check(unsafe { (self.update)(ctx, part.as_ptr(), part.len() as c_uint, place, &raw mut written) });
            total += written as usize;
            if result.is_err() {
                break;
            }
        }
        let mut written: c_uint = 0;
        // SAFETY: the context is initialised and finished once, here; a block of output is left.
        let finished = check(unsafe { (self.finish)(ctx, output[total..].as_mut_ptr(), &raw mut written) });
        result.and(finished)?;
        Ok(total + written as usize)
    }
}

/// A version of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyName {
    /// The key's id.
    pub id: u32,
    /// The version's number.
    pub version: u32,
}

/// How much longer than the input an output must be.
pub const SLACK: usize = 32;

fn check(result: c_int) -> Result<(), c_int> {
    if result == 0 { Ok(()) } else { Err(result) }
}

/// Gives every variable of the list its value.
///
/// # Safety
/// `list` is the list of variables of a loaded plugin, which nobody else uses.
unsafe fn set_variables(
    list: *const *const Variable,
    settings: &[(&str, Setting<'_>)],
    texts: &mut Vec<CString>,
) -> Result<()> {
    let mut unknown: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    // SAFETY: the list of a loaded plugin, as the caller promises.
    for variable in unsafe { plugin_variables::variables(list) } {
        // SAFETY: the plugin is loaded.
        let name = unsafe { variable.name() };
        let setting = settings.iter().find(|(wanted, _)| *wanted == name).map(|(_, setting)| setting);
        unknown.retain(|wanted| *wanted != name);
        match (variable.kind(), setting) {
            (STRING, Some(Setting::Text(text))) => {
                let text = CString::new(*text)?;
                // SAFETY: the value of a string variable is a pointer, and nobody else uses it.
                unsafe { variable.set(text.as_ptr()) };
                texts.push(text);
            }
            // SAFETY: the value of a bool variable is a char, and nobody else uses it.
            (BOOL, Some(Setting::Switch(on))) => unsafe { variable.set(c_char::from(*on)) },
            (kind, Some(setting)) => {
                bail!("the variable {name} has the type {kind}, and {setting:?} is no value of it")
            }
            (_, None) => {
                // SAFETY: the plugin is loaded, and nobody else uses the value.
                let known = unsafe { variable.set_default() };
                known.map_err(|kind| anyhow!("the variable {name} has the unknown type {kind}"))?;
            }
        }
    }
    ensure!(unknown.is_empty(), "the plugin has no variable {}", unknown.join(", "));
    Ok(())
}

/// # Safety
/// `pointer` is NULL or a string that ends in NUL.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not NULL, and a string that ends in NUL, as the caller promises.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// Memory for a context.
type Memory = [u128; 128];

/// `struct st_maria_plugin` (mysql/plugin.h of the server).
#[repr(C)]
#[derive(Clone, Copy)]
struct Declaration {
    kind: c_int,
    info: *const Encryption,
    names: [*const c_char; 3],
    license: c_int,
    init: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    deinit: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    number: c_uint,
    status_variables: *const c_void,
    variables: *const *const Variable,
    version: *const c_char,
    maturity: c_uint,
}

/// `struct st_mariadb_encryption` (mysql/plugin_encryption.h of the server). What is `None` the server does itself.
#[repr(C)]
#[derive(Clone, Copy)]
struct Encryption {
    interface_version: c_int,
    latest_key_version: unsafe extern "C" fn(c_uint) -> c_uint,
    key: unsafe extern "C" fn(c_uint, c_uint, *mut u8, *mut c_uint) -> c_uint,
    ctx_size: Option<unsafe extern "C" fn(c_uint, c_uint) -> c_uint>,
    ctx_init: Option<CtxInit>,
    ctx_update: Option<CtxUpdate>,
    ctx_finish: Option<CtxFinish>,
    encrypted_length: Option<unsafe extern "C" fn(c_uint, c_uint, c_uint) -> c_uint>,
}

type CtxInit = unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *const u8, c_uint, c_int, c_uint, c_uint) -> c_int;
type CtxUpdate = unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *mut u8, *mut c_uint) -> c_int;
type CtxFinish = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_uint) -> c_int;

const ENCRYPTION_PLUGIN: c_int = 9;
