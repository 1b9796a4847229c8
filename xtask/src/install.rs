//! `cargo xtask install`: the plugin into the server's plugin folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{command, console, installation, packages, paths, toolchain};

/// Builds the plugin and puts it into `folder`, or where the server looks for its plugins.
pub fn run(folder: Option<&str>) -> Result<()> {
    let folder = match folder {
        Some(folder) => PathBuf::from(folder),
        None => server_plugin_folder()?,
    };
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    packages::ensure(&[packages::BUILD])?;
    console::step("Building the plugin");
    let plugin = toolchain::build_plugin()?;
    console::step(format_args!("Installing it into {}", folder.display()));
    let installed = folder.join(NAME);
    put(&plugin, &installed)?;
    console::detail(format_args!(
        "{}, {}",
        installed.display(),
        console::size(std::fs::metadata(&installed).context("looking at the installed file")?.len())
    ));
    console::line(NEXT);
    Ok(())
}

/// Where the server looks for its plugins: as its option files say, as it was built, or the usual places.
fn server_plugin_folder() -> Result<PathBuf> {
    if let Some(print_defaults) = paths::program("my_print_defaults") {
        let options = command::output("my_print_defaults", Command::new(print_defaults).arg("--mysqld"))?;
        if let Some(folder) = plugin_folder_option(&options) {
            return Ok(folder.into());
        }
    }
    if let Some(mariadbd) = paths::program("mariadbd") {
        return Ok(installation::default_values(&mariadbd)?.value("plugin-dir")?.into());
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
fn put(plugin: &Path, installed: &Path) -> Result<()> {
    let folder = installed.parent().context("the plugin folder")?;
    let temporary = folder.join(format!(".{NAME}.{}", std::process::id()));
    let root = rustix::process::geteuid().is_root();
    // A folder of one's own needs no rights.
    let ours = !root && tempfile::tempfile_in(folder).is_ok();
    let command = |program: &str| -> Result<Command> {
        if ours {
            return Ok(Command::new(program));
        }
        packages::as_root(program).with_context(|| format!("you may not write to {}", folder.display()))
    };
    let mut copy = command("install")?;
    copy.args(["-m", "644"]);
    if !ours {
        copy.args(["-o", "root", "-g", "root"]);
    }
    let copied = command::quietly("install", copy.arg(plugin).arg(&temporary))
        .and_then(|()| command::quietly("mv", command("mv")?.arg("-f").arg(&temporary).arg(installed)));
    if copied.is_err() {
        // The first error is the one to report.
        let _ = command("rm")?.arg("-f").arg(&temporary).status();
    }
    copied
}

const NAME: &str = "aws_key_management.so";

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
docs/install.md says what the server needs from AWS, and what to set for encryption.";

#[cfg(test)]
mod tests {
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
        put(&new, &installed)?;
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
        assert!(put(&new, &folder.path().join("missing").join(NAME)).is_err());
        Ok(())
    }
}
