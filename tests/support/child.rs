//! Runs a test in a process of its own, with an environment of its own: the AWS SDK reads the environment, and a process
//! cannot change its own safely once it has threads.

use std::ffi::OsStr;
use std::process::Command;

const IN_CHILD: &str = "AWS_KEY_MANAGEMENT_TEST_CHILD";

/// In the test named `test`: runs `body` in a child process whose environment has no AWS settings, proxies and
/// certificates but `environment`, no files of the user, and no instance metadata.
pub fn with_environment(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    let environment: Vec<(&str, &OsStr)> = environment.iter().map(|(name, value)| (*name, OsStr::new(value))).collect();
    with_raw_environment(test, &environment, body);
}

/// The same, with values that may be no text.
#[allow(dead_code)] // not every test needs it
pub fn with_raw_environment(test: &str, environment: &[(&str, &OsStr)], body: impl FnOnce()) {
    if std::env::var_os(IN_CHILD).is_some() {
        return body();
    }
    let home = tempfile::tempdir().expect("a home");
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args([test, "--exact", "--nocapture"]).env("HOME", home.path()).env(IN_CHILD, "1");
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        if upper.starts_with("AWS_") || upper.starts_with("SSL_CERT_") || upper.ends_with("_PROXY") {
            child.env_remove(name);
        }
    }
    child.env("AWS_EC2_METADATA_DISABLED", "true").envs(environment.iter().copied());
    let output = child.output().expect("the child runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "in the child process:\n{said}");
    assert!(said.contains("1 passed"), "the child ran no test named {test}:\n{said}");
}

/// Credentials that the emulator accepts.
#[allow(dead_code)] // not every test has some
pub const CREDENTIALS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
];
