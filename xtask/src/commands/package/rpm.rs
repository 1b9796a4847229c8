//! The .rpm, by rpmbuild.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use duct::cmd;

use super::contents::{Built, Layout, Tree};
use super::version::Version;
use super::{NAME, settle, source};
use crate::machine::paths;
use crate::run;

/// Makes it in `folder`; `root` is where it is laid out, `plugins` where the server looks.
pub fn build(built: &Built, version: &Version, plugins: &Path, folder: &Path, root: &Path) -> Result<PathBuf> {
    ensure!(plugins.is_absolute(), "{} is not absolute", plugins.display());
    let root = paths::emptied(root)?;
    let staged = root.join("staged");
    let layout = Layout {
        plugins: plugins.to_owned(),
        option_file: "/etc/my.cnf.d/aws-key-management.cnf",
        documents: Path::new("/usr/share/doc").join(NAME),
    };
    layout.fill(&staged, built)?;
    let tree = Tree(&staged);
    tree.file(&layout.documents.join("NOTICE"), &std::fs::read(source("NOTICE"))?)?;
    tree.file(&layout.documents.join("LICENSE"), &std::fs::read(paths::repository().join("LICENSE"))?)?;
    settle(&staged, version)?;

    let (project, release) = version.for_rpm();
    let macros = [
        ("_topdir", root.join("rpmbuild").display().to_string()),
        ("_rpmdir", root.join("rpms").display().to_string()),
        ("staged", staged.display().to_string()),
        ("plugin_version", project.to_owned()),
        ("plugin_release", release),
        ("plugin_commit", version.commit().to_owned()),
        ("plugins", layout.plugins.display().to_string()),
        ("option_file", layout.option_file.to_owned()),
        ("documents", layout.documents.display().to_string()),
        // The same bytes, whoever builds it, and when.
        ("_buildhost", "localhost".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
        // What all systems can unpack that have this glibc.
        ("_binary_payload", "w9.zstdio".to_owned()),
    ];
    let macros = macros.iter().flat_map(|(name, value)| ["--define".to_owned(), format!("{name} {value}")]);
    let words = ["-bb".to_owned()].into_iter().chain(macros).map(Into::into);
    let command = cmd("rpmbuild", words.chain([source("rpm/aws_key_management.spec").into_os_string()]));
    run::quietly("rpmbuild", &command.env("SOURCE_DATE_EPOCH", version.epoch().to_string()))?;

    let (made, _) = paths::files_below(&root.join("rpms"))?.into_iter().next().context("rpmbuild made no package")?;
    let name = made.file_name().context("the name of the package")?;
    std::fs::create_dir_all(folder)?;
    let package = folder.join(name);
    std::fs::copy(&made, &package).with_context(|| format!("copying {}", made.display()))?;
    Ok(package)
}
