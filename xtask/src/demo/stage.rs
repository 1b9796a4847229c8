//! How the demo speaks: numbered steps, statements and what came out of them.

use std::fmt::Display;

use anyhow::Result;

use crate::console::{self, Steps};
use crate::server::Server;

/// Where the demo is played.
#[derive(Default)]
pub struct Stage {
    steps: Steps,
}

impl Stage {
    /// Begins the next step.
    pub fn step(&mut self, title: &str) {
        self.steps.next(title);
    }

    /// A sentence.
    pub fn say(&self, text: impl Display) {
        console::detail(text);
    }

    /// Something to look at.
    pub fn show(&self, text: &str) {
        for line in text.lines() {
            console::detail(format_args!("  {line}"));
        }
    }

    /// A statement and its result, which is returned too.
    pub fn sql(&self, server: &Server, statement: &str) -> Result<String> {
        console::detail(console::dim(format_args!("MariaDB> {statement};")));
        let result = server.table(statement)?;
        self.show(&result);
        Ok(result)
    }
}
