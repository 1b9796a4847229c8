//! Messages: to the server's error log, to the client of a statement, and from the runtime's thread to stderr.

use std::ffi::{CString, c_int, c_ulong};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Level;

use super::server::Server;
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
    Server::current().message(0, &line(text));
}

/// Adds a warning to the statement that is being executed, if there is one. When the statement then fails with an error of
/// the server, such as "Can't create table", SHOW WARNINGS gives the reason.
pub(super) fn warn_statement(text: &str) {
    let server = Server::current();
    if server.has_statement() {
        server.message(ME_WARNING, &line(text));
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
    if own_threads::is_current() || !Server::current().message(ME_ERROR_LOG_ONLY | severity, &line(text)) {
        to_stderr(label, text);
    }
}

fn to_stderr(label: &str, text: &str) {
    // In one piece, so that no other line gets between; and a log that cannot be written fails nothing else.
    let line = format!("{} 0 [{label}] {PREFIX}: {text}\n", local_time());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The text as the server takes it: with the plugin's name, and without NULs.
fn line(text: &str) -> CString {
    let text = format!("{PREFIX}: {text}").replace('\0', " ");
    CString::new(text).unwrap_or_default()
}

/// As the server's error log begins its lines: `2026-11-24  3:30:00`.
#[allow(unsafe_code)] // the standard library knows no local time
fn local_time() -> String {
    let now: libc::time_t = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| libc::time_t::try_from(since.as_secs()).unwrap_or(0));
    let mut time = libc::tm {
        tm_sec: 0,
        tm_min: 0,
        tm_hour: 0,
        tm_mday: 0,
        tm_mon: 0,
        tm_year: 0,
        tm_wday: 0,
        tm_yday: 0,
        tm_isdst: 0,
        tm_gmtoff: 0,
        tm_zone: std::ptr::null(),
    };
    // SAFETY: both pointers are to live locals.
    unsafe { libc::localtime_r(&raw const now, &raw mut time) };
    let libc::tm { tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec, .. } = time;
    let (year, month): (c_int, c_int) = (tm_year + 1900, tm_mon + 1);
    format!("{year}-{month:02}-{tm_mday:02} {tm_hour:2}:{tm_min:02}:{tm_sec:02}")
}

const PREFIX: &str = "aws_key_management";

// Flags of my_message (include/my_sys.h of the server).
const ME_ERROR_LOG_ONLY: c_ulong = 128;
const ME_NOTE: c_ulong = 1024;
const ME_WARNING: c_ulong = 2048;
