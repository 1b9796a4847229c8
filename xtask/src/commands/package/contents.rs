//! What is in both packages, laid out as it is installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use duct::cmd;

use super::filled_in;
use crate::commands::install;
use crate::machine::{paths, toolchain};
use crate::run;

/// What was compiled, and what was made of it.
pub struct Built {
    plugin: PathBuf,
    tool: PathBuf,
    /// The tool's manual pages.
    pages: PathBuf,
    /// The libraries in it, with their licences.
    libraries: String,
}

impl Built {
    /// Of these files; what else is needed is made in `scratch`.
    pub fn new(plugin: PathBuf, tool: PathBuf, scratch: &Path) -> Result<Self> {
        let pages = paths::emptied(&scratch.join("pages"))?;
        run::quietly("aws-key-management man-pages", &cmd!(&tool, "man-pages", &pages))?;
        let [plugin, tool] = [plugin, tool].map(|file| stripped(&file, scratch));
        let (plugin, tool) = (plugin?, tool?);
        Ok(Self { plugin, tool, pages, libraries: libraries()? })
    }

    /// The plugin and the tool: what needs the libraries of the system.
    pub fn binaries(&self) -> [&Path; 2] {
        [&self.plugin, &self.tool]
    }
}

/// Where a distribution wants things, as absolute paths.
pub struct Layout {
    /// The folder where the server looks for plugins.
    pub plugins: PathBuf,
    /// The option file.
    pub option_file: &'static str,
    /// The folder of the documents.
    pub documents: PathBuf,
}

impl Layout {
    /// Puts all that both packages have into `root`, which must be empty.
    pub fn fill(&self, root: &Path, built: &Built) -> Result<()> {
        let tree = Tree(root);
        tree.file(&self.plugins.join("aws_key_management.so"), &std::fs::read(&built.plugin)?)?;
        tree.file(&self.plugins.join(install::STATEMENTS), &std::fs::read(install::statements_source())?)?;
        tree.program("/usr/bin/aws-key-management", &built.tool)?;
        self.fill_option_file(&tree)?;
        self.fill_documents(&tree, built)?;
        self.fill_pages(&tree, built)
    }

    fn fill_option_file(&self, tree: &Tree<'_>) -> Result<()> {
        let text = filled_in("aws-key-management.cnf", &self.places())?;
        // Off until somebody fills it in.
        let on = text.lines().find(|line| !line.is_empty() && !line.starts_with('#') && *line != "[mariadb]");
        ensure!(on.is_none(), "the option file has a setting that is on: {}", on.unwrap_or_default());
        tree.file(Path::new(self.option_file), text.as_bytes())
    }

    fn fill_documents(&self, tree: &Tree<'_>, built: &Built) -> Result<()> {
        let repository = paths::repository();
        for name in ["README.md", "CHANGELOG.md", "SECURITY.md"].into_iter().chain(DOCUMENTS) {
            tree.file(&self.documents.join(name), &std::fs::read(repository.join(name)).context(name)?)?;
        }
        let example = std::fs::read(drop_in())?;
        tree.file(&self.documents.join("examples").join(DROP_IN), &example)?;
        tree.file(&self.documents.join("LIBRARIES"), built.libraries.as_bytes())
    }

    fn fill_pages(&self, tree: &Tree<'_>, built: &Built) -> Result<()> {
        let own = filled_in("aws_key_management.7", &self.places())?;
        tree.compressed(Path::new("/usr/share/man/man7/aws_key_management.7.gz"), own.as_bytes())?;
        for name in paths::names_in(&built.pages)? {
            let page = std::fs::read(built.pages.join(&name))?;
            tree.compressed(&Path::new("/usr/share/man/man1").join(format!("{name}.gz")), &page)?;
        }
        Ok(())
    }

    fn places(&self) -> [(&'static str, &str); 3] {
        let [plugins, documents] = [&self.plugins, &self.documents].map(|path| path.to_str().unwrap_or_default());
        [("PLUGINS", plugins), ("OPTION_FILE", self.option_file), ("DOCUMENTS", documents)]
    }
}

/// The example of a drop-in for the server's unit.
pub fn drop_in() -> PathBuf {
    paths::repository().join("docs/examples").join(DROP_IN)
}

/// A folder that stands for the root.
pub struct Tree<'root>(pub &'root Path);

impl Tree<'_> {
    /// A file that all may read.
    pub fn file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let place = self.place(path)?;
        std::fs::write(&place, bytes).with_context(|| format!("writing {}", place.display()))?;
        mode(&place, "644")
    }

    /// The same, compressed.
    pub fn compressed(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let place = self.place(path)?;
        // No name and no time in it.
        let command = cmd!("gzip", "--best", "--no-name").stdin_bytes(bytes).stdout_path(&place);
        command.run().with_context(|| format!("gzip, writing {}", place.display()))?;
        mode(&place, "644")
    }

    /// A program.
    fn program(&self, path: &str, source: &Path) -> Result<()> {
        let place = self.place(Path::new(path))?;
        std::fs::copy(source, &place).with_context(|| format!("copying {}", source.display()))?;
        mode(&place, "755")
    }

    fn place(&self, path: &Path) -> Result<PathBuf> {
        let place = self.0.join(path.strip_prefix("/").with_context(|| format!("{} is not absolute", path.display()))?);
        std::fs::create_dir_all(place.parent().unwrap_or(self.0))?;
        Ok(place)
    }
}

fn mode(file: &Path, mode: &str) -> Result<()> {
    run::quietly("chmod", &cmd!("chmod", mode, file))
}

/// A copy without what the system's linker and compiler have noted of themselves, as Debian's own packages are.
fn stripped(file: &Path, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(file.file_name().context("a file's name")?);
    run::quietly("strip", &cmd!("strip", "--strip-unneeded", "--remove-section=.comment", "-o", &copy, file))?;
    Ok(copy)
}

/// One line for each library that is compiled in.
fn libraries() -> Result<String> {
    let words = ["tree", "--locked", "--package", "aws_key_management", "--package", "aws-key-management-tool"];
    let form = ["--edges", "normal", "--prefix", "none", "--no-dedupe", "--format", "{p}: {l}"];
    let tree = run::output("cargo tree", &toolchain::cargo(words.into_iter().chain(form)))?;
    // Those of the project itself have the path of the checkout.
    let mut lines: Vec<&str> = tree.lines().filter(|line| !line.is_empty() && !line.contains(" (/")).collect();
    lines.sort_unstable();
    lines.dedup();
    ensure!(lines.iter().any(|line| line.starts_with("aws-sdk-kms ")), "cargo tree does not list what is compiled in");
    Ok(format!(
        "Libraries that are compiled into the plugin and the offline tool, and their licences:\n\n{}\n",
        lines.join("\n")
    ))
}

const DROP_IN: &str = "aws-key-management.conf";

/// Those for who runs a server; not those on the project's own measurements and tests.
const DOCUMENTS: [&str; 13] = [
    "docs/containers.md",
    "docs/galera.md",
    "docs/install.md",
    "docs/key-files.md",
    "docs/migration.md",
    "docs/monitoring.md",
    "docs/operate.md",
    "docs/operation.md",
    "docs/outages.md",
    "docs/permissions.md",
    "docs/systemd.md",
    "docs/tool.md",
    "docs/variables.md",
];
