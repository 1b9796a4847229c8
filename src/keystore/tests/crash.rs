//! The process is killed, or the disk refuses, at each step of making a key. Each test runs the dangerous part in a
//! child process: this program again, with the test's name and the folder in its environment.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, raise};

use super::*;

/// All failpoints on the way of a new key version, in order.
const STEPS: [&str; 12] = [
    "after_generate",
    "before_temporary",
    "after_create",
    "after_write",
    "before_link",
    "after_link",
    "after_sync",
    // The manifest passes the steps of a temporary file, too; it is the second one that does.
    "before_rename",
    "after_rename",
    "after_manifest",
    "before_publish",
    "no such step: nothing is killed",
];

const FOLDER: &str = "AWS_KEY_MANAGEMENT_TEST_FOLDER";
const STEP: &str = "AWS_KEY_MANAGEMENT_TEST_STEP";

/// Runs the test `name` in a child process, started by the words of `prefix`.
fn child(name: &str, prefix: &[&str], folder: &Path, step: &str) -> Output {
    let program = std::env::current_exe().expect("this program");
    let test = format!("keystore::tests::crash::{name}");
    let words = [prefix, &[program.to_str().expect("UTF-8"), &test, "--exact", "--nocapture"]].concat();
    // A child that is killed leaves its temporary folders behind: in this one.
    let temporary = tempfile::tempdir().expect("folder");
    let mut child = Command::new(words[0]);
    child.args(&words[1..]).env(FOLDER, folder).env(STEP, step).env("TMPDIR", temporary.path());
    child.output().expect("the child starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// In a child: the folder and the step.
fn in_child() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(FOLDER)?.into(), std::env::var(STEP).ok()?))
}

fn open(folder: &Path) -> (KeyStore, Setup) {
    let setup = Setup::new();
    let store = setup.open_in(folder, Role::Server, setup.kms.clone()).expect("open");
    (store, setup)
}

/// What must hold after every stop: each version that is there is whole, the old one is there, nothing else is.
fn check_whole(folder: &Path, old: &[u8], may_be: &[u32]) -> KeyVersion {
    let (store, setup) = open(folder);
    assert_eq!(key(&store, 1, 1).as_deref(), Some(old));
    let latest = store.published.latest(id(1)).expect("a version");
    assert!(may_be.contains(&latest.value()), "{latest:?}");
    for number in 1..=latest.value() {
        assert_eq!(key(&store, 1, number).map(|key| key.len()), Some(16), "version {number}");
    }
    let loud = |line: &&String| !line.starts_with("note: ");
    assert_eq!(setup.log.0.lock().expect("log").iter().find(loud), None);
    let expected: Vec<String> = (1..=latest.value()).map(|number| format!("aws-kms-key.1.{number}")).collect();
    let files = files_in(folder).into_iter().filter(|file| ![LOCK, MANIFEST, FOLDER_ID].contains(&file.as_str()));
    // Copies are no leftovers.
    let files: Vec<String> = files.filter(|file| !file.ends_with(".extra")).collect();
    assert_eq!(files, expected, "leftovers");
    latest
}

#[test]
fn a_server_that_is_killed_at_any_step_of_a_rotation_has_the_old_version_or_the_new_one_whole() {
    if let Some((folder, step)) = in_child() {
        fail::cfg_callback(step, || raise(Signal::SIGKILL).expect("killed")).expect("a failpoint");
        let (store, _setup) = open(&folder);
        store.rotate(id(1)).expect("rotate");
        return;
    }
    for step in STEPS {
        let folder = tempfile::tempdir().expect("folder");
        let (store, _setup) = open(folder.path());
        store.latest_or_new(id(1)).expect("new");
        let old = key(&store, 1, 1).expect("the key");
        let name = "a_server_that_is_killed_at_any_step_of_a_rotation_has_the_old_version_or_the_new_one_whole";
        let output = child(name, &[], folder.path(), step);
        if step.starts_with("no such step") {
            assert!(output.status.success(), "{}", said(&output));
        } else {
            assert_eq!(output.status.signal(), Some(9), "{step}: {}", said(&output));
        }
        let latest = check_whole(folder.path(), &old, &[1, 2]);
        // The next rotation works, and takes a number that nobody has.
        let (store, _setup) = open(folder.path());
        assert_eq!(store.rotate(id(1)).expect("rotate"), latest.next().expect("a version"), "{step}");
        check_whole(folder.path(), &old, &[2, 3]);
    }
}

/// What is passed for the old file that is kept, for the new key file, and for the manifest.
const REWRAP_STEPS: [&str; 6] =
    ["before_temporary", "after_create", "after_write", "before_rename", "after_rename", "after_old_copy"];

#[test]
fn a_server_that_is_killed_at_any_step_of_a_re_wrap_has_the_old_file_or_the_new_one_whole() {
    const NAME: &str = "a_server_that_is_killed_at_any_step_of_a_re_wrap_has_the_old_file_or_the_new_one_whole";
    const NEW: &str = "arn:aws:kms:eu-west-1:1:key/new";
    let under_new = |store: &KeyStore| {
        store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(NEW));
    };
    if let Some((folder, step)) = in_child() {
        let with_copies = step.ends_with('x');
        let (step, passes) = step.trim_end_matches('x').split_once(' ').expect("a step and a number");
        let left = AtomicUsize::new(passes.parse().expect("a number"));
        let (store, _setup) = open(&folder);
        let kill = move || {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                raise(Signal::SIGKILL).expect("killed");
            }
        };
        fail::cfg_callback(step, kill).expect("a failpoint");
        under_new(&store);
        if with_copies {
            let extra = extra_master_keys::list(&[extra_master_keys::ONE]);
            store.new_keys().change(|settings| settings.extra_master_keys = extra);
        }
        store.rewrap(None).expect("re-wrapped");
        return;
    }
    // With copies, their file is written before what is kept, and after the key file.
    let times = |with_copies: bool| if with_copies { 1..=5 } else { 1..=3 };
    let all =
        [false, true].into_iter().flat_map(|with_copies| times(with_copies).map(move |passes| (with_copies, passes)));
    for (step, (with_copies, passes)) in
        REWRAP_STEPS.iter().flat_map(|step| all.clone().map(move |which| (step, which)))
    {
        let folder = tempfile::tempdir().expect("folder");
        let (store, _setup) = open(folder.path());
        store.latest_or_new(id(1)).expect("new");
        let old = key(&store, 1, 1).expect("the key");
        let output = child(NAME, &[], folder.path(), &format!("{step} {passes}{}", if with_copies { "x" } else { "" }));
        let is_passed = *step != "after_old_copy" || passes == 1;
        assert_eq!(output.status.signal(), is_passed.then_some(9), "{step} {passes}: {}", said(&output));
        // What is kept of before is removed by the start that proves the key file.
        check_whole(folder.path(), &old, &[1]);
        let (store, _setup) = open(folder.path());
        under_new(&store);
        store.rewrap(None).expect("re-wrapped");
        check_whole(folder.path(), &old, &[1]);
        assert_eq!(open(folder.path()).0.files.master_keys(), [NEW.to_owned()].into(), "{step} {passes}");
    }
}

/// A damaged manifest and a key file that is gone, on a real disk.
const REPAIR_STEPS: [&str; 6] =
    ["before_temporary", "after_create", "after_write", "before_rename", "after_rename", "after_link"];

#[test]
fn a_repair_that_is_killed_at_any_step_is_done_by_a_second_one() {
    use super::super::offline::repair::{Outcome, Statement, examine};
    const NAME: &str = "a_repair_that_is_killed_at_any_step_is_done_by_a_second_one";
    let repair = |folder: &Path| {
        let (kms, time) = (TestKms::default(), Duration::from_secs(5));
        let datadir = tempfile::tempdir().expect("folder");
        let examination = examine(folder, datadir.path(), &kms, &Statement::default(), time).expect("examined");
        let outcomes = examination.repair();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Left | Outcome::Repaired(_))));
    };
    if let Some((folder, step)) = in_child() {
        let (step, passes) = step.split_once(' ').expect("a step and a number");
        let left = AtomicUsize::new(passes.parse().expect("a number"));
        let kill = move || {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                raise(Signal::SIGKILL).expect("killed");
            }
        };
        fail::cfg_callback(step, kill).expect("a failpoint");
        repair(&folder);
        return;
    }
    let mut killed = 0;
    for (step, passes) in REPAIR_STEPS.iter().flat_map(|step| (1..=5).map(move |passes| (step, passes))) {
        let folder = tempfile::tempdir().expect("folder");
        let (store, _setup) = open(folder.path());
        store.latest_or_new(id(1)).expect("new");
        store.rotate(id(1)).expect("rotate");
        store.rewrap(None).expect("re-wrapped");
        let old = key(&store, 1, 1).expect("the key");
        let manifest = folder.path().join(MANIFEST);
        let damaged = fs::read(&manifest).expect("read").trim_ascii_end().strip_suffix(b"}").expect("}").to_vec();
        fs::remove_file(&manifest).expect("remove");
        fs::write(&manifest, &damaged).expect("write");
        fs::remove_file(folder.path().join("aws-kms-key.1.2")).expect("remove");
        let output = child(NAME, &[], folder.path(), &format!("{step} {passes}"));
        assert!(matches!(output.status.signal(), None | Some(9)), "{step} {passes}: {}", said(&output));
        killed += usize::from(output.status.signal() == Some(9));
        repair(folder.path());
        let kept = folder.path().join("aws-kms-key.manifest.damaged");
        assert_eq!(fs::read(&kept).expect("kept"), damaged, "{step} {passes}");
        fs::remove_file(&kept).expect("remove");
        assert_eq!(check_whole(folder.path(), &old, &[2]), version(2), "{step} {passes}");
    }
    assert!(killed > 20, "{killed}");
}

#[test]
fn a_panic_at_any_step_leaves_no_lock_behind_and_the_next_rotation_works() {
    if let Some((folder, step)) = in_child() {
        let (store, _setup) = open(&folder);
        fail::cfg(&step, "panic").expect("a failpoint");
        let rotation = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.rotate(id(1))));
        assert!(rotation.is_err());
        fail::remove(&step);
        // The panic has released all locks, and the next rotation works.
        store.latest_or_new(id(2)).expect("another key");
        store.rotate(id(1)).expect("rotate");
        return;
    }
    let name = "a_panic_at_any_step_leaves_no_lock_behind_and_the_next_rotation_works";
    for step in &STEPS[..STEPS.len() - 1] {
        let folder = tempfile::tempdir().expect("folder");
        let (store, _setup) = open(folder.path());
        store.latest_or_new(id(1)).expect("new");
        let output = child(name, &[], folder.path(), step);
        assert!(output.status.success(), "{step}: {}", said(&output));
    }
}

#[test]
fn on_a_full_disk_a_rotation_fails_and_says_so_or_is_whole() {
    if let Some((folder, _)) = in_child() {
        // The child is root in a name space of its own, with 32 KiB of disk.
        fs::create_dir_all(&folder).expect("mkdir");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32k", "tmpfs"]).arg(&folder).status();
        assert!(mount.expect("mount").success());
        let (store, _setup) = open(&folder);
        store.latest_or_new(id(1)).expect("new");
        let old = key(&store, 1, 1).expect("the key");
        // Full but for 0 to 2 pages. With one, there is room for the key file, but not for the manifest: the version is as
        // good without.
        let mut failures = 0;
        for pages in 0..3 {
            fill(&folder.join("ballast"), pages);
            match store.rotate(id(1)) {
                Ok(_) => {}
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("No space left") && text.contains("Make room on the disk"), "{text}");
                    failures += 1;
                }
            }
            fs::remove_file(folder.join("ballast")).expect("remove");
            check_whole(&folder, &old, &[1, 2, 3]);
        }
        assert_eq!(failures, 1);
        store.rotate(id(1)).expect("there is room again");
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let name = "on_a_full_disk_a_rotation_fails_and_says_so_or_is_whole";
    let prefix = ["unshare", "--map-root-user", "--mount"];
    let output = child(name, &prefix, &folder.path().join("full"), "");
    assert!(output.status.success(), "{}", said(&output));
}

/// Fills the disk but for some pages of 4 KiB.
fn fill(file: &Path, but_for: u64) {
    let mut size: u64 = 0;
    while fs::write(file, vec![1; usize::try_from(size + 4096).expect("small")]).is_ok() {
        size += 4096;
    }
    let size = size.saturating_sub(but_for * 4096);
    fs::write(file, vec![1; usize::try_from(size).expect("small")]).expect("it had room for more");
}

#[test]
fn in_a_folder_that_cannot_be_written_keys_are_read_and_a_rotation_fails_and_says_so() {
    if let Some((folder, _)) = in_child() {
        let remount = ["mount --bind . .", "mount -o remount,ro,bind ."];
        for command in remount {
            let status = Command::new("sh").args(["-c", command]).current_dir(&folder).status();
            assert!(status.expect("mount").success(), "{command}");
        }
        let (store, setup) = open(&folder);
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
        let error = store.rotate(id(1)).expect_err("read only").to_string();
        assert!(error.contains("Read-only file system") && error.contains("Make the file system writable"), "{error}");
        assert!(store.latest_or_new(id(2)).is_err());
        // At start. KMS is not asked for a key that cannot be stored.
        assert_eq!(setup.kms.calls(), [Decrypt]);
        return;
    }
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    let name = "in_a_folder_that_cannot_be_written_keys_are_read_and_a_rotation_fails_and_says_so";
    let output = child(name, &["unshare", "--map-root-user", "--mount"], setup.folder.path(), "");
    assert!(output.status.success(), "{}", said(&output));
}
