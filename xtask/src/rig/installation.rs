//! A MariaDB to run: the system's, or one unpacked from packages of another release.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use duct::cmd;

use crate::machine::paths;
use crate::process::background;
use crate::run;

/// Program and data files of a server.
pub struct Installation {
    /// `mariadbd`, with whatever must come before it to run it.
    mariadbd: Vec<OsString>,
    /// Where `mariadb_system_tables.sql`, error messages and character sets lie.
    share: PathBuf,
    /// Options that the place of the installation makes necessary.
    options: Vec<OsString>,
    /// Whether it runs as somebody without rights, and not as whoever we are.
    is_unprivileged: bool,
}

impl Installation {
    /// The installed server.
    pub fn of_the_system() -> Result<Self> {
        let mariadbd = paths::program("mariadbd").context("there is no program mariadbd")?;
        let character_sets = default_value("character-sets-dir")?;
        let share =
            Path::new(&character_sets).parent().context("mariadbd names no folder of character sets")?.to_owned();
        Ok(Self { mariadbd: vec![mariadbd.into()], share, options: Vec::new(), is_unprivileged: false })
    }

    /// A server in a folder of its own, run by the words of `mariadbd`.
    pub fn in_tree(mariadbd: Vec<OsString>, usr: &Path) -> Result<Self> {
        let share = ["share/mariadb", "share/mysql"].map(|name| usr.join(name));
        let share = share.into_iter().find(|folder| folder.join("charsets").is_dir());
        let share = share.with_context(|| format!("no share/mariadb or share/mysql below {}", usr.display()))?;
        let options = vec![
            option("basedir", usr),
            option("lc-messages-dir", &share),
            option("character-sets-dir", &share.join("charsets")),
        ];
        Ok(Self { mariadbd, share, options, is_unprivileged: false })
    }

    /// The same with more options.
    pub fn with_options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(OsString::from));
        self
    }

    /// The same, but not as root: programs that it starts would drop root's rights, and then lack them in its folders.
    pub fn unprivileged(mut self) -> Self {
        if rustix::process::geteuid().is_root() {
            let words =
                ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--pdeathsig", "KILL", "--"];
            self.mariadbd = words.into_iter().map(OsString::from).chain(self.mariadbd).collect();
            self.is_unprivileged = true;
        }
        self
    }

    /// The same, run by these words, such as those of a sandbox.
    pub fn within(mut self, words: Vec<OsString>) -> Self {
        self.mariadbd.splice(0..0, words);
        self
    }

    /// Gives a folder, with all in it, to whom the server runs as.
    pub fn own(&self, folder: &Path) -> Result<()> {
        if self.is_unprivileged {
            let owner = format!("{NOBODY}:{NOBODY}");
            run::quietly("chown", &cmd!("chown", "--recursive", owner, folder))?;
        }
        Ok(())
    }

    /// Whether it is the installed one, and not one in a folder of its own.
    pub fn is_of_the_system(&self) -> bool {
        self.options.is_empty()
    }

    /// The words that run `mariadbd`.
    pub fn program(&self) -> &[OsString] {
        &self.mariadbd
    }

    /// Where its error messages, character sets and SQL files lie.
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// The version, such as `10.11.19-MariaDB`.
    pub fn version(&self) -> Result<String> {
        let words = self.mariadbd.iter().cloned().chain(["--version".into()]);
        // mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)
        let answer = run::output("mariadbd --version", &cmd("env", words))?;
        let version = answer.split_whitespace().skip_while(|word| *word != "Ver").nth(1);
        version.map(str::to_owned).with_context(|| format!("mariadbd --version says only {answer:?}"))
    }

    /// Makes a new data folder, with the system tables and a root account without a password.
    pub fn make_data_folder(&self, data: &Path, scratch: &Path) -> Result<()> {
        std::fs::create_dir(data).with_context(|| format!("creating {}", data.display()))?;
        self.own(data)?;
        // What mariadb-install-db does; that script cannot run a server from another place.
        let mut sql = b"create database if not exists mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\n".to_vec();
        for name in ["system_tables", "performance_tables", "system_tables_data"] {
            sql.extend(self.system_sql(name)?);
        }
        let statements = scratch.join("bootstrap.sql");
        std::fs::write(&statements, sql)?;
        let own = ["--bootstrap".into(), option("datadir", data), option("tmpdir", scratch)];
        let words = self.words("--no-defaults".into()).into_iter().chain(own);
        run::quietly("mariadbd --bootstrap", &background(words).stdin_path(&statements))?;
        Ok(std::fs::remove_file(&statements)?)
    }

    /// The words of a server that reads only the option file `defaults`.
    pub fn server_words(&self, defaults: &Path) -> Vec<OsString> {
        self.words(option("defaults-file", defaults))
    }

    fn words(&self, first: OsString) -> Vec<OsString> {
        // mariadbd refuses to run as root unless told to; here it runs in a private folder, as whoever we are.
        let is_root = rustix::process::geteuid().is_root() && !self.is_unprivileged;
        let as_root = is_root.then(|| "--user=root".into());
        let words = self.mariadbd.iter().cloned().chain([first]);
        words.chain(self.options.iter().cloned()).chain(as_root).collect()
    }

    fn system_sql(&self, name: &str) -> Result<Vec<u8>> {
        // mysql_ until 10.11, mariadb_ since 11.
        let candidates = ["mariadb_", "mysql_"].map(|prefix| self.share.join(format!("{prefix}{name}.sql")));
        let file = candidates.iter().find(|file| file.is_file());
        let file = file.with_context(|| format!("{} is missing", candidates[0].display()))?;
        std::fs::read(file).with_context(|| format!("reading {}", file.display()))
    }
}

/// The value that the installed server was built with for `variable`, which is written with dashes.
pub fn default_value(variable: &str) -> Result<String> {
    let mariadbd = paths::program("mariadbd").context("there is no program mariadbd")?;
    let help = run::output("mariadbd --verbose --help", &cmd!(mariadbd, "--no-defaults", "--verbose", "--help"))?;
    value_in(&help, variable).map(str::to_owned)
}

fn value_in<'help>(help: &'help str, variable: &str) -> Result<&'help str> {
    let line = help.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix(' '));
    match line.map(str::trim) {
        Some(value) if !value.is_empty() && value != "(No default value)" => Ok(value),
        _ => bail!("mariadbd --verbose --help gives no value for {variable}"),
    }
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(value);
    option
}

/// The user and the group that own nothing.
const NOBODY: &str = "65534";

#[cfg(test)]
mod tests {
    use super::value_in;

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let values = "plugin-dir-x   /no\nplugin-dir       /usr/lib/mysql/plugin/\nempty   \n";
        assert_eq!(value_in(values, "plugin-dir").ok(), Some("/usr/lib/mysql/plugin/"));
        assert!(value_in(values, "plugin").is_err());
        assert!(value_in(values, "empty").is_err());
    }
}
