//! What a key store is opened with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{NewKeys, PublishedKeys, Reporter};
use crate::kms::Kms;

/// What a key store is opened with.
pub struct Opening<'a> {
    /// Where the key files lie.
    pub folder: &'a Path,
    /// The server's datadir, which remembers with which folder its keys lie.
    pub datadir: &'a Path,
    /// Where key files may lie too: mariadb-backup's folder of an incremental backup, while it is prepared.
    pub also: Option<&'a Path>,
    /// Who unwraps them.
    pub kms: Arc<dyn Kms>,
    /// Where the keys are published.
    pub published: &'static PublishedKeys,
    /// What new keys are made with.
    pub new_keys: NewKeys,
    /// In whose process this is.
    pub role: Role,
    /// How long KMS is tried, if it cannot be reached.
    pub startup_timeout: Duration,
    /// Whether the server is still starting: then a new key is waited for, too.
    pub is_starting: fn() -> bool,
    /// Who is told.
    pub reporter: &'static dyn Reporter,
}

/// In whose process the plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A server, which makes keys.
    Server,
    /// mariadb-backup, which only reads them.
    Backup,
}
