//! Messages: to the server's error log, to the client of a statement, and from the runtime's thread to stderr.

use std::ffi::{CString, c_ulong};
use std::io::Write;

use tracing::Level;

use super::server::{self, Server};
use crate::keystore::Reporter;
use crate::own_threads;

/// The server's error log. From a thread of the plugin's own, a line goes to stderr, in the error log's format.
pub(super) struct ErrorLog;

impl Reporter for ErrorLog {
    fn note(&self, text: &str) {
        log(ME_NOTE, "Note", text);
    }

    fn warning(&self, text: &str) {
        log(ME_WARNING, "Warning", text);
    }

    fn error(&self, text: &str) {
        log(0, "ERROR", text);
    }
}

/// Makes the statement that is being executed fail with `text`.
pub(super) fn fail_statement(text: &str) {
    Server::current().print_error(0, &line(text));
}

/// Adds a warning to the statement that is being executed, if there is one: for what a statement then fails on, with an
/// error of the server's own that says less.
pub(super) fn warn_statement(text: &str) {
    let server = Server::current();
    if server.has_statement() {
        server.print_error(ME_WARNING, &line(text));
    }
}

/// A line of the SDK's log, in the error log's format. Comes from a thread that is none of the server's, so it does not
/// go through the server's functions; the server has redirected stderr to its error log.
pub(super) fn sdk_line(level: Level, text: &str) {
    let label = match level {
        Level::ERROR => "ERROR",
        Level::WARN => "Warning",
        _ => "Note",
    };
    to_stderr(label, &format!("aws sdk: {level}: {text}"));
}

fn log(severity: c_ulong, label: &str, text: &str) {
    // The server's function is for its own threads.
    if own_threads::is_current() || !Server::current().print_error(ME_ERROR_LOG_ONLY | severity, &line(text)) {
        to_stderr(label, text);
    }
}

fn to_stderr(label: &str, text: &str) {
    // In one piece, so that no other line gets between; and a log that cannot be written fails nothing else.
    let line = format!("{} 0 [{label}] {PREFIX}: {text}\n", server::log_time());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The text as the server takes it: with the plugin's name, and without NULs.
fn line(text: &str) -> CString {
    let text = format!("{PREFIX}: {text}").replace('\0', " ");
    CString::new(text).unwrap_or_default()
}

const PREFIX: &str = "aws_key_management";

// Flags of my_printf_error (include/my_sys.h of the server).
const ME_ERROR_LOG_ONLY: c_ulong = 128;
const ME_NOTE: c_ulong = 1024;
const ME_WARNING: c_ulong = 2048;
