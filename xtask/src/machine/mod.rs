//! The machine that the commands run on: where things are on it, and what is installed.

pub mod apt;
pub mod c_library;
pub mod debian;
pub mod packages;
pub mod paths;
pub mod toolchain;
