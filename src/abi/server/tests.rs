//! Made-up processes: what the plugin sees of them.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, Ordering};

use super::Server;
use super::process::Purpose;
use super::symbols::{LookUp, Symbols};
use crate::abi::error_log::log_to;
use crate::keystore::Role;
use crate::own_threads;

#[test]
fn a_process_that_has_no_symbol_can_do_nothing_and_nothing_is_written_there() {
    let server = made_up(|_| ptr::null_mut());
    assert_eq!((server.role(), server.is_unknown()), (Role::Backup, true));
    assert!(!server.message(0, c"text"));
    assert!(!server.has_statement());
    assert_eq!(server.incremental_backup(), None);
    assert!(!server.is_starting() && !server.never_serves() && !server.ends_waits());
}

#[test]
fn a_server_and_mariadb_backup_are_known_by_their_signs() {
    let server = made_up(a_server);
    assert_eq!((server.role(), server.is_unknown()), (Role::Server, false));
    let backup = made_up(a_backup);
    assert_eq!((backup.role(), backup.is_unknown()), (Role::Backup, false));
}

#[test]
fn one_sign_less_does_not_matter() {
    for server in [
        made_up(|name| if name == c"error_handler_hook" { ptr::null_mut() } else { a_server(name) }),
        made_up(|name| if name == c"my_message_sql" { ptr::null_mut() } else { a_server(name) }),
        made_up(|name| if name == c"mysqld_server_initialized" { ptr::null_mut() } else { a_server(name) }),
    ] {
        assert_eq!((server.role(), server.is_unknown()), (Role::Server, false));
    }
    for backup in [
        made_up(|name| if name == c"mariabackup_exe" { ptr::null_mut() } else { a_backup(name) }),
        made_up(|name| if name == c"xtrabackup_prepare" { ptr::null_mut() } else { a_backup(name) }),
        made_up(|name| if name == c"error_handler_hook" { ptr::null_mut() } else { a_backup(name) }),
    ] {
        assert_eq!((backup.role(), backup.is_unknown()), (Role::Backup, false));
    }
}

#[test]
fn where_the_signs_contradict_each_other_nothing_is_written() {
    for unknown in [
        // A server that has come by a symbol of mariadb-backup.
        made_up(|name| if name == c"xtrabackup_backup" { a_backup(name) } else { a_server(name) }),
        // A server that reports errors, or begins, as mariadb-backup does.
        made_up(|name| if name == c"error_handler_hook" { a_backup(name) } else { a_server(name) }),
        made_up(|name| if name == c"mysqld_server_initialized" { a_backup(name) } else { a_server(name) }),
        // Neither has a sign of its own.
        made_up(|name| if name.to_bytes().starts_with(b"my_message") { a_server(name) } else { ptr::null_mut() }),
    ] {
        assert_eq!((unknown.role(), unknown.is_unknown()), (Role::Backup, true));
    }
}

#[test]
fn what_a_server_was_started_for_is_told_by_its_options() {
    static SET: AtomicU8 = AtomicU8::new(1);
    let purposes = [
        made_up(|name| if name == c"opt_bootstrap" { SET.as_ptr().cast() } else { a_server(name) }).purpose(),
        made_up(|name| if name == c"wsrep_recovery" { SET.as_ptr().cast() } else { a_server(name) }).purpose(),
        made_up(|name| if name == c"opt_help" { SET.as_ptr().cast() } else { a_server(name) }).purpose(),
        made_up(a_server).purpose(),
    ];
    assert_eq!(purposes, [Purpose::Bootstrap, Purpose::WsrepRecovery, Purpose::Help, Purpose::Serve]);
}

#[test]
fn a_server_that_recovers_a_position_only_reads_and_never_serves() {
    static SET: AtomicU8 = AtomicU8::new(1);
    static NOT_STARTED: AtomicI32 = AtomicI32::new(0);
    let recovery = made_up(|name| match name.to_bytes() {
        b"wsrep_recovery" => SET.as_ptr().cast(),
        b"mysqld_server_started" => NOT_STARTED.as_ptr().cast(),
        _ => a_server(name),
    });
    assert_eq!((recovery.role(), recovery.is_unknown()), (Role::Recovery, false));
    assert!(recovery.never_serves() && recovery.is_starting(), "it waits for KMS, and a signal ends it");
    let backup = made_up(|name| if name == c"wsrep_recovery" { SET.as_ptr().cast() } else { a_backup(name) });
    assert_eq!(backup.role(), Role::Backup);
    assert!(!made_up(a_server).never_serves());
}

#[test]
fn a_node_of_a_cluster_is_filled_by_rsync_if_that_is_its_method() {
    static PROVIDER: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());
    static METHOD: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());
    static STARTED: AtomicI32 = AtomicI32::new(0);
    let node = made_up(|name| match name.to_bytes() {
        b"mysqld_server_started" => STARTED.as_ptr().cast(),
        b"wsrep_provider" => PROVIDER.as_ptr().cast(),
        b"wsrep_sst_method" => METHOD.as_ptr().cast(),
        _ => a_server(name),
    });
    assert!(!node.is_filled_by_rsync() && !made_up(a_server).is_filled_by_rsync(), "nothing is said");
    for (provider, method, is) in [
        (c"/usr/lib/galera/libgalera_smm.so", c"rsync", true),
        (c"/usr/lib/galera/libgalera_smm.so", c"rsync_wan", true),
        (c"/usr/lib/galera/libgalera_smm.so", c"mariabackup", false),
        (c"none", c"rsync", false),
        (c"", c"rsync", false),
    ] {
        PROVIDER.store(provider.as_ptr().cast_mut(), Ordering::Relaxed);
        METHOD.store(method.as_ptr().cast_mut(), Ordering::Relaxed);
        STARTED.store(0, Ordering::Relaxed);
        assert_eq!(node.is_filled_by_rsync(), is, "{provider:?} {method:?}");
        STARTED.store(1, Ordering::Relaxed);
        assert!(!node.is_filled_by_rsync(), "the server's text is read while it starts, and not later");
    }
}

#[test]
fn messages_go_to_the_servers_function_with_their_flags() {
    let server = made_up(a_server);
    assert_eq!(server.role(), Role::Server);
    assert!(server.message(1024, c"100 %s of it"));
    assert_eq!(MESSAGES.take(), [(1105, "100 %s of it".to_owned(), 1024)]);
}

#[test]
fn a_thread_of_the_plugins_own_does_not_call_the_servers_function() {
    log_to(&made_up(a_server), 0, "ERROR", "a line on a thread of the server's");
    assert_eq!(MESSAGES.take().len(), 1);
    let own = std::thread::spawn(|| {
        own_threads::enter();
        log_to(&made_up(a_server), 0, "ERROR", "a line on a thread of the plugin's own");
        MESSAGES.take()
    });
    assert_eq!(own.join().expect("no panic"), []);
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
    static STARTED: AtomicI32 = AtomicI32::new(0);
    fn with_started(name: &CStr) -> *mut c_void {
        if name.to_bytes() == b"mysqld_server_started" { STARTED.as_ptr().cast() } else { a_server(name) }
    }
    let backup = made_up(|name| match name.to_bytes() {
        b"mysqld_server_started" => STARTED.as_ptr().cast(),
        _ => a_backup(name),
    });
    assert!(made_up(with_started).is_starting() && !backup.is_starting());
    let untold = made_up(|name| if name == c"mysqld_server_started" { ptr::null_mut() } else { a_server(name) });
    assert!(!untold.is_starting(), "where it cannot be told, nothing is waited for");
    STARTED.store(1, Ordering::Relaxed);
    assert!(!made_up(with_started).is_starting());
}

#[test]
fn waits_end_when_the_statement_is_killed_and_when_the_server_goes_down() {
    static ABORT_LOOP: AtomicU8 = AtomicU8::new(0);
    let server = made_up(|name| match name.to_bytes() {
        b"abort_loop" => ABORT_LOOP.as_ptr().cast(),
        b"thd_killed" => thd_killed as *mut c_void,
        _ => a_server(name),
    });
    for thd in [0, 1] {
        THD.set(thd);
        ABORT_LOOP.store(0, Ordering::Relaxed);
        assert!(!server.ends_waits(), "{thd}");
        ABORT_LOOP.store(1, Ordering::Relaxed);
        assert!(server.ends_waits(), "{thd}");
    }
    ABORT_LOOP.store(0, Ordering::Relaxed);
    KILLED.set(1);
    assert!(server.ends_waits());
    assert!(!made_up(a_server).ends_waits(), "without the symbols");
}

#[test]
fn the_account_of_a_statement_is_its_user_and_host() {
    let server = made_up(|name| match name.to_bytes() {
        b"thd_priv_user" => user as *mut c_void,
        b"thd_priv_host" => host as *mut c_void,
        _ => a_server(name),
    });
    assert_eq!(server.account(), None, "without a connection");
    THD.set(1);
    assert_eq!(server.account().as_deref(), Some("dba@%"));
    assert_eq!(made_up(a_server).account(), None, "without the symbols");
}

#[test]
fn a_statement_has_the_right_process_if_the_server_says_so_and_not_where_it_cannot_be_asked() {
    let server = made_up(|name| match name.to_bytes() {
        b"_Z19check_global_accessP3THD11privilege_tb" => lacks as *mut c_void,
        _ => a_server(name),
    });
    assert!(!server.statement_has_process_privilege(), "without a connection");
    THD.set(1);
    assert!(!server.statement_has_process_privilege());
    THD.set(2);
    assert!(server.statement_has_process_privilege());
    assert!(!made_up(a_server).statement_has_process_privilege(), "without the symbol");
}

/// Connection 2 has the right.
extern "C" fn lacks(thd: *const c_void, right: u64, no_errors: bool) -> bool {
    assert_eq!((right, no_errors), (256, true));
    thd.addr() != 2
}

extern "C" fn user(_: *const c_void, _: *mut usize) -> *const c_char {
    c"dba".as_ptr()
}

extern "C" fn host(_: *const c_void, _: *mut usize) -> *const c_char {
    c"%".as_ptr()
}

fn made_up(look_up: LookUp) -> Server {
    // SAFETY: what the look-ups of this file answer is NULL, or the address of a static or a function of the symbol's type.
    Server::with(unsafe { Symbols::made_up(look_up) })
}

/// The symbols of a server.
fn a_server(name: &CStr) -> *mut c_void {
    static HOOK: AtomicPtr<c_void> = AtomicPtr::new(MESSAGE_SQL.as_ptr().cast());
    static SET: AtomicI32 = AtomicI32::new(1);
    static CLEAR: AtomicI32 = AtomicI32::new(0);
    match name.to_bytes() {
        b"my_message" => message as *mut c_void,
        b"my_message_sql" => MESSAGE_SQL.as_ptr().cast(),
        b"my_message_stderr" => MESSAGE_STDERR.as_ptr().cast(),
        b"error_handler_hook" => HOOK.as_ptr().cast(),
        b"mysqld_server_initialized" | b"mysqld_server_started" => SET.as_ptr().cast(),
        b"opt_bootstrap" | b"wsrep_recovery" | b"opt_help" => CLEAR.as_ptr().cast(),
        b"_current_thd" => current_thd as *mut c_void,
        _ => ptr::null_mut(),
    }
}

/// The symbols of mariadb-backup, which has those of a server too.
fn a_backup(name: &CStr) -> *mut c_void {
    static HOOK: AtomicPtr<c_void> = AtomicPtr::new(MESSAGE_STDERR.as_ptr().cast());
    static CLEAR: AtomicI32 = AtomicI32::new(0);
    match name.to_bytes() {
        b"error_handler_hook" => HOOK.as_ptr().cast(),
        b"mysqld_server_initialized" | b"mysqld_server_started" => CLEAR.as_ptr().cast(),
        b"mariabackup_exe" | b"xtrabackup_backup" | b"xtrabackup_prepare" | b"xtrabackup_copy_back" => {
            CLEAR.as_ptr().cast()
        }
        _ => a_server(name),
    }
}

// Nobody calls them; and in Miri a function has more than one address.
static MESSAGE_SQL: AtomicU8 = AtomicU8::new(0);
static MESSAGE_STDERR: AtomicU8 = AtomicU8::new(0);

thread_local! {
    static MESSAGES: RefCell<Vec<(c_uint, String, c_ulong)>> = const { RefCell::new(Vec::new()) };
    static KILLED: Cell<c_int> = const { Cell::new(0) };
    static THD: Cell<usize> = const { Cell::new(0) };
}

extern "C" fn message(error: c_uint, text: *const c_char, flags: c_ulong) {
    // SAFETY: the plugin passes a string that ends in NUL.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    MESSAGES.with_borrow_mut(|messages| messages.push((error, text, flags)));
}

extern "C" fn thd_killed(thd: *const c_void) -> c_int {
    assert_eq!(thd.addr(), THD.get(), "the calling thread's");
    KILLED.get()
}

extern "C" fn current_thd() -> *mut c_void {
    ptr::without_provenance_mut(THD.get())
}
