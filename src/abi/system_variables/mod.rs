//! The server's variables `aws_key_management_*`.
//!
//! The server owns the structs and the values below, and writes into both. The plugin reads the values once, in init;
//! what may change later reaches it through the update functions, so nothing is read while the server writes it.

mod setters;
mod shapes;
mod values;

use std::ffi::{c_char, c_int, c_longlong, c_ulong};
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use self::setters::{
    algorithm, check_master_key_id, check_rotate_key, key_spec, log_level, update_encryption_algorithm,
    update_key_spec, update_log_level, update_master_key_id, update_rotate_key,
};
use self::shapes::{AT_RUN_TIME, EnumNames, enum_variable, int_variable, string_variable};
use self::values::{adopt, adopt_path, read, take};
use super::bindings as c;
use super::boundary::ServerWritable;
use super::error_log::ErrorLog;
use crate::cipher::Algorithm;
use crate::keystore::{AllowedKeyIds, Reporter};
use crate::kms::KeySpec;
use crate::kms::aws::AwsSettings;

/// The values that the plugin starts with, checked.
pub(super) struct Startup {
    pub(super) master_key_id: String,
    pub(super) key_spec: KeySpec,
    pub(super) algorithm: Algorithm,
    pub(super) allowed: AllowedKeyIds,
    pub(super) log_level: LevelFilter,
    /// `.` is the datadir: the server's working directory.
    pub(super) folder: PathBuf,
    pub(super) aws: AwsSettings,
    pub(super) mock: bool,
    pub(super) startup_timeout: Duration,
}

/// Reads the values that the server took from its command line and option files. Called in init.
///
/// A string value then lies in memory that the server frees when an INSTALL statement ends, so it is replaced by a copy.
pub(super) fn read_at_start() -> Result<Startup, String> {
    let master_key_id = adopt(&MASTER_KEY_ID);
    let region = adopt(&REGION);
    let endpoint_url = adopt(&ENDPOINT_URL);
    let keyfile_dir = PathBuf::from(adopt_path(&KEYFILE_DIR));
    let rotate_key = take(&ROTATE_KEY, 0);
    if rotate_key != 0 {
        ErrorLog.warning(
            "aws_key_management_rotate_key rotates when it is SET, not at start; its value on the command line or in an \
             option file is ignored",
        );
    }
    if !endpoint_url.is_empty() {
        check_endpoint(&endpoint_url)?;
    }
    let request_timeout = u64::try_from(read(&REQUEST_TIMEOUT)).unwrap_or(0);
    Ok(Startup {
        master_key_id,
        key_spec: key_spec(read(&KEY_SPEC)),
        algorithm: algorithm(read(&ENCRYPTION_ALGORITHM)),
        allowed: parse_allowed(&adopt(&ALLOWED_KEY_IDS))?,
        log_level: log_level(read(&LOG_LEVEL)),
        folder: if keyfile_dir.as_os_str().is_empty() { PathBuf::from(".") } else { keyfile_dir },
        aws: AwsSettings {
            region: (!region.is_empty()).then_some(region),
            endpoint_url: (!endpoint_url.is_empty()).then_some(endpoint_url),
            request_timeout: (request_timeout > 0).then(|| Duration::from_millis(request_timeout)),
        },
        #[cfg(feature = "mock")]
        mock: read(&MOCK) != 0,
        #[cfg(not(feature = "mock"))]
        mock: false,
        startup_timeout: Duration::from_secs(u64::try_from(read(&STARTUP_TIMEOUT)).unwrap_or(0)),
    })
}

fn parse_allowed(list: &str) -> Result<AllowedKeyIds, String> {
    AllowedKeyIds::parse(list).map_err(|part| {
        format!(
            "aws_key_management_allowed_key_ids is '{list}', in which '{part}' is neither a key id nor a range of them; it \
             must be a list such as 1-10,100, or empty"
        )
    })
}

fn check_endpoint(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        // Everybody who may read variables would see them.
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("aws_key_management_endpoint_url holds a user name or password, which it may not".to_owned())
        }
        Some(_) => Ok(()),
        None => Err(format!(
            "aws_key_management_endpoint_url is '{text}'; it must be a URL such as \
             https://kms.eu-central-1.amazonaws.com, or empty"
        )),
    }
}

/// All variables, ended by NULL.
pub(super) static LIST: ServerWritable<[*mut c::st_mysql_sys_var; COUNT + 1]> = ServerWritable::new([
    MASTER_KEY_ID_VARIABLE.as_ptr().cast(),
    KEY_SPEC_VARIABLE.as_ptr().cast(),
    ENCRYPTION_ALGORITHM_VARIABLE.as_ptr().cast(),
    ALLOWED_KEY_IDS_VARIABLE.as_ptr().cast(),
    ROTATE_KEY_VARIABLE.as_ptr().cast(),
    LOG_LEVEL_VARIABLE.as_ptr().cast(),
    REQUEST_TIMEOUT_VARIABLE.as_ptr().cast(),
    STARTUP_TIMEOUT_VARIABLE.as_ptr().cast(),
    REGION_VARIABLE.as_ptr().cast(),
    ENDPOINT_URL_VARIABLE.as_ptr().cast(),
    KEYFILE_DIR_VARIABLE.as_ptr().cast(),
    #[cfg(feature = "mock")]
    MOCK_VARIABLE.as_ptr().cast(),
    ptr::null_mut(),
]);

const COUNT: usize = if cfg!(feature = "mock") { 12 } else { 11 };

// The values.
static MASTER_KEY_ID: ServerWritable<*mut c_char> = ServerWritable::new(ptr::null_mut());
static KEY_SPEC: ServerWritable<c_ulong> = ServerWritable::new(0);
static ENCRYPTION_ALGORITHM: ServerWritable<c_ulong> = ServerWritable::new(0);
static ALLOWED_KEY_IDS: ServerWritable<*mut c_char> = ServerWritable::new(ptr::null_mut());
static ROTATE_KEY: ServerWritable<c_longlong> = ServerWritable::new(0);
static LOG_LEVEL: ServerWritable<c_ulong> = ServerWritable::new(0);
static REQUEST_TIMEOUT: ServerWritable<c_int> = ServerWritable::new(0);
static STARTUP_TIMEOUT: ServerWritable<c_int> = ServerWritable::new(0);
static REGION: ServerWritable<*mut c_char> = ServerWritable::new(ptr::null_mut());
static ENDPOINT_URL: ServerWritable<*mut c_char> = ServerWritable::new(ptr::null_mut());
static KEYFILE_DIR: ServerWritable<*mut c_char> = ServerWritable::new(ptr::null_mut());
#[cfg(feature = "mock")]
static MOCK: ServerWritable<c_char> = ServerWritable::new(0);

static MASTER_KEY_ID_VARIABLE: ServerWritable<c::mysql_sysvar_of_string> = string_variable(
    c"master_key_id",
    c"The KMS key that wraps new data keys: its key id, its ARN, or alias/NAME. Data keys that exist need the one that \
      wrapped them. If empty, no new data keys are made",
    &MASTER_KEY_ID,
    Some((check_master_key_id, update_master_key_id)),
);

static KEY_SPEC_VARIABLE: ServerWritable<c::mysql_sysvar_of_enum> = enum_variable(
    c"key_spec",
    c"Length of new data keys. Pages and logs are encrypted with a key of 128 bits that the server derives from the data \
      key; only the binary log uses the data key itself",
    &KEY_SPEC,
    &KEY_SPEC_NAMES,
    update_key_spec,
);

static ENCRYPTION_ALGORITHM_VARIABLE: ServerWritable<c::mysql_sysvar_of_enum> = enum_variable(
    c"encryption_algorithm",
    c"What new key versions encrypt with. It belongs to the key version: rotate a key to move its tables to another \
      algorithm. With AES_CTR, rotate all keys after making a copy of the datadir that is written to as well",
    &ENCRYPTION_ALGORITHM,
    &ENCRYPTION_ALGORITHM_NAMES,
    update_encryption_algorithm,
);

static ALLOWED_KEY_IDS_VARIABLE: ServerWritable<c::mysql_sysvar_of_string> = string_variable(
    c"allowed_key_ids",
    c"Key ids for which a key may be made, such as 1-10,100. If empty, all. Include 1 and 2, which the server itself uses. \
      Keys that exist are not affected",
    &ALLOWED_KEY_IDS,
    None,
);

static ROTATE_KEY_VARIABLE: ServerWritable<c::mysql_sysvar_of_longlong> =
    ServerWritable::new(c::mysql_sysvar_of_longlong {
        flags: c::PLUGIN_VAR_LONGLONG as c_int | AT_RUN_TIME,
        name: c"rotate_key".as_ptr(),
        comment:
            c"Set it to a key id to give that key a new version, or to -1 to do so with all keys. The statement fails \
                   if a rotation fails. Reads 0"
                .as_ptr(),
        check: Some(check_rotate_key),
        update: Some(update_rotate_key),
        value: ROTATE_KEY.as_ptr(),
        def_val: 0,
        min_val: -1,
        max_val: u32::MAX as c_longlong,
        blk_sz: 0,
    });

static LOG_LEVEL_VARIABLE: ServerWritable<c::mysql_sysvar_of_enum> = enum_variable(
    c"log_level",
    c"How much of the AWS SDK's own log goes to the error log. Keys never do",
    &LOG_LEVEL,
    &LOG_LEVEL_NAMES,
    update_log_level,
);

static REQUEST_TIMEOUT_VARIABLE: ServerWritable<c::mysql_sysvar_of_int> = int_variable(
    c"request_timeout",
    c"Milliseconds that a connection to KMS may take to be made, and an attempt of a call to be answered. 0 is the \
      default: 3.1 and 5 seconds",
    &REQUEST_TIMEOUT,
    0,
    c_int::MAX,
);

static STARTUP_TIMEOUT_VARIABLE: ServerWritable<c::mysql_sysvar_of_int> = int_variable(
    c"startup_timeout",
    c"Seconds that the plugin keeps trying at start if KMS cannot be reached or there are no credentials yet, before it \
      gives up",
    &STARTUP_TIMEOUT,
    60,
    86_400,
);

static REGION_VARIABLE: ServerWritable<c::mysql_sysvar_of_string> = string_variable(
    c"region",
    c"AWS region of the master key, such as eu-central-1. If empty, as the AWS SDK finds it: environment, profile, instance \
      metadata, and at last us-east-1",
    &REGION,
    None,
);

static ENDPOINT_URL_VARIABLE: ServerWritable<c::mysql_sysvar_of_string> = string_variable(
    c"endpoint_url",
    c"URL of the KMS endpoint, in place of the region's own, such as that of a VPC endpoint",
    &ENDPOINT_URL,
    None,
);

static KEYFILE_DIR_VARIABLE: ServerWritable<c::mysql_sysvar_of_string> = string_variable(
    c"keyfile_dir",
    c"Folder of the key files. If empty, the datadir, from where mariadb-backup copies them",
    &KEYFILE_DIR,
    None,
);

#[cfg(feature = "mock")]
static MOCK_VARIABLE: ServerWritable<c::mysql_sysvar_of_bool> = ServerWritable::new(c::mysql_sysvar_of_bool {
    flags: c::PLUGIN_VAR_BOOL as c_int | c::PLUGIN_VAR_READONLY as c_int | c::PLUGIN_VAR_OPCMDARG as c_int,
    name: c"mock".as_ptr(),
    comment: c"Make data keys without KMS and store them in the clear. For tests only".as_ptr(),
    check: None,
    update: None,
    value: MOCK.as_ptr(),
    def_val: 0,
});

static KEY_SPEC_NAMES: EnumNames<3> = EnumNames::new(&KEY_SPEC_POINTERS);
static KEY_SPEC_POINTERS: ServerWritable<[*const c_char; 3]> =
    ServerWritable::new([c"AES_128".as_ptr(), c"AES_256".as_ptr(), ptr::null()]);

static ENCRYPTION_ALGORITHM_NAMES: EnumNames<3> = EnumNames::new(&ENCRYPTION_ALGORITHM_POINTERS);
static ENCRYPTION_ALGORITHM_POINTERS: ServerWritable<[*const c_char; 3]> =
    ServerWritable::new([c"AES_CBC".as_ptr(), c"AES_CTR".as_ptr(), ptr::null()]);

static LOG_LEVEL_NAMES: EnumNames<8> = EnumNames::new(&LOG_LEVEL_POINTERS);
static LOG_LEVEL_POINTERS: ServerWritable<[*const c_char; 8]> = ServerWritable::new([
    c"Off".as_ptr(),
    c"Fatal".as_ptr(),
    c"Error".as_ptr(),
    c"Warn".as_ptr(),
    c"Info".as_ptr(),
    c"Debug".as_ptr(),
    c"Trace".as_ptr(),
    ptr::null(),
]);
