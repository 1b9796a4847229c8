//! Cargo, building for arm64 on this CPU.

use std::path::{Path, PathBuf};

use anyhow::Result;
use duct::Expression;

use crate::commands::test::{cargo_test, symbols};
use crate::commands::versions::server::{EMULATED_CPU, EMULATOR};
use crate::machine::{paths, toolchain};
use crate::run;
use crate::tally::Tally;

/// What Rust calls the CPU with its system.
pub const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Builds the plugin, checks what it exports, and says where it is.
pub fn plugin(tally: &mut Tally) -> Result<PathBuf> {
    let words = ["build", "--release", "--target", TARGET, "--package", "aws_key_management"];
    run::visibly(&format!("cargo build --release --target {TARGET}"), &cross(&paths::target(), &words))?;
    let plugin = paths::target().join(TARGET).join("release/libaws_key_management.so");
    symbols::check(&plugin, tally)?;
    Ok(plugin)
}

/// The cipher's tests in the emulator, with the libraries in `tree`, of which one is the server's AES: all with the CPU's AES
/// instructions, and once more without them all but the million messages.
pub fn cipher(tree: &Path, tally: &mut Tally) -> Result<()> {
    let in_emulator = |folder: &Path, tests: &[&str]| {
        let words = ["test", "--release", "--target", TARGET, "--package=portable_cipher"];
        let command = cross(folder, &[&words, tests].concat());
        command.env(RUNNER, EMULATOR).env("QEMU_CPU", EMULATED_CPU).env("QEMU_LD_PREFIX", tree)
    };
    let tests = ["--test=portable_cipher", "--test=differential", "--features=hardware"];
    cargo_test::run_some("cargo test, of the cipher on arm64", &in_emulator(&paths::target(), &tests), tally)?;
    let tests = ["--test=portable_cipher", "--features=portable"];
    let portable = in_emulator(&paths::target().join("portable"), &tests)
        .env("RUSTFLAGS", r#"--cfg aes_backend="soft" --cfg polyval_backend="soft""#);
    cargo_test::run_some("cargo test, of the cipher on arm64, on the portable backend", &portable, tally)
}

/// A cargo command that works in `target`, with the C compiler, the linker and the C headers of the other CPU.
fn cross(target: &Path, words: &[&str]) -> Expression {
    toolchain::cargo_in(target, words)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER)
        .env("CC_aarch64_unknown_linux_gnu", COMPILER)
        .env("BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu", HEADERS)
}

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const HEADERS: &str = "--sysroot=/usr/aarch64-linux-gnu -I/usr/aarch64-linux-gnu/include";
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";
