//! `aws_key_management_keys()`: a function for SQL, which answers all key versions as JSON. Views over it are made by
//! `sql/aws_key_management.sql`; what the columns say, docs/operation.md tells.
//!
//! The server looks the three functions up in the .so when `CREATE FUNCTION` names it, and again at each start. It calls them
//! whether the plugin is initialised or not, from many connections at once; each call has a [`Memory`] of its own.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // reads what the server passes
mod arguments;
mod json;
#[cfg(all(test, not(feature = "model")))]
#[allow(unsafe_code)]
mod tests;

use std::ffi::{c_char, c_ulong, c_void};
use std::mem::MaybeUninit;

use self::arguments::{ArgumentCount, Memory, Message, State, say};
use super::bindings as c;
use super::error_log;
use super::export::{Place, Unused, exported};
use super::plugin;
use super::server::Server;

exported! {
    /// Before each statement that calls the function. Answers 1, with a message, if it may not.
    #[unsafe(no_mangle)]
    #[allow(private_interfaces, unsafe_code)] // only the server uses the function, through the symbol
    pub fn aws_key_management_keys_init(
        state: Place<'_, State> = (init: *mut c_void),
        arguments: ArgumentCount = (args: *mut c::UDF_ARGS),
        message: Place<'_, Message> = (message: *mut c_void),
    ) -> c_char, on panic 1 {
        // The server reads it after any failure, also after a panic.
        say("internal error, see the server's error log", message.0);
        state.0.begin();
        if arguments.0 != 0 {
            say("it takes no arguments", message.0);
            return 1;
        }
        if !Server::current().statement_has_process_privilege() {
            say("the PROCESS privilege is needed to see the keys", message.0);
            return 1;
        }
        0
    }

    /// The text, which lives until the next call or the end; NULL if the plugin is not initialised.
    #[unsafe(no_mangle)]
    #[allow(private_interfaces, unsafe_code)] // as above
    pub fn aws_key_management_keys(
        memory: Memory<'_> = (init: *mut c::UDF_INIT),
        _args: Unused<*mut c::UDF_ARGS> = (args: *mut c::UDF_ARGS),
        _buffer: Unused<*mut c_char> = (buffer: *mut c_char),
        length: Place<'_, MaybeUninit<c_ulong>> = (length: *mut c_void),
        is_null: Place<'_, MaybeUninit<u8>> = (is_null: *mut c_void),
        _error: Unused<*mut c_char> = (error: *mut c_char),
    ) -> *const u8, on panic NO_TEXT {
        length.0.write(0);
        is_null.0.write(1);
        let Some(figures) = plugin::figures() else {
            error_log::warn_statement("the plugin is not loaded, so nothing is known of its keys");
            return NO_TEXT;
        };
        let text = memory.keep(json::of(&figures.keys.version_list()));
        length.0.write(text.len() as c_ulong);
        is_null.0.write(0);
        text.as_ptr()
    }

    /// After each statement for which the first has answered 0.
    #[unsafe(no_mangle)]
    #[allow(private_interfaces, unsafe_code)] // as above
    pub fn aws_key_management_keys_deinit(memory: Memory<'_> = (init: *mut c::UDF_INIT)) -> (), on panic NOTHING {
        memory.free();
    }
}

const NO_TEXT: *const u8 = std::ptr::null();
const NOTHING: () = ();
