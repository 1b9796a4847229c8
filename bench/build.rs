//! Exports the sign of a server that `plugin_host` has: by it, the plugin knows that it may make keys.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=mysqld_server_initialized");
}
