//! The tests that there are.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::machine::paths;

/// A test of a suite: `mysql-test/<suite>/t/<name>.test`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The suite's name.
    pub suite: String,
    /// The test's name.
    pub name: String,
}

impl Test {
    /// As mysql-test-run names it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.suite, self.name)
    }
}

/// The tests below `sources` that `names` ask for: all of them if there are no names.
pub fn select(sources: &Path, names: &[String]) -> Result<Vec<Test>> {
    let all = all(sources)?;
    ensure!(!all.is_empty(), "there are no tests in {}", sources.display());
    let is = |test: &Test, name: &str| test.name == name || test.full_name() == name;
    for name in names {
        if !all.iter().any(|test| is(test, name)) {
            let known: Vec<String> = all.iter().map(Test::full_name).collect();
            bail!("there is no test {name}; there are: {}", known.join(" "));
        }
    }
    Ok(all.into_iter().filter(|test| names.is_empty() || names.iter().any(|name| is(test, name))).collect())
}

/// The full names of those of `tests` without a file of expected results: mysql-test-run lets such a test pass whatever
/// it prints.
pub fn without_result(sources: &Path, tests: &[Test]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for test in tests {
        let results = sources.join(&test.suite).join("r");
        // A test with combinations may have a file for each: `name,combination.result`.
        let expected = |file: &String| {
            let rest = file.strip_suffix(".result").and_then(|stem| stem.strip_prefix(&test.name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
        };
        if !results.is_dir() || !paths::names_in(&results)?.iter().any(expected) {
            names.push(test.full_name());
        }
    }
    Ok(names)
}

fn all(sources: &Path) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for suite in paths::names_in(sources)? {
        let folder = sources.join(&suite).join("t");
        if folder.is_dir() {
            let files = paths::names_in(&folder)?;
            let names = files.iter().filter_map(|file| file.strip_suffix(".test"));
            tests.extend(names.map(|name| Test { suite: suite.clone(), name: name.to_owned() }));
        }
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_tests() -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        let t = folder.path().join("suite/t");
        std::fs::create_dir_all(&t)?;
        for name in ["one.test", "two.test", "two.opt"] {
            std::fs::write(t.join(name), "")?;
        }
        Ok(folder)
    }

    #[test]
    fn without_names_every_test_is_selected() -> Result<()> {
        let folder = two_tests()?;
        let names: Vec<String> = select(folder.path(), &[])?.iter().map(Test::full_name).collect();
        assert_eq!(names, ["suite.one", "suite.two"]);
        Ok(())
    }

    #[test]
    fn a_test_is_selected_by_its_short_and_its_full_name() -> Result<()> {
        let folder = two_tests()?;
        let short = select(folder.path(), &["two".to_owned()])?;
        assert_eq!(short, select(folder.path(), &["suite.two".to_owned()])?);
        assert_eq!(short.len(), 1);
        Ok(())
    }

    #[test]
    fn an_unknown_name_is_an_error_even_beside_a_known_one() -> Result<()> {
        let folder = two_tests()?;
        assert!(select(folder.path(), &["one".to_owned(), "three".to_owned()]).is_err());
        Ok(())
    }

    #[test]
    fn a_test_without_expected_results_is_found() -> Result<()> {
        let folder = two_tests()?;
        let tests = select(folder.path(), &[])?;
        assert_eq!(without_result(folder.path(), &tests)?, ["suite.one", "suite.two"]);
        let r = folder.path().join("suite/r");
        std::fs::create_dir(&r)?;
        for name in ["one.result", "two_more.result"] {
            std::fs::write(r.join(name), "")?;
        }
        assert_eq!(without_result(folder.path(), &tests)?, ["suite.two"]);
        Ok(())
    }

    #[test]
    fn no_tests_at_all_is_an_error() -> Result<()> {
        assert!(select(tempfile::tempdir()?.path(), &[]).is_err());
        Ok(())
    }
}
