//! A client that stays connected and tells a lost connection from a refusal.

use std::fmt;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use duct::cmd;
use tempfile::NamedTempFile;

use crate::process::Process;

/// A connected client. After a refusal it has ended.
pub struct Session {
    process: Process,
    input: PipeWriter,
    answers: BufReader<PipeReader>,
    errors: NamedTempFile,
}

/// What a statement gave: its rows, or why it has none.
pub type Answer = std::result::Result<String, Refusal>;

/// What the client said about a statement without a result.
#[derive(Debug)]
pub struct Refusal {
    code: u32,
    message: String,
}

impl Session {
    /// Connects `client` with the server at `socket`.
    pub fn new(client: &Path, socket: &Path) -> Result<Self> {
        let (input_end, input) = std::io::pipe()?;
        let (answers, answers_end) = std::io::pipe()?;
        let errors = NamedTempFile::new().context("making a temporary file")?;
        let socket = format!("--socket={}", socket.display());
        // Unbuffered: an answer is there as soon as the server gave it.
        let form = ["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--unbuffered", &socket];
        let command = cmd(client, form).stdin_file(input_end).stdout_file(answers_end).stderr_file(errors.reopen()?);
        let process = Process::start("mariadb", &command)?;
        // The command keeps our copies of the client's ends; without them the end of the client is the end of its answers.
        drop(command);
        let mut session = Self { process, input, answers: BufReader::new(answers), errors };
        session.ask("DO 1")??;
        Ok(session)
    }

    /// Executes `statement` and waits for the answer.
    pub fn ask(&mut self, statement: &str) -> Result<Answer> {
        // If the client is gone, its error says more than ours.
        let _ = writeln!(self.input, "{statement};\nSELECT '{END}';");
        let mut rows = String::new();
        loop {
            let before = rows.len();
            if self.answers.read_line(&mut rows)? == 0 {
                self.process.wait(|| Ok(()))?;
                let said = std::fs::read_to_string(self.errors.path())?;
                return Refusal::parse(&said).map(Err).with_context(|| format!("the client ended: {said}"));
            }
            if rows[before..].trim_end() == END {
                rows.truncate(before);
                return Ok(Ok(rows));
            }
        }
    }
}

impl Refusal {
    /// Whether the server went away.
    pub fn lost_connection(&self) -> bool {
        LOST.contains(&self.code)
    }

    /// From a message such as `ERROR 2013 (HY000) at line 7: Lost connection to server during query`.
    fn parse(said: &str) -> Option<Self> {
        let message = &said[said.rfind("ERROR ")?..];
        Some(Self { code: message.split(' ').nth(1)?.parse().ok()?, message: message.trim_end().to_owned() })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

const END: &str = "end of the answer";

/// "Server shutdown in progress", "connection was killed", "can't connect", "gone away", "lost connection", and its kin
/// with the system's error.
const LOST: [u32; 6] = [1053, 1927, 2002, 2006, 2013, 2055];

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn a_lost_connection_is_told_from_a_refusal() {
        let lost = "--------------\nSET GLOBAL x = 1\n--------------\n\n\
                    ERROR 2013 (HY000) at line 7: Lost connection to server during query\n";
        assert!(Refusal::parse(lost).is_some_and(|it| it.lost_connection()));
        let refused = Refusal::parse("ERROR 1105 (HY000) at line 2: aws_key_management: no\n");
        assert!(refused.is_some_and(|it| !it.lost_connection()));
        assert!(Refusal::parse("mariadb: not found").is_none());
    }
}
