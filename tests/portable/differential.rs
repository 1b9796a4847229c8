//! The million random messages, in a program of their own: in an emulator they take long.

// What the tests call the plugin.
extern crate portable_cipher as aws_key_management;

#[path = "../cipher_differential.rs"]
mod cipher_differential;
