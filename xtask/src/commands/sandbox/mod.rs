//! `cargo xtask sandbox`: the server in sandboxes such as systemd's, each of which takes something away that the plugin needs. It
//! goes on, or its first message says which error it met and which setting is likely to be the reason.

mod cases;
pub mod refuse;

use std::ffi::OsString;

use anyhow::{Context, Result, bail, ensure};
use duct::cmd;

use self::cases::{CASES, Case, Kms, Outcome};
use crate::machine::packages;
use crate::rig::{self, Home, Installation, LOAD, Rig};
use crate::tally::Tally;
use crate::terminal;

/// Tries each.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::SANDBOX])?;
    let plugin = rig::prepare()?;
    terminal::step("The server in sandboxes");
    Rig::of(Installation::of_the_system()?.unprivileged(), &plugin)?.keep_after_failure().run(|rig| {
        make_keys(rig)?;
        for case in CASES {
            let words = case.sandbox.words(&rig.folder().join("keys"))?;
            if case.sandbox.needs_namespaces() && !work(&words)? {
                terminal::detail(format_args!("not tried, since no namespaces can be made here: {}", case.title));
                tally.skipped += 1;
                continue;
            }
            let installation = Installation::of_the_system()?.unprivileged().within(words);
            let home = Home::without_data(installation, rig.folder(), &plugin)?;
            try_in(case, rig, &home).map_err(|error| explained(error, &home)).with_context(|| case.title.to_owned())?;
            tally.passed += 1;
        }
        Ok(())
    })
}

/// Whether a program can be run by these words.
fn work(words: &[OsString]) -> Result<bool> {
    let words = words.iter().cloned().chain(["true".into()]);
    Ok(cmd("env", words).stdout_null().stderr_null().unchecked().run()?.status.success())
}

/// Many keys, in a folder of their own.
fn make_keys(rig: &Rig) -> Result<()> {
    let keys = rig.folder().join("keys");
    std::fs::create_dir(&keys)?;
    Installation::of_the_system()?.unprivileged().own(&keys)?;
    let server = rig.start(&options(rig))?;
    server.sql("CREATE DATABASE d")?;
    for id in 1..=KEYS {
        server.sql(&format!("CREATE TABLE d.t{id} (id INT) ENCRYPTED=YES ENCRYPTION_KEY_ID={id}"))?;
    }
    server.stop()
}

fn try_in(case: &Case, rig: &Rig, home: &Home) -> Result<()> {
    let mut options = format!("{}\n{}", options(rig), rig.kms.variables());
    let mut environment = rig.environment();
    match case.kms {
        Kms::Plain => {}
        Kms::ByName => options.push_str(NAMED_KMS),
        Kms::WithoutCredentials => environment.retain(|(name, _)| !CREDENTIALS.iter().any(|word| name == word)),
    }
    if let Outcome::DoesNotStart = case.outcome {
        let status = home.run(&options, &environment)?;
        ensure!(!status.success(), "the server has started");
        return check(case, &home.log_text());
    }
    let server = home.start(&options, Some(&environment))?;
    let statement = if let Outcome::RotatesAll = case.outcome { ROTATE_ALL } else { ROTATE };
    let rotated = server.sql(statement);
    server.stop()?;
    match (&case.outcome, rotated) {
        (Outcome::CannotRotate, Ok(_)) => bail!("the key was rotated"),
        (Outcome::CannotRotate, Err(_)) => check(case, &home.log_text()),
        (_, rotated) => rotated.and_then(|_| check(case, &home.log_text())),
    }
}

/// Whether the plugin's first complaint says what the case wants; whether there is none, if it wants none.
fn check(case: &Case, log: &str) -> Result<()> {
    let own = log.lines().filter(|line| line.contains("aws_key_management"));
    let first = own.into_iter().find(|line| line.contains("[Warning]") || line.contains("[ERROR]"));
    match (first, case.says) {
        (None, []) => {}
        (Some(complaint), []) => bail!("the plugin complains: {complaint}"),
        (None, _) => bail!("the plugin complains of nothing"),
        (Some(complaint), pieces) => {
            for piece in pieces {
                ensure!(
                    complaint.contains(piece),
                    "the plugin's first complaint does not say '{piece}', but: {complaint}"
                );
            }
        }
    }
    terminal::detail(case.title);
    Ok(())
}

/// With what the server has said.
fn explained(error: anyhow::Error, home: &Home) -> anyhow::Error {
    error.context(format!("the error log:\n{}\n", home.log_text()))
}

fn options(rig: &Rig) -> String {
    format!(
        "{LOAD}\naws_key_management_keyfile_dir = {}\naws_key_management_startup_timeout = 1\n",
        rig.folder().join("keys").display()
    )
}

const KEYS: u32 = 40;
const ROTATE: &str = "SET GLOBAL aws_key_management_rotate_key = 7";
const ROTATE_ALL: &str = "SET GLOBAL aws_key_management_rotate_key = -1";

/// A name that exists nowhere. Nothing is asked of the real one, whatever a sandbox lets through.
const NAMED_KMS: &str = "aws_key_management_endpoint_url = https://kms.invalid\n";
const CREDENTIALS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"];
