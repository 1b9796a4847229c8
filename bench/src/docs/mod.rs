//! The figures for a person: lines of a terminal, documents, a chart.

pub mod aes;
pub mod chart;
pub mod lookup;
pub mod rotation;

use std::fmt;

use crate::machine::Cpu;

/// What was measured, and on what.
pub struct Measured {
    /// The machine.
    pub cpu: Cpu,
    /// The day.
    pub date: String,
    /// Versions of the server's libraries.
    pub server: String,
    /// Version of the plugin.
    pub plugin: String,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, date, server, plugin } = self;
        write!(f, "{} ({}), {} CPUs; {server}; aws_key_management {plugin}; {date}", cpu.name, cpu.aes(), cpu.count)
    }
}

/// The first lines of a document.
fn heading(title: &str, measured: &Measured) -> String {
    format!("# {title}\n\nMade by `cargo xtask bench --write-docs`; do not edit. Measured on: {measured}.\n")
}

/// A ratio for a person: with more decimals where it matters on which side of 1 it is.
fn decimals(ratio: f64) -> String {
    if ratio < 1.1 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}
