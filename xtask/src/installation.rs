//! A MariaDB to run: the system's, or one unpacked from packages of another release.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, paths, process};

/// Program and data files of a server.
pub struct Installation {
    /// `mariadbd`, with whatever must come before it to run it.
    mariadbd: Vec<OsString>,
    /// Where `mariadb_system_tables.sql`, error messages and character sets lie.
    share: PathBuf,
    /// Options that the place of the installation makes necessary.
    options: Vec<OsString>,
}

impl Installation {
    /// The installed server.
    pub fn of_the_system() -> Result<Self> {
        let mariadbd = paths::program("mariadbd").context("there is no program mariadbd")?;
        let defaults = default_values(&mariadbd)?;
        let character_sets = defaults.value("character-sets-dir")?;
        let share =
            Path::new(character_sets).parent().context("mariadbd names no folder of character sets")?.to_owned();
        Ok(Self { mariadbd: vec![mariadbd.into()], share, options: Vec::new() })
    }

    /// A server in a folder of its own, run by the words of `mariadbd`.
    pub fn in_tree(mariadbd: Vec<OsString>, usr: &Path) -> Result<Self> {
        let share = ["share/mariadb", "share/mysql"].map(|name| usr.join(name));
        let share = share.into_iter().find(|folder| folder.join("charsets").is_dir());
        let share = share.with_context(|| format!("no share/mariadb or share/mysql below {}", usr.display()))?;
        let option = |name: &str, value: &Path| {
            let mut option = OsString::from(format!("--{name}="));
            option.push(value);
            option
        };
        let options = vec![
            option("basedir", usr),
            option("lc-messages-dir", &share),
            option("character-sets-dir", &share.join("charsets")),
        ];
        Ok(Self { mariadbd, share, options })
    }

    /// The version, such as `10.11.19-MariaDB`.
    pub fn version(&self) -> Result<String> {
        let mut words = self.mariadbd.iter();
        let program = words.next().context("no program")?;
        // mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)
        let answer = command::output("mariadbd --version", Command::new(program).args(words).arg("--version"))?;
        let version = answer.split_whitespace().skip_while(|word| *word != "Ver").nth(1);
        version.map(str::to_owned).with_context(|| format!("mariadbd --version says only {answer:?}"))
    }

    /// Makes a new data folder, with the system tables and a root account without a password.
    pub fn make_data_folder(&self, data: &Path, scratch: &Path) -> Result<()> {
        std::fs::create_dir(data).with_context(|| format!("creating {}", data.display()))?;
        let statements = scratch.join("bootstrap.sql");
        let mut file = File::create(&statements)?;
        // What mariadb-install-db does; that script cannot run a server from another place.
        file.write_all(b"create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\n")?;
        for name in ["system_tables", "performance_tables", "system_tables_data"] {
            file.write_all(&self.system_sql(name)?)?;
        }
        let mut command = self.server();
        command.arg("--no-defaults").args(&self.options).arg("--bootstrap").args(as_root_option());
        command.arg(format!("--datadir={}", data.display())).arg(format!("--tmpdir={}", scratch.display()));
        command::quietly_fed("mariadbd --bootstrap", &mut command, File::open(&statements)?)?;
        Ok(std::fs::remove_file(&statements)?)
    }

    /// A server in the background that reads only the option file `defaults`.
    pub fn server_with(&self, defaults: &Path) -> Command {
        let mut command = self.server();
        command.arg(format!("--defaults-file={}", defaults.display())).args(&self.options).args(as_root_option());
        command
    }

    fn server(&self) -> Command {
        let mut words = self.mariadbd.iter();
        let mut command = process::background(words.next().map_or("mariadbd".as_ref(), OsString::as_os_str));
        command.args(words);
        command
    }

    fn system_sql(&self, name: &str) -> Result<Vec<u8>> {
        // mysql_ until 10.11, mariadb_ since 11.
        let candidates = ["mariadb_", "mysql_"].map(|prefix| self.share.join(format!("{prefix}{name}.sql")));
        let file = candidates.iter().find(|file| file.is_file());
        let file = file.with_context(|| format!("{} is missing", candidates[0].display()))?;
        std::fs::read(file).with_context(|| format!("reading {}", file.display()))
    }
}

/// What `mariadbd --verbose --help` says of the values of its variables.
pub struct DefaultValues(String);

impl DefaultValues {
    /// The value of `variable`, written with dashes.
    pub fn value(&self, variable: &str) -> Result<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix(' '));
        match line.map(str::trim) {
            Some(value) if !value.is_empty() && value != "(No default value)" => Ok(value),
            _ => bail!("mariadbd --verbose --help gives no value for {variable}"),
        }
    }
}

/// Asks the server `mariadbd` for the values that it was built with.
pub fn default_values(mariadbd: &Path) -> Result<DefaultValues> {
    let mut command = Command::new(mariadbd);
    command::output("mariadbd --verbose --help", command.args(["--no-defaults", "--verbose", "--help"]))
        .map(DefaultValues)
}

/// mariadbd refuses to run as root unless told to; here it runs in a private folder, as whoever we are.
fn as_root_option() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

#[cfg(test)]
mod tests {
    use super::DefaultValues;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let values = DefaultValues("plugin-dir-x   /no\nplugin-dir       /usr/lib/mysql/plugin/\nempty   \n".into());
        assert_eq!(values.value("plugin-dir").ok(), Some("/usr/lib/mysql/plugin/"));
        assert!(values.value("plugin").is_err());
        assert!(values.value("empty").is_err());
    }
}
