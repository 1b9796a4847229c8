//! Everything that the server sees of the plugin, and everything of the server that the plugin uses: panics and NULLs stop
//! here. The only folder with unsafe code, which is in the files that are allowed it below.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // is the heap
mod allocator;
mod background;
#[allow(unsafe_code)] // the server's declarations
mod bindings;
mod date;
#[allow(unsafe_code)] // symbols with the server's names
mod descriptor;
mod encryption;
mod error_log;
#[allow(unsafe_code)] // makes functions that the server calls
mod export;
mod plugin;
#[allow(unsafe_code)] // ends the process
mod recovery;
mod server;
#[allow(unsafe_code)] // reads them
mod server_text;
#[allow(unsafe_code)] // shares memory with the server
mod server_writable;
#[allow(unsafe_code)] // asks for the process's signals, and lets them through
mod signals;
mod sql_function;
mod status_variables;
mod system_variables;
mod systemd;
mod waiting;
