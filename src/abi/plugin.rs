//! The plugin's life: init, deinit, and what exists in between.

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::background;
use super::error_log::{self, ErrorLog};
use super::export::{Unused, exported};
use super::server::{Purpose, Server};
use super::system_variables::{self as variables, InInit};
use super::waiting::{self, Phase};
use crate::keystore::{self, KeyStore, NewKeySettings, NewKeys, Opening, PublishedKeys, Reporter, Role};
use crate::kms::aws::{AwsKms, AwsSettings, Remark, sdk_log};
use crate::kms::{self, Kms, MasterKeyId};
use crate::{own_threads, waits};

/// The keys that the callbacks look up.
pub(super) static KEYS: PublishedKeys = PublishedKeys::new();

/// Exists from a successful init to deinit.
static STORE: ArcSwapOption<KeyStore> = ArcSwapOption::const_empty();

/// What there is to know in numbers, while the plugin is initialised.
static FIGURES: ArcSwapOption<Figures> = ArcSwapOption::const_empty();

/// The numbers of the two layers below.
pub(super) struct Figures {
    pub(super) keys: Arc<keystore::Figures>,
    pub(super) kms: Arc<kms::Figures>,
}

/// The numbers, while the plugin is initialised. Whoever has them does not keep the key store alive.
pub(super) fn figures() -> Option<Arc<Figures>> {
    FIGURES.load_full()
}

/// The key store, while the plugin is initialised.
pub(super) fn store() -> Option<Arc<KeyStore>> {
    STORE.load_full()
}

exported! {
    /// Called by the server when it loads the plugin; again after a deinit, and then on the same statics.
    pub(super) fn init(init: InInit<'_> = (plugin: *mut c_void)) -> c_int, on panic 1 {
        match start(&init) {
            Ok(()) => 0,
            Err(error) => {
                ErrorLog.error(&format!("the plugin cannot start: {error}"));
                waiting::end_if_stopped();
                1
            }
        }
    }

    /// Called by the server when it unloads the plugin, and also after a failed init.
    pub(super) fn deinit(_plugin: Unused<*mut c_void> = (plugin: *mut c_void)) -> c_int, on panic 0 {
        waiting::set_phase(Phase::Ending);
        background::end();
        FIGURES.store(None);
        let store = STORE.swap(None);
        KEYS.clear();
        // Ends the runtime's threads, unless a call that is under way still holds the store: then that call does.
        drop(store);
        0
    }
}

fn start(init: &InInit<'_>) -> Result<(), String> {
    waiting::set_phase(Phase::Initialising);
    waits::ask_whether_to_end(waiting::must_end);
    error_log::forget_last_error();
    variables::at_start(init);
    let allowed = variables::ALLOWED_KEY_IDS.read(init)?;
    let (spec, algorithm) = (variables::KEY_SPEC.read(init), variables::ENCRYPTION_ALGORITHM.read(init));
    let master_key = master_key(init);
    let master_keys = variables::MASTER_KEYS.read(init)?;
    let extra_master_keys = variables::EXTRA_MASTER_KEY_IDS.read(init)?;
    let others = master_keys.all().chain(extra_master_keys.all()).cloned().collect();
    let aws = aws_settings(init, master_key.clone(), others)?;
    let mock = mock(init);
    // The mock makes keys without one.
    let wrapped_by = master_key.clone().or_else(|| MasterKeyId::parse("mock").filter(|_| mock));
    let settings = NewKeySettings {
        master_key: wrapped_by,
        master_keys,
        extra_master_keys,
        encryption_context: variables::ENCRYPTION_CONTEXT.read(init)?,
        spec,
        algorithm,
    };
    sdk_log::install(error_log::sdk_line);
    sdk_log::set_level(variables::LOG_LEVEL.read(init));
    let server = Server::current();
    if server.is_unknown() {
        ErrorLog.warning(
            "this process is not known as a MariaDB server, nor as mariadb-backup: no keys are made, and no file is written. \
             If it is a server, please report this with its version",
        );
    }
    let region = aws.default_region().map(str::to_owned);
    let Connected { kms, figures } = connect(aws, mock)?;
    let store = KeyStore::open(Opening {
        folder: &variables::KEYFILE_DIR.read(init)?,
        // The server has made it its working directory before it loads plugins.
        datadir: Path::new("."),
        also: server.incremental_backup().as_deref(),
        kms,
        published: &KEYS,
        new_keys: NewKeys::new(settings, allowed),
        role: server.role(),
        is_filled_by_rsync: server.is_filled_by_rsync(),
        startup_timeout: variables::STARTUP_TIMEOUT.read(init),
        verify_interval: variables::VERIFY_INTERVAL.read(init),
        is_starting: || Server::current().is_starting(),
        who,
        reporter: &ErrorLog,
    })
    .map_err(|error| error.to_string())?;
    let store = Arc::new(store);
    store.set_rotation_period(variables::ROTATION_PERIOD.read(init));
    FIGURES.store(Some(Arc::new(Figures { keys: store.figures().clone(), kms: figures })));
    STORE.store(Some(store.clone()));
    waiting::set_phase(Phase::Initialised);
    background::start(&store, server);
    if server.is_filled_by_rsync() && server.purpose() == Purpose::Serve && variables::KEYFILE_DIR.text(init).is_empty()
    {
        ErrorLog.warning(
            "wsrep_sst_method is rsync, which does not copy the key files: after a state transfer this node would have the \
             donor's data and its own keys, and call the tables corrupted. Set wsrep_sst_method = mariabackup",
        );
    }
    ErrorLog.note(&format!(
        "version {} is ready. Region: {}. New keys: {}",
        env!("CARGO_PKG_VERSION"),
        region.as_deref().unwrap_or("as the AWS SDK finds it"),
        match &master_key {
            _ if server.is_unknown() => "none".to_owned(),
            _ if server.role() == Role::Backup => "none in mariadb-backup".to_owned(),
            _ if server.role() == Role::Recovery => "none with --wsrep_recover".to_owned(),
            Some(master_key) => format!("{spec}, {algorithm}, wrapped by master key {master_key}"),
            None if mock => format!("{spec}, {algorithm}, in the clear"),
            None => "none, until aws_key_management_master_key_id is set".to_owned(),
        }
    ));
    Ok(())
}

fn aws_settings(
    init: &InInit<'_>,
    master_key: Option<MasterKeyId>,
    other_master_keys: Vec<MasterKeyId>,
) -> Result<AwsSettings, String> {
    let endpoints = variables::ENDPOINT_URL.read(init)?;
    Ok(AwsSettings {
        region: variables::REGION.read(init)?,
        endpoint_url: endpoints.default,
        region_endpoints: endpoints.of_regions,
        fallback_regions: variables::FALLBACK_REGIONS.read(init)?,
        master_key,
        other_master_keys,
        request_timeout: variables::REQUEST_TIMEOUT.read(init),
    })
}

/// A name that cannot be is reported, and the plugin starts all the same: the keys that exist do not need it.
fn master_key(init: &InInit<'_>) -> Option<MasterKeyId> {
    variables::MASTER_KEY_ID.read(init).unwrap_or_else(|_| {
        ErrorLog.error(&format!(
            "aws_key_management_master_key_id is '{}', which is no key id, ARN or alias/NAME. No new keys can be made until \
             it is corrected",
            variables::MASTER_KEY_ID.text(init).display()
        ));
        None
    })
}

#[cfg(feature = "mock")]
fn mock(init: &InInit<'_>) -> bool {
    variables::MOCK.read(init)
}

#[cfg(not(feature = "mock"))]
fn mock(_: &InInit<'_>) -> bool {
    false
}

/// A KMS, with the numbers of its calls.
struct Connected {
    kms: Arc<dyn Kms>,
    figures: Arc<kms::Figures>,
}

/// On whose behalf the calling thread works: `user@host`. What the plugin does by itself, it does because of a setting.
fn who() -> String {
    if own_threads::is_current() {
        return "rotation_period".to_owned();
    }
    Server::current().account().unwrap_or_default()
}

#[cfg(feature = "mock")]
fn connect(aws: AwsSettings, mock: bool) -> Result<Connected, String> {
    if mock {
        // The benchmark and the fuzzer take paths that are not the fastest. A plugin without the feature asks for no such variable.
        if let Ok(name) = std::env::var("AWS_KEY_MANAGEMENT_AES_PATH") {
            crate::cipher::Path::choose(&name)
                .ok_or_else(|| format!("this CPU has no way of AES that is called {name}"))?;
        }
        ErrorLog.warning(
            "aws_key_management_mock is ON: the key files hold the data keys in the clear. This protects nothing and is \
             for tests only",
        );
        return Ok(Connected { kms: Arc::new(kms::mock::MockKms), figures: Arc::default() });
    }
    connect_to_aws(aws)
}

#[cfg(not(feature = "mock"))]
fn connect(aws: AwsSettings, _mock: bool) -> Result<Connected, String> {
    connect_to_aws(aws)
}

fn connect_to_aws(aws: AwsSettings) -> Result<Connected, String> {
    aws.remarks().into_iter().for_each(tell);
    match AwsKms::observed(aws, tell) {
        Ok(kms) => Ok(Connected { figures: kms.figures(), kms: Arc::new(kms) }),
        Err(error) => Err(format!(
            "no thread could be started for the calls of KMS: {error}. See TasksMax= and SystemCallFilter= of the server's \
             service"
        )),
    }
}

fn tell(remark: Remark) {
    match remark {
        Remark::Warning(text) => ErrorLog.warning(&text),
        Remark::Note(text) => ErrorLog.note(&text),
    }
}
