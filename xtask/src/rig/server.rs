//! A private MariaDB server in a folder of its own: a socket, no network, no option file of the machine.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use duct::cmd;

use super::{Installation, Session};
use crate::kms_emulator::Environment;
use crate::machine::paths;
use crate::process::{Process, background};
use crate::{interrupt, run};

/// A place where a server can run, again and again. What it wrote stays until the folder is removed.
pub struct Home {
    /// Everything of the server is below.
    folder: PathBuf,
    installation: Installation,
    client: PathBuf,
    runs: AtomicU32,
}

impl Home {
    /// Makes a new data folder in `folder`, and a plugin folder with the plugin in it.
    pub fn new(installation: Installation, folder: &Path, plugin: &Path) -> Result<Self> {
        let home = Self::without_data(installation, folder, plugin)?;
        home.make_data()?;
        Ok(home)
    }

    /// Makes a new data folder, where there is none.
    pub fn make_data(&self) -> Result<()> {
        self.installation.make_data_folder(&self.data(), &self.folder.join("tmp"))
    }

    /// Makes an empty folder of the data folder.
    pub fn empty_data(&self) -> Result<()> {
        self.installation.own(&paths::emptied(&self.data())?)
    }

    /// Copies files into the data folder, for the server's user.
    pub fn add_files(&self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
            std::fs::copy(file, self.data().join(name)).with_context(|| format!("copying {}", file.display()))?;
        }
        self.installation.own(&self.data())
    }

    /// The same, whose data folder comes from elsewhere.
    pub fn without_data(installation: Installation, folder: &Path, plugin: &Path) -> Result<Self> {
        let client = paths::program("mariadb").context("there is no program mariadb")?;
        let home = Self { folder: folder.to_owned(), installation, client, runs: AtomicU32::new(0) };
        for name in ["plugin", "tmp", "home"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        std::fs::copy(plugin, home.folder.join("plugin/aws_key_management.so"))
            .with_context(|| format!("copying {}", plugin.display()))?;
        home.installation.own(folder)?;
        Ok(home)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// An empty folder, for the server's `HOME`.
    pub fn empty_folder(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Where a client finds the server.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    /// What the server reads when it starts, and when a plugin is installed.
    pub fn option_file(&self) -> PathBuf {
        self.folder.join("my.cnf")
    }

    /// What the last run wrote into its error log.
    pub fn log_text(&self) -> String {
        std::fs::read(self.log()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// `result`, an error with the last lines of the error log, and where it is.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        if interrupt::has_come() {
            return result;
        }
        result.with_context(|| {
            let log = self.log_text();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            format!("The end of the server's error log, {}:\n{}\n", self.log().display(), tail.join("\n"))
        })
    }

    /// Starts a server with `options`, lines of a my.cnf, and waits until it takes connections. `environment` is its
    /// whole environment; without one it inherits ours.
    pub fn start(&self, options: &str, environment: Option<&Environment>) -> Result<Server<'_>> {
        let process = self.begin(options, environment)?;
        interrupt::wait_for("mariadbd gets ready", START_PATIENCE, || {
            if self.log_text().contains("ready for connections") {
                return Ok(Some(()));
            }
            match process.ended()? {
                Some(status) => bail!("mariadbd did not start ({status})"),
                None => Ok(None),
            }
        })?;
        Ok(Server { home: self, process })
    }

    /// Starts a server that ends by itself, and waits for that.
    pub fn run(&self, options: &str, environment: &Environment) -> Result<ExitStatus> {
        self.begin(options, Some(environment))?.wait(|| Ok(()))
    }

    fn begin(&self, options: &str, environment: Option<&Environment>) -> Result<Process> {
        let folder = self.folder.display();
        let own = format!(
            "[mariadbd]\ndatadir = {folder}/data\nsocket = {folder}/socket\npid_file = {folder}/pid\n\
             plugin_dir = {folder}/plugin\ntmpdir = {folder}/tmp\nskip_networking\n"
        );
        std::fs::write(self.option_file(), format!("{own}\n{options}\n"))?;
        self.runs.fetch_add(1, Ordering::Relaxed);
        let command = background(self.installation.server_words(&self.option_file())).dir(&self.folder);
        let command = match environment {
            Some(environment) => command.full_env(environment.iter().cloned()),
            None => command,
        };
        Process::start("mariadbd", &command.stderr_to_stdout().stdout_path(self.log()))
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("error-{}.log", self.runs.load(Ordering::Relaxed)))
    }
}

/// A running server. Dropped, it is killed, as by a crash.
pub struct Server<'home> {
    home: &'home Home,
    process: Process,
}

impl Server<'_> {
    /// What `statements` give: a line per row, values separated by tabs.
    pub fn sql(&self, statements: &str) -> Result<String> {
        self.client(&["--batch", "--skip-column-names"], statements)
    }

    /// A client that stays connected.
    pub fn session(&self) -> Result<Session> {
        Session::new(&self.home.client, &self.home.socket())
    }

    /// What `statements` give, as tables for a person.
    pub fn table(&self, statements: &str) -> Result<String> {
        self.client(&["--table"], statements)
    }

    /// Ends it as a crash does.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// The process of the server.
    pub fn process(&self) -> Result<procfs::process::Process> {
        // setpriv has become the server, and so has the loader of another installation.
        Ok(procfs::process::Process::new(self.process.id()?)?)
    }

    /// Shuts it down in order and waits for the end.
    pub fn stop(&self) -> Result<()> {
        let status = self.process.terminate(STOP_PATIENCE)?;
        if !status.success() {
            bail!("mariadbd ended with {status}");
        }
        Ok(())
    }

    fn client(&self, form: &[&str], statements: &str) -> Result<String> {
        let mut words = vec!["--no-defaults".to_owned(), "--user=root".to_owned()];
        words.push(format!("--socket={}", self.home.socket().display()));
        words.extend(form.iter().map(|word| (*word).to_owned()));
        words.push(format!("--execute={statements}"));
        run::output("mariadb", &cmd(&self.home.client, words)).with_context(|| format!("in the statement {statements}"))
    }
}

const START_PATIENCE: Duration = Duration::from_secs(180);
const STOP_PATIENCE: Duration = Duration::from_secs(60);
const TAIL_LINES: usize = 25;
