//! What is measured: how servers encrypt, how much of the data they hold in memory, and what they do.

use std::path::Path;

use crate::rig;

/// How a server encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Not at all.
    None,
    /// By the server's own plugin.
    FileKeyManagement(Algorithm),
    /// By this plugin.
    Plugin(Algorithm),
}

/// What pages and logs are encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES_CBC
    Cbc,
    /// AES_CTR
    Ctr,
}

/// How much of the data a server holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// All: pages are only written, now and then.
    All,
    /// A quarter: pages come in and go out all the time.
    Quarter,
}

/// What sysbench lets a server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// oltp_read_only
    ReadOnly,
    /// oltp_read_write
    ReadWrite,
    /// oltp_write_only
    WriteOnly,
}

impl Variant {
    /// The first is what the others are compared with.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::FileKeyManagement(Algorithm::Cbc),
        Self::FileKeyManagement(Algorithm::Ctr),
        Self::Plugin(Algorithm::Cbc),
        Self::Plugin(Algorithm::Ctr),
    ];

    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no encryption",
            Self::FileKeyManagement(Algorithm::Cbc) => "file_key_management, AES_CBC",
            Self::FileKeyManagement(Algorithm::Ctr) => "file_key_management, AES_CTR",
            Self::Plugin(Algorithm::Cbc) => "aws_key_management, AES_CBC",
            Self::Plugin(Algorithm::Ctr) => "aws_key_management, AES_CTR",
        }
    }

    /// Lines of a my.cnf.
    pub fn options(self, pool: Pool, key_file: &Path) -> String {
        let server = format!("{SERVER}\ninnodb_buffer_pool_size = {}", pool.size());
        let plugin = match self {
            Self::None => return server,
            Self::FileKeyManagement(algorithm) => format!(
                "plugin_load_add = file_key_management\nfile_key_management_filename = {}\n\
                 file_key_management_encryption_algorithm = {}",
                key_file.display(),
                algorithm.name()
            ),
            Self::Plugin(algorithm) => {
                format!("{}\naws_key_management_encryption_algorithm = {}", rig::LOAD, algorithm.name())
            }
        };
        format!("{server}\n{ENCRYPT}\n{plugin}")
    }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Cbc => "AES_CBC",
            Self::Ctr => "AES_CTR",
        }
    }
}

impl Pool {
    /// In the order of the document.
    pub const ALL: [Self; 2] = [Self::All, Self::Quarter];

    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all data in memory",
            Self::Quarter => "a quarter of the data in memory",
        }
    }

    /// Of the buffer pool.
    fn size(self) -> &'static str {
        match self {
            Self::All => "192M",
            Self::Quarter => "16M",
        }
    }
}

impl Workload {
    /// In the order of the table.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::ReadWrite, Self::WriteOnly];

    /// Brings the table into memory.
    pub const WARM_UP: Self = Self::ReadOnly;

    /// For a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
            Self::WriteOnly => "write-only",
        }
    }
}

/// The same for all. What is flushed is flushed at the pace of the transactions.
const SERVER: &str =
    "innodb_flush_method = fsync\ninnodb_log_file_size = 64M\ninnodb_flush_log_at_trx_commit = 2\nskip_log_bin";
const ENCRYPT: &str = "innodb_encrypt_tables = ON\ninnodb_encrypt_log = ON";
