//! The .deb, by dpkg-deb.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use duct::cmd;

use super::contents::{Built, Layout, Tree};
use super::version::Version;
use super::{NAME, filled_in, settle, source};
use crate::machine::paths;
use crate::run;

/// Makes it in `folder`; `root` is where it is laid out.
pub fn build(built: &Built, version: &Version, folder: &Path, root: &Path) -> Result<PathBuf> {
    let root = paths::emptied(root)?;
    let layout = Layout {
        plugins: "/usr/lib/mysql/plugin".into(),
        option_file: OPTION_FILE,
        documents: Path::new("/usr/share/doc").join(NAME),
    };
    layout.fill(&root, built)?;
    let tree = Tree(&root);
    tree.file(&layout.documents.join("copyright"), copyright()?.as_bytes())?;
    tree.compressed(&layout.documents.join("changelog.gz"), changelog(version)?.as_bytes())?;
    let overrides = std::fs::read(source("deb/lintian-overrides"))?;
    tree.file(&Path::new("/usr/share/lintian/overrides").join(NAME), &overrides)?;

    let size = paths::files_below(&root)?.iter().map(|(_, size)| size.div_ceil(1024)).sum::<u64>();
    let sums = sums(&root)?;
    let architecture = run::output("dpkg", &cmd!("dpkg", "--print-architecture"))?.trim().to_owned();
    let control = filled_in(
        "deb/control",
        &[
            ("VERSION", &version.to_string()),
            ("ARCHITECTURE", &architecture),
            ("MAINTAINER", MAINTAINER),
            ("SIZE", &size.to_string()),
            ("LIBRARIES", &needed_libraries(built, &root)?),
        ],
    )?;
    let control_files = Tree(&root);
    control_files.file(Path::new("/DEBIAN/control"), control.as_bytes())?;
    control_files.file(Path::new("/DEBIAN/conffiles"), format!("{OPTION_FILE}\n").as_bytes())?;
    control_files.file(Path::new("/DEBIAN/md5sums"), sums.as_bytes())?;
    for script in ["prerm", "postrm"] {
        let text = filled_in(&format!("deb/{script}"), &[("OPTION_FILE", OPTION_FILE)])?;
        control_files.file(&Path::new("/DEBIAN").join(script), text.as_bytes())?;
        run::quietly("chmod", &cmd!("chmod", "755", root.join("DEBIAN").join(script)))?;
    }
    settle(&root, version)?;

    std::fs::create_dir_all(folder)?;
    let package = folder.join(format!("{NAME}_{version}_{architecture}.deb"));
    // One thread: how many there are shows in what xz makes.
    let words = ["--root-owner-group", "-Zxz", "-z3", "--threads-max=1", "--build"].map(Into::into);
    let command = cmd("dpkg-deb", words.into_iter().chain([root.into_os_string(), package.clone().into_os_string()]));
    run::quietly("dpkg-deb", &command.env("SOURCE_DATE_EPOCH", version.epoch().to_string()))?;
    Ok(package)
}

/// The packages of the libraries that the binaries are linked with, such as `libc6 (>= 2.34)`.
fn needed_libraries(built: &Built, root: &Path) -> Result<String> {
    // It wants a source package around itself.
    let folder = paths::emptied(&root.with_extension("shlibdeps"))?;
    Tree(&folder).file(Path::new("/debian/control"), b"Source: s\n\nPackage: p\nArchitecture: any\n")?;
    let files = built.binaries().map(|file| file.as_os_str().to_owned());
    let command = cmd("dpkg-shlibdeps", ["-O".into()].into_iter().chain(files)).dir(&folder);
    let answer = run::output("dpkg-shlibdeps", &command)?;
    let libraries = answer.trim().strip_prefix("shlibs:Depends=");
    libraries.map(str::to_owned).with_context(|| format!("dpkg-shlibdeps says only {answer:?}"))
}

fn sums(root: &Path) -> Result<String> {
    let files = paths::files_below(root)?;
    // The option file is the operator's, once it is installed.
    let relative = files.iter().filter_map(|(file, _)| file.strip_prefix(root).ok());
    let relative = relative.filter(|file| Path::new("/").join(file) != Path::new(OPTION_FILE)).map(Path::as_os_str);
    run::output("md5sum", &cmd("md5sum", relative).dir(root))
}

fn copyright() -> Result<String> {
    let licence = std::fs::read_to_string(paths::repository().join("LICENSE"))?;
    let holders =
        licence.lines().find_map(|line| line.strip_prefix("Copyright (c) ")).context("LICENSE names no holder")?;
    let notice = std::fs::read_to_string(source("NOTICE"))?;
    let (_, terms) = licence.split_once(holders).context("LICENSE has no terms")?;
    filled_in("deb/copyright", &[("NOTICE", &field(&notice)), ("HOLDERS", holders), ("LICENCE", &field(terms))])
}

/// `text` as the value of a field: each line begins with a space, and an empty one has a dot.
fn field(text: &str) -> String {
    let lines = text.trim().lines().map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") });
    lines.collect::<Vec<_>>().join("\n")
}

fn changelog(version: &Version) -> Result<String> {
    Ok(format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  * Built for this machine's own use, from the commit {}.\n  * \
         CHANGELOG.md says what has changed.\n\n -- {MAINTAINER}  {}\n",
        version.commit(),
        version.date()?
    ))
}

/// Nobody's address: a package that stays where it was built has none to write to.
const MAINTAINER: &str = "The aws_key_management authors <aws-key-management@localhost.invalid>";

const OPTION_FILE: &str = "/etc/mysql/mariadb.conf.d/60-aws-key-management.cnf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_field_ends_it() {
        assert_eq!(field("\none\n\ntwo\n"), " one\n .\n two");
    }

    #[test]
    fn the_copyright_has_the_notice_the_holders_and_the_terms() -> Result<()> {
        let text = copyright()?;
        assert!(text.contains("\n This package is for the machines of whoever built it. It must not be handed on.\n"));
        assert!(
            text.contains("\nCopyright: 2026 the aws_key_management authors\nLicense: Expat\n Permission is hereby")
        );
        // Between the two paragraphs.
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        Ok(())
    }

    #[test]
    fn what_has_no_value_is_noticed() {
        assert!(filled_in("deb/control", &[("VERSION", "1"), ("ARCHITECTURE", "amd64")]).is_err());
    }
}
