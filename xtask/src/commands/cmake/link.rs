//! The way into a MariaDB source tree: its folder of the plugin becomes a link to this checkout.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::machine::paths;
use crate::terminal;

/// Makes the plugin's folder in `tree` a link. The C++ plugin's folder is moved aside, and a link of another checkout
/// replaced; anything else is left alone, with an error.
pub fn into(tree: &Path) -> Result<()> {
    put_link(tree, paths::repository())?;
    let folder = tree.join(FOLDER);
    terminal::detail(format_args!("{} is {}", folder.display(), paths::repository().display()));
    Ok(())
}

fn put_link(tree: &Path, checkout: &Path) -> Result<()> {
    ensure!(
        tree.join("VERSION").is_file() && tree.join("plugin").is_dir(),
        "{} is no MariaDB source tree: it has no file VERSION or no folder plugin",
        tree.display()
    );
    let folder = tree.join(FOLDER);
    if folder.canonicalize().is_ok_and(|there| checkout.canonicalize().is_ok_and(|ours| ours == there)) {
        return Ok(());
    }
    if folder.is_symlink() {
        std::fs::remove_file(&folder).with_context(|| format!("removing {}", folder.display()))?;
    } else if folder.join("aws_key_management_plugin.cc").is_file() {
        // Not beside it: every folder there is a plugin.
        let aside = tree.join(ASIDE);
        ensure!(!aside.exists(), "{} is in the way of the C++ plugin: remove one of the two", aside.display());
        std::fs::rename(&folder, &aside).with_context(|| format!("moving {}", folder.display()))?;
        terminal::detail(format_args!("the C++ plugin is now in {}", aside.display()));
    } else if folder.exists() {
        bail!("{} is neither the C++ plugin nor a link: move it away", folder.display());
    }
    symlink(checkout, &folder).with_context(|| format!("making the link {}", folder.display()))
}

/// Where a tree has its plugin `aws_key_management`.
const FOLDER: &str = "plugin/aws_key_management";
/// Where the C++ plugin goes.
const ASIDE: &str = "aws_key_management.replaced";

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Result<tempfile::TempDir> {
        let tree = tempfile::tempdir()?;
        std::fs::create_dir_all(tree.path().join(FOLDER))?;
        std::fs::write(tree.path().join("VERSION"), "")?;
        Ok(tree)
    }

    #[test]
    fn the_plugin_of_the_tree_is_moved_aside_and_a_link_takes_its_place() -> Result<()> {
        let (tree, first, second) = (tree()?, tempfile::tempdir()?, tempfile::tempdir()?);
        let folder = tree.path().join(FOLDER);
        std::fs::write(folder.join("aws_key_management_plugin.cc"), "C++")?;
        put_link(tree.path(), first.path())?;
        put_link(tree.path(), first.path())?;
        assert_eq!(std::fs::read_link(&folder)?, first.path());
        assert!(tree.path().join(ASIDE).join("aws_key_management_plugin.cc").is_file());
        put_link(tree.path(), second.path())?;
        assert_eq!(std::fs::read_link(&folder)?, second.path());
        Ok(())
    }

    #[test]
    fn what_is_not_known_is_left_alone() -> Result<()> {
        let (tree, checkout) = (tree()?, tempfile::tempdir()?);
        let mine = tree.path().join(FOLDER).join("mine");
        std::fs::write(&mine, "mine")?;
        assert!(put_link(tree.path(), checkout.path()).is_err());
        assert_eq!(std::fs::read_to_string(mine)?, "mine");
        assert!(put_link(checkout.path(), tree.path()).is_err());
        assert_eq!(paths::names_in(checkout.path())?, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn a_checkout_in_its_place_stays() -> Result<()> {
        let tree = tree()?;
        put_link(tree.path(), &tree.path().join(FOLDER))?;
        assert!(tree.path().join(FOLDER).is_dir() && !tree.path().join(FOLDER).is_symlink());
        Ok(())
    }
}
