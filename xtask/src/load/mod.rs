//! Clients that write and rotate while a server is killed or loses its KMS, and what must be there afterwards.

mod key_files;
mod rotations;
mod rows;

pub use self::key_files::{KeyFiles, check_log, in_manifest, on_disk, temporary_files};
pub use self::rotations::{Attempt, Rotator, Step};
pub use self::rows::{Rows, check, check_all_tables};

/// Encryption of all that is written, durable commits, and everything small, so that a start is quick.
pub const OPTIONS: &str = "\
innodb_encrypt_tables = ON
innodb_encrypt_log = ON
innodb_flush_log_at_trx_commit = 1
innodb_buffer_pool_size = 16M
innodb_log_file_size = 16M
innodb_buffer_pool_dump_at_shutdown = OFF
log_bin = binlog
encrypt_binlog = ON
skip_stack_trace";
