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

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_key_management::kms::aws::{AwsKms, AwsSettings};
use aws_key_management::kms::{EncryptionContext, KeySpec, Kms, MasterKeyId};
use child::{CREDENTIALS, with_environment};
use kms_emulator::{Emulator, MASTER_KEY};
use plugin_host::Plugin;
use plugin_host::sql_function::SqlFunction;

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
            let after = Left::when_threads_are(before.threads);
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
                let after = Left::when_threads_are(before.threads);
                assert_eq!(after.threads, before.threads, "round {round}, after {settings:?}");
                stand.load_and_unload();
                let after = Left::when_threads_are(before.threads);
                assert_eq!((after.threads, after.descriptors), (before.threads, before.descriptors), "round {round}");
            }
        }
    });
}

#[test]
fn the_status_variables_tell_what_the_plugin_knows_from_init_to_deinit_and_nothing_before_and_after() {
    let test = "the_status_variables_tell_what_the_plugin_knows_from_init_to_deinit_and_nothing_before_and_after";
    with_environment(test, CREDENTIALS, || {
        let stand = Stand::new();
        fs::write(stand.folder.path().join("aws-kms-key.9.1"), "no wrapped key").expect("written");
        let (generated, decrypted) = stand.called();
        let plugin = stand.plugin();
        let is_empty = |status: &Status| status.values().all(|value| matches!(value.as_str(), "0" | "OFF" | ""));
        assert!(is_empty(&plugin.status().unwrap()), "{:?}", plugin.status().unwrap());
        let mut plugin = plugin.init().unwrap();
        let status = plugin.status().unwrap();
        let shown = |name: &str, value: &str| {
            assert_eq!(plugin_status(&status, name), value, "{name} in {status:?}");
        };
        shown("keys", "3");
        shown("key_versions", "3");
        shown("keys_failed", "1");
        shown("key_versions_missing", "0");
        shown("master_keys", "1");
        shown("restart_ready", "OFF");
        shown("fully_wrapped", "OFF");
        shown("can_make_keys", "ON");
        shown("memory_locked", "ON");
        shown("region", "us-east-1");
        shown("version", env!("CARGO_PKG_VERSION"));
        shown("kms_generate_calls", "0");
        shown("rotations", "0");
        shown("last_rotation", "");
        assert_ne!(plugin_status(&status, "kms_decrypt_calls_failed"), "0");
        let error = plugin_status(&status, "last_error");
        assert!(error.starts_with("key not loaded: key 9 version 1: KMS Decrypt failed"), "{error}");
        for date in ["last_check", "unready_since", "last_error_time"] {
            let date = plugin_status(&status, date);
            let form: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(form, "0000-00-00 00:00:00");
        }

        plugin.set_global("rotate_key", 2).unwrap();
        stand.emulator.fault(r#"{"kind": "access_denied"}"#);
        plugin.set_global("rotate_key", 2).expect_err("denied");
        stand.emulator.clear_faults();
        let status = plugin.status().unwrap();
        for (name, value) in [
            ("key_versions", "4"),
            ("rotations", "1"),
            ("rotations_failed", "1"),
            ("can_make_keys", "OFF"),
            ("kms_generate_calls", "2"),
            ("kms_generate_calls_failed", "1"),
        ] {
            assert_eq!(plugin_status(&status, name), value, "{name}");
        }
        assert!(plugin_status(&status, "last_error").starts_with("rotation failed: key 2 version 3"), "{status:?}");
        assert_ne!(plugin_status(&status, "last_rotation"), "");
        let number = |name: &str| plugin_status(&status, name).parse::<usize>().expect("a number");
        assert!((0..600).contains(&number("oldest_latest_version_age")));
        // The background may try key 9 again at any time.
        let (generated_now, decrypted_now) = stand.called();
        assert_eq!(number("kms_generate_calls") + number("kms_generate_retries"), generated_now - generated);
        assert!((5..=decrypted_now - decrypted).contains(&number("kms_decrypt_calls")), "{status:?}");
        plugin.deinit().unwrap();
        assert!(is_empty(&stand.plugin().status().unwrap()), "after deinit: {:?}", stand.plugin().status().unwrap());
    });
}

#[test]
fn the_list_of_keys_is_there_from_init_to_deinit_for_who_has_the_right_and_null_before_and_after() {
    let test = "the_list_of_keys_is_there_from_init_to_deinit_for_who_has_the_right_and_null_before_and_after";
    with_environment(test, CREDENTIALS, || {
        let stand = Stand::new();
        fs::write(stand.folder.path().join("aws-kms-key.9.1"), "no wrapped key").expect("written");
        let function = SqlFunction::create(&library(), "aws_key_management_keys").unwrap();
        let keys = |has_process| function.statement(has_process, 0).unwrap();
        assert_eq!(keys(true).unwrap().text().unwrap(), None, "before init");
        let mut plugin = stand.plugin().init().unwrap();
        assert_eq!(keys(false).expect_err("no right"), "the PROCESS privilege is needed to see the keys");
        assert_eq!(function.statement(true, 1).unwrap().expect_err("an argument"), "it takes no arguments");

        let mut open = keys(true).unwrap();
        let states = |json: &str| {
            let rows: Vec<serde_json::Value> = serde_json::from_str(json).expect("JSON");
            let state = |row: &serde_json::Value| format!("{}.{} {}", row["KEY_ID"], row["KEY_VERSION"], row["STATE"]);
            rows.iter().map(state).collect::<Vec<_>>().join(", ").replace('"', "")
        };
        let text = open.text().unwrap().expect("a text");
        assert_eq!(states(&text), "1.1 ok, 2.1 ok, 3.1 ok, 9.1 failed");
        assert!(text.contains("KMS Decrypt failed"), "{text}");
        plugin.set_global("rotate_key", 2).unwrap();
        assert_eq!(states(&open.text().unwrap().expect("a text")), "1.1 ok, 2.1 ok, 2.2 ok, 3.1 ok, 9.1 failed");
        // A list that is longer than a buffer of the server's, from many connections at once.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mut statement = keys(true).unwrap();
                        for _ in 0..2 {
                            assert!(statement.text().unwrap().is_some_and(|text| text.ends_with("}]")));
                        }
                    }
                });
            }
            (0..3).for_each(|_| plugin.set_global("rotate_key", 1).unwrap());
        });
        plugin.deinit().unwrap();
        assert_eq!(open.text().unwrap(), None, "after deinit, in a statement that had begun before");
        assert_eq!(keys(true).unwrap().text().unwrap(), None, "after deinit");
        drop(open);
    });
}

type Status = BTreeMap<String, String>;

fn plugin_status<'a>(status: &'a Status, name: &str) -> &'a str {
    status.get(&format!("aws_key_management_{name}")).unwrap_or_else(|| panic!("no {name} in {status:?}"))
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

    /// How often KMS was asked to make a key, and to unwrap one.
    fn called(&self) -> (usize, usize) {
        (self.emulator.count("GenerateDataKeyWithoutPlaintext"), self.emulator.count("Decrypt"))
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
        // As in `Left::when_threads_are`.
        let soon = Instant::now() + Duration::from_secs(10);
        while threads_named("aws-kms") + threads_named("aws-kms-jobs") > 0 {
            assert!(Instant::now() < soon, "a thread is left after deinit");
        }
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
    /// As soon as there are no more threads than these, or after 10 s: who has joined a thread may see it for a moment still, since
    /// the kernel wakes him before it takes the thread off its list.
    fn when_threads_are(at_most: usize) -> Self {
        let soon = Instant::now() + Duration::from_secs(10);
        loop {
            let left = Self::now();
            if left.threads <= at_most || Instant::now() >= soon {
                return left;
            }
            std::thread::yield_now();
        }
    }

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
