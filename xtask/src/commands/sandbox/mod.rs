//! `cargo xtask sandbox`: the server in sandboxes such as systemd's, each of which takes something away that the plugin needs. It
//! goes on, or its first message says which error it met and which setting is likely to be the reason.

mod cases;
pub mod refuse;

use anyhow::{Context, Result, bail, ensure};

use self::cases::{CASES, Case, Outcome};
use crate::rig::{self, Home, Installation, LOAD, Rig};
use crate::tally::Tally;
use crate::terminal;

/// Tries each.
pub fn run(tally: &mut Tally) -> Result<()> {
    let plugin = rig::prepare()?;
    terminal::step("The server in sandboxes");
    Rig::of(Installation::of_the_system()?.unprivileged(), &plugin)?.keep_after_failure().run(|rig| {
        make_keys(rig)?;
        for case in CASES {
            if case.sandbox.needs_root() && !rustix::process::geteuid().is_root() {
                terminal::detail(format_args!("not tried, since it needs root's rights: {}", case.title));
                tally.skipped += 1;
                continue;
            }
            let words = case.sandbox.words(&rig.folder().join("keys"))?;
            let installation = Installation::of_the_system()?.unprivileged().within(words);
            let home = Home::without_data(installation, rig.folder(), &plugin)?;
            if let Err(e) = try_in(case, rig, &home).with_context(|| case.title.to_owned()) {
                terminal::line(format_args!(
                    "#### {}: {e:#}\n{}",
                    case.title,
                    home.log_text()
                        .lines()
                        .filter(|l| l.contains("aws_key") || l.contains("ERROR"))
                        .take(8)
                        .collect::<Vec<_>>()
                        .join("\n")
                ))
            }
            tally.passed += 1;
        }
        Ok(())
    })
}

/// Many keys, in a folder of their own.
fn make_keys(rig: &Rig) -> Result<()> {
    let keys = rig.folder().join("keys");
    std::fs::create_dir(&keys)?;
    Installation::of_the_system()?.unprivileged().own(&keys)?;
    let server = rig.start(&options(rig, ""))?;
    server.sql("CREATE DATABASE d")?;
    for id in 1..=KEYS {
        server.sql(&format!("CREATE TABLE d.t{id} (id INT) ENCRYPTED=YES ENCRYPTION_KEY_ID={id}"))?;
    }
    server.stop()
}

fn try_in(case: &Case, rig: &Rig, home: &Home) -> Result<()> {
    let options = format!("{}\n{}", options(rig, case.options), rig.kms.variables());
    let environment = rig.environment();
    let said = match case.outcome {
        Outcome::DoesNotStart => {
            let status = home.run(&options, &environment)?;
            ensure!(!status.success(), "the server has started");
            home.log_text()
        }
        Outcome::Works => {
            let server = home.start(&options, Some(&environment))?;
            server.sql(ROTATE)?;
            let log = home.log_text();
            server.stop()?;
            log
        }
        Outcome::CannotRotate => {
            let server = home.start(&options, Some(&environment))?;
            let Err(error) = server.sql(ROTATE) else { bail!("the key was rotated") };
            server.stop()?;
            format!("{}\n{error:#}", home.log_text())
        }
    };
    let own: Vec<&str> = said.lines().filter(|line| line.contains("aws_key_management")).collect();
    for piece in case.says {
        ensure!(
            own.iter().any(|line| line.contains(piece)),
            "the plugin does not say '{piece}', but:\n{}",
            own.join("\n")
        );
    }
    if case.says.is_empty() {
        let complaint = own.iter().find(|line| line.contains("[Warning]") || line.contains("[ERROR]"));
        ensure!(complaint.is_none(), "the plugin complains: {}", complaint.unwrap_or(&""));
    }
    terminal::detail(case.title);
    Ok(())
}

fn options(rig: &Rig, more: &str) -> String {
    format!(
        "{LOAD}\naws_key_management_keyfile_dir = {}\naws_key_management_startup_timeout = 1\n{more}",
        rig.folder().join("keys").display()
    )
}

const KEYS: u32 = 40;
const ROTATE: &str = "SET GLOBAL aws_key_management_rotate_key = 7";
