//! `aws-key-management`: what can be done with the key files of a server without the server. docs/tool.md describes it.

#![forbid(unsafe_code)]

mod commands;
mod ending;
mod file_key_management;
mod kms;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::commands::{import, list, man_pages, repair, retire, rewrap, verify};
use self::ending::Ending;

/// Looks after the key files of aws_key_management, without a server
#[derive(Parser)]
#[command(name = "aws-key-management", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists every key version that there is or ever was, from the files alone
    List(list::Options),
    /// Unwraps every key file by KMS and compares it with the manifest: a fire drill, also for backups
    Verify(verify::Options),
    /// Takes over the keys of file_key_management, or keys from standard input
    Import(import::Options),
    /// Wraps all keys anew, under another master key
    Rewrap(rewrap::Options),
    /// Puts right what a start of the server refuses or complains of; says first what it is going to do
    Repair(repair::Options),
    /// Takes key versions that nothing needs any more off the list of those that have to be there
    Retire(retire::Options),
    /// Writes the manual pages of this program, for packages
    #[command(hide = true)]
    ManPages(man_pages::Options),
}

fn main() -> ExitCode {
    // Data keys come through this program's memory, and are to be in no core dump. Where that is refused, it does its work.
    let _ = nix::sys::prctl::set_dumpable(false);
    // clap ends with 2 by itself, if the arguments are wrong.
    let done = match Arguments::parse().command {
        Command::List(options) => list::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Rewrap(options) => rewrap::run(&options),
        Command::Repair(options) => repair::run(&options),
        Command::Retire(options) => retire::run(&options),
        Command::ManPages(options) => man_pages::run(&options, Arguments::command()),
    };
    let ending = done.unwrap_or_else(|error| {
        eprintln!("aws-key-management: {error:#}");
        Ending::of(&error)
    });
    ending.into()
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well, or was done
  1  something is missing or wrong, or could not be done
  2  the command is wrong
  3  KMS could not be reached, or there are no credentials that it accepts: nothing can be said of the keys
  4  repair without --yes: there is something to repair, and nothing has changed

Credentials and region are found as the plugin finds them: in the environment, in the AWS files of the user that runs this,
by the role of the instance.";
