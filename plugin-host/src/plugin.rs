//! A plugin's life in a server: loaded, filled in, initialised, called, deinitialised, unloaded.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::ffi::{CStr, OsStr, c_int, c_uint, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use libloading::Library;

use crate::declaration::{Crypt, Declaration, ENCRYPTION_MAJOR, ENCRYPTION_PLUGIN, Encryption, INTERFACE_MAJOR};
use crate::message::{self, Memory};
use crate::status;
use crate::variables::Variables;

/// A sign by which the plugin knows a server, and not mariadb-backup: in a process without one, it makes no keys and writes
/// nothing. Programs have it if they are linked with `--export-dynamic-symbol=mysqld_server_initialized`.
#[unsafe(no_mangle)]
#[used]
#[allow(non_upper_case_globals, reason = "the server's name for it")]
static mysqld_server_initialized: AtomicI32 = AtomicI32::new(1);

/// An encryption plugin whose variables have values, and which is not initialised. Dropped, it is unloaded.
pub struct Plugin {
    declaration: Declaration,
    // Before the library, into which it writes when it is dropped.
    variables: Variables,
    datadir: Option<PathBuf>,
    _claim: Claim,
    _library: Option<Library>,
}

impl Plugin {
    /// The plugin of a library, with its variables at their defaults. Two plugins are two libraries, so two files: what is
    /// loaded already is an error.
    pub fn load(library: &Path) -> Result<Self> {
        // SAFETY: the file is trusted, as a server trusts its plugins: it may be loaded into any program.
        let loaded = unsafe { Library::new(library) }.with_context(|| format!("loading {}", library.display()))?;
        // SAFETY: what has this name in a library is an int that is never written.
        let interface = unsafe { loaded.get::<*const c_int>(b"_maria_plugin_interface_version_") };
        // SAFETY: the library is loaded.
        let interface = unsafe { **interface.context("no plugin")? };
        ensure!(interface >> 8 == INTERFACE_MAJOR, "the plugin's interface is of version {interface:#x}");
        // SAFETY: what has this name in a library is an int that is never written.
        let size = unsafe { loaded.get::<*const c_int>(b"_maria_sizeof_struct_st_plugin_") };
        // SAFETY: the library is loaded.
        let size = unsafe { **size.context("no plugin")? };
        ensure!(size as usize == size_of::<Declaration>(), "the plugin's declarations have {size} bytes");
        // SAFETY: what has this name in a library is a list of declarations.
        let list = unsafe { loaded.get::<*const Declaration>(b"_maria_plugin_declarations_") };
        let list = *list.context("no plugin")?;
        // SAFETY: that list, with declarations of this size, and the library stays loaded as long as the plugin lives.
        unsafe { Self::declared(list, Some(loaded)) }
    }

    /// A plugin that is linked into this program, with its variables at their defaults.
    ///
    /// # Safety
    /// `declarations` is the plugin's `_maria_plugin_declarations_`, of which nobody else makes use.
    pub unsafe fn linked(declarations: *const Declaration) -> Result<Self> {
        // SAFETY: a plugin's list, as the caller promises, and never unloaded.
        unsafe { Self::declared(declarations, None) }
    }

    /// # Safety
    /// `list` is a plugin's list of declarations, in `library` or linked in.
    unsafe fn declared(mut list: *const Declaration, library: Option<Library>) -> Result<Self> {
        let declaration = loop {
            // SAFETY: in the list, whose end the loop does not pass. A copy: a plugin never writes it.
            let declaration = unsafe { *list };
            ensure!(!declaration.info.is_null(), "there is no encryption plugin among the declarations");
            if declaration.kind == ENCRYPTION_PLUGIN {
                break declaration;
            }
            // SAFETY: not the one at the end, whose `info` is NULL, so there is one more.
            list = unsafe { list.add(1) };
        };
        // SAFETY: points to the struct of an encryption plugin, which is loaded and not called yet.
        let version = unsafe { (*declaration.info).interface_version };
        ensure!(version >> 8 == ENCRYPTION_MAJOR, "the plugin's encryption interface is of version {version:#x}");
        let claim = Claim::of(declaration.info.addr())?;
        // SAFETY: the plugin's list of variables; the plugin stays loaded longer than they are used (see the order of the
        // members), and this is the only user of this plugin, as the claim says.
        let variables = unsafe { Variables::at_defaults(declaration.variables) }?;
        Ok(Self { declaration, variables, datadir: None, _claim: claim, _library: library })
    }

    /// Gives a variable a value, written as on a server's command line: `ON`, a number, a name of an enumeration, a text.
    /// The variable's name is without the plugin's.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) -> Result<()> {
        self.variables.set(name, value.as_ref())
    }

    /// The datadir, which is a server's working directory when it initialises a plugin: this program's is put back then.
    /// Without this, it is the working directory of this program.
    pub fn set_datadir(&mut self, datadir: &Path) -> Result<()> {
        let datadir = datadir.canonicalize().with_context(|| format!("the datadir {}", datadir.display()))?;
        self.datadir = Some(datadir);
        Ok(())
    }

    /// The status variables as SHOW STATUS finds them, with their prefix: a server may also ask while a plugin is not
    /// initialised.
    pub fn status(&self) -> Result<BTreeMap<String, String>> {
        // SAFETY: the list of this plugin, which is loaded.
        unsafe { status::read(NAME, self.declaration.status_variables) }
    }

    /// Initialises it, then frees the strings that the server had only for that. After a failure the plugin is
    /// deinitialised, as by a server, and unloaded.
    pub fn init(mut self) -> Result<Running, FailedInit> {
        let before = env::current_dir();
        if self.datadir.as_ref().is_some_and(|datadir| env::set_current_dir(datadir).is_err()) {
            return Err(FailedInit { init: 1, deinit: 0 });
        }
        let init = match self.declaration.init {
            // SAFETY: the variables have values, and the plugin is not initialised: only this makes a `Running` of it. What
            // a server passes is of no meaning to an encryption plugin, which may get NULL.
            Some(init) => unsafe { init(ptr::null_mut()) },
            None => 0,
        };
        if self.datadir.is_some() && before.and_then(env::set_current_dir).is_err() {
            eprintln!("this program cannot go back to its working directory");
        }
        if init != 0 {
            // SAFETY: after an init, also one that has failed, and once: the plugin is dropped.
            return Err(FailedInit { init, deinit: unsafe { self.deinit() } });
        }
        self.variables.end_of_statement();
        // SAFETY: points to the struct of an encryption plugin. A copy, because init may have changed it, and nothing does
        // later.
        let encryption = unsafe { *self.declaration.info };
        Ok(Running { encryption, plugin: self, is_over: false })
    }

    /// # Safety
    /// After an init, and once for each.
    unsafe fn deinit(&self) -> c_int {
        // SAFETY: after an init, as the caller promises, and the plugin is still loaded.
        self.declaration.deinit.map_or(0, |deinit| unsafe { deinit(ptr::null_mut()) })
    }
}

/// What init and deinit returned, when init has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedInit {
    /// Not 0.
    pub init: c_int,
    /// 0 is success.
    pub deinit: c_int,
}

impl std::error::Error for FailedInit {}

impl fmt::Display for FailedInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plugin's init failed ({}; deinit then: {})", self.init, self.deinit)
    }
}

/// A plugin that is initialised. Dropped, it is deinitialised and unloaded.
pub struct Running {
    encryption: Encryption,
    plugin: Plugin,
    is_over: bool,
}

// SAFETY: a server initialises and deinitialises plugins from any of its threads, one at a time, as an owner does.
unsafe impl Send for Running {}

// SAFETY: a server calls the callbacks from all of its threads at once; what else there is needs the only reference.
unsafe impl Sync for Running {}

impl Running {
    /// What the plugin calls its version.
    pub fn version(&self) -> String {
        let version = self.plugin.declaration.version;
        if version.is_null() {
            return String::new();
        }
        // SAFETY: not NULL, so a constant string of the plugin, which is loaded.
        unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
    }

    /// The status variables as SHOW STATUS finds them, with their prefix.
    pub fn status(&self) -> Result<BTreeMap<String, String>> {
        self.plugin.status()
    }

    /// `get_latest_key_version`
    // Inlined here and below, so that a benchmark measures the plugin's function alone.
    #[inline]
    pub fn latest_key_version(&self, id: u32) -> u32 {
        // SAFETY: the plugin is initialised, and the function takes any id.
        unsafe { (self.encryption.latest_key_version)(id) }
    }

    /// `get_key`: copies a key into `key` and returns its length in bytes, or the plugin's error.
    #[inline]
    pub fn key(&self, KeyVersion { id, version }: KeyVersion, key: &mut [u8]) -> Result<usize, c_uint> {
        let mut length = key.len() as c_uint;
        // SAFETY: the buffer has the length that is passed, or a longer one; any id and version may be asked for.
        let result = unsafe { (self.encryption.key)(id, version, key.as_mut_ptr(), &raw mut length) };
        if result == 0 { Ok(length as usize) } else { Err(result) }
    }

    /// The plugin's functions themselves, with which a fuzzer can do what is wrong. To be called while it is running.
    pub fn functions(&self) -> Encryption {
        self.encryption
    }

    /// AES with a version of a key, whose own bytes are of no importance: a server passes those of another key, which it
    /// has derived. An error if the plugin leaves AES to the server.
    pub fn cipher(&self, version: KeyVersion) -> Result<Cipher<'_>> {
        let crypt = self.encryption.crypt().context("the plugin has no AES")?;
        let cipher = Cipher { crypt, version, plugin: PhantomData };
        let size = cipher.context_size();
        ensure!(size <= size_of::<Memory>(), "a context of the plugin takes {size} bytes, more than expected");
        Ok(cipher)
    }

    /// `SET GLOBAL name = number`. An error if the plugin refuses the number; why, it has written to stderr or kept for a
    /// statement that does not exist here.
    pub fn set_global(&mut self, name: &str, number: i64) -> Result<()> {
        self.plugin.variables.set_global(name, number)
    }

    /// Deinitialises the plugin and unloads it. An error if the plugin says that it failed, or has not left alone what
    /// belongs to the server.
    pub fn deinit(mut self) -> Result<()> {
        self.is_over = true;
        // SAFETY: after the init to which this is owed, and once.
        let result = unsafe { self.plugin.deinit() };
        ensure!(result == 0, "the plugin's deinit failed ({result})");
        self.plugin.variables.free()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            // SAFETY: after the init to which this is owed, and once: `Running::deinit` was not called.
            unsafe { self.plugin.deinit() };
        }
    }
}

/// A version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyVersion {
    /// The key's id.
    pub id: u32,
    /// The version's number.
    pub version: u32,
}

/// A running plugin's AES with one version of a key.
#[derive(Clone, Copy)]
pub struct Cipher<'plugin> {
    crypt: Crypt,
    version: KeyVersion,
    plugin: PhantomData<&'plugin Running>,
}

impl Cipher<'_> {
    /// A whole message in several updates, with the context on the stack as the server has it. `flags` are the server's.
    /// Returns how much was written to `output`, which must be at least [`SLACK`](crate::SLACK) bytes longer than the
    /// input, or the plugin's error.
    #[inline]
    pub fn message(
        &self,
        flags: c_int,
        key: &[u8],
        iv: &[u8],
        parts: &[&[u8]],
        output: &mut [u8],
    ) -> Result<usize, c_int> {
        let Crypt { context_init, context_update, context_finish, .. } = self.crypt;
        let KeyVersion { id, version } = self.version;
        let (key_len, iv_len) = (key.len() as c_uint, iv.len() as c_uint);
        let begin = |context: *mut c_void| {
            // SAFETY: the memory is as large as the plugin wants (see `Running::cipher`); key and IV go with their lengths.
            unsafe { context_init(context, key.as_ptr(), key_len, iv.as_ptr(), iv_len, flags, id, version) }
        };
        // SAFETY: a context of the plugin is no larger, and after a failed init is not finished; the functions are those
        // for its contexts, and no mode writes more than two blocks beyond the length of the input.
        unsafe { message::through(begin, context_update, context_finish, parts, output) }
    }

    /// `crypt_ctx_size`: how many bytes a context takes.
    pub fn context_size(&self) -> usize {
        // SAFETY: takes any id and version.
        unsafe { (self.crypt.context_size)(self.version.id, self.version.version) as usize }
    }

    /// `encrypted_length`: how long the ciphertext of `length` bytes is, without NOPAD.
    pub fn encrypted_length(&self, length: u32) -> u32 {
        // SAFETY: takes any length, id and version.
        unsafe { (self.crypt.encrypted_length)(length, self.version.id, self.version.version) }
    }
}

/// What a server puts before the name of each status variable: the plugin's name.
const NAME: &str = "aws_key_management";

/// The right to use a plugin, which has only one set of variables. Held by its only user.
struct Claim(usize);

impl Claim {
    fn of(plugin: usize) -> Result<Self> {
        let is_new = IN_USE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(plugin);
        ensure!(is_new, "this plugin is in use already");
        Ok(Self(plugin))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(plugins) = &mut *IN_USE.lock().unwrap_or_else(PoisonError::into_inner) {
            plugins.remove(&self.0);
        }
    }
}

/// The plugins in use, by the address of their struct of functions.
static IN_USE: Mutex<Option<HashSet<usize>>> = Mutex::new(None);
