//! The commands a person types. `cargo xtask` lists them.

mod commands;
mod interrupt;
mod kms_emulator;
mod load;
mod machine;
mod process;
mod rig;
mod run;
mod tally;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::commands::{
    arm64, bench, cmake, crash, demo, fuzz, galera, install, memory, miri, mutants, package, sandbox, setup, soak,
    start_time, suite, test, versions,
};
use self::tally::Tally;

/// Builds, shows and tests the plugin.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_help = KMS_OF_THE_DEMO)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the plugin at work on a private server
    Demo(demo::Options),
    /// Builds the plugin and the offline tool, and installs them
    Install(install::Options),
    /// Builds a .deb and a .rpm of them, for your own machines
    Package(package::Options),
    /// Runs lints and every test
    Test,
    /// Runs the tests of mysql-test/ on real servers
    Suite(suite::Options),
    /// Builds the plugin from a MariaDB source tree, by cmake, and tries what was built
    Cmake(cmake::Options),
    /// Kills a server in the middle of rotations and checks that no key and no row is lost
    Crash(crash::Options),
    /// Works a server hard amid kills, faults of KMS and backups, and checks that nothing is lost
    Soak(soak::Options),
    /// Compares a start with 1000 keys to a start with one
    StartTime,
    /// Looks for data keys in a server's memory and core dump, and for what a failed start leaves
    Memory,
    /// Runs a Galera cluster of two nodes: state transfers, new keys, rotations
    Galera,
    /// Runs a server in sandboxes such as systemd's, and sees what its first message tells
    Sandbox,
    /// Runs a program to which some system calls are refused
    #[command(hide = true)]
    Refuse(sandbox::refuse::Options),
    /// Calls the callbacks in every way under AddressSanitizer
    Fuzz(fuzz::Options),
    /// Runs the callbacks' tests in Miri, which finds undefined behaviour
    Miri,
    /// Changes the source in one place after the other, and sees whether a test notices (hours)
    Mutants(mutants::Options),
    /// Measures AES and look-ups beside the server's, and rotations of up to 1000 keys
    Bench(bench::Options),
    /// Tries the plugin in the MariaDB of other Debian releases
    Versions(versions::Options),
    /// Builds the plugin for arm64 on another CPU, and tries it and the cipher there, in an emulator
    Arm64,
    /// Installs what all of these need (each does it by itself)
    Setup,
}

fn main() -> ExitCode {
    let Some(command) = Arguments::parse().command else {
        terminal::line(Arguments::command().render_help());
        return ExitCode::SUCCESS;
    };
    let mut tally = Tally::default();
    let result = interrupt::watch().and_then(|()| command.run(&mut tally));
    if let Err(error) = &result {
        eprintln!("{}", console::style(format_args!("error: {error:#}")).for_stderr().red());
    }
    if !tally.is_empty() {
        terminal::line(tally);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::has_come() => interrupt::EXIT_CODE.into(),
        Err(_) => ExitCode::FAILURE,
    }
}

impl Command {
    fn run(&self, tally: &mut Tally) -> anyhow::Result<()> {
        match self {
            Self::Demo(options) => demo::run(options),
            Self::Install(options) => install::run(options),
            Self::Package(options) => package::run(options, tally),
            Self::Test => test::run(tally),
            Self::Suite(options) => suite::run(options, tally),
            Self::Cmake(options) => cmake::run(options, tally),
            Self::Crash(options) => crash::run(options, tally),
            Self::Soak(options) => soak::run(options, tally),
            Self::StartTime => start_time::run(start_time::LONG, tally),
            Self::Memory => memory::run(tally),
            Self::Galera => galera::run(tally),
            Self::Sandbox => sandbox::run(tally),
            Self::Refuse(options) => sandbox::refuse::run(options),
            Self::Fuzz(options) => fuzz::run(options, tally),
            Self::Miri => miri::run(tally),
            Self::Mutants(options) => mutants::run(options, tally),
            Self::Bench(options) => bench::run(options),
            Self::Versions(options) => versions::run(options, tally),
            Self::Arm64 => arm64::run(tally),
            Self::Setup => setup::run(),
        }
    }
}

const KMS_OF_THE_DEMO: &str = "\
The demo uses a local emulator of AWS KMS; with AWS_KMS_MASTER_KEY_ID set to a key's ARN, id or alias/name it uses
the real one, with the settings of the AWS SDK (AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, ..).";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_of_the_commands_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn arguments_that_cannot_be_are_refused() {
        for words in [
            "crash --rounds 0",
            "fuzz 0",
            "bench --write-docs --smoke",
            "bench sha",
            "install extra",
            "cmake --tree a --release b",
            "install --target-glibc 2.30",
            "package --target-glibc 2.30",
            "refuse --call flock=EPERM",
            "sandbox extra",
            "versions rotation",
            "versions --release buster",
            "no-such-command",
        ] {
            let words = ["cargo xtask"].into_iter().chain(words.split(' '));
            assert!(Arguments::try_parse_from(words.clone()).is_err(), "{words:?}");
        }
    }
}
