//! The Debian packages that the commands need, and their installation.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, bail};
use duct::{Expression, cmd};

use super::paths;
use crate::{run, terminal};

/// A package, and the program that stands for it, whoever installed that. Without one dpkg is asked; elsewhere than on
/// Debian the package is then taken to be there.
pub struct Package(&'static str, Option<&'static str>);

/// Compiling the plugin: a C compiler for the TLS library, the server's headers, libclang for bindgen.
pub const BUILD: &[Package] = &[
    Package("gcc", Some("cc")),
    Package("libc6-dev", None),
    Package("libmariadbd-dev", None),
    Package("libclang-dev", None),
];

/// Running a server and the KMS emulator. The `-core` packages bring no service that would start with the machine.
pub const RUN: &[Package] = &[
    Package("mariadb-server-core", Some("mariadbd")),
    Package("mariadb-client-core", Some("mariadb")),
    Package("python3-venv", None),
    Package("ca-certificates", None),
];

/// Running every test: mysql-test-run, which brings the whole server along, `patch`, without which it skips some tests
/// in silence, mariadb-backup, and a proxy (without its service).
pub const TEST: &[Package] = &[
    Package("mariadb-test", None),
    Package("mariadb-backup", Some("mariadb-backup")),
    Package("patch", Some("patch")),
    Package("tinyproxy-bin", Some("tinyproxy")),
];

/// Running a Galera cluster, with what its scripts for state transfers call.
pub const GALERA: &[Package] = &[
    Package("galera-4", None),
    Package("mariadb-server", Some("wsrep_sst_mariabackup")),
    Package("mariadb-backup", Some("mariadb-backup")),
    Package("socat", Some("socat")),
    Package("rsync", Some("rsync")),
    Package("iproute2", Some("ss")),
    Package("procps", Some("ps")),
];

/// Giving a whole server work, for benchmarks.
pub const SYSBENCH: &[Package] = &[Package("sysbench", Some("sysbench"))];

/// Building for arm64 on another CPU, and running that.
pub const ARM64: &[Package] = &[
    Package("gcc-aarch64-linux-gnu", Some("aarch64-linux-gnu-gcc")),
    Package("libc6-dev-arm64-cross", None),
    Package("qemu-user", Some("qemu-aarch64")),
];

/// Building the fuzzer, which is C++.
pub const FUZZ: &[Package] = &[Package("g++", Some("c++"))];

/// Getting MariaDB's sources and configuring them, and the program that does what make does.
pub const SOURCE_TREE: &[Package] = &[
    Package("dpkg-dev", Some("dpkg-source")),
    Package("cmake", Some("cmake")),
    Package("make", Some("make")),
    Package("ninja-build", Some("ninja")),
    Package("g++", Some("c++")),
    Package("bison", Some("bison")),
    Package("libncurses-dev", None),
    Package("libssl-dev", None),
    Package("zlib1g-dev", None),
];

/// Making Debian and RPM packages, and looking into them.
pub const PACKAGE: &[Package] = &[
    Package("dpkg-dev", Some("dpkg-shlibdeps")),
    Package("lintian", Some("lintian")),
    Package("rpm", Some("rpmbuild")),
    Package("systemd", Some("systemd-analyze")),
];

/// A network for a sandbox.
pub const SANDBOX: &[Package] = &[Package("iproute2", Some("ip"))];

/// The server as Debian runs it, with option files and a user of its own.
pub const WHOLE_SERVER: &[Package] = &[Package("mariadb-server", None)];

/// Installs what is missing of `needs` and says so; silent where nothing is missing.
pub fn ensure(needs: &[&[Package]]) -> Result<()> {
    let missing: Vec<&str> =
        needs.iter().copied().flatten().filter(|package| !package.is_there()).map(|package| package.0).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if paths::program("apt-get").is_none() {
        bail!(
            "these Debian packages, or what they contain, are missing, and there is no apt-get to install them: {names}"
        );
    }
    terminal::step(format_args!("Installing Debian packages: {names}"));
    run::quietly("apt-get", &as_root(["sh", "-c", INSTALL, "sh"].into_iter().chain(missing.iter().copied()))?)?;
    if missing.contains(&"mariadb-test") && Path::new("/run/systemd/system").exists() {
        terminal::detail(
            "mariadb-server came along. It was not started; `systemctl disable mariadb` keeps it from starting \
             with the machine.",
        );
    }
    Ok(())
}

/// A command that is run as root: directly, or through sudo.
pub fn as_root(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Expression> {
    if rustix::process::geteuid().is_root() {
        return Ok(cmd("env", words));
    }
    if paths::program("sudo").is_none() {
        bail!("this needs root's rights, and there is no sudo: run the command as root");
    }
    Ok(cmd("sudo", words))
}

impl Package {
    fn is_there(&self) -> bool {
        if let Some(program) = self.1 {
            return paths::program(program).is_some();
        }
        let status = cmd!("dpkg-query", "--show", "--showformat=${db:Status-Status}", self.0);
        status.stderr_null().read().is_ok_and(|status| status == "installed") || paths::program("dpkg-query").is_none()
    }
}

/// One script, so that its policy is taken away again even if this program dies meanwhile.
const INSTALL: &str = include_str!("install-packages.sh");
