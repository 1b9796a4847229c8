//! The cipher's tests, in one program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

// What the tests call the plugin.
extern crate portable_cipher as aws_key_management;

#[path = "../cipher_crates.rs"]
mod cipher_crates;
#[path = "../cipher_guard_pages.rs"]
mod cipher_guard_pages;
#[path = "../cipher_oracle.rs"]
mod cipher_oracle;
#[path = "../cipher_properties.rs"]
mod cipher_properties;
#[path = "../cipher_vectors.rs"]
mod cipher_vectors;

#[test]
#[cfg(feature = "portable")]
fn it_is_the_portable_code_that_is_tested() {
    assert!(!aes::hardware_accelerated());
}

#[test]
#[cfg(feature = "hardware")]
fn it_is_the_code_for_aes_instructions_that_is_tested() {
    assert!(aes::hardware_accelerated());
    let fastest = portable_cipher::cipher::Path::fastest();
    assert_ne!(fastest, portable_cipher::cipher::Path::PORTABLE);
}
