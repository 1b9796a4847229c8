//! The plugin's exported symbols and its start, as a server sees them.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;

// Brings the symbol along.
use aws_key_management as _;

use crate::plugin_variables::{self, BOOL, STRING, Variable};

/// `struct st_mariadb_encryption` (include/mysql/plugin_encryption.h of the server).
#[repr(C)]
pub struct Callbacks {
    interface_version: c_int,
    pub latest_key_version: unsafe extern "C" fn(c_uint) -> c_uint,
    pub key: unsafe extern "C" fn(c_uint, c_uint, *mut u8, *mut c_uint) -> c_uint,
    pub context_size: unsafe extern "C" fn(c_uint, c_uint) -> c_uint,
    pub context_init:
        unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *const u8, c_uint, c_int, c_uint, c_uint) -> c_int,
    pub context_update: unsafe extern "C" fn(*mut c_void, *const u8, c_uint, *mut u8, *mut c_uint) -> c_int,
    pub context_finish: unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_uint) -> c_int,
    pub encrypted_length: unsafe extern "C" fn(c_uint, c_uint, c_uint) -> c_uint,
}

/// The callbacks of the plugin, which has been started.
pub fn callbacks() -> &'static Callbacks {
    static STARTED: OnceLock<&Callbacks> = OnceLock::new();
    STARTED.get_or_init(start)
}

/// A key version that the plugin has.
pub struct Key {
    pub id: c_uint,
    pub version: c_uint,
    pub length: usize,
    pub algorithm: Algorithm,
}

impl Key {
    /// Its bytes: a pattern of its own.
    pub fn bytes(&self) -> Vec<u8> {
        (0..self.length).map(|n| (self.id as u8) << 6 ^ (self.version as u8) << 5 ^ n as u8).collect()
    }

    fn file(&self) -> Vec<u8> {
        match self.algorithm {
            Algorithm::Cbc => self.bytes(),
            Algorithm::Ctr => format!(
                r#"{{"format": 2, "key_id": {}, "key_version": {}, "algorithm": "AES_CTR", "encryption_context": {{}},
                   "created": "2026-11-24T03:30:00Z", "ciphertext": "{}"}}"#,
                self.id,
                self.version,
                base64(&self.bytes())
            )
            .into_bytes(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Cbc,
    /// CTR with NOPAD, GCM without it.
    Ctr,
}

/// The key versions of which there are files. No other id may get a key.
pub const KEYS: [Key; 5] = [
    Key { id: 1, version: 1, length: 16, algorithm: Algorithm::Cbc },
    Key { id: 1, version: 2, length: 32, algorithm: Algorithm::Ctr },
    Key { id: 1, version: 4, length: 24, algorithm: Algorithm::Cbc },
    Key { id: 2, version: 3, length: 16, algorithm: Algorithm::Ctr },
    Key { id: u32::MAX, version: u32::MAX - 1, length: 32, algorithm: Algorithm::Cbc },
];

/// Initialises the plugin with the keys. Aborts if that fails.
fn start() -> &'static Callbacks {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for key in &KEYS {
        let name = format!("aws-kms-key.{}.{}", key.id, key.version);
        std::fs::write(folder.path().join(name), key.file()).expect("a key file");
    }
    let texts = [folder.path().to_str().expect("UTF-8"), "1"].map(|text| CString::new(text).expect("no NUL"));
    // SAFETY: the plugin's symbol; it is written by nobody.
    let declaration = unsafe { &_maria_plugin_declarations_[0] };
    // SAFETY: the plugin's list; it is linked into this program.
    for variable in unsafe { plugin_variables::variables(declaration.system_variables) } {
        set(&variable, &texts);
    }
    // SAFETY: the variables are set; the argument is not looked at.
    assert_eq!(unsafe { (declaration.init)(ptr::null_mut()) }, 0, "the plugin does not start");
    // As a server may, once INSTALL PLUGIN has ended.
    drop(texts);
    // All keys are in memory; a fuzzer never ends in an orderly way.
    folder.close().expect("the folder is removed");
    // SAFETY: `info` of an encryption plugin points to such a struct, which is written by nobody.
    unsafe { &*declaration.info }
}

/// Sets a variable as a server does: to its default, but for a few.
fn set(variable: &Variable, [folder, allowed]: &[CString; 2]) {
    // SAFETY: a variable of the plugin.
    let name = unsafe { variable.name() };
    match (variable.kind(), name.as_str()) {
        // SAFETY: the value of a string variable is a pointer, which only init reads.
        (STRING, "keyfile_dir") => unsafe { variable.set(folder.as_ptr()) },
        // No other key is ever made, so it is known which there are.
        // SAFETY: as above.
        (STRING, "allowed_key_ids") => unsafe { variable.set(allowed.as_ptr()) },
        // SAFETY: the value of a bool variable is a char, which only init reads.
        (BOOL, "mock") => unsafe { variable.set::<c_char>(1) },
        _ => {
            // SAFETY: only init reads the values.
            let known = unsafe { variable.set_default() };
            known.unwrap_or_else(|kind| panic!("the variable {name} is of an unknown type, {kind}"));
        }
    }
}

/// Standard base64, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for digit in 0..=part.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize % 64].into());
        }
        text.push_str(&"=="[part.len() - 1..]);
    }
    text
}

unsafe extern "C" {
    static _maria_plugin_declarations_: [Declaration; 2];
}

/// `struct st_maria_plugin` (include/mysql/plugin.h of the server).
#[repr(C)]
struct Declaration {
    kind: c_int,
    info: *const Callbacks,
    names: [*const c_char; 3],
    license: c_int,
    init: unsafe extern "C" fn(*mut c_void) -> c_int,
    deinit: unsafe extern "C" fn(*mut c_void) -> c_int,
    version: c_uint,
    status_variables: *const c_void,
    system_variables: *const *const Variable,
    version_info: *const c_char,
    maturity: c_uint,
}
