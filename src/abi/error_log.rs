//! Messages: to the server's error log, to the client of a statement, and from the runtime's thread to stderr.

use std::ffi::{CString, c_int, c_ulong};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
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
        remember(text);
    }
}

/// The last error in the log, in one line, and when that was. `None` if there was none since [`forget_last_error`].
pub(super) fn last_error() -> Option<(String, SystemTime)> {
    LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// To be called when the plugin starts.
pub(super) fn forget_last_error() {
    *LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn remember(text: &str) {
    let line = text.replace(char::is_control, " ");
    *LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner) = Some((line, SystemTime::now()));
}

/// Locked for a copy only.
static LAST_ERROR: Mutex<Option<(String, SystemTime)>> = Mutex::new(None);

/// Makes the statement that is being executed fail with `text`. What the error has no room for, `SHOW WARNINGS` shows
/// after it.
pub(super) fn fail_statement(text: &str) {
    for (severity, line) in [0].into_iter().chain(std::iter::repeat(ME_WARNING)).zip(lines(text)) {
        Server::current().message(severity, &line);
    }
}

/// Adds a note to the statement that is being executed. SHOW WARNINGS shows it.
pub(super) fn note_in_statement(text: &str) {
    for line in lines(text) {
        Server::current().message(ME_NOTE, &line);
    }
}

/// Adds a warning to the statement that is being executed, if there is one. When the statement then fails with an error of
/// the server, such as "Can't create table", SHOW WARNINGS gives the reason.
pub(super) fn warn_statement(text: &str) {
    let server = Server::current();
    if server.has_statement() {
        for line in lines(text) {
            server.message(ME_WARNING, &line);
        }
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
    log_to(Server::current(), severity, label, text);
}

pub(super) fn log_to(server: &Server, severity: c_ulong, label: &str, text: &str) {
    let to_server = |line: &CString| server.message(ME_ERROR_LOG_ONLY | severity, line);
    // The server's function is for its own threads.
    if own_threads::is_current() || !lines(text).iter().all(to_server) {
        to_stderr(label, text);
    }
}

fn to_stderr(label: &str, text: &str) {
    // In one piece, so that no other line gets between; and a log that cannot be written fails nothing else.
    let line = format!("{} 0 [{label}] {PREFIX}: {text}\n", local_time());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The text as the server takes it: with the plugin's name, without NULs, and in as many lines as are needed for none of
/// them to be cut. A line ends with a sentence, where one ends in its second half; otherwise with a word.
fn lines(text: &str) -> Vec<CString> {
    let mut rest = text.trim();
    let mut lines = Vec::new();
    let mut start = format!("{PREFIX}: ");
    loop {
        let room = LONGEST_LINE - start.len();
        let fitting = &rest[..rest.floor_char_boundary(room)];
        let end = if fitting.len() == rest.len() {
            fitting.len()
        } else {
            let sentence = fitting.rfind(". ").map(|at| at + 1).filter(|at| *at > room / 2);
            sentence.or_else(|| fitting.rfind(' ')).filter(|at| *at > 0).unwrap_or(fitting.len())
        };
        let line = format!("{start}{}", &rest[..end]).replace('\0', " ");
        lines.push(CString::new(line).unwrap_or_default());
        rest = rest[end..].trim_start();
        if rest.is_empty() {
            return lines;
        }
        start = format!("{PREFIX}: ... ");
    }
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

/// What the server has room for, in bytes.
const LONGEST_LINE: usize = 511;

// Flags of my_message (include/my_sys.h of the server).
const ME_ERROR_LOG_ONLY: c_ulong = 128;
const ME_NOTE: c_ulong = 1024;
const ME_WARNING: c_ulong = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn the_last_error_is_one_line() {
        remember("key 7\nversion 1:\0 it fails");
        let (text, when) = last_error().expect("an error");
        assert_eq!(text, "key 7 version 1:  it fails");
        assert!(when.elapsed().is_ok_and(|since| since.as_secs() < 60));
    }

    #[test]
    fn a_text_that_fits_is_one_line() {
        assert_eq!(texts("a key"), ["aws_key_management: a key"]);
        assert_eq!(texts(""), ["aws_key_management: "]);
        assert_eq!(texts("a\0b"), ["aws_key_management: a b"]);
        let longest = "x".repeat(511 - "aws_key_management: ".len());
        assert_eq!(texts(&longest), [format!("aws_key_management: {longest}")]);
    }

    #[test]
    fn a_longer_text_goes_on_in_a_line_of_its_own_after_a_sentence_or_a_word_and_nothing_is_lost() {
        let sentences = format!("{}. {}. {}", "a ".repeat(150).trim(), "b ".repeat(80).trim(), "c ".repeat(60).trim());
        let split = texts(&sentences);
        assert!(split[0].ends_with("b b."), "{split:?}");
        assert!(split[1].starts_with("aws_key_management: ... c c"), "{split:?}");
        for text in [sentences, "word ".repeat(400), "x".repeat(2000), "é".repeat(1000)] {
            let split = texts(&text);
            assert!(split.len() > 1 && split.iter().all(|line| line.len() <= 511), "{split:?}");
            let joined: String = split
                .iter()
                .map(|line| line.trim_start_matches("aws_key_management: ").trim_start_matches("... "))
                .collect();
            assert_eq!(joined.replace(' ', ""), text.replace(' ', ""));
        }
    }
}
