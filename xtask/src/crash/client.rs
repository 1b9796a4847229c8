//! A client that works while the server is killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Process;
use crate::{interrupt, paths};

/// A running client; its statements come from a file.
pub struct Client {
    process: Process,
    answers: PathBuf,
    errors: PathBuf,
}

/// What a client was told, and how it ended.
pub struct Said {
    /// A line for each row of each result.
    pub answers: String,
    /// Its error output.
    pub errors: String,
}

impl Client {
    /// Starts one that executes `statements`, one a line, after a first one that answers [`CONNECTED`].
    pub fn start(folder: &Path, name: &str, statements: &str) -> Result<Self> {
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let (input, answers, errors) = (file("sql"), file("answers"), file("errors"));
        std::fs::write(&input, format!("SELECT '{CONNECTED}';\n{statements}"))?;
        let mut command = Command::new(paths::program("mariadb").context("there is no program mariadb")?);
        command
            // Unbuffered: an answer is in the file as soon as it is there.
            .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--unbuffered"])
            .arg(format!("--socket={}", folder.join("socket").display()))
            .stdin(File::open(&input)?)
            .stdout(File::create(&answers)?)
            .stderr(File::create(&errors)?);
        Ok(Self { process: Process::start("mariadb", &mut command)?, answers, errors })
    }

    /// Waits for the first answer.
    pub fn wait_until_connected(&self) -> Result<()> {
        let started = Instant::now();
        while !std::fs::read_to_string(&self.answers)?.starts_with(CONNECTED) {
            if started.elapsed() > CONNECT_DEADLINE {
                bail!("a client got no answer: {}", std::fs::read_to_string(&self.errors)?);
            }
            interrupt::sleep(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(self) -> Result<Said> {
        self.process.wait(|| Ok(()))?;
        let answers = std::fs::read_to_string(&self.answers)?;
        // The end of a line is the end of an answer.
        let whole = answers.rfind('\n').map_or("", |end| &answers[..=end]);
        let answers = whole.strip_prefix(CONNECTED).unwrap_or(whole).trim_start().to_owned();
        Ok(Said { answers, errors: std::fs::read_to_string(&self.errors)? })
    }
}

impl Said {
    /// Whether the server went away.
    pub fn lost_connection(&self) -> bool {
        self.code().is_some_and(|code| LOST.contains(&code))
    }

    /// The line of the statement that failed, from 1, the first one of the client's own not counted.
    pub fn failed_line(&self) -> Option<usize> {
        // ERROR 2013 (HY000) at line 7: Lost connection to server during query
        let line = self.errors.rsplit_once("at line ")?.1.split(':').next()?.trim().parse::<usize>().ok()?;
        line.checked_sub(1)
    }

    fn code(&self) -> Option<u32> {
        self.errors.rsplit_once("ERROR ")?.1.split(' ').next()?.parse().ok()
    }
}

const CONNECTED: &str = "connected";

/// "Can't connect", "gone away", "lost connection": the writing client may not have got as far as its first statement.
const LOST: [u32; 4] = [2002, 2006, 2013, 2055];

const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_statement_is_read_from_the_clients_message() {
        let errors = "--------------\nSET GLOBAL x = 1\n--------------\n\n\
                      ERROR 2013 (HY000) at line 7: Lost connection to server during query\n";
        let said = Said { answers: String::new(), errors: errors.to_owned() };
        assert!(said.lost_connection());
        assert_eq!(said.failed_line(), Some(6));
        let refused = "ERROR 1105 (HY000) at line 2: aws_key_management: no\n".to_owned();
        assert!(!Said { answers: String::new(), errors: refused }.lost_connection());
    }
}
