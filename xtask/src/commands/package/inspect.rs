//! What the packages say of themselves is what they are meant to say.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use duct::cmd;

use super::contents;
use crate::machine::paths;
use crate::{run, terminal};

/// lintian finds nothing that is not overridden with a reason, and the package needs what the plugin needs.
pub fn deb(package: &Path) -> Result<()> {
    // Not as root, as it wishes; pedantic tags too.
    let words =
        ["--fail-on", "error,warning,info,pedantic", "--pedantic", "--display-info", "--tag-display-limit", "0"];
    let command = cmd("lintian", words.iter().map(|word| (*word).into()).chain([package.as_os_str().to_owned()]));
    run::quietly("lintian", &command)?;
    terminal::detail("lintian has nothing to say of the .deb that is not overridden with a reason");
    let depends = run::output("dpkg-deb --field", &cmd!("dpkg-deb", "--field", package, "Depends"))?;
    let names: Vec<&str> = depends.trim().split(", ").filter_map(|entry| entry.split_whitespace().next()).collect();
    ensure!(names == ["libc6", "libgcc-s1", "ca-certificates"], "the .deb needs {depends}");
    terminal::detail(format_args!("it needs {}", depends.trim()));
    Ok(())
}

/// The files are where systems with RPM have them, and the package needs what the plugin needs.
pub fn rpm(package: &Path, plugins: &Path) -> Result<()> {
    let query = |question: &str| run::output("rpm -qp", &cmd!("rpm", "--query", "--package", question, package));
    let files = query("--list")?;
    for file in [
        &format!("{}/aws_key_management.so", plugins.display()),
        &format!("{}/aws_key_management.sql", plugins.display()),
        "/etc/my.cnf.d/aws-key-management.cnf",
        "/usr/bin/aws-key-management",
        "/usr/share/man/man1/aws-key-management-verify.1.gz",
    ] {
        ensure!(files.lines().any(|line| line == file), "the .rpm has no {file}");
    }
    ensure!(query("--configfiles")?.trim() == "/etc/my.cnf.d/aws-key-management.cnf", "the .rpm's configuration files");
    let needs = query("--requires")?;
    ensure!(needs.lines().any(|line| line == "ca-certificates"), "the .rpm does not need ca-certificates");
    for need in needs.lines() {
        let is_known = KNOWN_NEEDS.iter().any(|known| need.starts_with(known));
        ensure!(is_known, "the .rpm needs {need}");
    }
    let versions = needs.lines().filter_map(|line| line.strip_prefix("libc.so.6(GLIBC_")?.split_once(')'));
    let newest = versions
        .max_by_key(|(version, _)| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>());
    let (glibc, _) = newest.context("the .rpm does not say which glibc it needs")?;
    terminal::detail(format_args!("the .rpm needs glibc {glibc}, libgcc and ca-certificates"));
    Ok(())
}

/// systemd takes every line of the drop-in for the server's unit, and those that are off in it, too.
pub fn drop_in(scratch: &Path) -> Result<()> {
    let unit = paths::emptied(&scratch.join("unit"))?.join("mariadb.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/true\n")?;
    let drop_ins = paths::emptied(&unit.with_extension("service.d"))?;
    let text = std::fs::read_to_string(contents::drop_in())?;
    let all_on: Vec<&str> = text.lines().map(without_mark).collect();
    for text in [text.clone(), all_on.join("\n")] {
        std::fs::write(drop_ins.join("aws-key-management.conf"), text)?;
        // What it does not know is a line of its output, and not always an error.
        let command = cmd!("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", &unit).stderr_to_stdout();
        let said = run::output("systemd-analyze verify", &command)?;
        ensure!(said.trim().is_empty(), "systemd says of the drop-in: {said}");
    }
    terminal::detail("systemd-analyze has nothing to say of the drop-in for the server's unit");
    Ok(())
}

/// `line`, or what it sets once its `#` is taken away.
fn without_mark(line: &str) -> &str {
    let set = line.strip_prefix('#').filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()));
    set.unwrap_or(line)
}

/// The C library and its loader, the unwinder, the CA certificates, and features of rpm itself.
const KNOWN_NEEDS: [&str; 9] = [
    "/bin/sh",
    "ca-certificates",
    "config(mariadb-plugin-aws-key-management)",
    "ld-linux-",
    "libc.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
    "rpmlib(",
    "rtld(",
];
