//! The server's variables `aws_key_management_*`: one row each.
//!
//! The server owns the structs and the values, and writes into both. The plugin reads the values in init; what may change
//! later reaches it through `on_set`, so nothing is read while the server writes it.

#![deny(unsafe_code)]

#[allow(unsafe_code)] // says who may make a proof
mod access;
mod choice;
mod key_command;
mod number;
mod rewrap_key;
mod rotate_key;
#[cfg(feature = "mock")]
mod switch;
#[cfg(test)]
#[allow(unsafe_code)]
mod tests;
mod text;
#[allow(unsafe_code)] // calls the functions of a value
mod value;
#[allow(unsafe_code)] // finds the row of a variable
mod variable;
mod verify_keys;

use std::ffi::{OsStr, c_int};
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

pub(super) use self::access::{InInit, SoleAccess};
use self::choice::{Choice, Choices, TypeLib, choices};
use self::key_command::KeyCommand;
use self::number::Number;
#[cfg(feature = "mock")]
use self::switch::Switch;
use self::text::{SetText, Text};
use self::variable::{Kind, OnSet, Variable, system_variables};
use super::bindings as c;
use super::error_log::warn_statement;
use super::plugin;
use super::server_writable::ServerWritable;
use crate::cipher::Algorithm;
use crate::keystore::{AllowedKeyIds, ExtraMasterKeys, KeyStore, MasterKeysOfIds, NewKeySettings};
use crate::kms::aws::{Endpoints, parse_regions, sdk_log};
use crate::kms::{EncryptionContext, KeySpec, MasterKeyId};

system_variables! {
    MASTER_KEY_ID: Text<Option<MasterKeyId>> {
        name: c"master_key_id",
        comment: c"The KMS key that wraps new data keys: its key id, its ARN, or alias/NAME. Data keys that exist need the one \
            that wrapped them. If empty, no new data keys are made",
        meaning: parse_master_key_id,
        on_set: OnSet::Call(SetText { change: change_master_key, empty: "switches the making of new keys off" }),
    }

    MASTER_KEYS: Text<MasterKeysOfIds> {
        name: c"master_keys",
        comment: c"Master keys of certain key ids, in place of aws_key_management_master_key_id, such as \
            100-199=arn:aws:kms:eu-west-1:111122223333:key/..; 200=alias/tenant-b",
        meaning: parse_master_keys,
        on_set: OnSet::Call(SetText { change: change_master_keys, empty: "leaves all keys to aws_key_management_master_key_id" }),
    }

    EXTRA_MASTER_KEY_IDS: Text<ExtraMasterKeys> {
        name: c"extra_master_key_ids",
        comment: c"ARNs of KMS keys, separated by commas, that wrap copies of all data keys as well, except of key ids that \
            have a master key of their own. A start uses a copy if the master key cannot be used. If empty, no copies are made",
        meaning: parse_extra_master_keys,
        on_set: OnSet::Call(SetText { change: change_extra_master_keys, empty: "makes no more copies" }),
    }

    ENCRYPTION_CONTEXT: Text<EncryptionContext> {
        name: c"encryption_context",
        comment: c"Names and values, such as server=db1,stage=prod, that KMS binds into new wrapped keys together with the key \
            id. CloudTrail shows them, and policies can ask for them. Key files with them cannot be read by the plugin that \
            this one replaces. If empty, nothing is bound",
        meaning: parse_encryption_context,
        on_set: OnSet::Call(SetText { change: change_encryption_context, empty: "binds nothing into new keys any more" }),
    }

    KEY_SPEC: Choice<KeySpec> {
        name: c"key_spec",
        comment: c"Length of new data keys. Pages and logs are encrypted with a key of 128 bits that the server derives from \
            the data key; only the binary log uses the data key itself",
        values: choices![(c"AES_128", KeySpec::Aes128), (c"AES_256", KeySpec::Aes256)],
        on_set: OnSet::Call(|spec| change_settings(|settings| settings.spec = spec)),
    }

    ENCRYPTION_ALGORITHM: Choice<Algorithm> {
        name: c"encryption_algorithm",
        comment: c"What new key versions encrypt with. It belongs to the key version: rotate a key to move its tables to \
            another algorithm. With AES_CTR, rotate all keys after making a copy of the datadir that is written to as well",
        values: choices![(c"AES_CBC", Algorithm::AesCbc), (c"AES_CTR", Algorithm::AesCtr)],
        on_set: OnSet::Call(|algorithm| change_settings(|settings| settings.algorithm = algorithm)),
    }

    ALLOWED_KEY_IDS: Text<AllowedKeyIds> {
        name: c"allowed_key_ids",
        comment: c"Key ids for which a key may be made, such as 1-10,100. If empty, all. Include 1 and 2, which the server \
            itself uses. Keys that exist are not affected",
        meaning: parse_allowed_key_ids,
        on_set: OnSet::Refuse,
    }

    ROTATE_KEY: KeyCommand {
        name: c"rotate_key",
        comment: c"Set it to a key id to give that key a new version, or to -1 to do so with all keys. The statement fails if \
            a rotation fails. Reads 0",
        verb: "rotates",
        run: rotate_key::rotate,
    }

    ROTATION_PERIOD: Number<u32> {
        name: c"rotation_period",
        comment: c"Days after which a key gets a new version by itself; up to a tenth later, so that not all keys do on one \
            day. If 0, none does",
        default: 0,
        range: 0..=36_500,
        meaning: |days| u32::try_from(days).unwrap_or(0),
        on_set: OnSet::Call(change_rotation_period),
    }

    REWRAP_KEY: KeyCommand {
        name: c"rewrap_key",
        comment: c"Set it to a key id to have all versions of that key wrapped anew under the master key that is configured now, \
            or to -1 to do so with all keys. The data keys and the data stay as they are; the master key that wrapped them \
            before is not needed. The statement fails if one of them fails. Reads 0",
        verb: "re-wraps",
        run: rewrap_key::rewrap,
    }

    VERIFY_KEYS: KeyCommand {
        name: c"verify_keys",
        comment: c"Set it to a key id to check whether a restart would find all versions of that key: its key files are read, KMS \
            unwraps them, and what comes out is compared with the keys in memory. -1 does so with all keys. The statement fails \
            if one of them fails, and SHOW WARNINGS has a note for each. Reads 0",
        verb: "checks keys",
        run: verify_keys::verify,
    }

    VERIFY_INTERVAL: Number<Duration> {
        name: c"verify_interval",
        comment: c"Seconds after which it is checked again, in the background, whether a restart would find all keys; besides, \
            one key version of each master key is checked every hour. 0 switches that off",
        default: 86_400,
        range: 0..=31_536_000,
        meaning: |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        on_set: OnSet::Call(change_verify_interval),
    }

    LOG_LEVEL: Choice<LevelFilter> {
        name: c"log_level",
        comment: c"How much of the AWS SDK's own log goes to the error log. Keys never do",
        values: choices![
            (c"Off", LevelFilter::OFF),
            (c"Fatal", LevelFilter::ERROR), // the SDK has no level of its own for it
            (c"Error", LevelFilter::ERROR),
            (c"Warn", LevelFilter::WARN),
            (c"Info", LevelFilter::INFO),
            (c"Debug", LevelFilter::DEBUG),
            (c"Trace", LevelFilter::TRACE),
        ],
        on_set: OnSet::Call(sdk_log::set_level),
    }

    REQUEST_TIMEOUT: Number<Option<Duration>> {
        name: c"request_timeout",
        comment: c"Milliseconds that a connection to KMS may take to be made, and an attempt of a call to be answered. 0 is \
            the default: 3.1 and 5 seconds",
        default: 0,
        range: 0..=c_int::MAX,
        meaning: |milliseconds| {
            u64::try_from(milliseconds).ok().filter(|milliseconds| *milliseconds > 0).map(Duration::from_millis)
        },
        on_set: OnSet::Refuse,
    }

    STARTUP_TIMEOUT: Number<Duration> {
        name: c"startup_timeout",
        comment: c"Seconds that the plugin keeps trying at start if KMS cannot be reached or there are no credentials yet, \
            before it gives up",
        default: 60,
        range: 0..=86_400,
        meaning: |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        on_set: OnSet::Refuse,
    }

    REGION: Text<Option<String>> {
        name: c"region",
        comment: c"AWS region of the master key, such as eu-central-1. If empty, that of the ARN in \
            aws_key_management_master_key_id; without one, as the AWS SDK finds it: environment, profile, instance metadata, \
            and at last us-east-1",
        meaning: |text| Ok(unless_empty(text)),
        on_set: OnSet::Refuse,
    }

    FALLBACK_REGIONS: Text<Vec<String>> {
        name: c"fallback_regions",
        comment: c"AWS regions, such as eu-west-1,us-east-1, that are asked in this order when the region of a multi-region \
            master key (mrk-..) gives no answer. It needs a replica in each. If empty, none is asked",
        meaning: parse_fallback_regions,
        on_set: OnSet::Refuse,
    }

    ENDPOINT_URL: Text<Endpoints> {
        name: c"endpoint_url",
        comment: c"URL of the KMS endpoint, in place of the region's own, such as that of a VPC endpoint. Other regions than \
            the default one can have theirs: https://..; us-east-1=https://..",
        meaning: parse_endpoint_url,
        on_set: OnSet::Refuse,
    }

    KEYFILE_DIR: Text<PathBuf> {
        name: c"keyfile_dir",
        comment: c"Folder of the key files. If empty, the datadir, from where mariadb-backup copies them",
        // `.` is the datadir: the server's working directory.
        meaning: |text| Ok(PathBuf::from(if text.is_empty() { OsStr::new(".") } else { text })),
        on_set: OnSet::Refuse,
    }

    #[cfg(feature = "mock")]
    MOCK: Switch {
        name: c"mock",
        comment: c"Make data keys without KMS and store them in the clear. For tests only",
    }
}

fn parse_master_key_id(text: &OsStr) -> Result<Option<MasterKeyId>, String> {
    let Some(name) = unless_empty(text) else { return Ok(None) };
    MasterKeyId::parse(&name).map(Some).ok_or_else(|| {
        format!(
            "'{name}' is no name of a KMS key; aws_key_management_master_key_id takes a key id, an ARN or alias/NAME"
        )
    })
}

fn parse_master_keys(text: &OsStr) -> Result<MasterKeysOfIds, String> {
    let list = text.to_string_lossy();
    MasterKeysOfIds::parse(&list).map_err(|wrong| {
        format!(
            "aws_key_management_master_keys is wrong: {wrong}; it must be a list such as \
             100-199=arn:aws:kms:..; 200=alias/tenant-b, or empty"
        )
    })
}

fn parse_extra_master_keys(text: &OsStr) -> Result<ExtraMasterKeys, String> {
    let list = text.to_string_lossy();
    ExtraMasterKeys::parse(&list).map_err(|part| {
        format!(
            "'{part}' in aws_key_management_extra_master_key_ids is no ARN of a KMS key; it must be a list such as \
             arn:aws:kms:eu-west-1:111122223333:key/..,arn:aws:kms:.., or empty"
        )
    })
}

fn parse_encryption_context(text: &OsStr) -> Result<EncryptionContext, String> {
    let list = text.to_string_lossy();
    EncryptionContext::parse(&list).map_err(|wrong| {
        format!(
            "aws_key_management_encryption_context is wrong: {wrong}; it must be a list such as server=db1,stage=prod, or \
             empty"
        )
    })
}

fn parse_allowed_key_ids(text: &OsStr) -> Result<AllowedKeyIds, String> {
    let list = text.to_string_lossy();
    AllowedKeyIds::parse(&list).map_err(|part| {
        format!(
            "aws_key_management_allowed_key_ids is '{list}', in which '{part}' is neither a key id nor a range of them; it \
             must be a list such as 1-10,100, or empty"
        )
    })
}

fn parse_endpoint_url(text: &OsStr) -> Result<Endpoints, String> {
    Endpoints::parse(&text.to_string_lossy()).map_err(|wrong| {
        format!(
            "aws_key_management_endpoint_url is wrong: {wrong}; it must be a URL such as \
             https://kms.eu-central-1.amazonaws.com, or a list such as https://..; us-east-1=https://.., or empty"
        )
    })
}

fn parse_fallback_regions(text: &OsStr) -> Result<Vec<String>, String> {
    parse_regions(&text.to_string_lossy()).map_err(|wrong| {
        format!(
            "aws_key_management_fallback_regions is wrong: {wrong}; it must be a list such as eu-west-1,us-east-1, or empty"
        )
    })
}

fn unless_empty(text: &OsStr) -> Option<String> {
    (!text.is_empty()).then(|| text.to_string_lossy().into_owned())
}

fn change_master_key(master_key: Option<MasterKeyId>) {
    change_settings(|settings| settings.master_key = master_key);
    try_again();
    with_store(|store| {
        if let Some(text) = store.after_restart() {
            // Not in the log: whoever connects may wait for this function.
            warn_statement(&text);
        }
    });
}

fn change_master_keys(master_keys: MasterKeysOfIds) {
    change_settings(|settings| settings.master_keys = master_keys);
    try_again();
}

fn change_extra_master_keys(extra: ExtraMasterKeys) {
    change_settings(|settings| settings.extra_master_keys = extra);
    try_again();
}

fn change_encryption_context(context: EncryptionContext) {
    change_settings(|settings| settings.encryption_context = context);
    try_again();
}

fn change_rotation_period(days: u32) {
    with_store(|store| store.set_rotation_period(days));
}

fn change_verify_interval(interval: Duration) {
    with_store(|store| store.set_verify_interval(interval));
}

fn try_again() {
    with_store(KeyStore::forget_failures);
}

fn change_settings(change: impl FnOnce(&mut NewKeySettings)) {
    with_store(|store| store.new_keys().change(change));
}

/// Before the plugin runs, there is nothing to tell: the store reads the variables when it is opened.
fn with_store(tell: impl FnOnce(&KeyStore)) {
    if let Some(store) = plugin::store() {
        tell(&store);
    }
}
