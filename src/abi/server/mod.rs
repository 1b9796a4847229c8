//! What the plugin uses of the process that it is loaded into: a server, or mariadb-backup.

mod process;
mod role;
#[allow(unsafe_code)] // says what the server's symbols are
mod symbols;
#[cfg(test)]
#[allow(unsafe_code)]
mod tests;

pub(super) use process::{Purpose, Server};
