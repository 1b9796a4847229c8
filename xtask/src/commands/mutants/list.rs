//! Which mutants there are: cargo-mutants says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use duct::cmd;
use serde_json::Value;

use crate::machine::paths;
use crate::run;

/// A change of the source.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Such as `src/kms/mod.rs:12:34: replace == with != in f`.
    pub name: String,
    /// Below the repository.
    pub file: String,
    /// What kind of change it is.
    pub genre: Genre,
    /// What is replaced: line and column, both from 1 and in characters, of its beginning and its end.
    pub span: [Place; 2],
    /// By what.
    pub replacement: String,
}

impl Mutant {
    /// The file, below the checkout: `tests/portable/../../src/cipher` is where it is.
    pub fn below_checkout(&self) -> PathBuf {
        self.file.rsplit_once("../").map_or(&*self.file, |(_, file)| file).into()
    }
}

/// A line and a column, from 1.
pub type Place = (usize, usize);

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Genre {
    /// A function does nothing but return a value.
    FnValue,
    /// Another operator between two values.
    BinaryOperator,
    /// No operator before a value.
    UnaryOperator,
    /// A guard that is always met, or never.
    MatchArmGuard,
    /// An arm that is left out.
    MatchArm,
    /// A field of a struct expression that is left out.
    StructField,
}

/// All mutants of `files`, which are patterns of cargo-mutants, in a package, but for those of code that is for other CPUs.
pub fn mutants(program: &Path, package: &str, files: &[String]) -> Result<Vec<Mutant>> {
    let mut words = vec!["mutants".to_owned(), "--list".into(), "--json".into(), format!("--package={package}")];
    words.extend(files.iter().map(|file| format!("--file={file}")));
    let said = run::output("cargo mutants --list", &cmd(program, words).dir(paths::repository()))?;
    let mut mutants = parse(&said)?;
    mutants.retain(|mutant| is_compiled_on(std::env::consts::ARCH, &mutant.below_checkout()));
    Ok(mutants)
}

/// Whether a file is compiled for a CPU. Of the kernels, each is for one.
fn is_compiled_on(cpu: &str, file: &Path) -> bool {
    let kernels = [("x86_64", "src/cipher/kernels/x86"), ("aarch64", "src/cipher/kernels/arm")];
    let has_kernel = kernels.iter().any(|(of, _)| *of == cpu);
    let of_others = kernels.iter().filter(|(of, _)| *of != cpu).any(|(_, folder)| file.starts_with(folder));
    let is_for_cpus_without = has_kernel && file == Path::new("src/cipher/kernels/none.rs");
    !(of_others || is_for_cpus_without)
}

fn parse(said: &str) -> Result<Vec<Mutant>> {
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_str(said).context("reading what cargo-mutants lists")?;
    rows.iter().map(|row| mutant(row).with_context(|| format!("a mutant that cannot be read: {row:?}"))?).collect()
}

fn mutant(row: &BTreeMap<String, Value>) -> Option<Result<Mutant>> {
    let text = |name: &str| Some(row.get(name)?.as_str()?.to_owned());
    let place = |end: &str| -> Option<Place> {
        let place = row.get("span")?.get(end)?;
        let number = |name: &str| usize::try_from(place.get(name)?.as_u64()?).ok();
        Some((number("line")?, number("column")?))
    };
    let genre = match &*text("genre")? {
        "FnValue" => Genre::FnValue,
        "BinaryOperator" => Genre::BinaryOperator,
        "UnaryOperator" => Genre::UnaryOperator,
        "MatchArmGuard" => Genre::MatchArmGuard,
        "MatchArm" => Genre::MatchArm,
        "StructField" => Genre::StructField,
        other => return Some(Err(anyhow::anyhow!("cargo-mutants has a new kind of mutants, {other}"))),
    };
    Some(Ok(Mutant {
        name: text("name")?,
        file: text("file")?,
        genre,
        span: [place("start")?, place("end")?],
        replacement: text("replacement")?,
    }))
}

/// The byte at which a place is in a text.
pub fn byte_of(text: &str, (line, column): Place) -> Result<usize> {
    let mut start = 0;
    for (number, one) in text.split_inclusive('\n').enumerate() {
        if number + 1 == line {
            let within = one.char_indices().map(|(at, _)| at).chain([one.len()]).nth(column.saturating_sub(1));
            return within.map(|within| start + within).with_context(|| format!("no column {column} in line {line}"));
        }
        start += one.len();
    }
    bail!("no line {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_read_as_cargo_mutants_writes_it() -> Result<()> {
        let said = r#"[{"name": "a.rs:1:3: x", "file": "a.rs", "genre": "BinaryOperator", "replacement": "!=", "package": "p",
            "span": {"start": {"line": 1, "column": 3}, "end": {"line": 1, "column": 5}}, "function": null}]"#;
        let mutants = parse(said)?;
        assert_eq!((mutants[0].genre, mutants[0].span), (Genre::BinaryOperator, [(1, 3), (1, 5)]));
        assert!(parse(&said.replace("BinaryOperator", "Whatever")).is_err());
        Ok(())
    }

    #[test]
    fn columns_are_counted_in_characters() -> Result<()> {
        assert_eq!(byte_of("ab\nä == b\n", (2, 3))?, 6);
        assert!(byte_of("ab\n", (7, 1)).is_err());
        Ok(())
    }

    #[test]
    fn what_is_for_another_cpu_is_left_out() {
        let kernels = |cpu| {
            let files = ["x86/expand.rs", "arm/expand.rs", "none.rs", "loops.rs"];
            files.map(|file| is_compiled_on(cpu, &Path::new("src/cipher/kernels").join(file)))
        };
        assert_eq!(kernels("x86_64"), [true, false, false, true]);
        assert_eq!(kernels("aarch64"), [false, true, false, true]);
        assert_eq!(kernels("riscv64"), [false, false, true, true]);
    }
}
