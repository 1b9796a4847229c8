//! The commands, a file each.

pub mod import;
pub mod list;
pub mod man_pages;
pub mod repair;
pub mod retire;
pub mod rewrap;
pub mod verify;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use aws_key_management::keystore::KeyStoreError;
use aws_key_management::keystore::offline::{ManifestState, OpenFolder, is_datadir};
use serde_json::{Value, json};

use crate::ending::WrongUsage;

/// What there is to say of the folder as a whole, a sentence each.
fn remarks(folder: &OpenFolder, is_empty: bool) -> Result<Vec<String>, KeyStoreError> {
    let mut remarks = Vec::new();
    if let Some(elsewhere) = folder.elsewhere()? {
        remarks.push(format!(
            "the keys of the datadir {} lie in {}: give that folder",
            folder.path().display(),
            elsewhere.display()
        ));
    } else if is_empty {
        remarks.push(format!("there are no key files in {}, and no manifest", folder.path().display()));
    }
    remarks.extend(match folder.manifest() {
        ManifestState::Good { unreadable: 0 } => None,
        ManifestState::Missing if is_empty => None,
        ManifestState::Missing => Some(
            "there is no manifest: that a key file is missing cannot be noticed (verify --no-manifest accepts that)"
                .to_owned(),
        ),
        ManifestState::Good { unreadable } => Some(format!("{unreadable} entries of the manifest cannot be read")),
        ManifestState::Damaged(reason) => Some(format!(
            "the manifest is damaged ({reason}): that a key file is missing cannot be noticed. `repair` keeps what can \
             still be read of it; otherwise the next start of the server puts it aside and makes it anew"
        )),
        ManifestState::Newer(format) => {
            Some(format!("the manifest has format {format}: a later version of this tool reads it"))
        }
    });
    Ok(remarks)
}

/// Whether the manifest, for all that it could say, is there and can be read.
fn has_whole_manifest(folder: &OpenFolder) -> bool {
    matches!(folder.manifest(), ManifestState::Missing | ManifestState::Good { unreadable: 0 })
}

fn manifest_json(folder: &OpenFolder) -> Value {
    match folder.manifest() {
        ManifestState::Missing => json!({"state": "missing"}),
        ManifestState::Good { unreadable } => json!({"state": "good", "unreadable_entries": unreadable}),
        ManifestState::Damaged(reason) => json!({"state": "damaged", "reason": reason}),
        ManifestState::Newer(format) => json!({"state": "newer", "format": format}),
    }
}

fn lines(remarks: &[String]) -> String {
    remarks.iter().fold(String::new(), |mut text, remark| {
        // To a String, this cannot fail.
        let _ = writeln!(text, "{remark}");
        text
    })
}

/// What is changed.
#[derive(clap::Args)]
struct Folders {
    /// The folder of the key files: the datadir, or that of aws_key_management_keyfile_dir
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The server's datadir, if the key files lie elsewhere
    #[arg(long, value_name = "DIR")]
    datadir: Option<PathBuf>,
}

impl Folders {
    /// Opens the folder to change something in it.
    fn open_to_write(&self) -> anyhow::Result<OpenFolder> {
        Ok(OpenFolder::to_write(&self.folder, self.datadir()?)?)
    }

    /// The server's datadir: what is given, or else the folder itself.
    fn datadir(&self) -> anyhow::Result<&Path> {
        match &self.datadir {
            Some(datadir) => Ok(datadir),
            None if is_datadir(&self.folder) => Ok(&self.folder),
            None => Err(WrongUsage(format!(
                "{} is no datadir of a server. If it is the folder of aws_key_management_keyfile_dir, name the server's datadir \
                 with --datadir",
                self.folder.display()
            ))
            .into()),
        }
    }
}
