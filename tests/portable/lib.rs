//! The plugin's cipher, by itself.

#[path = "../../src/cipher/mod.rs"]
pub mod cipher;
