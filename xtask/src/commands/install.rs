//! `cargo xtask install`: the plugin into the server's plugin folder, beside it the statements that make the keys visible in
//! SQL, and the offline tool where it is found.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;
use duct::cmd;
use indicatif::DecimalBytes;

use crate::machine::c_library::CLibrary;
use crate::machine::debian::RELEASES;
use crate::machine::toolchain::older;
use crate::machine::{packages, paths, toolchain};
use crate::{rig, run, terminal};

/// Where to.
#[derive(clap::Args)]
pub struct Options {
    /// The folder; without it the one where the server looks
    #[arg(long, value_name = "DIR")]
    plugin_dir: Option<PathBuf>,
    /// The folder for the offline tool, aws-key-management
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin")]
    tool_dir: PathBuf,
    /// Builds for systems with this or a newer glibc (2.31 is that of Debian 11); without it, for this system's
    #[arg(long, value_name = "VERSION", value_parser = PossibleValuesParser::new(RELEASES.map(|release| release.glibc)))]
    target_glibc: Option<String>,
}

/// Builds plugin and tool, and puts them there.
pub fn run(options: &Options) -> Result<()> {
    let folder = match &options.plugin_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => server_plugin_folder()?,
    };
    let tool_folder = std::path::absolute(&options.tool_dir)?;
    for folder in [&folder, &tool_folder] {
        ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    }
    packages::ensure(&[packages::BUILD])?;
    let library = options.target_glibc.as_deref().map(CLibrary::of_version).transpose()?;
    terminal::step("Building the plugin and the offline tool");
    let statements = folder.join(STATEMENTS);
    let (plugin, tool) = match &library {
        None => (toolchain::build_plugin()?, toolchain::build_tool()?),
        Some(library) => (older::build_plugin(library)?, older::build_tool(library)?),
    };
    let built = [
        (plugin, folder.join(NAME), "644"),
        (statements_source(), statements.clone(), "644"),
        (tool, tool_folder.join(TOOL), "755"),
    ];
    for (built, installed, mode) in built {
        terminal::step(format_args!("Installing {}", installed.display()));
        put(&built, &installed, mode)?;
        let size = std::fs::metadata(&installed).context("looking at the installed file")?.len();
        terminal::detail(DecimalBytes(size));
    }
    terminal::line(NEXT);
    terminal::line(format_args!(
        "\nTo see the keys in SQL (docs/operation.md), once the plugin is loaded:\n\n    mariadb < {}",
        statements.display()
    ));
    Ok(())
}

/// Where the server looks for its plugins: as its option files say, as it was built, or the usual places.
fn server_plugin_folder() -> Result<PathBuf> {
    if let Some(print_defaults) = paths::program("my_print_defaults") {
        let options = run::output("my_print_defaults", &cmd!(print_defaults, "--mysqld"))?;
        if let Some(folder) = plugin_folder_option(&options) {
            return Ok(folder.into());
        }
    }
    if paths::program("mariadbd").is_some() {
        return Ok(rig::default_value("plugin-dir")?.into());
    }
    // A server that is not in a folder of programs, or not installed yet.
    USUAL_FOLDERS.iter().map(PathBuf::from).find(|folder| folder.is_dir()).context(
        "neither the program mariadbd nor a usual plugin folder was found: \
         say where the server's plugins are with --plugin-dir (SELECT @@plugin_dir shows it)",
    )
}

/// The last `plugin_dir` among `options`, one a line, as it counts for the server.
fn plugin_folder_option(options: &str) -> Option<&str> {
    options.lines().rev().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.replace('_', "-") == "--plugin-dir").then_some(value)
    })
}

/// Copies beside the target and renames, so that a running server keeps the file that it has mapped. With root's rights
/// if the folder needs them.
fn put(built: &Path, installed: &Path, mode: &str) -> Result<()> {
    let folder = installed.parent().context("the folder to install into")?;
    let name = installed.file_name().context("a file's name")?.display();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    // A folder of one's own needs no rights.
    let ours = !rustix::process::geteuid().is_root() && tempfile::tempfile_in(folder).is_ok();
    let script = format!(
        "install -m {mode} {} \"$1\" \"$2\" && mv -f \"$2\" \"$3\" || {{ rm -f \"$2\"; exit 1; }}",
        if ours { "" } else { "-o root -g root" }
    );
    let files = [built, &temporary, installed].map(Path::as_os_str);
    let words = ["sh", "-c", &script, "sh"].into_iter().map(std::ffi::OsStr::new).chain(files);
    let command = if ours {
        cmd("env", words)
    } else {
        packages::as_root(words).with_context(|| format!("you may not write to {}", folder.display()))?
    };
    run::quietly("install", &command)
}

/// The statements that make the function and the views.
pub fn statements_source() -> PathBuf {
    paths::repository().join("sql").join(STATEMENTS)
}

const NAME: &str = "aws_key_management.so";
/// As it is called in the folder `sql`, and beside the plugin.
pub const STATEMENTS: &str = "aws_key_management.sql";
const TOOL: &str = "aws-key-management";

const USUAL_FOLDERS: [&str; 5] = [
    "/usr/lib/mysql/plugin",
    "/usr/lib64/mysql/plugin",
    "/usr/lib64/mariadb/plugin",
    "/usr/lib/mariadb/plugin",
    "/usr/local/mysql/lib/plugin",
];

const NEXT: &str = "
Next, tell the server. In a file that it reads, such as /etc/mysql/mariadb.conf.d/60-aws-key-management.cnf:

    [mariadb]
    plugin_load_add = aws_key_management
    aws_key_management = FORCE_PLUS_PERMANENT
    aws_key_management_master_key_id = alias/<your key's alias>
    aws_key_management_region = <your region>

and restart it. A server that has the plugin loaded goes on with the old file until then.
docs/install.md says what the server needs from AWS, and what to set for encryption. docs/tool.md says what the offline tool,
aws-key-management, can do: such as taking over the keys of file_key_management, so that its data stays as it is.";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_last_plugin_folder_of_the_option_files_counts() {
        let options = "--port=1\n--plugin_dir=/a\n--plugin-dir=/b=c\n--plugin-dir-x=/d\n";
        assert_eq!(plugin_folder_option(options), Some("/b=c"));
        assert_eq!(plugin_folder_option("--port=1\n"), None);
    }

    #[test]
    fn a_file_that_is_in_use_is_replaced_not_overwritten() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (new, installed) = (folder.path().join("new"), folder.path().join(NAME));
        std::fs::write(&new, "new")?;
        std::fs::write(&installed, "old")?;
        let in_use = std::fs::File::open(&installed)?;
        put(&new, &installed, "640")?;
        assert_eq!(std::fs::metadata(&installed)?.permissions().mode() & 0o777, 0o640);
        assert_eq!(std::io::read_to_string(in_use)?, "old");
        assert_eq!(std::fs::read_to_string(&installed)?, "new");
        assert_eq!(paths::names_in(folder.path())?, [NAME, "new"]);
        Ok(())
    }

    #[test]
    fn a_folder_that_does_not_exist_leaves_an_error() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let new = folder.path().join("new");
        std::fs::write(&new, "new")?;
        assert!(put(&new, &folder.path().join("missing").join(NAME), "644").is_err());
        Ok(())
    }
}
