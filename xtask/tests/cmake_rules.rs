//! The rules in `cmake/`, in a tiny tree and with a cargo that only notes how it was called.

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DYNAMIC: &str = "-DPLUGIN_AWS_KEY_MANAGEMENT=DYNAMIC";
const AUTO: &str = "-DPLUGIN_AWS_KEY_MANAGEMENT=AUTO";
const OWN_USE: &str = "-DNOT_FOR_DISTRIBUTION=ON";
const BUILT: &str = "the plugin is built; warning: Apache 2.0";
const LEFT_OUT: &str = "the plugin is left out";

/// A source tree, and a machine of its own: programs, libclang.
struct Tree(TempDir);

impl Tree {
    /// One that has all that is needed.
    fn new() -> Result<Self> {
        let tree = Self(tempfile::tempdir()?);
        for name in ["bin", "clang", "home", "tree/include/mysql", "tree/plugin"] {
            std::fs::create_dir_all(tree.path(name))?;
        }
        for name in ["cmake", "make", "ninja", "sh", "env", "mkdir", "echo", "uname"] {
            symlink(program(name)?, tree.path("bin").join(name))?;
        }
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/source_tree/CMakeLists.txt");
        std::fs::copy(rules, tree.path("tree/CMakeLists.txt"))?;
        symlink(CHECKOUT, tree.path("tree/plugin/aws_key_management"))?;
        std::fs::write(tree.path("tree/include/mysql/plugin.h"), "")?;
        let needed = needed_version()?;
        tree.put_program("rustc", &format!("echo 'rustc {needed} (abc 2026-01-01)'"))?;
        tree.put_cargo(&needed, "echo built > \"$CARGO_TARGET_DIR/release/libaws_key_management.so\"")?;
        tree.put_libclang("libclang-9.so")?;
        Ok(tree)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put_program(&self, name: &str, script: &str) -> Result<()> {
        let file = self.path("bin").join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
        Ok(std::fs::set_permissions(file, PermissionsExt::from_mode(0o755))?)
    }

    /// A cargo that notes its arguments and its environment in the file `calls`, and then does `build`.
    fn put_cargo(&self, version: &str, build: &str) -> Result<()> {
        let calls = self.path("calls").display().to_string();
        self.put_program(
            "cargo",
            &format!(
                "if [ \"$1\" = --version ]; then echo 'cargo {version} (abc 2026-01-01)'; exit; fi\n\
                 {{ echo \"cargo $*\"; echo \"in $PWD\"; env; }} > '{calls}'\n\
                 mkdir -p \"$CARGO_TARGET_DIR/release\"\n{build}"
            ),
        )
    }

    fn put_libclang(&self, name: &str) -> Result<()> {
        std::fs::remove_dir_all(self.path("clang"))?;
        std::fs::create_dir(self.path("clang"))?;
        Ok(std::fs::write(self.path("clang").join(name), "")?)
    }

    /// What cmake says to `switches`, in one line, and whether it succeeds. The build folder is a new one.
    fn configure(&self, switches: &[&str]) -> Result<(String, bool)> {
        let build = self.path("build");
        if build.exists() {
            std::fs::remove_dir_all(&build)?;
        }
        let mut words = vec![OsString::from("-S"), self.path("tree").into(), "-B".into(), build.into()];
        // Only the programs that are in `bin`.
        words.push("-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF".into());
        words.extend(switches.iter().map(OsString::from));
        self.run("cmake", words)
    }

    fn run(&self, program: &str, words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<(String, bool)> {
        let output = Command::new(self.path("bin").join(program))
            .args(words.into_iter().map(Into::into))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("LIBCLANG_PATH", self.path("clang"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("DESTDIR", self.path("installed"))
            .output()
            .with_context(|| format!("running {program}, which cargo xtask setup installs"))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).split_whitespace().collect::<Vec<_>>().join(" ");
        Ok((said, output.status.success()))
    }

    /// What is wrong is told when the plugin may be left out, and it is; and when it was asked for, which fails.
    fn check_obstacle(&self, expected: &[&str]) -> Result<()> {
        for switch in [AUTO, DYNAMIC] {
            let (said, succeeded) = self.configure(&[switch, OWN_USE])?;
            assert_eq!(succeeded, switch == AUTO, "{said}");
            assert_eq!(said.contains(LEFT_OUT), switch == AUTO, "{said}");
            for part in expected {
                assert!(said.contains(part), "{switch}: {part:?} is not in: {said}");
            }
        }
        Ok(())
    }
}

#[test]
fn a_missing_cargo_or_rustc_is_told_with_what_to_install() -> Result<()> {
    for name in ["cargo", "rustc"] {
        let tree = Tree::new()?;
        std::fs::remove_file(tree.path("bin").join(name))?;
        let needed = format!("Rust {} or later is needed", needed_version()?);
        tree.check_obstacle(&[&format!("{name} was not found"), &needed, "https://rustup.rs"])?;
    }
    Ok(())
}

#[test]
fn a_cargo_or_rustc_that_is_too_old_or_does_not_work_is_told() -> Result<()> {
    for name in ["cargo", "rustc"] {
        let tree = Tree::new()?;
        tree.put_program(name, &format!("echo '{name} 1.63.0 (abc 2022-01-01)'"))?;
        tree.check_obstacle(&["is too old (1.63.0)", "https://rustup.rs"])?;
        tree.put_program(name, "echo 'no default toolchain' >&2; exit 1")?;
        tree.check_obstacle(&["does not tell its version (1): no default toolchain"])?;
    }
    Ok(())
}

#[test]
fn a_missing_or_old_libclang_is_told_with_what_to_install() -> Result<()> {
    let tree = Tree::new()?;
    tree.put_libclang("libclang.so.8")?;
    tree.check_obstacle(&["is too old", "Version 9 or later", "libclang-dev", "clang-devel", "-DLIBCLANG_PATH="])?;
    tree.put_libclang("libLLVM.so")?;
    tree.check_obstacle(&["libclang, which reads the server's headers, was not found", "libclang-dev"])?;
    for name in ["libclang.so", "libclang.so.1", "libclang-14.so.14.0.6", "libclang.so.17.0.6"] {
        tree.put_libclang(name)?;
        // A name such as libclang.so.1 tells nothing, unless it is a link.
        if name == "libclang.so.1" {
            std::fs::rename(tree.path("clang").join(name), tree.path("clang/libclang-14.0.6.so"))?;
            symlink("libclang-14.0.6.so", tree.path("clang").join(name))?;
        }
        let (said, succeeded) = tree.configure(&[DYNAMIC, OWN_USE])?;
        assert!(succeeded && said.contains(BUILT), "{name}: {said}");
    }
    Ok(())
}

#[test]
fn a_build_for_distribution_is_refused_with_the_reason() -> Result<()> {
    let tree = Tree::new()?;
    for (switch, expected) in [(AUTO, true), (DYNAMIC, false)] {
        let (said, succeeded) = tree.configure(&[switch])?;
        assert_eq!(succeeded, expected, "{said}");
        assert!(said.contains("must not be given to others") && said.contains(OWN_USE), "{said}");
    }
    Ok(())
}

#[test]
fn the_switches_decide_whether_it_is_built() -> Result<()> {
    let tree = Tree::new()?;
    let built: [&[&str]; 5] =
        [&[], &[AUTO], &[DYNAMIC], &["-DPLUGIN_AWS_KEY_MANAGEMENT=YES"], &["-DWITH_AWS_KEY_MANAGEMENT=1"]];
    let left_out: [&[&str]; 4] = [
        &["-DPLUGIN_AWS_KEY_MANAGEMENT=NO"],
        &["-DWITHOUT_AWS_KEY_MANAGEMENT=1"],
        &[AUTO, "-DWITHOUT_DYNAMIC_PLUGINS=1"],
        &[DYNAMIC, "-DWITHOUT_SERVER=ON"],
    ];
    let refused: [(&[&str], &str); 4] = [
        (&["-DPLUGIN_AWS_KEY_MANAGEMENT=STATIC"], "cannot be linked into the server"),
        (&["-DPLUGIN_AWS_KEY_MANAGEMENT=on"], "may be NO, DYNAMIC, YES or AUTO"),
        (&[DYNAMIC, "-DWITHOUT_DYNAMIC_PLUGINS=1"], "it is a dynamic plugin"),
        (&[DYNAMIC, "-DCMAKE_SYSTEM_NAME=Darwin"], "it needs Linux"),
    ];
    let own_use = |switches: &[&str]| tree.configure(&[switches, &[OWN_USE]].concat());
    for (switches, expected) in built.map(|it| (it, BUILT)).into_iter().chain(left_out.map(|it| (it, LEFT_OUT))) {
        let (said, succeeded) = own_use(switches)?;
        assert!(succeeded && said.contains(expected), "{switches:?}: {said}");
    }
    for (switches, expected) in refused {
        let (said, succeeded) = own_use(switches)?;
        assert!(!succeeded && said.contains(expected), "{switches:?}: {said}");
    }
    let (said, succeeded) = own_use(&["-DAWS_SDK_EXTERNAL_PROJECT=ON"])?;
    assert!(succeeded && said.contains("AWS_SDK_EXTERNAL_PROJECT has no effect"), "{said}");
    Ok(())
}

#[test]
fn make_and_ninja_build_it_with_cargo_and_install_it_where_plugins_go() -> Result<()> {
    let component = "-DCMAKE_INSTALL_COMPONENT=aws-key-management";
    for (generator, program) in [("-GUnix Makefiles", "make"), ("-GNinja", "ninja")] {
        let tree = Tree::new()?;
        let (said, succeeded) = tree.configure(&[DYNAMIC, OWN_USE, generator, "-DCMAKE_INSTALL_PREFIX=/usr"])?;
        assert!(succeeded, "{said}");
        let (said, succeeded) = tree.run(program, ["-C".into(), tree.path("build")])?;
        assert!(succeeded, "{program}: {said}");
        let calls = std::fs::read_to_string(tree.path("calls"))?;
        let [sources, made] = ["tree/include", "build/include"].map(|name| tree.path(name).display().to_string());
        let line = |line: &str| calls.lines().any(|it| it == line);
        assert!(line("cargo build --release --locked --package aws_key_management --lib"), "{calls}");
        assert!(line(&format!("in {}", Path::new(CHECKOUT).canonicalize()?.display())), "{calls}");
        assert!(line(&format!("MARIADB_INCLUDE_DIR={sources}:{made}")), "{calls}");
        assert!(line(&format!("RUSTC={}", tree.path("bin/rustc").display())), "{calls}");
        assert!(line("CARGO_NET_OFFLINE=true") && !calls.contains("MAKEFLAGS"), "{calls}");
        let script = tree.path("build/plugin/aws_key_management/cmake_install.cmake");
        let (said, succeeded) = tree.run("cmake", [component.into(), "-P".into(), script])?;
        assert!(succeeded, "{said}");
        let plugins = tree.path("installed/usr/lib/plugin");
        let mut names = std::fs::read_dir(&plugins)?.map(|it| Ok(it?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        assert_eq!(names, ["aws_key_management.so", "aws_key_management.sql"]);
        assert_eq!(std::fs::read_to_string(plugins.join("aws_key_management.so"))?, "built\n");
        assert!(!tree.path("installed/usr/mysql-test").exists());
    }
    Ok(())
}

#[test]
fn cargo_runs_when_something_has_changed_and_neither_to_install_nor_to_leave_out() -> Result<()> {
    for (generator, program) in [("-GUnix Makefiles", "make"), ("-GNinja", "ninja")] {
        let tree = Tree::new()?;
        let (said, succeeded) = tree.configure(&[DYNAMIC, OWN_USE, generator])?;
        assert!(succeeded, "{said}");
        let calls = |target: &str| -> Result<bool> {
            let (said, succeeded) = tree.run(program, ["-C".into(), tree.path("build"), target.into()])?;
            assert!(succeeded, "{said}");
            // The next call is noted anew.
            Ok(std::fs::remove_file(tree.path("calls")).is_ok())
        };
        assert!(calls("all")?);
        assert!(!calls("all")?);
        let header = std::fs::File::options().write(true).open(tree.path("tree/include/mysql/plugin.h"))?;
        header.set_modified(std::time::SystemTime::now())?;
        assert!(calls("all")?);
        std::fs::remove_file(tree.path("bin/cargo"))?;
        assert!(!calls("install")?);
        let plugin = tree.path("build/plugin/aws_key_management/aws_key_management.so");
        assert!(plugin.is_file());
        let (said, succeeded) = tree.run("cmake", [tree.path("build"), "-DPLUGIN_AWS_KEY_MANAGEMENT=NO".into()])?;
        assert!(succeeded && !plugin.exists(), "what was built is left there: {said}");
    }
    Ok(())
}

#[test]
fn what_cargo_cannot_build_is_not_built() -> Result<()> {
    let tree = Tree::new()?;
    tree.put_cargo(&needed_version()?, "echo 'cargo cannot do it' >&2; exit 101")?;
    let (said, succeeded) = tree.configure(&[DYNAMIC, OWN_USE])?;
    assert!(succeeded, "{said}");
    let (said, succeeded) = tree.run("make", ["-C".into(), tree.path("build/plugin/aws_key_management")])?;
    assert!(!succeeded && said.contains("cargo cannot do it"), "{said}");
    Ok(())
}

#[test]
fn a_tree_that_makes_packages_has_one_for_it() -> Result<()> {
    let tree = Tree::new()?;
    let (said, succeeded) = tree.configure(&[DYNAMIC, OWN_USE, "-DRPM=rhel9", "-DCMAKE_INSTALL_PREFIX=/usr"])?;
    assert!(succeeded && said.contains("packages: Server;aws-key-management"), "{said}");
    let (said, succeeded) = tree.run("make", ["-C".into(), tree.path("build"), "install".into()])?;
    assert!(succeeded, "{said}");
    let options = std::fs::read_to_string(tree.path("installed/etc/my.cnf.d/aws_key_management.cnf"))?;
    assert_eq!(options, "[mariadb]\nplugin-load-add=aws_key_management.so\n");
    let suite = "installed/usr/mysql-test/plugin/aws_key_management/aws_key_management/suite.pm";
    assert!(tree.path(suite).is_file());
    Ok(())
}

#[test]
fn without_a_source_tree_it_says_what_to_do() -> Result<()> {
    let tree = Tree::new()?;
    let (said, succeeded) = tree.run("cmake", ["-S".into(), CHECKOUT.into(), "-B".into(), tree.path("build")])?;
    assert!(!succeeded && said.contains("cargo xtask install"), "{said}");
    Ok(())
}

/// Where the machine has a program.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("there is no {name}; cargo xtask setup installs what the tests need"))
}

/// The version of Rust that `Cargo.toml` asks for.
fn needed_version() -> Result<String> {
    let manifest = std::fs::read_to_string(Path::new(CHECKOUT).join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \""));
    let version = line.and_then(|line| line.split('"').next()).unwrap_or_default();
    ensure!(version.split('.').count() == 3, "Cargo.toml asks for version {version:?}");
    Ok(version.to_owned())
}
