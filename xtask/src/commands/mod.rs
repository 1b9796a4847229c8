//! A file or folder for each command of `cargo xtask`, with the command's name.

pub mod arm64;
pub mod bench;
pub mod cmake;
pub mod crash;
pub mod demo;
pub mod fuzz;
pub mod galera;
pub mod install;
pub mod memory;
pub mod miri;
pub mod mutants;
pub mod package;
pub mod sandbox;
pub mod setup;
pub mod soak;
pub mod start_time;
pub mod suite;
pub mod test;
pub mod versions;
