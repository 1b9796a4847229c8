//! The Debian packages that the commands need, and their installation.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{command, console, paths};

/// What one purpose needs.
pub struct Needs(&'static [Need]);

/// Compiling the plugin: a C compiler for the TLS library, the server's headers, libclang for bindgen.
pub const BUILD: Needs = Needs(&[
    Need { package: "gcc", found_by: FoundBy::Program("cc") },
    Need { package: "libc6-dev", found_by: FoundBy::Package },
    Need { package: "libmariadbd-dev", found_by: FoundBy::Package },
    Need { package: "libclang-dev", found_by: FoundBy::Package },
]);

/// Running a server and the KMS emulator. The `-core` packages bring no service that would start with the machine.
pub const RUN: Needs = Needs(&[
    Need { package: "mariadb-server-core", found_by: FoundBy::Program("mariadbd") },
    Need { package: "mariadb-client-core", found_by: FoundBy::Program("mariadb") },
    Need { package: "python3-venv", found_by: FoundBy::Package },
    Need { package: "ca-certificates", found_by: FoundBy::Package },
]);

/// Running every test: mysql-test-run, which brings the whole server along, `patch`, without which it skips some tests
/// in silence, mariadb-backup, the tools that look into the built plugin, and a proxy (without its service).
pub const TEST: Needs = Needs(&[
    Need { package: "mariadb-test", found_by: FoundBy::Package },
    Need { package: "mariadb-backup", found_by: FoundBy::Program("mariadb-backup") },
    Need { package: "patch", found_by: FoundBy::Program("patch") },
    Need { package: "binutils", found_by: FoundBy::Program("readelf") },
    Need { package: "tinyproxy-bin", found_by: FoundBy::Program("tinyproxy") },
]);

/// Building the fuzzer, which is C++.
pub const FUZZ: Needs = Needs(&[Need { package: "g++", found_by: FoundBy::Program("c++") }]);

/// Installs what is missing of `needs` and says so; silent where nothing is missing.
pub fn ensure(needs: &[Needs]) -> Result<()> {
    let missing: Vec<&str> =
        needs.iter().flat_map(|needs| needs.0).filter(|need| !need.is_met()).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if paths::program("apt-get").is_none() {
        bail!(
            "these Debian packages, or what they contain, are missing, and there is no apt-get to install them with: {}",
            missing.join(" ")
        );
    }
    console::step(format_args!("Installing Debian packages: {}", missing.join(" ")));
    command::quietly("apt-get", as_root("sh")?.args(["-c", INSTALL, "sh"]).args(&missing))?;
    if missing.contains(&"mariadb-test") && Path::new("/run/systemd/system").exists() {
        console::detail(
            "mariadb-server came along. It was not started; `systemctl disable mariadb` keeps it from starting \
             with the machine.",
        );
    }
    Ok(())
}

/// `program`, run as root: directly, or through sudo.
pub fn as_root(program: &str) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    if paths::program("sudo").is_none() {
        bail!("this needs root's rights, and there is no sudo: run the command as root");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

struct Need {
    package: &'static str,
    found_by: FoundBy,
}

enum FoundBy {
    /// The program counts, whoever installed it.
    Program(&'static str),
    /// No single file stands for it, so dpkg is asked; elsewhere than on Debian it is taken to be there.
    Package,
}

impl Need {
    fn is_met(&self) -> bool {
        match self.found_by {
            FoundBy::Program(name) => paths::program(name).is_some(),
            FoundBy::Package => {
                Command::new("dpkg-query")
                    .args(["--show", "--showformat=${db:Status-Status}", self.package])
                    .stderr(Stdio::null())
                    .output()
                    .is_ok_and(|answer| answer.status.success() && answer.stdout == b"installed")
                    || paths::program("dpkg-query").is_none()
            }
        }
    }
}

/// Debian starts a database server when `mariadb-server` is installed. Nobody asked for one, so services are held while
/// packages are installed, by Debian's own means (unless the machine has such a policy already). All of it is one
/// shell script, so that the policy is taken away again even if this program dies meanwhile.
const INSTALL: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends "$@"
"#;
