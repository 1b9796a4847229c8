//! The search for a text in all files of a folder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths;

/// Where a text was found.
pub struct Traces {
    /// The command that looked for it.
    pub command: String,
    /// The files with the text, relative to the folder.
    pub files: Vec<String>,
    /// How many files there are.
    pub searched: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Traces {
    /// Looks for `text` in all files below `folder`, with grep, so that anyone can do the same by hand.
    pub fn of(text: &str, folder: &Path) -> Result<Self> {
        let all = paths::files_below(folder)?;
        let mut command = Command::new("grep");
        // Recursive, names only, binary files too, the text as it is.
        command.arg("-rlaF").arg(text).current_dir(folder);
        let answer = command.output().context("starting grep")?;
        // 1 means that nothing was found; more is an error, such as a file that can't be read.
        anyhow::ensure!(
            answer.status.code().is_some_and(|code| code < 2),
            "grep failed: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
        let mut files: Vec<String> = String::from_utf8_lossy(&answer.stdout).lines().map(str::to_owned).collect();
        files.sort();
        Ok(Self {
            command: format!("grep -rlaF {text:?} {}", folder.display()),
            files,
            searched: all.len(),
            bytes: all.iter().map(|(_, size)| size).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Traces;

    #[test]
    fn a_text_is_found_inside_binary_files_and_below_folders() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("deep"))?;
        std::fs::write(folder.path().join("deep/with"), b"\0\xff[secret]\0")?;
        std::fs::write(folder.path().join("without"), b"secre\0t")?;
        let traces = Traces::of("[secret]", folder.path())?;
        assert_eq!(traces.files, ["deep/with"]);
        assert_eq!((traces.searched, traces.bytes), (2, 18));
        Ok(())
    }

    #[test]
    fn no_hit_is_an_empty_list() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("file"), b"nothing")?;
        assert!(Traces::of("secret", folder.path())?.files.is_empty());
        Ok(())
    }
}
