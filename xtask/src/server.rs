//! A private MariaDB server in a folder of its own: a socket, no network, no option file of the machine.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::installation::Installation;
use crate::process::Process;
use crate::{command, console, interrupt, paths};

/// A place where a server can run, again and again. What it wrote stays until the folder is removed.
pub struct Home {
    /// Everything of the server is below.
    folder: PathBuf,
    installation: Installation,
    client: PathBuf,
    runs: Cell<u32>,
}

impl Home {
    /// Makes a new data folder in `folder`, and a plugin folder with the plugin in it.
    pub fn new(installation: Installation, folder: &Path, plugin: &Path) -> Result<Self> {
        let client = paths::program("mariadb").context("there is no program mariadb")?;
        let home = Self { folder: folder.to_owned(), installation, client, runs: Cell::new(0) };
        for name in ["plugin", "tmp", "home"] {
            std::fs::create_dir(folder.join(name))?;
        }
        std::fs::copy(plugin, home.folder.join("plugin/aws_key_management.so"))
            .with_context(|| format!("copying {}", plugin.display()))?;
        home.installation.make_data_folder(&home.data(), &folder.join("tmp"))?;
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

    /// The error log of the last run.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("error-{}.log", self.runs.get()))
    }

    /// What the server wrote into it.
    pub fn log_text(&self) -> String {
        std::fs::read(self.log()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Its last lines, and where it is; for the message about a failure.
    pub fn log_tail(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("The end of the server's error log, {}:\n{}", self.log().display(), tail.join("\n"))
    }

    /// Starts a server with `options`, lines of a my.cnf, and waits until it takes connections. `environment` is its
    /// whole environment; without one it inherits ours.
    pub fn start(&self, options: &[String], environment: Option<Vec<(OsString, OsString)>>) -> Result<Server<'_>> {
        let defaults = self.folder.join("my.cnf");
        std::fs::write(&defaults, self.option_file(options))?;
        self.runs.set(self.runs.get() + 1);
        let mut command = self.installation.server_with(&defaults);
        let output = File::create(self.log())?;
        command.current_dir(&self.folder).stdout(output.try_clone()?).stderr(output);
        if let Some(environment) = environment {
            command.env_clear().envs(environment);
        }
        let process = Process::start("mariadbd", &mut command)?;
        let mut server = Server { home: self, process };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn option_file(&self, options: &[String]) -> String {
        let folder = self.folder.display();
        format!(
            "[mariadbd]\ndatadir = {folder}/data\nsocket = {folder}/socket\npid_file = {folder}/pid\n\
             plugin_dir = {folder}/plugin\ntmpdir = {folder}/tmp\nskip_networking\n\n{}\n",
            options.join("\n")
        )
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

    /// What `statements` give, as tables for a person.
    pub fn table(&self, statements: &str) -> Result<String> {
        self.client(&["--table"], statements)
    }

    /// Shuts it down in order and waits for the end.
    pub fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(STOP_DEADLINE)?;
        if !status.success() {
            bail!("mariadbd ended with {status}");
        }
        Ok(())
    }

    fn client(&self, form: &[&str], statements: &str) -> Result<String> {
        let mut command = Command::new(&self.home.client);
        command.args(["--no-defaults", "--user=root"]).args(form);
        command.arg(format!("--socket={}", self.home.folder.join("socket").display()));
        command::output("mariadb", command.arg("--execute").arg(statements))
            .with_context(|| format!("in the statement {statements}"))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        while !self.home.log_text().contains("ready for connections") {
            if let Some(status) = self.process.ended()? {
                bail!("mariadbd did not start ({status})");
            }
            if started.elapsed() > START_DEADLINE {
                bail!("mariadbd was not ready after {}", console::seconds(START_DEADLINE));
            }
            interrupt::sleep(Duration::from_millis(20))?;
        }
        Ok(())
    }
}

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const TAIL_LINES: usize = 25;
