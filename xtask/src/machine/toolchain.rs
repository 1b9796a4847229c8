//! Cargo, the nightly toolchain, and the tools that are installed with them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use duct::{Expression, cmd};

use super::c_library::CLibrary;
use super::paths;
use crate::{run, terminal};

/// A cargo command in the checkout, with our target folder.
pub fn cargo(words: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
    cargo_in(&paths::target(), words)
}

/// The same with another target folder.
pub fn cargo_in(target: &Path, words: impl IntoIterator<Item = impl Into<OsString>>) -> Expression {
    in_checkout(cmd(program(), words), target)
}

/// Builds the plugin and says where it is.
pub fn build_plugin() -> Result<PathBuf> {
    build(PLUGIN, &paths::target(), None)
}

/// Builds the offline tool and says where it is.
pub fn build_tool() -> Result<PathBuf> {
    build(TOOL, &paths::target(), None)
}

/// Builds the plugin with the feature `mock`. It has a target folder of its own, so that the plugin to be installed
/// stays as it is.
pub fn build_mock_plugin() -> Result<PathBuf> {
    build(MOCK_PLUGIN, &mock_target(&paths::target())?, None)
}

/// The same three for an older C library than this system's, in target folders of their own. What they need of the C
/// library has been checked.
pub mod older {
    use super::*;

    /// The plugin.
    pub fn build_plugin(library: &CLibrary) -> Result<PathBuf> {
        build(PLUGIN, &target(library), Some(library))
    }

    /// The offline tool.
    pub fn build_tool(library: &CLibrary) -> Result<PathBuf> {
        build(TOOL, &target(library), Some(library))
    }

    /// The plugin with the feature `mock`.
    pub fn build_mock_plugin(library: &CLibrary) -> Result<PathBuf> {
        build(MOCK_PLUGIN, &mock_target(&target(library))?, Some(library))
    }

    fn target(library: &CLibrary) -> PathBuf {
        paths::target().join(format!("glibc-{}", library.version()))
    }
}

/// Builds the plugin with the server's headers of the folder `headers`, in the target folder `target`.
pub fn build_plugin_with_headers(headers: &Path, target: &Path) -> Result<PathBuf> {
    share_dependencies(&paths::target(), target)?;
    let command = cargo_in(target, ["build", "--release"].into_iter().chain(PLUGIN.words.iter().copied()));
    run::visibly("cargo build --release", &command.env("MARIADB_INCLUDE_DIR", headers))?;
    Ok(target.join("release").join(PLUGIN.file))
}

/// What cargo makes, and of what.
#[derive(Clone, Copy)]
struct Product {
    words: &'static [&'static str],
    file: &'static str,
}

const PLUGIN: Product = Product { words: &["--package", "aws_key_management"], file: "libaws_key_management.so" };
const MOCK_PLUGIN: Product =
    Product { words: &["--package", "aws_key_management", "--features", "mock"], file: "libaws_key_management.so" };
const TOOL: Product = Product { words: &["--package", "aws-key-management-tool"], file: "aws-key-management" };

fn build(product: Product, target: &Path, library: Option<&CLibrary>) -> Result<PathBuf> {
    let triple = library.map(|_| CLibrary::target());
    let mut words = vec!["build", "--release"];
    words.extend(product.words);
    words.extend(triple.iter().flat_map(|triple| ["--target", triple]));
    let mut command = cargo_in(target, &words);
    for (name, value) in library.map(CLibrary::settings).transpose()?.into_iter().flatten() {
        command = command.env(name, value);
    }
    run::visibly(&format!("cargo {}", words.join(" ")), &command)?;
    let built = target.join(triple.unwrap_or_default()).join("release").join(product.file);
    if let Some(library) = library {
        library.check(&built)?;
    }
    Ok(built)
}

fn mock_target(target: &Path) -> Result<PathBuf> {
    let mock = target.join("mock");
    share_dependencies(target, &mock)?;
    Ok(mock)
}

/// Begins the target folder `to` with a copy of what is compiled in `from` already: the AWS client is the same, and takes
/// minutes. Cargo compiles for itself whatever it does not find or like there.
pub fn share_dependencies(from: &Path, to: &Path) -> Result<()> {
    for folder in ["release".into(), Path::new(&CLibrary::target()).join("release")] {
        let (compiled, copy) = (from.join(&folder), to.join(&folder));
        if copy.exists() || !compiled.exists() {
            continue;
        }
        // Renamed at last, so that an interrupted copy is never taken for a whole one.
        let unfinished = paths::emptied(&copy.with_extension("unfinished"))?;
        let parts = ["deps", "build", ".fingerprint"].map(|part| compiled.join(part));
        let parts = parts.into_iter().filter(|part| part.exists()).map(PathBuf::into_os_string);
        // Times are kept: cargo compares them.
        let words = ["-a".into()].into_iter().chain(parts).chain([unfinished.clone().into_os_string()]);
        run::quietly("copying compiled crates", &cmd("cp", words))?;
        std::fs::rename(&unfinished, &copy)?;
    }
    Ok(())
}

/// Installs clippy and rustfmt if they are missing.
pub fn ensure_lints() -> Result<()> {
    let is_there = |name: &&str| cmd!(program(), *name, "--version").stderr_null().read().is_ok();
    let missing: Vec<&str> = ["clippy", "fmt"].into_iter().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if paths::program("rustup").is_none() {
        bail!("`cargo {}` is missing, and there is no rustup to install it with", missing.join("` and `cargo "));
    }
    terminal::step("Installing clippy and rustfmt");
    run::quietly("rustup component add", &cmd!("rustup", "component", "add", "clippy", "rustfmt"))
}

/// Installs the standard library for `target` if it is missing, beside that of this machine.
pub fn ensure_target(target: &str) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = run::output("rustc --print", &cmd!(rustc, "--print", "target-libdir", "--target", target))?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    if paths::program("rustup").is_none() {
        bail!("Rust's standard library for {target} is missing, and there is no rustup to install it with");
    }
    terminal::step(format_args!("Installing Rust's standard library for {target}"));
    run::quietly("rustup target add", &cmd!("rustup", "target", "add", target)).with_context(|| {
        format!(
            "it could not be installed. It is downloaded, so this machine must be able to reach the server that rustup \
             uses (RUSTUP_DIST_SERVER), for {target}"
        )
    })
}

/// Installs the nightly toolchain if it is missing, beside the other toolchains. It has what the stable one does not:
/// Miri, and AddressSanitizer.
pub fn ensure_nightly() -> Result<()> {
    if paths::program("rustup").is_none() {
        bail!(
            "this needs the Rust toolchain {NIGHTLY}, and there is no rustup to install it with. Install rustup \
             (https://rustup.rs, on Debian the package rustup) and run the command again"
        );
    }
    let list = cmd!("rustup", "component", "list", "--installed", "--toolchain", NIGHTLY);
    let installed = list.stderr_null().read().unwrap_or_default();
    if NIGHTLY_COMPONENTS.iter().all(|name| installed.lines().any(|line| line.starts_with(name))) {
        return Ok(());
    }
    terminal::step(format_args!("Installing the Rust toolchain {NIGHTLY}"));
    let words = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "--no-self-update"].into_iter();
    let components = NIGHTLY_COMPONENTS.iter().flat_map(|name| ["--component", name]);
    run::quietly("rustup toolchain install", &cmd("rustup", words.chain(components))).with_context(|| {
        format!(
            "the Rust toolchain {NIGHTLY} could not be installed. It is downloaded, so this machine must be able to reach \
             the server that rustup uses (RUSTUP_DIST_SERVER)"
        )
    })
}

/// `words` under the nightly toolchain, in the checkout: `cargo` is its cargo, which works in `target`.
pub fn nightly(words: impl IntoIterator<Item = impl Into<OsString>>, target: &Path) -> Expression {
    let run = ["run", NIGHTLY].map(OsString::from).into_iter().chain(words.into_iter().map(Into::into));
    // The toolchain that runs us.
    in_checkout(cmd("rustup", run), target).env_remove("CARGO").env_remove("RUSTC")
}

/// Installs `name` in this `version` if it is missing, in the target folder and not among the user's programs, and says
/// where it is.
pub fn ensure_tool(name: &str, version: &str) -> Result<PathBuf> {
    let folder = paths::target().join("tools");
    let installed = cmd!(program(), "install", "--list", "--root", &folder).stderr_null().unchecked().read()?;
    if !installed.lines().any(|line| line == format!("{name} v{version}:")) {
        terminal::step(format_args!("Installing {name} {version} into {}", paths::short(&folder)));
        let install = cmd!(program(), "install", "--locked", "--force", "--root", &folder, format!("{name}@{version}"));
        run::quietly(&format!("cargo install {name}"), &install)?;
    }
    Ok(folder.join("bin").join(name))
}

fn in_checkout(command: Expression, target: &Path) -> Expression {
    command.dir(paths::repository()).env("CARGO_TARGET_DIR", target)
}

/// The cargo that runs us, else the one in PATH.
fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// One of them, so that a check finds tomorrow what it finds today.
const NIGHTLY: &str = "nightly-2026-10-29";

/// Miri compiles the standard library for itself.
const NIGHTLY_COMPONENTS: [&str; 2] = ["miri", "rust-src"];
