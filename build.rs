//! Makes the Rust declarations of the server's plugin interface from the server's own headers, and sets how the
//! plugin is linked.

use std::path::{Path, PathBuf};
use std::process::Command;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=include/plugin.h");
    println!("cargo::rerun-if-env-changed=MARIADB_INCLUDE_DIR");

    // The plugin's thread-locals and the runtime's pthread keys must survive dlclose: without this flag each
    // INSTALL/UNINSTALL loses some, and after about a thousand the process aborts.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");

    // What `plugin_host` has of a server, for the tests that load the plugin: a sign, and who calls a function.
    for symbol in ["mysqld_server_initialized", "_current_thd", "_Z19check_global_accessP3THD11privilege_tb"] {
        println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol={symbol}");
    }

    let folders = find_headers()?;
    let bindings = bindgen::Builder::default()
        .header("include/plugin.h")
        .clang_args(folders.iter().map(|folder| format!("-I{}", folder.display())))
        .allowlist_type(
            "st_maria_plugin|st_mariadb_encryption|st_mysql_value|st_mysql_sys_var|st_mysql_show_var|st_typelib",
        )
        .allowlist_type("UDF_INIT|UDF_ARGS|MYSQL_THD")
        .allowlist_type("mysql_sysvar_of_.*|mysql_show_var_func")
        .allowlist_var("(MariaDB_)?ENCRYPTION_.*|MariaDB_.*|PLUGIN_(VAR|LICENSE)_.*")
        .derive_default(false)
        // Sizes and offsets are checked when the plugin is compiled.
        .layout_tests(true)
        .generate_comments(false)
        // Another version of the headers makes new declarations.
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate()
        .map_err(|error| {
            format!(
                "bindgen could not read the MariaDB headers in {}: {error}\n\
                 On Debian, it needs the packages libmariadb-dev and libclang-dev.",
                shown(&folders)
            )
        })?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    bindings.write_to_file(out.join("bindings.rs"))?;
    Ok(())
}

/// The folders of the server's headers, one of which holds `mysql/plugin_encryption.h`. A source tree has two: some headers
/// are made when it is configured.
fn find_headers() -> Result<Vec<PathBuf>, Error> {
    if let Some(folders) = std::env::var_os("MARIADB_INCLUDE_DIR") {
        let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
        return if folders.iter().any(|folder| has_headers(folder)) {
            Ok(folders)
        } else {
            Err(format!("MARIADB_INCLUDE_DIR is {}, but mysql/plugin_encryption.h is not in there", shown(&folders))
                .into())
        };
    }
    let mut candidates: Vec<PathBuf> =
        [("mariadb_config", &["--include"][..]), ("pkg-config", &["--cflags", "mariadb"][..])]
            .iter()
            .flat_map(|(program, arguments)| include_flags(program, arguments))
            .flat_map(|dir| [dir.join("server"), dir])
            .collect();
    candidates.extend(["/usr/include/mariadb/server", "/usr/include/mysql/server"].map(PathBuf::from));
    candidates.into_iter().find(|dir| has_headers(dir)).map(|dir| vec![dir]).ok_or_else(|| {
        "the MariaDB server's headers (mysql/plugin_encryption.h) were not found.\n\
         On Debian or Ubuntu: apt-get install libmariadb-dev libmariadbd-dev\n\
         On RHEL, Fedora or SUSE: install MariaDB-devel (or mariadb-devel)\n\
         Elsewhere: set MARIADB_INCLUDE_DIR to the folder that holds mysql/plugin_encryption.h."
            .into()
    })
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn has_headers(dir: &Path) -> bool {
    dir.join("mysql/plugin_encryption.h").is_file()
}

/// The folders that `program` prints as `-I` flags; none if the program is missing.
fn include_flags(program: &str, arguments: &[&str]) -> Vec<PathBuf> {
    let Ok(output) = Command::new(program).args(arguments).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("-I"))
        .map(PathBuf::from)
        .collect()
}
