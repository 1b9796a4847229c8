//! `import`: keys of file_key_management, or from standard input, become keys of this plugin. The data stays as it is.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aws_key_management::cipher::Algorithm;
use aws_key_management::keystore::offline::{self, Imported, NewKey};
use aws_key_management::kms::MasterKeyId;
use clap::ValueEnum;
use serde_json::json;
use zeroize::Zeroizing;

use super::Folders;
use super::rewrap::master_key;
use crate::ending::{Ending, WrongUsage};
use crate::file_key_management::{self, Digest, Password};
use crate::kms;
use crate::table::{print, print_json};

/// Which keys, where to, and how KMS is reached.
#[derive(clap::Args)]
pub struct Options {
    /// Where the keys are
    #[arg(long, value_enum)]
    from: Source,
    /// The key file of file_key_management (file_key_management_filename)
    #[arg(long, value_name = "FILE", required_if_eq("from", "file_key_management"))]
    key_file: Option<PathBuf>,
    /// The file of the key file's password (file_key_management_filekey), if that is encrypted
    #[arg(long, value_name = "FILE", requires = "key_file")]
    password_file: Option<PathBuf>,
    /// file_key_management_digest
    #[arg(long, value_enum, default_value = "sha1", requires = "password_file")]
    digest: Digest,
    /// file_key_management_use_pbkdf2: the number of iterations
    #[arg(long, value_name = "ITERATIONS", default_value_t = 0, requires = "password_file")]
    use_pbkdf2: u32,
    /// file_key_management_encryption_algorithm: what the data is encrypted with
    #[arg(long, value_enum, ignore_case = true)]
    algorithm: AlgorithmName,
    /// Wraps the keys: an ARN, a key id or alias/NAME
    #[arg(long, value_name = "KEY", value_parser = master_key)]
    master_key: MasterKeyId,
    #[command(flatten)]
    folders: Folders,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    kms: kms::Connection,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A key file of MariaDB's file_key_management, plain or encrypted
    #[value(name = "file_key_management")]
    FileKeyManagement,
    /// Standard input: lines id;key or id;version;key, the key in hexadecimal digits
    Hex,
}

#[derive(Clone, Copy, ValueEnum)]
enum AlgorithmName {
    #[value(name = "AES_CBC")]
    Cbc,
    #[value(name = "AES_CTR")]
    Ctr,
}

/// Imports all keys or none.
pub fn run(options: &Options) -> Result<Ending> {
    if options.from == Source::Hex && options.key_file.is_some() {
        return Err(WrongUsage("--from hex reads standard input, and no --key-file".to_owned()).into());
    }
    let keys = keys(options)?;
    let folder = options.folders.open_to_write()?;
    let algorithm = match options.algorithm {
        AlgorithmName::Cbc => Algorithm::AesCbc,
        AlgorithmName::Ctr => Algorithm::AesCtr,
    };
    let kms = options.kms.connect(Some(&options.master_key))?;
    let imported = offline::import(&folder, &kms, &options.master_key, algorithm, &keys)?;
    for (what, error) in [("manifest", &imported.not_recorded), ("datadir", &imported.not_remembered)] {
        if let Some(error) = error {
            eprintln!(
                "aws-key-management: warning: the {what} does not know of the keys yet; the next start records it: {error}"
            );
        }
    }
    let settings = settings(options, algorithm, &imported, folder.path());
    if options.json {
        let versions: Vec<_> = keys
            .iter()
            .map(|it| {
                let (id, version) = (it.name.id.value(), it.name.version.value());
                json!({"key_id": id, "key_version": version, "bits": it.key.len() * 8})
            })
            .collect();
        print_json(&json!({
            "folder": folder.path(),
            "master_key": imported.master_key,
            "algorithm": algorithm.to_string(),
            "key_versions": versions,
            "settings": settings,
        }));
    } else {
        print(&text(options, &keys, &imported, folder.path(), &settings));
    }
    Ok(Ending::Good)
}

fn keys(options: &Options) -> Result<Vec<NewKey>> {
    match (options.from, &options.key_file) {
        (Source::FileKeyManagement, Some(path)) => {
            let password = options.password_file.as_deref();
            let password = password.map(|path| Password::read(path, options.digest, options.use_pbkdf2)).transpose()?;
            file_key_management::read(path, password.as_ref())
        }
        _ => {
            let mut text = Zeroizing::new(Vec::with_capacity(file_key_management::ROOM));
            std::io::stdin().lock().read_to_end(&mut text).context("standard input cannot be read")?;
            let keys = file_key_management::keys(&text).context("in standard input")?;
            ensure!(!keys.is_empty(), "there is no key in standard input");
            Ok(keys)
        }
    }
}

/// The lines of the plugin for the server's configuration.
fn settings(options: &Options, algorithm: Algorithm, imported: &Imported, folder: &Path) -> Vec<String> {
    let master_key = imported.master_key.clone().unwrap_or_else(|| options.master_key.to_string());
    let region = options.kms.region.clone().or_else(|| {
        let arn = MasterKeyId::parse(&master_key)?;
        arn.region().map(str::to_owned)
    });
    let mut lines = vec![
        "plugin_load_add = aws_key_management".to_owned(),
        "aws_key_management = FORCE_PLUS_PERMANENT".to_owned(),
        format!("aws_key_management_master_key_id = {master_key}"),
    ];
    lines.extend(region.map(|region| format!("aws_key_management_region = {region}")));
    let url = options.kms.endpoint_url.as_ref();
    lines.extend(url.map(|(url, _)| format!("aws_key_management_endpoint_url = {url}")));
    lines.push(format!("aws_key_management_encryption_algorithm = {algorithm}"));
    if options.folders.datadir.is_some() {
        lines.push(format!("aws_key_management_keyfile_dir = {}", folder.display()));
    }
    lines
}

fn text(options: &Options, keys: &[NewKey], imported: &Imported, folder: &Path, settings: &[String]) -> String {
    let mut text = String::new();
    for NewKey { name, key } in keys {
        text += &format!("{name}: imported, {} bits\n", key.len() * 8);
    }
    let wrapped_by = imported.master_key.as_deref().unwrap_or(options.master_key.as_str());
    text += &format!("{} key versions are in {}, wrapped by {wrapped_by}\n", keys.len(), folder.display());
    if options.from == Source::FileKeyManagement {
        text += TAKE_OUT;
    }
    text += "\nPut in, under [mariadb]:\n\n";
    for line in settings {
        text += &format!("    {line}\n");
    }
    text + NEXT
}

const TAKE_OUT: &str = "
Stop the server, and change its configuration. Take out:

    plugin_load_add = file_key_management
    file_key_management...
";

const NEXT: &str = "
Start the server. When all tables can be read, give every key a new version, since the imported ones have been in a file:

    SET GLOBAL aws_key_management_rotate_key = -1;

Backups of before need the old key file. Keep it, in a safe place, as long as you keep them.
";
