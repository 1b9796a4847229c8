//! What the built plugin shows to the dynamic linker.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use elf::ElfBytes;
use elf::abi::{DF_1_NODELETE, DT_FLAGS_1, STB_LOCAL};
use elf::endian::NativeEndian;

use crate::tally::Tally;

/// Checks that `plugin` exports what the server looks up and nothing else, and that it stays mapped when it is
/// uninstalled: Rust's thread-locals outlive an unload.
pub fn check(plugin: &Path, tally: &mut Tally) -> Result<()> {
    let bytes = std::fs::read(plugin).with_context(|| format!("reading {}", plugin.display()))?;
    let library = ElfBytes::<NativeEndian>::minimal_parse(&bytes)?;
    let exported = exported(&library)?;
    ensure!(
        exported == BTreeSet::from(WANTED),
        "the plugin should export {} and nothing else; it exports {}",
        WANTED.join(", "),
        Vec::from_iter(exported).join(", ")
    );
    ensure!(stays_mapped(&library)?, "the plugin is not linked with -z nodelete: FLAGS_1 has no NODELETE");
    tally.passed += 1;
    Ok(())
}

fn exported<'file>(library: &ElfBytes<'file, NativeEndian>) -> Result<BTreeSet<&'file str>> {
    let (symbols, names) = library.dynamic_symbol_table()?.context("the plugin has no dynamic symbols")?;
    // A library for arm64 has a local symbol for a section, which nobody can look up.
    let defined = symbols.iter().filter(|symbol| !symbol.is_undefined() && symbol.st_bind() != STB_LOCAL);
    defined.map(|symbol| Ok(names.get(symbol.st_name as usize)?)).collect()
}

fn stays_mapped(library: &ElfBytes<NativeEndian>) -> Result<bool> {
    let entries = library.dynamic()?.context("the plugin has no dynamic section")?;
    Ok(entries.iter().any(|entry| entry.d_tag == DT_FLAGS_1 && entry.d_val() & DF_1_NODELETE as u64 != 0))
}

/// What the server looks up: for the plugin, and for the function that SQL can call.
const WANTED: [&str; 6] = [
    "_maria_plugin_interface_version_",
    "_maria_sizeof_struct_st_plugin_",
    "_maria_plugin_declarations_",
    "aws_key_management_keys",
    "aws_key_management_keys_init",
    "aws_key_management_keys_deinit",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles a library with the plugin's symbols and `more`.
    fn library(more: &str, link: &[&str]) -> Result<(tempfile::TempDir, std::path::PathBuf)> {
        let folder = tempfile::tempdir()?;
        let (source, library) = (folder.path().join("it.c"), folder.path().join("it.so"));
        let symbols: String = WANTED.iter().map(|name| format!("int {name} = 1;\n")).collect();
        std::fs::write(&source, symbols + more)?;
        let words = ["-shared", "-fPIC", "-nostdlib"].into_iter().chain(link.iter().copied()).map(Into::into);
        duct::cmd("cc", words.chain(["-o".into(), library.clone().into_os_string(), source.into_os_string()])).run()?;
        Ok((folder, library))
    }

    #[test]
    fn a_plugin_with_its_symbols_and_nodelete_passes() -> Result<()> {
        let (_folder, plugin) = library("static int hidden = 1;", &["-Wl,-z,nodelete"])?;
        let mut tally = Tally::default();
        check(&plugin, &mut tally)?;
        assert_eq!(tally.passed, 1);
        Ok(())
    }

    #[test]
    fn a_stray_symbol_is_an_error() -> Result<()> {
        let (_folder, plugin) = library("int stray(void) { return 1; }", &["-Wl,-z,nodelete"])?;
        let error = check(&plugin, &mut Tally::default()).err().context("it passed")?;
        assert!(error.to_string().contains("stray"), "{error}");
        Ok(())
    }

    #[test]
    fn a_plugin_that_may_be_unmapped_is_an_error() -> Result<()> {
        let (_folder, plugin) = library("", &["-Wl,-z,now"])?;
        let error = check(&plugin, &mut Tally::default()).err().context("it passed")?;
        assert!(error.to_string().contains("nodelete"), "{error}");
        Ok(())
    }
}
