//! The steps that cargo does.

use std::process::Command;

use anyhow::Result;

use crate::tally::Tally;
use crate::{cargo_test, command, emulator, paths, toolchain};

/// rustfmt. The fuzzer is a workspace of its own.
pub fn format() -> Result<()> {
    command::visibly("cargo fmt --check", toolchain::cargo("fmt").args(["--all", "--check"]))?;
    let fuzzer = paths::repository().join("fuzz/Cargo.toml");
    command::visibly(
        "cargo fmt --check, of the fuzzer",
        toolchain::cargo("fmt").arg("--manifest-path").arg(fuzzer).arg("--check"),
    )
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
    let mut command = toolchain::cargo("clippy");
    command.args(["--release", packages, "--all-targets", "--features", features, "--"]);
    command.args(["--deny", "warnings"]).args(levels);
    command::visibly(&format!("cargo clippy {packages} --features '{features}'"), &mut command)
}

/// The documentation of the source, private items too.
pub fn documentation() -> Result<()> {
    let mut command = toolchain::cargo("doc");
    command.args(["--release", "--workspace", "--no-deps", "--document-private-items"]);
    command::visibly("cargo doc", command.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Unit and integration tests.
pub fn tests(tally: &mut Tally) -> Result<()> {
    let mut command = test_command();
    command.env("KMS_EMULATOR_PYTHON", emulator::python()).args(["--workspace", "--no-fail-fast"]);
    cargo_test::run("cargo test", &mut command, tally)
}

/// What is left when the process ends between any two steps of making a key.
pub fn crash_tests(tally: &mut Tally) -> Result<()> {
    library_tests("failpoints", "keystore::tests::crash", tally)
}

/// The published keys under a model checker.
pub fn model_tests(tally: &mut Tally) -> Result<()> {
    library_tests("model", "keystore::model", tally)
}

/// The cipher's tests where there are no AES instructions.
pub fn portable_cipher(tally: &mut Tally) -> Result<()> {
    // Whoever compiles the crates chooses the backend, for all of them at once: in a target folder of its own.
    let mut command = toolchain::cargo_in("test", &paths::target().join("portable"));
    command.env("RUSTFLAGS", r#"--cfg aes_backend="soft" --cfg polyval_backend="soft""#);
    command.args(["--release", "--package=portable_cipher", "--lib", "--test=portable_cipher", "--features=portable"]);
    command.args(["--config", "profile.release.package.portable_cipher.overflow-checks=true"]);
    command.args(["--config", "profile.release.package.portable_cipher.debug-assertions=true"]);
    cargo_test::run_some("cargo test --test portable_cipher, on the portable backend", &mut command, tally)
}

fn library_tests(feature: &str, tests: &str, tally: &mut Tally) -> Result<()> {
    let mut command = test_command();
    command.args([PLUGIN, "--lib", "--features", feature, tests]);
    let name = format!("cargo test --features {feature} --lib {tests}");
    cargo_test::run_some(&name, &mut command, tally)
}

/// In the release profile, which the plugin to be installed is built in too: the AWS client is compiled only once. Our
/// own crate gets the checks of the dev profile for it.
fn test_command() -> Command {
    let mut command = toolchain::cargo("test");
    command.arg("--release");
    for check in ["overflow-checks", "debug-assertions"] {
        command.arg("--config").arg(format!("profile.release.package.aws_key_management.{check}=true"));
    }
    // Tests say for themselves what AWS settings they want.
    std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

const PLUGIN: &str = "--package=aws_key_management";
