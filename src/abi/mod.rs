//! Everything that the server sees of the plugin, and everything of the server that the plugin uses. The only folder
//! with unsafe code: panics and NULLs stop here.

mod allocator;
mod background;
mod bindings;
mod boundary;
mod descriptor;
mod encryption;
mod error_log;
mod plugin;
mod server;
mod server_state;
mod signals;
mod system_variables;
mod systemd;
