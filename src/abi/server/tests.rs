//! Made-up processes: what the plugin sees of them.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use super::Server;
use super::symbols::{LookUp, Symbols};
use crate::keystore::Role;

#[test]
fn a_process_that_has_no_symbol_can_do_nothing() {
    let server = made_up(|_| ptr::null_mut());
    assert!(!server.message(0, c"text"));
    assert!(!server.has_statement());
    assert_eq!(server.incremental_backup(), None);
    assert!(!server.is_starting() && !server.is_bootstrap() && !server.ends_waits());
}

#[test]
fn messages_go_to_the_servers_function_with_their_flags() {
    let server = made_up(a_server);
    assert_eq!(server.role(), Role::Server);
    assert!(server.message(1024, c"100 %s of it"));
    assert_eq!(MESSAGES.take(), [(1105, "100 %s of it".to_owned(), 1024)]);
}

#[test]
fn mariadb_backup_is_not_given_the_messages_that_it_would_drop() {
    let server = made_up(a_backup);
    assert_eq!(server.role(), Role::Backup);
    assert!(!server.message(1024, c"text"));
    assert_eq!(MESSAGES.take(), []);
}

#[test]
fn a_thread_executes_a_statement_if_it_has_a_connection() {
    let server = made_up(a_server);
    assert!(!server.has_statement());
    THD.set(1);
    assert!(server.has_statement());
}

#[test]
fn the_folder_of_an_incremental_backup_is_the_one_of_the_option_if_there_is_one() {
    static DIR: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());
    let server = made_up(|name| match name.to_bytes() {
        b"xtrabackup_incremental_dir" => DIR.as_ptr().cast(),
        _ => a_backup(name),
    });
    assert_eq!(server.incremental_backup(), None);
    DIR.store(c"/backups/tuesday".as_ptr().cast_mut(), Ordering::Relaxed);
    assert_eq!(server.incremental_backup().as_deref(), Some(Path::new("/backups/tuesday")));
}

#[test]
fn a_server_is_starting_until_it_takes_connections_and_mariadb_backup_is_not() {
    static STARTED: AtomicU8 = AtomicU8::new(0);
    fn with_started(name: &CStr) -> *mut c_void {
        if name.to_bytes() == b"mysqld_server_started" { STARTED.as_ptr().cast() } else { a_server(name) }
    }
    let backup = made_up(|name| match name.to_bytes() {
        b"mysqld_server_started" => STARTED.as_ptr().cast(),
        _ => a_backup(name),
    });
    assert!(made_up(with_started).is_starting() && !backup.is_starting());
    assert!(!made_up(a_server).is_starting(), "where it cannot be told, nothing is waited for");
    STARTED.store(1, Ordering::Relaxed);
    assert!(!made_up(with_started).is_starting());
}

#[test]
fn waits_end_when_the_statement_is_killed_and_without_one_when_the_server_goes_down() {
    static ABORT_LOOP: AtomicU8 = AtomicU8::new(0);
    let server = made_up(|name| match name.to_bytes() {
        b"abort_loop" => ABORT_LOOP.as_ptr().cast(),
        b"thd_killed" => thd_killed as *mut c_void,
        _ => a_server(name),
    });
    assert!(!server.ends_waits());
    ABORT_LOOP.store(1, Ordering::Relaxed);
    assert!(server.ends_waits());
    THD.set(1);
    assert!(!server.ends_waits(), "the statement goes on until it is killed");
    KILLED.set(1);
    assert!(server.ends_waits());
    assert!(!made_up(a_server).ends_waits(), "without the symbols");
}

fn made_up(look_up: LookUp) -> Server {
    // SAFETY: what the look-ups of this file answer is NULL, or the address of a static or a function of the symbol's type.
    Server::with(unsafe { Symbols::made_up(look_up) })
}

/// The symbols of a server.
fn a_server(name: &CStr) -> *mut c_void {
    static HOOK: AtomicPtr<c_void> = AtomicPtr::new(message as *mut c_void);
    match name.to_bytes() {
        b"my_message" => message as *mut c_void,
        b"my_message_stderr" => message_stderr as *mut c_void,
        b"error_handler_hook" => HOOK.as_ptr().cast(),
        b"_current_thd" => current_thd as *mut c_void,
        _ => ptr::null_mut(),
    }
}

/// The symbols of mariadb-backup.
fn a_backup(name: &CStr) -> *mut c_void {
    static HOOK: AtomicPtr<c_void> = AtomicPtr::new(message_stderr as *mut c_void);
    match name.to_bytes() {
        b"error_handler_hook" => HOOK.as_ptr().cast(),
        b"mariabackup_exe" => c"/usr/bin/mariadb-backup".as_ptr().cast_mut().cast(),
        _ => a_server(name),
    }
}

thread_local! {
    static MESSAGES: RefCell<Vec<(c_uint, String, c_ulong)>> = const { RefCell::new(Vec::new()) };
    static KILLED: std::cell::Cell<c_int> = const { std::cell::Cell::new(0) };
    static THD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

extern "C" fn message(error: c_uint, text: *const c_char, flags: c_ulong) {
    // SAFETY: the plugin passes a string that ends in NUL.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    MESSAGES.with_borrow_mut(|messages| messages.push((error, text, flags)));
}

extern "C" fn message_stderr(_: c_uint, _: *const c_char, _: c_ulong) {
    panic!("mariadb-backup's function was called");
}

extern "C" fn thd_killed(thd: *const c_void) -> c_int {
    assert_eq!(thd.addr(), THD.get(), "the calling thread's");
    KILLED.get()
}

extern "C" fn current_thd() -> *mut c_void {
    ptr::without_provenance_mut(THD.get())
}
