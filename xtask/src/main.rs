//! The commands a person types. `cargo xtask` lists them.

mod bench;
mod cargo_test;
mod checks;
mod command;
mod console;
mod crash;
mod demo;
mod emulator;
mod emulator_control;
mod fuzz;
mod install;
mod installation;
mod interrupt;
mod kms;
mod memory;
mod miri;
mod nightly;
mod packages;
mod paths;
mod process;
mod server;
mod start_time;
mod suite;
mod symbols;
mod tally;
mod toolchain;
mod versions;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask <command>

  demo [--keep]              shows the plugin at work on a private server; --keep leaves its folder for a look
  install [--plugin-dir DIR] builds the plugin and puts it into the server's plugin folder
  test                       runs lints and every test
  suite [NAME..] [--record] [--keep]
                             runs the tests of mysql-test/, or those named; --record takes their output as the
                             expected one, --keep leaves the folder of the run
  crash [--rounds N] [--seed N]
                             kills a server in the middle of rotations, 200 times, and checks after each restart that
                             no key and no row is lost
  start-time                 compares a start with 1000 keys to a start with one
  memory                     looks for data keys in a server's memory and core dump, and for what a failed start leaves
  fuzz [SECONDS]             calls the callbacks in every way under AddressSanitizer, for 600 seconds
  miri                       runs the callbacks' tests in Miri, which finds undefined behaviour
  bench [aes] [lookup] [rotation] [--write-docs | --smoke]
                             measures AES and look-ups beside the server's, and rotations of up to 1000 keys;
                             --write-docs renews docs/*-benchmark.*, --smoke takes seconds and checks only what does
                             not depend on the machine
  versions                   tries the plugin in the MariaDB of other Debian releases
  setup                      installs what all of these need (each does it by itself)

The demo uses a local emulator of AWS KMS; with AWS_KMS_MASTER_KEY_ID set to a key's ARN, id or alias/name it uses
the real one, with the settings of the AWS SDK (AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, ..).
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match interrupt::watch().and_then(|()| run(&words)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", console::red(format_args!("error: {error:#}")));
            if interrupt::check().is_err() { interrupt::EXIT_CODE.into() } else { ExitCode::FAILURE }
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode> {
    match words {
        ["setup"] => {
            packages::ensure(&[packages::BUILD, packages::RUN, packages::TEST, packages::FUZZ])?;
            toolchain::ensure_lints()?;
            nightly::ensure()?;
            emulator::ensure()?;
        }
        ["demo"] => demo::run(false)?,
        ["demo", "--keep"] => demo::run(true)?,
        ["install"] => install::run(None)?,
        ["install", "--plugin-dir", folder] => install::run(Some(folder))?,
        ["test"] => return Ok(if checks::run() { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        ["suite", options @ ..] => suite::run(&suite_request(options)?, &mut tally::Tally::default())?,
        ["bench", options @ ..] => bench::run(options)?,
        ["versions"] => console::line(versions::run()?),
        ["crash", options @ ..] => {
            let (rounds, seed) = crash_options(options)?;
            console::line(crash::run(rounds, seed)?);
        }
        ["start-time"] => console::line(start_time::run(start_time::LONG)?),
        ["fuzz"] => console::line(fuzz::run(fuzz::LONG)?),
        ["fuzz", seconds] => console::line(fuzz::run(std::time::Duration::from_secs(seconds.parse()?))?),
        ["miri"] => {
            let mut tally = tally::Tally::default();
            miri::run(&mut tally)?;
            console::line(tally);
        }
        ["memory"] => console::line(memory::run()?),
        [] | ["help" | "--help" | "-h"] => console::line(HELP.trim_end()),
        _ => bail!("no such command: {}\n\n{HELP}", words.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

fn crash_options(options: &[&str]) -> Result<(u32, Option<u64>)> {
    let (mut rounds, mut seed) = (crash::LONG, None);
    for option in options.chunks(2) {
        match *option {
            ["--rounds", number] => rounds = number.parse()?,
            ["--seed", number] => seed = Some(number.parse()?),
            _ => bail!("crash takes --rounds N and --seed N\n\n{HELP}"),
        }
    }
    Ok((rounds, seed))
}

fn suite_request(options: &[&str]) -> Result<suite::Request> {
    let mut request = suite::Request::default();
    for option in options {
        match *option {
            "--record" => request.record = true,
            "--keep" => request.keep = true,
            unknown if unknown.starts_with('-') => bail!("suite has no option {unknown}\n\n{HELP}"),
            name => request.names.push(name.to_owned()),
        }
    }
    Ok(request)
}
