//! `cargo xtask memory`: where the data keys of a running server are, and what a core dump of it shows; and that a start
//! of the plugin that fails leaves nothing behind.
//!
//! The keys that are looked for are loaded by the plugin, but nothing is encrypted with them: the server keeps copies of
//! the keys that it uses, and those are out of the plugin's reach.

mod address_space;
mod core_dump;
mod failed_starts;

use std::path::Path;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use indicatif::DecimalBytes;

use self::address_space::Hit;
use self::core_dump::Outcome;
use crate::rig::{self, Rig, Server};
use crate::tally::Tally;
use crate::terminal;

/// Installs what is missing, builds the plugin, and looks; an error at the first key that is where it must not be.
pub fn run(tally: &mut Tally) -> Result<()> {
    let plugin = rig::prepare()?;
    keys_in_memory(&plugin, tally)?;
    failed_starts::run(&plugin)?;
    tally.passed += 1;
    Ok(())
}

fn keys_in_memory(plugin: &Path, tally: &mut Tally) -> Result<()> {
    let marker: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(16).collect();
    Rig::new(plugin)?.run(|rig| {
        rig.kms.marker(Some(&marker))?;
        for id in MARKED {
            std::fs::write(rig.home.data().join(format!("aws-kms-key.{id}.1")), rig.kms.new_wrapped_key()?)?;
        }
        rig.kms.marker(None)?;
        look(rig, rig.start(&format!("{}\n{OPTIONS}", rig::LOAD))?, &marker, tally)
    })
}

fn look(rig: &Rig, server: Server<'_>, marker: &[u8], tally: &mut Tally) -> Result<()> {
    // Encryption at work, under another key.
    server.sql(
        "CREATE DATABASE memory; CREATE TABLE memory.one (id INT PRIMARY KEY) ENCRYPTED=YES; \
                INSERT INTO memory.one SELECT seq FROM memory.seq_1_to_1000",
    )?;
    // The keys so far came with the start; this one comes with a statement.
    rig.kms.marker(Some(marker))?;
    server.sql(&format!("SET GLOBAL aws_key_management_rotate_key = {}", MARKED.start()))?;
    rig.kms.marker(None)?;
    // Something to be found in ordinary memory, so that a search that finds nothing is seen to be broken.
    let control_text: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
    server.sql(&format!("SET GLOBAL init_connect = '{control_text}'"))?;

    let process = server.process()?;
    let text = BASE64_STANDARD_NO_PAD.encode(marker);
    let [keys, texts, controls] = address_space::find(&process, [marker, text.as_bytes(), control_text.as_bytes()])?;
    ensure!(!controls.is_empty(), "the search through the server's memory does not find what is there");
    let (secret, stray): (Vec<Hit>, Vec<Hit>) = keys.into_iter().partition(Hit::is_in_secret_memory);
    ensure!(
        stray.is_empty(),
        "a data key lies outside of the plugin's locked memory that is left out of core dumps:\n{}",
        stray.iter().map(|hit| format!("{hit}\n")).collect::<String>()
    );
    // Each in its own place, and in the one that look-ups read.
    let (loaded, places) = (MARKED.count() + 1, 2);
    ensure!(
        secret.len() == loaded * places,
        "{loaded} data keys were loaded, but {} are in secret memory, where each has {places} places",
        secret.len()
    );
    ensure!(
        texts.is_empty(),
        "a data key lies in memory in base64, as KMS answered it, although the plugin wipes what it frees:\n{}",
        texts.iter().map(|hit| format!("{hit}\n")).collect::<String>()
    );
    terminal::detail(format_args!(
        "{loaded} data keys lie, each in {places} places, in memory that is locked (lo) and left out of core dumps (dd); no copy \
         elsewhere, nor in base64, as KMS answered"
    ));
    tally.passed += 2;
    match core_dump::of(&rig.home, &process)? {
        Outcome::Impossible(reason) => {
            terminal::detail(format_args!("no core dump was looked into: {reason}"));
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
            terminal::detail(format_args!(
                "a core of {} contains no data key, neither as it is nor in base64",
                DecimalBytes(core.size()?)
            ));
            tally.passed += 1;
        }
    }
    drop(server);
    Ok(())
}

/// Key ids that no table uses. Many, so that many buffers of the AWS client have held them.
const MARKED: std::ops::RangeInclusive<u32> = 77..=108;

/// With the last one the server leaves the signal to the kernel.
const OPTIONS: &str = "\
innodb_encrypt_log = ON
innodb_buffer_pool_size = 16M
core_file
skip_stack_trace";
