//! The steps that cargo does.

use anyhow::Result;
use duct::Expression;

use super::cargo_test;
use crate::machine::{paths, toolchain};
use crate::tally::Tally;
use crate::{kms_emulator, run};

/// rustfmt. The fuzzer is a workspace of its own.
pub fn format() -> Result<()> {
    run::visibly("cargo fmt --check", &toolchain::cargo(["fmt", "--all", "--check"]))?;
    let fuzzer = paths::repository().join("fuzz/Cargo.toml").display().to_string();
    let check = toolchain::cargo(["fmt", "--manifest-path", &fuzzer, "--check"]);
    run::visibly("cargo fmt --check, of the fuzzer", &check)
}

/// Clippy: each feature leaves out code of another. In the release profile, whose build scripts (a C library is compiled
/// by one) then serve the builds that follow.
pub fn lints() -> Result<()> {
    clippy("--workspace", "", &[])?;
    clippy(PLUGIN, "mock,failpoints", &[])?;
    // Of the test code, much is not used with this one.
    clippy(PLUGIN, "model", &["--allow", "dead_code"])
}

fn clippy(packages: &str, features: &str, levels: &[&str]) -> Result<()> {
    let words = ["clippy", "--release", packages, "--all-targets", "--features", features, "--", "--deny", "warnings"];
    let command = toolchain::cargo(words.iter().chain(levels));
    run::visibly(&format!("cargo clippy {packages} --features '{features}'"), &command)
}

/// The documentation of the source, private items too.
pub fn documentation() -> Result<()> {
    let command = toolchain::cargo(["doc", "--release", "--workspace", "--no-deps", "--document-private-items"]);
    run::visibly("cargo doc", &command.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Unit and integration tests.
pub fn tests(tally: &mut Tally) -> Result<()> {
    // Those of this program as it is built already.
    cargo_test::run("cargo test --package xtask", &toolchain::cargo(["test", "--package", "xtask"]), tally)?;
    let command = test_command(OPTIMIZED, &["--workspace", "--exclude", "xtask", "--no-fail-fast"]);
    cargo_test::run("cargo test", &command.env("KMS_EMULATOR_PYTHON", kms_emulator::python()), tally)
}

/// What is left when the process ends between any two steps of making a key.
pub fn crash_tests(tally: &mut Tally) -> Result<()> {
    library_tests("failpoints", "keystore::tests::crash", tally)
}

/// The published keys under a model checker.
pub fn model_tests(tally: &mut Tally) -> Result<()> {
    library_tests("model", "keystore::published::model", tally)
}

/// The cipher's tests where there are no AES instructions; and that it compiles for a CPU for which there is no kernel.
pub fn portable_cipher(tally: &mut Tally) -> Result<()> {
    toolchain::ensure_target(WITHOUT_KERNEL)?;
    let words = ["check", "--release", "--package=portable_cipher", "--lib", "--target", WITHOUT_KERNEL];
    run::visibly(
        &format!("cargo check --package portable_cipher --target {WITHOUT_KERNEL}"),
        &toolchain::cargo(words),
    )?;
    let checks = ["overflow-checks", "debug-assertions"]
        .map(|check| format!("--config=profile.release.package.portable_cipher.{check}=true"));
    let words =
        ["test", "--release", "--package=portable_cipher", "--lib", "--test=portable_cipher", "--features=portable"];
    // Whoever compiles the crates chooses the backend, for all of them at once: in a target folder of its own.
    let target = paths::target().join("portable");
    let command = toolchain::cargo_in(&target, words.into_iter().chain(checks.iter().map(String::as_str)))
        .env("RUSTFLAGS", r#"--cfg aes_backend="soft" --cfg polyval_backend="soft""#);
    cargo_test::run_some("cargo test --test portable_cipher, on the portable backend", &command, tally)
}

fn library_tests(feature: &str, tests: &str, tally: &mut Tally) -> Result<()> {
    let command = test_command(QUICKLY_BUILT, &[PLUGIN, "--lib", "--features", feature, tests]);
    cargo_test::run_some(&format!("cargo test --features {feature} --lib {tests}"), &command, tally)
}

/// In the release profile, which the plugin to be installed is built in too: the AWS client is compiled only once. Our
/// own crate gets the checks of the dev profile for it, and several codegen units, which compile side by side.
fn test_command(level: &str, words: &[&str]) -> Expression {
    let settings = [level, "codegen-units=16", "overflow-checks=true", "debug-assertions=true"]
        .map(|setting| format!("--config=profile.release.package.aws_key_management.{setting}"));
    let first = ["test", "--release"].into_iter().chain(settings.iter().map(String::as_str));
    let command = toolchain::cargo(first.chain(words.iter().copied()));
    // Tests say for themselves what AWS settings they want.
    let settings = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_"));
    settings.fold(command, |command, (name, _)| command.env_remove(name))
}

const PLUGIN: &str = "--package=aws_key_management";
const WITHOUT_KERNEL: &str = "riscv64gc-unknown-linux-gnu";

/// As the plugin is built: for the kernels of AES, whose tests encrypt millions of messages.
const OPTIMIZED: &str = "opt-level=3";
/// For a few tests of the key store.
const QUICKLY_BUILT: &str = "opt-level=1";
