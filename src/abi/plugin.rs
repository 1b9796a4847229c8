//! The plugin's life: init, deinit, and what exists in between.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::background;
use super::boundary::guard;
use super::error_log::{self, ErrorLog};
use super::server::Server;
use super::server_state::{self, Phase};
use super::system_variables::{self, Startup};
use crate::keystore::{KeyStore, NewKeys, Opening, PublishedKeys, Recipe, Reporter};
use crate::kms::aws::{AwsKms, AwsSettings, sdk_log};
use crate::kms::{Kms, MasterKeyId};
use crate::waits;

/// The keys that the callbacks look up.
pub(super) static KEYS: PublishedKeys = PublishedKeys::new();

/// Exists from a successful init to deinit.
static STORE: ArcSwapOption<KeyStore> = ArcSwapOption::const_empty();

/// The key store, while the plugin is initialised.
pub(super) fn store() -> Option<Arc<KeyStore>> {
    STORE.load_full()
}

/// Called by the server when it loads the plugin; again after a deinit, and then on the same statics.
pub(super) extern "C" fn init(_: *mut c_void) -> c_int {
    guard("init", 1, || match start() {
        Ok(()) => 0,
        Err(error) => {
            ErrorLog.error(&format!("the plugin cannot start: {error}"));
            server_state::end_if_stopped();
            1
        }
    })
}

/// Called by the server when it unloads the plugin, and also after a failed init.
pub(super) extern "C" fn deinit(_: *mut c_void) -> c_int {
    guard("deinit", 0, || {
        server_state::set_phase(Phase::Ending);
        background::end();
        let store = STORE.swap(None);
        KEYS.clear();
        // Ends the runtime's threads, unless a call that is under way still holds the store: then that call does.
        drop(store);
        0
    })
}

fn start() -> Result<(), String> {
    server_state::set_phase(Phase::Initialising);
    waits::ask_whether_to_end(server_state::must_wait_no_longer);
    let Startup { master_key_id, key_spec, algorithm, allowed, log_level, folder, aws, mock, startup_timeout } =
        system_variables::read_at_start()?;
    sdk_log::install(error_log::sdk_line);
    sdk_log::set_level(log_level);
    let server = Server::current();
    let master_key = parse_master_key(&master_key_id);
    // The mock makes keys without one.
    let wrapped_by = master_key.clone().or_else(|| MasterKeyId::parse("mock").filter(|_| mock));
    let recipe = Recipe { master_key: wrapped_by, spec: key_spec, algorithm };
    let region = aws.region.clone();
    let store = KeyStore::open(Opening {
        folder: &folder,
        also: server.incremental_backup().as_deref(),
        kms: connect(aws, mock)?,
        published: &KEYS,
        new_keys: NewKeys::new(recipe, allowed),
        role: server.role(),
        startup_timeout,
        is_starting: server_state::is_starting,
        reporter: &ErrorLog,
    })
    .map_err(|error| error.to_string())?;
    let store = Arc::new(store);
    STORE.store(Some(store.clone()));
    server_state::set_phase(Phase::Initialised);
    background::start(&store, server.role());
    ErrorLog.note(&format!(
        "version {} is ready. Region: {}. New keys: {}",
        env!("CARGO_PKG_VERSION"),
        region.as_deref().unwrap_or("as the AWS SDK finds it"),
        match &master_key {
            Some(master_key) => format!("{key_spec}, {algorithm}, wrapped by master key {master_key}"),
            None if mock => format!("{key_spec}, {algorithm}, in the clear"),
            None => "none, until aws_key_management_master_key_id is set".to_owned(),
        }
    ));
    Ok(())
}

/// A name that cannot be is reported, and the plugin starts all the same: the keys that exist do not need it.
fn parse_master_key(name: &str) -> Option<MasterKeyId> {
    let master_key = MasterKeyId::parse(name);
    if master_key.is_none() && !name.is_empty() {
        ErrorLog.error(&format!(
            "aws_key_management_master_key_id is '{name}', which is no key id, ARN or alias/NAME. No new keys can be made \
             until it is corrected"
        ));
    }
    master_key
}

#[cfg(feature = "mock")]
fn connect(aws: AwsSettings, mock: bool) -> Result<Arc<dyn Kms>, String> {
    if mock {
        ErrorLog.warning(
            "aws_key_management_mock is ON: the key files hold the data keys in the clear. This protects nothing and is \
             for tests only",
        );
        return Ok(Arc::new(crate::kms::mock::MockKms));
    }
    connect_to_aws(aws)
}

#[cfg(not(feature = "mock"))]
fn connect(aws: AwsSettings, _mock: bool) -> Result<Arc<dyn Kms>, String> {
    connect_to_aws(aws)
}

fn connect_to_aws(aws: AwsSettings) -> Result<Arc<dyn Kms>, String> {
    match AwsKms::new(aws) {
        Ok(kms) => Ok(Arc::new(kms)),
        Err(error) => Err(format!("no thread could be started for the calls of KMS: {error}")),
    }
}
