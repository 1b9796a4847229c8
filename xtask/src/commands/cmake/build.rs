//! The tree's cmake and make.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use duct::cmd;

use super::source::Tree;
use crate::machine::{paths, toolchain};
use crate::{run, terminal};

/// A build folder of a tree.
pub struct Build<'tree> {
    tree: &'tree Tree,
    folder: PathBuf,
}

impl<'tree> Build<'tree> {
    /// An empty one.
    pub fn new(tree: &'tree Tree) -> Result<Self> {
        let folder = paths::target().join("cmake").join(format!("build-{}", tree.version()));
        Ok(Self { tree, folder: paths::emptied(&folder)? })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the plugin is built.
    pub fn plugin_folder(&self) -> PathBuf {
        self.folder.join("plugin/aws_key_management")
    }

    /// Configures the tree, in the end for a build: what is asked for and must not be is refused, with the reason, and what is
    /// not asked for is left out.
    pub fn check_switches(&self) -> Result<()> {
        let refused = self.configure(&[DYNAMIC])?;
        ensure!(!refused.succeeded, "without NOT_FOR_DISTRIBUTION, the plugin is built");
        for part in ["Apache License 2.0", "-DNOT_FOR_DISTRIBUTION=ON"] {
            ensure!(refused.says(part), "cmake does not say: {part}. The end of what it said:\n{}", refused.end());
        }
        for switches in [&["-DPLUGIN_AWS_KEY_MANAGEMENT=NO", OWN_USE], &["-DPLUGIN_AWS_KEY_MANAGEMENT=AUTO", OTHERS]] {
            self.configure(switches)?.check()?;
            ensure!(!self.installs_plugin()?, "with {switches:?}, the plugin is built");
        }
        let configured = self.configure(&[DYNAMIC, OWN_USE, "-DAWS_SDK_EXTERNAL_PROJECT=ON"])?;
        configured.check()?;
        ensure!(self.installs_plugin()?, "with {DYNAMIC}, the plugin is not built");
        ensure!(
            configured.says("AWS_SDK_EXTERNAL_PROJECT has no effect"),
            "nothing is said of AWS_SDK_EXTERNAL_PROJECT"
        );
        terminal::detail("configured: NO leaves the plugin out, DYNAMIC demands NOT_FOR_DISTRIBUTION");
        Ok(())
    }

    /// Builds the plugin, and nothing else of the tree, and says where it is.
    pub fn make(&self) -> Result<PathBuf> {
        // The crates are compiled already, most likely.
        toolchain::share_dependencies(&paths::target(), &cargo_folder())?;
        run::quietly("make", &cmd!("make", "-C", self.plugin_folder()))?;
        let plugin = self.plugin_folder().join("aws_key_management.so");
        // What cargo says it was made of.
        let list = cargo_folder().join("release/libaws_key_management.d");
        let list = std::fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        let [sources, made] = [self.tree.folder(), &self.folder].map(|folder| folder.join("include"));
        for header in [sources.join("mysql/plugin_encryption.h"), made.join("mysql_version.h")] {
            let header = header.display().to_string();
            ensure!(list.split_whitespace().any(|word| word == header), "the plugin was built without {header}");
        }
        terminal::detail("made: with the tree's headers");
        Ok(plugin)
    }

    /// Installs the component of the plugin, and what `make install` in its folder installs: the plugin lies where plugins do.
    pub fn check_install(&self) -> Result<()> {
        let root = self.folder.join("installed");
        let script = self.plugin_folder().join("cmake_install.cmake");
        let install = cmd!("cmake", "-DCMAKE_INSTALL_COMPONENT=aws-key-management", "-P", script);
        run::quietly("cmake -P", &install.env("DESTDIR", paths::emptied(&root)?))?;
        let plugins = root.join(self.setting("CMAKE_INSTALL_PREFIX")?.trim_start_matches('/'));
        let plugins = plugins.join(self.setting("INSTALL_PLUGINDIR")?);
        let component: Vec<PathBuf> = paths::files_below(&root)?.into_iter().map(|(file, _)| file).collect();
        let expected = ["aws_key_management.so", "aws_key_management.sql"].map(|name| plugins.join(name));
        ensure!(
            component.iter().all(|file| expected.contains(file)) && component.len() == 2,
            "installed: {component:?}"
        );
        let install = cmd!("make", "-C", self.plugin_folder(), "install");
        run::quietly("make install", &install.env("DESTDIR", paths::emptied(&root)?))?;
        ensure!(expected.iter().all(|file| file.is_file()), "make install has put nothing into {}", plugins.display());
        let suite = root.join(self.setting("CMAKE_INSTALL_PREFIX")?.trim_start_matches('/'));
        let suite = suite.join(self.setting("INSTALL_MYSQLTESTDIR")?).join("plugin/aws_key_management");
        ensure!(suite.join("aws_key_management/suite.pm").is_file(), "the suite is not in {}", suite.display());
        terminal::detail("installed: the component aws-key-management, where the tree's plugins go");
        Ok(())
    }

    /// Builds another target of the tree.
    pub fn target(&self, name: &str) -> Result<()> {
        run::quietly(name, &cmd!("cmake", "--build", &self.folder, "--target", name))
    }

    fn configure(&self, switches: &[&str]) -> Result<Configured> {
        let folder = |option: &str, folder: &Path| format!("{option}{}", folder.display());
        let mut words = vec![folder("-S", self.tree.folder()), folder("-B", &self.folder)];
        words.push("-GUnix Makefiles".to_owned());
        words.push(folder("-DAWS_KEY_MANAGEMENT_TARGET_DIR=", &cargo_folder()));
        words.extend(SMALLER.iter().chain(switches).map(|word| (*word).to_owned()));
        words.extend(NOT_NEEDED.split_whitespace().map(|plugin| format!("-DPLUGIN_{plugin}=NO")));
        let mut lines = Vec::new();
        let status = run::lines_with_progress("cmake", &cmd("cmake", words), |line| lines.push(line.to_owned()))?;
        Ok(Configured { lines, succeeded: status.success() })
    }

    fn installs_plugin(&self) -> Result<bool> {
        let script = std::fs::read_to_string(self.plugin_folder().join("cmake_install.cmake"))?;
        Ok(script.contains("aws_key_management.so"))
    }

    /// A variable of the configuration.
    fn setting(&self, name: &str) -> Result<String> {
        let cache = std::fs::read_to_string(self.folder.join("CMakeCache.txt"))?;
        let value = cache.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_once('='));
        Ok(value.with_context(|| format!("the tree sets no {name}"))?.1.to_owned())
    }
}

/// What cmake said, and whether it succeeded.
struct Configured {
    lines: Vec<String>,
    succeeded: bool,
}

impl Configured {
    fn check(&self) -> Result<()> {
        ensure!(self.succeeded, "cmake failed; the end of what it said:\n{}", self.end());
        Ok(())
    }

    /// Whether it said `part`; it breaks its messages into lines.
    fn says(&self, part: &str) -> bool {
        self.lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ").contains(part)
    }

    fn end(&self) -> String {
        self.lines[self.lines.len().saturating_sub(END)..].join("\n")
    }
}

/// Where cargo compiles, for all trees.
fn cargo_folder() -> PathBuf {
    paths::target().join("cmake/cargo")
}

/// Lines that are shown after a failure.
const END: usize = 25;

const DYNAMIC: &str = "-DPLUGIN_AWS_KEY_MANAGEMENT=DYNAMIC";
const OWN_USE: &str = "-DNOT_FOR_DISTRIBUTION=ON";
const OTHERS: &str = "-DNOT_FOR_DISTRIBUTION=OFF";

/// Leaves out what the plugin does not need of the tree, and what takes long to configure.
const SMALLER: [&str; 4] =
    ["-DWITH_UNIT_TESTS=OFF", "-DWITH_WSREP=OFF", "-DWITHOUT_ABI_CHECK=ON", "-DUPDATE_SUBMODULES=OFF"];

/// The same of plugins.
const NOT_NEEDED: &str = "\
    AUTH_GSSAPI AUTH_PAM COLUMNSTORE CONNECT CRACKLIB_PASSWORD_CHECK FEDERATED FEDERATEDX HANDLERSOCKET \
    HASHICORP_KEY_MANAGEMENT MROONGA OQGRAPH ROCKSDB S3 SPHINX SPIDER";
