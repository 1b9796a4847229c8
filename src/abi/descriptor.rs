//! The symbols that the server looks up in the .so, and the descriptors behind them.

use std::ffi::{c_int, c_uint};
use std::ptr;

use super::bindings as c;
use super::server_writable::ServerWritable;
use super::{encryption, plugin, status_variables, system_variables};

/// The version of the interface for plugins of every kind; the server accepts all of the same major version, 1.
#[unsafe(no_mangle)]
pub static _maria_plugin_interface_version_: c_int = 0x010f;

/// The size of one declaration, in bytes.
#[unsafe(no_mangle)]
pub static _maria_sizeof_struct_st_plugin_: c_int = size_of::<c::st_maria_plugin>() as c_int;

// What every server since 10.5 expects.
const _: () = assert!(size_of::<c::st_maria_plugin>() == 104);
const _: () = assert!(c::MariaDB_ENCRYPTION_INTERFACE_VERSION == 0x0300);

/// The declarations; the last is the end of the list.
#[unsafe(no_mangle)]
#[allow(private_interfaces)] // only the server uses the type, through the symbol
pub static _maria_plugin_declarations_: ServerWritable<[c::st_maria_plugin; 2]> = ServerWritable::new([
    c::st_maria_plugin {
        type_: c::MariaDB_ENCRYPTION_PLUGIN as c_int,
        info: ENCRYPTION.as_ptr().cast(),
        name: c"aws_key_management".as_ptr(),
        author: c"the aws_key_management authors".as_ptr(),
        descr: c"AWS key management plugin".as_ptr(),
        // What the server knows is GPL, BSD and PROPRIETARY; the nearest to MIT is BSD.
        license: c::PLUGIN_LICENSE_BSD as c_int,
        init: Some(plugin::init),
        deinit: Some(plugin::deinit),
        version: VERSION,
        status_vars: status_variables::LIST.as_ptr().cast(),
        system_vars: system_variables::LIST.as_ptr().cast(),
        version_info: concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast(),
        // A plugin that claims less is not loaded by a stable server.
        maturity: c::MariaDB_PLUGIN_MATURITY_STABLE,
    },
    c::st_maria_plugin {
        type_: 0,
        info: ptr::null_mut(),
        name: ptr::null(),
        author: ptr::null(),
        descr: ptr::null(),
        license: 0,
        init: None,
        deinit: None,
        version: 0,
        status_vars: ptr::null_mut(),
        system_vars: ptr::null_mut(),
        version_info: ptr::null(),
        maturity: 0,
    },
]);

/// Shown as PLUGIN_VERSION: major and minor, a byte each. PLUGIN_AUTH_VERSION and the log show the whole version.
const VERSION: c_uint = byte(env!("CARGO_PKG_VERSION_MAJOR")) << 8 | byte(env!("CARGO_PKG_VERSION_MINOR"));

#[allow(clippy::panic)] // the compiler's: it stops at a number that does not fit
const fn byte(decimal: &str) -> c_uint {
    match u8::from_str_radix(decimal, 10) {
        Ok(number) => number as c_uint,
        Err(_) => panic!("a part of the version is above 255"),
    }
}

static ENCRYPTION: ServerWritable<c::st_mariadb_encryption> = ServerWritable::new(c::st_mariadb_encryption {
    interface_version: c::MariaDB_ENCRYPTION_INTERFACE_VERSION as c_int,
    get_latest_key_version: Some(encryption::get_latest_key_version),
    get_key: Some(encryption::get_key),
    crypt_ctx_size: Some(encryption::crypt_ctx_size),
    crypt_ctx_init: Some(encryption::crypt_ctx_init),
    crypt_ctx_update: Some(encryption::crypt_ctx_update),
    crypt_ctx_finish: Some(encryption::crypt_ctx_finish),
    encrypted_length: Some(encryption::encrypted_length),
});
