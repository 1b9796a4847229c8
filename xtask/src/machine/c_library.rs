//! Builds for an older C library than this system's: compiled and linked with that of an older Debian, so that what is
//! built needs nothing newer. The Rust standard library asks for less anyhow.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::endian::NativeEndian;

use super::debian::{self, RELEASES, Release, Wanted};
use super::paths;

/// The C library of a Debian release, with what compilers need of it.
pub struct CLibrary {
    version: &'static str,
    tree: PathBuf,
}

impl CLibrary {
    /// That of the Debian release with glibc `version`, such as 2.31; downloaded if it is not there yet.
    pub fn of_version(version: &str) -> Result<Self> {
        let release = RELEASES.iter().find(|release| release.glibc == version).with_context(|| {
            let known = RELEASES.map(|release| release.glibc).join(", ");
            format!("there is no Debian release to build for with glibc {version}; there are some with {known}")
        })?;
        Self::of(release)
    }

    /// That of `release`.
    pub fn of(release: &Release) -> Result<Self> {
        let wanted = Wanted {
            purpose: "libc",
            packages: &["libc6-dev"],
            with_dependencies: true,
            leave_out: &[],
            are_for_arm64: false,
        };
        let tree = release.unpacked(&wanted)?;
        let mut folders = debian::library_folders(&tree)?;
        folders.extend(Some(tree.join("lib64")).filter(|folder| folder.is_dir()));
        folders.iter().try_for_each(|folder| keep_links_inside(folder, &tree))?;
        Ok(Self { version: release.glibc, tree })
    }

    /// Its version, such as 2.31.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// What cargo builds for: this machine, named, so that the settings below are not taken for build scripts.
    pub fn target() -> String {
        format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
    }

    /// What cargo, the C compiler and bindgen read: names and values.
    pub fn settings(&self) -> Result<Vec<(String, OsString)>> {
        let target = Self::target().replace('-', "_");
        let root = option("--sysroot=", &self.tree);
        let mut link = option("-Clink-arg=--sysroot=", &self.tree);
        // Debian's linker does not look into these of another root by itself.
        for folder in debian::library_folders(&self.tree)? {
            link.push(option("\u{1f}-Clink-arg=-L", &folder));
        }
        Ok(vec![
            (format!("CFLAGS_{target}"), root.clone()),
            (format!("BINDGEN_EXTRA_CLANG_ARGS_{target}"), root),
            ("CARGO_ENCODED_RUSTFLAGS".to_owned(), link),
        ])
    }

    /// Checks that `built`, a program or a library, needs nothing newer.
    pub fn check(&self, built: &Path) -> Result<()> {
        let newest = newest_needed(built)?;
        ensure!(
            newest <= numbers(self.version),
            "{} needs glibc {}, and was to need {} at most",
            built.display(),
            newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
            self.version
        );
        Ok(())
    }
}

/// Lets links of `folder` that name a path from the root of the system lead into `tree`: LLVM's linker follows them as they are.
fn keep_links_inside(folder: &Path, tree: &Path) -> Result<()> {
    for name in paths::names_in(folder)? {
        let link = folder.join(name);
        if let Ok(target) = std::fs::read_link(&link)
            && !target.starts_with(tree)
            && let Ok(inner) = target.strip_prefix("/")
        {
            std::fs::remove_file(&link)?;
            std::os::unix::fs::symlink(tree.join(inner), &link)?;
        }
    }
    Ok(())
}

/// The newest version of glibc that `file` needs a symbol of: `[2, 31]`; nothing if it needs none.
fn newest_needed(file: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let elf = ElfBytes::<NativeEndian>::minimal_parse(&bytes)?;
    let (symbols, _) = elf.dynamic_symbol_table()?.context("it has no dynamic symbols")?;
    let Some(versions) = elf.symbol_version_table()? else { return Ok(Vec::new()) };
    let mut newest = Vec::new();
    for index in 0..symbols.len() {
        if let Some(needed) = versions.get_requirement(index)?
            && let Some(version) = needed.name.strip_prefix("GLIBC_")
        {
            newest = newest.max(numbers(version));
        }
    }
    Ok(newest)
}

fn numbers(version: &str) -> Vec<u32> {
    // A name that is no number, such as GLIBC_PRIVATE, belongs to no other version at all.
    version.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

fn option(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that calls `function` in the version `version` of glibc.
    fn library(function: &str, version: &str) -> Result<(tempfile::TempDir, PathBuf)> {
        let folder = tempfile::tempdir()?;
        let [source, glibc, script, library] =
            ["it.c", "libc.so.6", "map", "it.so"].map(|name| folder.path().join(name));
        let compile = |own: &[&str], to: &Path| {
            let words = ["-shared", "-fPIC", "-nostdlib", "-o"].into_iter().map(OsString::from).chain([to.into()]);
            duct::cmd("cc", words.chain([source.clone().into()]).chain(own.iter().map(OsString::from))).run()
        };
        std::fs::write(&source, format!("void {function}(void) {{}}"))?;
        std::fs::write(&script, format!("GLIBC_{version} {{ global: {function}; }};"))?;
        compile(&[&format!("-Wl,--version-script={}", script.display()), "-Wl,-soname,libc.so.6"], &glibc)?;
        std::fs::write(&source, format!("void {function}(void); void it(void) {{ {function}(); }}"))?;
        compile(&["-Wl,--no-as-needed", &glibc.display().to_string()], &library)?;
        Ok((folder, library))
    }

    fn bullseye() -> CLibrary {
        CLibrary { version: "2.31", tree: PathBuf::new() }
    }

    #[test]
    fn what_needs_the_same_version_or_an_older_one_passes() -> Result<()> {
        for version in ["2.31", "2.4", "2.2.5"] {
            let (_folder, library) = library("aged", version)?;
            assert_eq!(newest_needed(&library)?, numbers(version));
            bullseye().check(&library)?;
        }
        Ok(())
    }

    #[test]
    fn what_needs_a_newer_version_is_an_error_that_names_it() -> Result<()> {
        for version in ["2.32", "2.34", "3.0"] {
            let (_folder, library) = library("young", version)?;
            let error = bullseye().check(&library).err().context("it passed")?;
            assert!(error.to_string().contains(&format!("needs glibc {version}")), "{error}");
        }
        Ok(())
    }

    #[test]
    fn links_from_the_root_lead_into_the_tree() -> Result<()> {
        let tree = tempfile::tempdir()?;
        for (name, target) in [("absolute", "/lib/it"), ("relative", "it")] {
            std::os::unix::fs::symlink(target, tree.path().join(name))?;
        }
        for _ in 0..2 {
            keep_links_inside(tree.path(), tree.path())?;
            assert_eq!(std::fs::read_link(tree.path().join("absolute"))?, tree.path().join("lib/it"));
            assert_eq!(std::fs::read_link(tree.path().join("relative"))?, Path::new("it"));
        }
        Ok(())
    }

    #[test]
    fn a_version_that_no_release_has_is_an_error() {
        assert!(CLibrary::of_version("2.30").is_err());
    }
}
