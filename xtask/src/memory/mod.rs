//! `cargo xtask memory`: where the data keys of a running server are, and what a core dump of it shows; and that a start
//! of the plugin that fails leaves nothing behind.
//!
//! The keys that are looked for are loaded by the plugin, but nothing is encrypted with them: the server keeps copies of
//! the keys that it uses, and those are out of the plugin's reach.

mod address_space;
mod core_dump;
mod failed_starts;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use self::address_space::AddressSpace;
use self::core_dump::Outcome;
use crate::console;
use crate::emulator_control::Control;
use crate::kms::Kms;
use crate::server::{Home, Server};
use crate::tally::Tally;
use crate::{emulator, installation, packages, paths, toolchain};

/// Installs what is missing, builds the plugin, and looks; an error at the first key that is where it must not be.
pub fn run() -> Result<Tally> {
    packages::ensure(&[packages::BUILD, packages::RUN])?;
    emulator::ensure()?;
    let plugin = toolchain::build_plugin()?;
    let mut tally = keys_in_memory(&plugin)?;
    tally += failed_starts::run(&plugin)?;
    Ok(tally)
}

fn keys_in_memory(plugin: &Path) -> Result<Tally> {
    let folder = paths::temporary_folder()?;
    let kms = Kms::emulator(folder.path())?;
    let Kms::Emulator(emulator) = &kms else { bail!("there is no emulator") };
    let control = Control::of(emulator);
    let home = Home::new(installation::Installation::of_the_system()?, folder.path(), plugin)?;
    let marker: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(16).collect();
    control.marker(Some(&marker))?;
    for id in MARKED {
        std::fs::write(home.data().join(format!("aws-kms-key.{id}.1")), control.wrapped_key("alias/demo")?)?;
    }
    control.marker(None)?;
    let options: Vec<String> = OPTIONS.iter().map(|line| (*line).to_owned()).chain(kms.variables()).collect();
    let server = home.start(&options, kms.environment(&home.empty_folder()))?;
    let tally = look(&home, server, &control, folder.path(), &marker).with_context(|| home.log_tail())?;
    kms.stop()?;
    folder.close()?;
    Ok(tally)
}

fn look(home: &Home, server: Server<'_>, control: &Control, folder: &Path, marker: &[u8]) -> Result<Tally> {
    // Encryption at work, under another key.
    server.sql(
        "CREATE DATABASE memory; CREATE TABLE memory.one (id INT PRIMARY KEY) ENCRYPTED=YES; \
                INSERT INTO memory.one SELECT seq FROM memory.seq_1_to_1000",
    )?;
    // The keys so far came with the start; this one comes with a statement.
    control.marker(Some(marker))?;
    server.sql(&format!("SET GLOBAL aws_key_management_rotate_key = {}", MARKED.start()))?;
    control.marker(None)?;
    // Something to be found in ordinary memory, so that a search that finds nothing is seen to be broken.
    let control_text: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    server.sql(&format!("SET GLOBAL init_connect = '{control_text}'"))?;

    let space = AddressSpace::of(process_id(folder)?)?;
    let text = BASE64_STANDARD_NO_PAD.encode(marker);
    let found = space.find([marker, text.as_bytes(), control_text.as_bytes()])?;
    let [keys, texts, controls] = &found;
    ensure!(!controls.is_empty(), "the search through the server's memory does not find what is there");
    let (secret, stray): (Vec<_>, Vec<_>) =
        keys.iter().partition(|hit| hit.mapping.is_locked() && hit.mapping.is_left_out());
    ensure!(
        stray.is_empty(),
        "a data key lies outside of the plugin's locked memory that is left out of core dumps:\n{}",
        stray.iter().map(|hit| format!("{hit}\n")).collect::<String>()
    );
    let expected = MARKED.count() + 1;
    ensure!(secret.len() == expected, "{expected} data keys were loaded, but {} are in secret memory", secret.len());
    console::detail(format_args!(
        "{} of {expected} data keys lie in memory that is locked (lo) and left out of core dumps (dd); no copy elsewhere, \
         nor in base64, as KMS answered",
        secret.len()
    ));
    ensure!(
        texts.is_empty(),
        "a data key lies in memory in base64, as KMS answered it, although the plugin wipes what it frees:\n{}",
        texts.iter().map(|hit| format!("{hit}\n")).collect::<String>()
    );
    let mut tally = Tally::passed(2);
    match core_dump::of(home, process_id(folder)?)? {
        Outcome::Impossible(reason) => {
            console::detail(format_args!("no core dump was looked into: {reason}"));
            tally.skipped += 1;
        }
        Outcome::Core(core) => {
            let [keys, texts, controls] = core.find([marker, text.as_bytes(), control_text.as_bytes()])?;
            ensure!(!controls.is_empty(), "the search through the core does not find what is there");
            ensure!(keys.is_empty(), "the core contains a data key, at {keys:x?}");
            ensure!(texts.is_empty(), "the core contains a data key in base64, as KMS answered it, at {texts:x?}");
            for hit in &secret {
                ensure!(
                    !core.contains(hit.address),
                    "the core contains the memory of the data keys, at {:x}",
                    hit.address
                );
            }
            console::detail(format_args!(
                "a core of {} contains no data key, neither as it is nor in base64",
                console::size(core.size()?)
            ));
            tally += Tally::passed(1);
        }
    }
    drop(server);
    Ok(tally)
}

/// The server's, from the file that it has written.
fn process_id(folder: &Path) -> Result<i32> {
    let file = folder.join("pid");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} contains {text}", file.display()))
}

/// Key ids that no table uses. Many, so that many buffers of the AWS client have held them.
const MARKED: std::ops::RangeInclusive<u32> = 77..=108;

const OPTIONS: [&str; 6] = [
    "plugin_load_add = aws_key_management",
    "aws_key_management = FORCE",
    "innodb_encrypt_log = ON",
    "innodb_buffer_pool_size = 16M",
    "core_file",
    // With it the server leaves the signal to the kernel.
    "skip_stack_trace",
];
