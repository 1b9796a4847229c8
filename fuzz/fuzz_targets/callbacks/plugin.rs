//! The plugin, linked in and started as a server does it.

use std::ffi::c_uint;
use std::sync::OnceLock;

// Brings the symbol along.
use aws_key_management as _;
use plugin_host::{Crypt, Declaration, Encryption, KeyVersion, Plugin, Running, mock_key_file};

/// The plugin's functions, as C calls them.
pub struct Callbacks {
    pub keys: Encryption,
    pub crypt: Crypt,
    /// Kept, because it is deinitialised when it is dropped.
    _plugin: Running,
}

/// Those of the plugin, which has been started and is never ended.
pub fn callbacks() -> &'static Callbacks {
    static STARTED: OnceLock<Callbacks> = OnceLock::new();
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
            Algorithm::Cbc => mock_key_file::for_cbc(&self.bytes()),
            Algorithm::Ctr => mock_key_file::for_ctr(self.name(), &self.bytes()),
        }
    }

    fn name(&self) -> KeyVersion {
        KeyVersion { id: self.id, version: self.version }
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
fn start() -> Callbacks {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for key in &KEYS {
        std::fs::write(folder.path().join(mock_key_file::name(key.name())), key.file()).expect("a key file");
    }
    // SAFETY: the plugin's own list, and this is its only use.
    let mut plugin = unsafe { Plugin::linked(&raw const _maria_plugin_declarations_) }.expect("the plugin");
    // No other key is ever made, so it is known which there are.
    for (name, value) in [("mock", "ON"), ("allowed_key_ids", "1")] {
        plugin.set(name, value).expect("a variable");
    }
    plugin.set("keyfile_dir", folder.path()).expect("a variable");
    plugin.set_datadir(folder.path()).expect("the datadir");
    let plugin = plugin.init().expect("the plugin starts");
    // All keys are in memory; a fuzzer never ends in an orderly way.
    folder.close().expect("the folder is removed");
    let keys = plugin.functions();
    let crypt = keys.crypt().expect("the plugin has AES");
    Callbacks { keys, crypt, _plugin: plugin }
}

unsafe extern "C" {
    /// The first of the list.
    static _maria_plugin_declarations_: Declaration;
}
