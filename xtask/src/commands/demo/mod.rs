//! `cargo xtask demo`: the plugin at work on a private server, step by step, each claim checked.

mod kms;
mod operate;
mod statements;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use console::style;
use duct::cmd;
use indicatif::DecimalBytes;

use self::kms::Kms;
use self::statements::{
    CHECKSUMS, CREATE, ENCRYPTION, PLUGIN, ROTATE, ROWS, SHOW_PLUGIN, SHOW_ROWS, SHOW_VERSIONS, TABLES, TEXT, VERSIONS,
};
use crate::machine::{packages, paths, toolchain};
use crate::rig::{Home, Installation, Server};
use crate::terminal::{self, Steps, detail, show};
use crate::{interrupt, kms_emulator, run};

/// What is left of it.
#[derive(clap::Args)]
pub struct Options {
    /// Leaves its folder, with data files and logs, for a look
    #[arg(long)]
    keep: bool,
}

/// Installs what is missing, builds the plugin and plays the demo.
pub fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    let master_key = kms::master_key_of_the_environment();
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    if master_key.is_none() {
        kms_emulator::ensure()?;
    }

    steps.next("Build the plugin");
    let plugin = toolchain::build_plugin()?;
    detail(format_args!("{}, {}", paths::short(&plugin), DecimalBytes(std::fs::metadata(&plugin)?.len())));

    let started = Instant::now();
    let mut folder = paths::temporary_folder()?;
    folder.disable_cleanup(options.keep);
    let result = play(&mut steps, folder.path(), &plugin, master_key);
    if options.keep {
        terminal::line(format_args!("\nKept, to be looked at and removed by you: {}", folder.path().display()));
    } else {
        folder.close().context("removing the temporary folder")?;
    }
    let proven = result.inspect_err(|_| {
        if !options.keep && !interrupt::has_come() {
            eprintln!("\n`cargo xtask demo --keep` keeps the server's folder, with data files and logs, for a look.");
        }
    })?;

    terminal::line(style(format_args!("\nShown in {}\n", terminal::seconds(started.elapsed()))).bold());
    for line in proven {
        terminal::line(format_args!("{} {line}", style(" ok ").green()));
    }
    let folder = if options.keep { "." } else { ", and the folder is removed." };
    terminal::line(format_args!("\nNothing is left running{folder}"));
    Ok(())
}

/// The demo in `folder`; gives what it has proven, a sentence each.
fn play(steps: &mut Steps, folder: &Path, plugin: &Path, master_key: Option<String>) -> Result<Vec<String>> {
    steps.next("A key management service");
    let kms = Kms::choose(folder, master_key)?;

    steps.next("A private MariaDB with encryption switched on");
    let installation = Installation::of_the_system()?;
    detail(format_args!(
        "MariaDB {} in {}, without network, with this in its my.cnf:",
        installation.version()?,
        folder.display()
    ));
    let home = Home::new(installation, folder, plugin)?;
    let proven = home.explain(with_server(steps, &home, &kms))?;
    drop(kms);
    Ok(proven)
}

fn with_server(steps: &mut Steps, home: &Home, kms: &Kms) -> Result<Vec<String>> {
    let options = format!("{PLUGIN}{}{ENCRYPTION}", kms.variables());
    show(&options);
    let environment = kms.environment(&home.empty_folder());
    let mut proven = Vec::new();

    let server = home.start(&options, environment.as_ref())?;
    steps.next("The plugin is there");
    let active = sql(&server, SHOW_PLUGIN)?;
    ensure!(active.contains("ACTIVE") && active.contains("ENCRYPTION"), "the plugin is not active");
    proven.push("an unmodified server loaded the plugin".to_owned());

    steps.next("Four tables with the same text in each row");
    detail("customers and notes are encrypted under key 1, patients under key 7, control not at all.");
    for statement in CREATE {
        sql(&server, statement)?;
    }
    for table in TABLES {
        sql(&server, &statements::fill(table))?;
    }
    let checksums = server.sql(CHECKSUMS)?;

    steps.next("The data keys on disk, wrapped by the master key");
    detail(
        "Made when they were first asked for; the numbers are key id and version (key 2: temporary files).\n\
         Only KMS can unwrap them, so stolen disks and backups are of no use.",
    );
    let files = key_files(home)?;
    for expected in ["aws-kms-key.1.1", "aws-kms-key.7.1"] {
        ensure!(files.iter().any(|name| name == expected), "there is no key file {expected}");
    }

    steps.next("Rotate key 7, twice");
    wait_for_version(&server, 1)?;
    sql(&server, SHOW_VERSIONS)?;
    sql(&server, ROTATE)?;
    sql(&server, SHOW_VERSIONS)?;
    detail(
        "What is written from now on takes version 2. With innodb_encryption_rotate_key_age = 1, pages that are more\n\
         than one version old are encrypted anew in the background, so another rotation reaches all of them:",
    );
    sql(&server, ROTATE)?;
    let took = wait_for_version(&server, 3)?;
    sql(&server, SHOW_VERSIONS)?;
    let files = key_files(home)?;
    for expected in ["aws-kms-key.7.2", "aws-kms-key.7.3"] {
        ensure!(files.iter().any(|name| name == expected), "there is no key file {expected}");
    }
    proven.push(format!("KMS made the data keys; wrapped by the master key, they lie in {} files", files.len()));
    proven.push(format!(
        "key 7 went from version 1 to 3, and {} later no page of its table was left at an older version",
        terminal::seconds(took)
    ));

    steps.next("Stop the server and look for the text in all its files");
    sql(&server, "FLUSH TABLES")?;
    sql(&server, "FLUSH BINARY LOGS")?;
    server.stop()?;
    proven.push(look_for_text(home)?);

    steps.next("Start a server without the plugin on these files");
    proven.push(refused_without_plugin(home)?);

    steps.next("Start it with the plugin and read everything back");
    let server = home.start(&options, environment.as_ref())?;
    sql(&server, SHOW_ROWS)?;
    operate::read_back(&server, &checksums)?;
    proven.push(format!("after a restart all {ROWS} rows of each table came back unchanged"));

    steps.next("The keys in SQL");
    proven.push(operate::list_keys(&server)?);

    steps.next("Would a restart work? A key file that is damaged");
    proven.push(operate::find_damage(home, &server)?);

    steps.next("The master key is gone");
    let gone = operate::leave_master_key(&server, kms, &options)?;
    server.stop()?;
    if let Some((options, claim)) = gone {
        detail("The server is restarted, with the other master key in its option file:");
        let server = home.start(&options, environment.as_ref())?;
        operate::read_back(&server, &checksums)?;
        server.stop()?;
        proven.push(claim);
    }
    Ok(proven)
}

/// Shows a statement and its result, which is returned too.
fn sql(server: &Server, statement: &str) -> Result<String> {
    terminal::aside(format_args!("MariaDB> {statement};"));
    let result = server.table(statement)?;
    show(&result);
    Ok(result)
}

/// Shows the key files and gives their names.
fn key_files(home: &Home) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut lines = Vec::new();
    for (file, size) in paths::files_below(&home.data())? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The manifest has the same prefix, and no number behind it.
        if name.strip_prefix("aws-kms-key.").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        {
            lines.push(format!("{name}  {}", DecimalBytes(size)));
            names.push(name);
        }
    }
    show(lines.join("\n"));
    Ok(names)
}

/// Waits until every page of the table under key 7 has `version`; gives the time that it took.
fn wait_for_version(server: &Server, version: u32) -> Result<Duration> {
    let started = Instant::now();
    let wanted = format!("{version}\t{version}");
    interrupt::wait_for(&format!("all pages get key version {version}"), ROTATION_PATIENCE, || {
        Ok((server.sql(VERSIONS)?.trim() == wanted).then(|| started.elapsed()))
    })
}

/// With grep, so that anyone can do the same by hand.
fn look_for_text(home: &Home) -> Result<String> {
    let all = paths::files_below(&home.data())?;
    let size = DecimalBytes(all.iter().map(|(_, size)| size).sum());
    terminal::aside(format_args!("$ cd {}; grep -rlaF '{TEXT}' .", home.data().display()));
    // Recursive, names only, binary files too, the text as it is. No hit at all is a failure of grep.
    let hits = run::output("grep", &cmd!("grep", "-rlaF", TEXT, ".").dir(home.data()))?;
    show(&hits);
    detail(format_args!("{} files, {size} searched.", all.len()));
    detail("The only hit is the table that was made with ENCRYPTED=NO, so the search does find what is there.");
    ensure!(
        hits.trim_end() == "./demo/control.ibd",
        "the text should be in demo/control.ibd and nowhere else, but is in: {hits}"
    );
    Ok(format!(
        "of {} files ({size}: tables, redo log, binary log) only the table made with ENCRYPTED=NO contains the text",
        all.len()
    ))
}

fn refused_without_plugin(home: &Home) -> Result<String> {
    let started = home.start("", Some(&Vec::new())).is_ok();
    ensure!(!started, "a server without the plugin started with these files");
    interrupt::check()?;
    let log = home.log_text();
    let errors: Vec<&str> = log.lines().filter_map(|line| line.split_once("[ERROR] ")).map(|(_, text)| text).collect();
    ensure!(
        errors.iter().any(|error| error.contains("encrypt")),
        "it did not start, but not because of the encryption"
    );
    show(errors.join("\n"));
    detail("As it should be: without the keys these files are of no use.");
    Ok("a server without the plugin cannot start with these files".to_owned())
}

const ROTATION_PATIENCE: Duration = Duration::from_secs(60);
