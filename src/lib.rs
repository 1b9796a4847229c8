//! `aws_key_management`: a MariaDB encryption plugin whose data keys come from AWS KMS.
//!
//! | module | what it is |
//! |---|---|
//! | `abi` | everything the server sees; the only unsafe code |
//! | [`cipher`] | AES, as the server's own functions do it |
//! | [`keystore`] | the data keys: table, files, rotation |
//! | [`kms`] | AWS KMS: two calls, and errors in classes |
//! | [`waits`], `own_threads` | what all of them keep to when they wait, and when they make a thread |
//!
//! `abi` uses the other three; [`keystore`] uses [`kms`], and names [`cipher::Algorithm`]: see ARCHITECTURE.md.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // the boundary to the server
mod abi;
pub mod cipher;
pub mod keystore;
pub mod kms;
mod own_threads;
pub mod waits;
