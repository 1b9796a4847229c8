//! The plugin is loaded, initialised, deinitialised and unloaded again and again, as a server would: nothing is left
//! behind, also not after an init that fails.
//!
//! Not in a server: one that has installed an encryption plugin does not unload it before its own end.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "support/child.rs"]
mod child;
#[allow(dead_code, reason = "the faults are for the tests of the AWS client")]
#[path = "support/kms_emulator.rs"]
mod kms_emulator;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_key_management::kms::aws::{AwsKms, AwsSettings};
use aws_key_management::kms::{EncryptionContext, KeySpec, Kms, MasterKeyId};
use child::{CREDENTIALS, with_environment};
use kms_emulator::{Emulator, MASTER_KEY};
use plugin_host::Plugin;

#[test]
fn a_thousand_loads_and_unloads_leave_no_thread_no_descriptor_and_no_memory_behind() {
    with_environment(
        "a_thousand_loads_and_unloads_leave_no_thread_no_descriptor_and_no_memory_behind",
        CREDENTIALS,
        || {
            let stand = Stand::new();
            (0..WARM_UP).for_each(|_| stand.load_and_unload());
            let (before, called) = (Left::now(), stand.emulator.count("Decrypt"));
            (0..LOADS).for_each(|_| stand.load_and_unload());
            let after = Left::now();
            assert_eq!(stand.emulator.count("Decrypt") - called, LOADS * KEYS, "each time each key was unwrapped");
            assert_eq!(after.threads, before.threads);
            assert_eq!(after.descriptors, before.descriptors);
            let grown = after.resident_kb.saturating_sub(before.resident_kb);
            assert!(grown <= TOLERANCE_KB, "grown by {grown} kB, from {} kB", before.resident_kb);
        },
    );
}

#[test]
fn an_init_that_fails_leaves_nothing_behind_and_the_next_one_works() {
    with_environment("an_init_that_fails_leaves_nothing_behind_and_the_next_one_works", CREDENTIALS, || {
        let stand = Stand::new();
        let failures: [&[(&str, &str)]; 4] = [
            &[("endpoint_url", "nonsense")],
            &[("keyfile_dir", "/there/is/no/such/folder")],
            &[("allowed_key_ids", "1,x")],
            &[("endpoint_url", "http://127.0.0.1:1"), ("startup_timeout", "0")],
        ];
        stand.load_and_unload();
        let before = Left::now();
        for round in 1..=3 {
            for settings in failures {
                let mut plugin = stand.plugin();
                for (name, value) in settings {
                    plugin.set(name, value).unwrap();
                }
                let failed = plugin.init().err().unwrap_or_else(|| panic!("round {round}: {settings:?} did not fail"));
                assert_eq!(failed.deinit, 0, "as the server calls it after a failed init");
                assert_eq!(Left::now().threads, before.threads, "round {round}, after {settings:?}");
                stand.load_and_unload();
                let after = Left::now();
                assert_eq!((after.threads, after.descriptors), (before.threads, before.descriptors), "round {round}");
            }
        }
    });
}

/// A KMS, and key files.
struct Stand {
    emulator: Emulator,
    folder: tempfile::TempDir,
}

impl Stand {
    fn new() -> Self {
        let stand = Self { emulator: Emulator::start(), folder: tempfile::tempdir().expect("a folder") };
        let endpoint_url = Some(stand.emulator.url().to_owned());
        let kms = AwsKms::new(AwsSettings { endpoint_url, ..AwsSettings::default() }).expect("a runtime");
        let master_key = MasterKeyId::parse(MASTER_KEY).expect("a name");
        for id in 1..=KEYS {
            let key =
                kms.generate_data_key(&master_key, KeySpec::Aes128, &EncryptionContext::default()).expect("a key");
            fs::write(stand.folder.path().join(format!("aws-kms-key.{id}.1")), key.as_bytes()).expect("written");
        }
        stand
    }

    fn plugin(&self) -> Plugin {
        let mut plugin = Plugin::load(&library()).unwrap();
        plugin.set("master_key_id", MASTER_KEY).unwrap();
        plugin.set("endpoint_url", self.emulator.url()).unwrap();
        plugin.set("keyfile_dir", self.folder.path()).unwrap();
        plugin.set_datadir(self.folder.path()).unwrap();
        plugin
    }

    fn load_and_unload(&self) {
        let plugin = self.plugin().init().unwrap();
        assert_eq!(threads_named("aws-kms"), 1, "while the plugin is there");
        // A thread gives itself its name.
        let soon = Instant::now() + Duration::from_secs(10);
        while threads_named("aws-kms-jobs") == 0 {
            assert!(Instant::now() < soon, "the plugin does not work as in a server");
        }
        assert_eq!(plugin.latest_key_version(1), 1);
        plugin.deinit().unwrap();
        assert_eq!(threads_named("aws-kms") + threads_named("aws-kms-jobs"), 0, "after deinit");
    }
}

/// Cargo puts the library beside the programs of the tests.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.parent().expect("a folder").join("libaws_key_management.so")
}

/// What a process has of things that can be left behind.
struct Left {
    threads: usize,
    descriptors: usize,
    resident_kb: usize,
}

impl Left {
    fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).expect("list").count();
        let status = fs::read_to_string("/proc/self/status").expect("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let resident_kb = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        Self { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd"), resident_kb }
    }
}

fn threads_named(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("list").flatten();
    tasks.filter(|task| comm(&task.path()).trim() == name).count()
}

fn comm(task: &Path) -> String {
    // A thread may end while we look.
    fs::read_to_string(task.join("comm")).unwrap_or_default()
}

const KEYS: usize = 3;
const WARM_UP: u32 = 20;

/// More than there are pthread keys (1024): one that is lost in each load would end the process.
const LOADS: usize = 1100;

/// The allocator's arenas grow in steps. A kilobyte that is lost in each load is more than this.
const TOLERANCE_KB: usize = 1024;
