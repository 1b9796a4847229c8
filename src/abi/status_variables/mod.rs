//! The server's status variables `Aws_key_management_*`: one row each.
//!
//! The names have no prefix here: the server puts the plugin's name before them. Otherwise FLUSH STATUS would write into the
//! plugin's memory. What each of them says, docs/monitoring.md tells.

#![deny(unsafe_code)]

mod kms;
mod row;
#[cfg(test)]
#[allow(unsafe_code)]
mod tests;
mod value;

use std::time::SystemTime;

use self::kms::LIST as KMS;
use self::row::{END, Row, list, of_list, of_row};
use super::bindings as c;
use super::error_log;
use super::plugin::Figures;
use super::server_writable::ServerWritable;

list! {
    /// All of them, ended by NULL.
    pub(in crate::abi) static LIST = {
        keys: u64 = |figures| figures.keys.keys() as u64;
        key_versions: u64 = |figures| figures.keys.key_versions() as u64;
        keys_failed: u64 = |figures| figures.keys.keys_failed() as u64;
        key_versions_missing: u64 = |figures| figures.keys.key_versions_missing() as u64;
        master_keys: u64 = |figures| figures.keys.master_keys();
        oldest_latest_version_age: u64 = |figures| figures.keys.oldest_latest_version_age().as_secs();
        rotations: u64 = |figures| figures.keys.rotations();
        rotations_failed: u64 = |figures| figures.keys.rotations_failed();
        last_rotation: Option<SystemTime> = |figures| figures.keys.last_rotation();
        last_rotation_by: String = |figures| figures.keys.last_rotation_by();
        restart_ready: bool = |figures| figures.keys.readiness().restart_is_ready();
        can_make_keys: bool = |figures| figures.keys.readiness().can_make_keys();
        fully_wrapped: bool = |figures| figures.keys.readiness().is_fully_wrapped();
        last_check: Option<SystemTime> = |figures| figures.keys.readiness().last_check();
        unready_since: Option<SystemTime> = |figures| figures.keys.readiness().unready_since();
        last_error: String = |_| error_log::last_error().map_or_else(String::new, |(text, _)| text);
        last_error_time: Option<SystemTime> = |_| error_log::last_error().map(|(_, when)| when);
        start_time_ms: u64 = |figures| figures.keys.start_time().as_millis() as u64;
        memory_locked: bool = |figures| figures.keys.memory_is_locked();
        region: String = |figures| figures.kms.region();
        version: String = |_| env!("CARGO_PKG_VERSION").to_owned();
        "kms": KMS;
    }
}
