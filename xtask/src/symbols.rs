//! What the built plugin shows to the dynamic linker.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command;

/// Checks that `plugin` exports what the server looks up and nothing else, and that it stays mapped when it is
/// uninstalled: Rust's thread-locals outlive an unload.
pub fn check(plugin: &Path) -> Result<()> {
    let symbols =
        command::output("nm", Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(plugin))?;
    let exported = exported(&symbols);
    ensure!(
        exported == BTreeSet::from(WANTED),
        "the plugin should export {} and nothing else; it exports {}",
        WANTED.join(", "),
        Vec::from_iter(exported).join(", ")
    );
    let dynamic = command::output("readelf", Command::new("readelf").args(["--dynamic", "--wide"]).arg(plugin))?;
    ensure!(
        stays_mapped(&dynamic),
        "the plugin is not linked with -z nodelete: readelf --dynamic shows no NODELETE in FLAGS_1"
    );
    Ok(())
}

fn exported(symbols: &str) -> BTreeSet<&str> {
    symbols.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

fn stays_mapped(dynamic: &str) -> bool {
    dynamic.lines().any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE"))
}

/// What `Plugin::load` of the server looks up.
const WANTED: [&str; 3] =
    ["_maria_plugin_interface_version_", "_maria_sizeof_struct_st_plugin_", "_maria_plugin_declarations_"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_the_output_of_nm() {
        let symbols = "_maria_plugin_declarations_ D 0000000000000010 208\nstray T 0000000000000020\n";
        assert_eq!(exported(symbols), BTreeSet::from(["_maria_plugin_declarations_", "stray"]));
    }

    #[test]
    fn nodelete_is_found_in_flags_1_only() {
        assert!(stays_mapped(" 0x000000006ffffffb (FLAGS_1)            Flags: NOW NODELETE\n"));
        assert!(!stays_mapped(" 0x000000006ffffffb (FLAGS_1)            Flags: NOW\n"));
        assert!(!stays_mapped(" 0x000000000000000e (SONAME)  Library soname: [NODELETE.so]\n"));
    }
}
