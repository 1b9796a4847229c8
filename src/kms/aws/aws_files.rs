//! The files in which the SDK looks for credentials.

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

/// The variable in which the SDK of the C++ plugin took the name of the credentials file; its set-up guide says to set it.
/// Other tools of AWS do not know it, so [`SHARED`] comes first.
pub(super) const OLD: &str = "AWS_CREDENTIAL_PROFILES_FILE";
pub(super) const SHARED: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// The files with profiles, where they are not the ones that the SDK finds by itself. A file that is not there counts as
/// empty, as one that [`SHARED`] names does.
pub(super) fn profiles() -> Option<EnvConfigFiles> {
    let credentials = old_credentials().filter(|file| file.path.exists())?;
    let builder = EnvConfigFiles::builder().include_default_config_file(true);
    Some(builder.with_file(EnvConfigFileKind::Credentials, credentials.path).build())
}

fn old_credentials() -> Option<AwsFile> {
    named(OLD).filter(|_| named(SHARED).is_none())
}

/// One of them.
struct AwsFile {
    path: PathBuf,
    /// Whether a variable names it: then it is expected to be there.
    is_named: bool,
}

/// Those that exist, or should, and cannot be read: which, and why.
pub(super) fn unreadable() -> Vec<String> {
    let files = profile_files()
        .into_iter()
        .chain(["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"].into_iter().filter_map(named));
    files.filter_map(|file| file.problem()).collect()
}

/// Whether one of the files with profiles exists.
pub(super) fn is_there() -> bool {
    profile_files().iter().any(|file| file.path.exists())
}

fn profile_files() -> Vec<AwsFile> {
    let default = |name: &str| home().map(|home| AwsFile { path: home.join(".aws").join(name), is_named: false });
    let credentials = old_credentials().or_else(|| named(SHARED)).or_else(|| default("credentials"));
    let config = named("AWS_CONFIG_FILE").or_else(|| default("config"));
    credentials.into_iter().chain(config).collect()
}

fn named(variable: &str) -> Option<AwsFile> {
    let path = PathBuf::from(env::var_os(variable).filter(|path| !path.is_empty())?);
    let path = match path.strip_prefix("~") {
        Ok(below) => home()?.join(below),
        Err(_) => path,
    };
    Some(AwsFile { path, is_named: true })
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}

impl AwsFile {
    fn problem(&self) -> Option<String> {
        let read = File::open(&self.path).and_then(|mut file| file.read(&mut [0]));
        let error = read.err().filter(|error| self.is_named || error.kind() != ErrorKind::NotFound)?;
        Some(format!("{} cannot be read: {error}", self.path.display()))
    }
}
