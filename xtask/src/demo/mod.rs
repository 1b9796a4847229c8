//! `cargo xtask demo`: the plugin at work on a private server, step by step, each claim checked.

mod search;
mod stage;
mod statements;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::search::Traces;
use self::stage::Stage;
use self::statements::{
    CHECKSUMS, CREATE, ENCRYPTION, PLUGIN, ROTATE, ROWS, SHOW_PLUGIN, SHOW_ROWS, SHOW_VERSIONS, TABLES, TEXT, VERSIONS,
};
use crate::console::{self, Progress};
use crate::kms::{self, Kms};
use crate::server::{Home, Server};
use crate::{emulator, installation, interrupt, packages, paths, toolchain};

/// Installs what is missing, builds the plugin and plays the demo. With `keep`, its folder stays.
pub fn run(keep: bool) -> Result<()> {
    let mut stage = Stage::default();
    let real_kms = kms::master_key_of_the_environment();
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    if real_kms.is_none() {
        emulator::ensure()?;
    }

    stage.step("Build the plugin");
    let plugin = toolchain::build_plugin()?;
    stage.say(format_args!("{}, {}", paths::short(&plugin), console::size(std::fs::metadata(&plugin)?.len())));

    let started = Instant::now();
    let mut folder = paths::temporary_folder()?;
    folder.disable_cleanup(keep);
    let result = play(&mut stage, folder.path(), &plugin, real_kms);
    if keep {
        console::line(format_args!("\nKept, to be looked at and removed by you: {}", folder.path().display()));
    } else {
        folder.close().context("removing the temporary folder")?;
    }
    let proven = result.inspect_err(|_| {
        if !keep && interrupt::check().is_ok() {
            eprintln!("\n`cargo xtask demo --keep` keeps the server's folder, with data files and logs, for a look.");
        }
    })?;

    console::line(console::bold(format_args!("\nShown in {}\n", console::seconds(started.elapsed()))));
    for line in proven {
        console::line(format_args!("{} {line}", console::green(" ok ")));
    }
    console::line(if keep {
        "\nNothing is left running."
    } else {
        "\nNothing is left running, and the folder is removed."
    });
    Ok(())
}

/// The demo in `folder`; gives what it has proven, a sentence each.
fn play(stage: &mut Stage, folder: &Path, plugin: &Path, real_kms: Option<String>) -> Result<Vec<String>> {
    stage.step("A key management service");
    let kms = choose_kms(stage, folder, real_kms)?;

    stage.step("A private MariaDB with encryption switched on");
    let installation = installation::Installation::of_the_system()?;
    stage.say(format_args!(
        "MariaDB {} in {}, without network, with this in its my.cnf:",
        installation.version()?,
        folder.display()
    ));
    let home = Home::new(installation, folder, plugin)?;
    let proven = with_server(stage, &home, &kms).inspect_err(|_| {
        if interrupt::check().is_ok() {
            eprintln!("\n{}", home.log_tail());
        }
    })?;
    kms.stop()?;
    Ok(proven)
}

fn choose_kms(stage: &Stage, folder: &Path, real_kms: Option<String>) -> Result<Kms> {
    let settings = kms::settings_of_the_machine();
    let Some(master_key_id) = real_kms else {
        let kms = Kms::emulator(folder)?;
        if let Kms::Emulator(emulator) = &kms {
            stage.say(format_args!(
                "An emulator of AWS KMS on this machine, {}; nothing leaves it.",
                emulator.endpoint()
            ));
        }
        if settings.iter().any(|setting| kms::is_identity(setting)) {
            stage.say(
                "AWS credentials were found and are not used: for the real KMS set AWS_KMS_MASTER_KEY_ID \
                 to a key's ARN, id or alias/name.",
            );
        }
        return Ok(kms);
    };
    stage.say(format_args!("The real AWS KMS, with the master key {master_key_id} (AWS_KMS_MASTER_KEY_ID)."));
    stage.say(if settings.is_empty() {
        "No AWS settings in the environment or ~/.aws: the SDK looks for an instance or container role.".to_owned()
    } else {
        format!("AWS settings found here: {}", settings.join(", "))
    });
    Ok(Kms::Aws { master_key_id })
}

fn with_server(stage: &mut Stage, home: &Home, kms: &Kms) -> Result<Vec<String>> {
    let plugin: Vec<String> = PLUGIN.iter().map(|line| (*line).to_owned()).chain(kms.variables()).collect();
    let encryption: Vec<String> = ENCRYPTION.iter().map(|line| (*line).to_owned()).collect();
    let options = [plugin, encryption].concat();
    stage.show(&options.join("\n"));
    let environment = kms.environment(&home.empty_folder());
    let mut proven = Vec::new();

    let server = home.start(&options, environment.clone())?;
    stage.step("The plugin is there");
    let active = stage.sql(&server, SHOW_PLUGIN)?;
    ensure!(active.contains("ACTIVE") && active.contains("ENCRYPTION"), "the plugin is not active");
    proven.push("an unmodified server loaded the plugin".to_owned());

    stage.step("Four tables with the same text in each row");
    stage.say("customers and notes are encrypted under key 1, patients under key 7, control not at all.");
    for statement in CREATE {
        stage.sql(&server, statement)?;
    }
    for table in TABLES {
        stage.sql(&server, &statements::fill(table))?;
    }
    let checksums = server.sql(CHECKSUMS)?;

    stage.step("The data keys on disk, wrapped by the master key");
    stage.say(
        "Made when they were first asked for; the numbers are key id and version (key 2: temporary files).\n\
         Only KMS can unwrap them, so stolen disks and backups are of no use.",
    );
    let files = key_files(stage, home)?;
    for expected in ["aws-kms-key.1.1", "aws-kms-key.7.1"] {
        ensure!(files.iter().any(|name| name == expected), "there is no key file {expected}");
    }

    stage.step("Rotate key 7, twice");
    wait_for_version(&server, 1)?;
    stage.sql(&server, SHOW_VERSIONS)?;
    stage.sql(&server, ROTATE)?;
    stage.sql(&server, SHOW_VERSIONS)?;
    stage.say(
        "What is written from now on takes version 2. With innodb_encryption_rotate_key_age = 1, pages that are more\n\
         than one version old are encrypted anew in the background, so another rotation reaches all of them:",
    );
    stage.sql(&server, ROTATE)?;
    let took = wait_for_version(&server, 3)?;
    stage.sql(&server, SHOW_VERSIONS)?;
    let files = key_files(stage, home)?;
    for expected in ["aws-kms-key.7.2", "aws-kms-key.7.3"] {
        ensure!(files.iter().any(|name| name == expected), "there is no key file {expected}");
    }
    proven.push(format!("KMS made the data keys; wrapped by the master key, they lie in {} files", files.len()));
    proven.push(format!(
        "key 7 went from version 1 to 3, and {} later no page of its table was left at an older version",
        console::seconds(took)
    ));

    stage.step("Stop the server and look for the text in all its files");
    stage.sql(&server, "FLUSH TABLES")?;
    stage.sql(&server, "FLUSH BINARY LOGS")?;
    server.stop()?;
    proven.push(look_for_text(stage, home)?);

    stage.step("Start a server without the plugin on these files");
    proven.push(refused_without_plugin(stage, home)?);

    stage.step("Start it with the plugin and read everything back");
    let server = home.start(&options, environment)?;
    stage.sql(&server, CHECKSUMS)?;
    ensure!(server.sql(CHECKSUMS)? == checksums, "the checksums of the tables are not those from before the restart");
    stage.sql(&server, SHOW_ROWS)?;
    for table in TABLES {
        let intact = server.sql(&statements::intact_rows(table))?;
        ensure!(intact.trim() == ROWS.to_string(), "only {} of {ROWS} rows of {table} came back intact", intact.trim());
    }
    server.stop()?;
    proven.push(format!("after a restart all {ROWS} rows of each table came back unchanged"));
    Ok(proven)
}

/// Shows the key files and gives their names.
fn key_files(stage: &Stage, home: &Home) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut lines = Vec::new();
    for (file, size) in paths::files_below(&home.data())? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The manifest has the same prefix, and no number behind it.
        if name.strip_prefix("aws-kms-key.").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        {
            lines.push(format!("{name}  {}", console::size(size)));
            names.push(name);
        }
    }
    stage.show(&lines.join("\n"));
    Ok(names)
}

/// Waits until every page of the table under key 7 has `version`; gives the time that it took.
fn wait_for_version(server: &Server, version: u32) -> Result<Duration> {
    let started = Instant::now();
    let mut progress = Progress::new("the server's encryption threads are at work");
    let wanted = format!("{version}\t{version}");
    while server.sql(VERSIONS)?.trim() != wanted {
        if started.elapsed() > ROTATION_DEADLINE {
            bail!("after {} not all pages have key version {version}", console::seconds(ROTATION_DEADLINE));
        }
        progress.tick();
        interrupt::sleep(Duration::from_millis(100))?;
    }
    Ok(started.elapsed())
}

fn look_for_text(stage: &Stage, home: &Home) -> Result<String> {
    let traces = Traces::of(TEXT, &home.data())?;
    stage.say(console::dim(format_args!("$ {}", traces.command)));
    stage.show(&traces.files.join("\n"));
    stage.say(format_args!("{} files, {} searched.", traces.searched, console::size(traces.bytes)));
    stage.say("The only hit is the table that was made with ENCRYPTED=NO, so the search does find what is there.");
    ensure!(
        traces.files == ["demo/control.ibd"],
        "the text should be in demo/control.ibd and nowhere else, but is in: {}",
        traces.files.join(", ")
    );
    Ok(format!(
        "of {} files ({}: tables, redo log, binary log) only the table made with ENCRYPTED=NO contains the text",
        traces.searched,
        console::size(traces.bytes)
    ))
}

fn refused_without_plugin(stage: &Stage, home: &Home) -> Result<String> {
    if home.start(&[], Some(Vec::new())).is_ok() {
        bail!("a server without the plugin started with these files");
    }
    interrupt::check()?;
    let log = home.log_text();
    let errors: Vec<&str> = log.lines().filter_map(|line| line.split_once("[ERROR] ")).map(|(_, text)| text).collect();
    ensure!(
        errors.iter().any(|error| error.contains("encrypt")),
        "it did not start, but not because of the encryption"
    );
    stage.show(&errors.join("\n"));
    stage.say("As it should be: without the keys these files are of no use.");
    Ok("a server without the plugin cannot start with these files".to_owned())
}

const ROTATION_DEADLINE: Duration = Duration::from_secs(60);
