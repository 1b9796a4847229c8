//! Each row of the table of what may be found at start.

use super::*;

/// A folder in which a server has made key 1 in two versions and key 2 in one; the server is gone.
fn used() -> Setup {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.rotate(id(1)).expect("rotate");
    store.latest_or_new(id(2)).expect("new");
    setup.kms.calls();
    setup
}

fn warnings_and_errors(setup: &Setup) -> usize {
    setup.log.0.lock().expect("log").iter().filter(|line| !line.starts_with("note: ")).count()
}

#[test]
fn all_is_as_it_was() {
    let setup = used();
    let manifest = read(&setup, MANIFEST);
    let store = setup.open().expect("open");
    assert_eq!((store.published.latest(id(1)), store.published.latest(id(2))), (Some(version(2)), Some(version(1))));
    let marks = ["is_trusted", "is_left_behind", "is_retired"];
    let text = String::from_utf8_lossy(&manifest).into_owned();
    assert!(!marks.iter().any(|mark| text.contains(mark)), "what is as usual is not written: {text}");
    assert_eq!((warnings_and_errors(&setup), read(&setup, MANIFEST)), (0, manifest));
}

#[test]
fn a_start_that_finds_nothing_new_does_not_wait_for_who_adds_files() {
    let setup = used();
    let lock = fs::File::open(setup.folder.path().join(LOCK)).expect("open");
    lock.lock().expect("lock");
    let started = Instant::now();
    setup.open().expect("open");
    assert!(started.elapsed() < Duration::from_secs(5), "the lock of the folder is waited for during 10 s");
    assert_eq!(warnings_and_errors(&setup), 0, "{:?}", setup.log.0);
}

#[test]
fn a_file_that_is_not_in_the_manifest_is_adopted_with_a_note() {
    let setup = used();
    setup.put_key("aws-kms-key.9.4", 94);
    let store = setup.open().expect("open");
    assert_eq!(key(&store, 9, 4), Some(vec![94; 16]));
    assert!(setup.log.has("note: adopted key 9 version 4"));
    assert_eq!(warnings_and_errors(&setup), 0);
    // From now on it is missed when it is gone.
    remove(&setup, "aws-kms-key.9.4");
    setup.open().expect("open");
    assert!(setup.log.has("error: key not loaded: key 9 version 4"));
}

#[test]
fn a_lost_file_is_reported_and_its_key_is_not_made_anew_and_its_number_is_not_used_again() {
    let setup = used();
    remove(&setup, "aws-kms-key.2.1");
    let store = setup.open().expect("the other key works");
    assert_eq!(store.published.latest(id(1)), Some(version(2)));
    assert!(setup.log.has("error: key not loaded: key 2 version 1: key file"));
    let error = store.latest_or_new(id(2)).expect_err("not made anew").to_string();
    assert!(error.contains("aws-kms-key.2.1 is gone. Restore the file from a backup"), "{error}");
    setup.kms.calls();
    assert_eq!(store.rotate(id(2)).expect("rotate"), version(2));
    assert_eq!(setup.kms.calls(), [Generate, Decrypt]);
}

#[test]
fn a_lost_file_that_is_restored_while_the_server_runs_works_without_a_restart() {
    let setup = used();
    let backup = read(&setup, "aws-kms-key.2.1");
    remove(&setup, "aws-kms-key.2.1");
    let store = setup.open().expect("open");
    assert!(store.latest_or_new(id(2)).is_err());
    setup.put("aws-kms-key.2.1", &backup);
    store.forget_failures();
    assert_eq!(store.latest_or_new(id(2)).expect("loaded"), version(1));
}

#[test]
fn the_latest_version_is_the_highest_usable_one() {
    let setup = used();
    remove(&setup, "aws-kms-key.1.2");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    assert_eq!(store.rotate(id(1)).expect("rotate"), version(3));
}

#[test]
fn a_file_with_the_same_key_wrapped_anew_is_adopted() {
    let setup = used();
    let before = key(&setup.open().expect("open"), 2, 1).expect("the key");
    remove(&setup, "aws-kms-key.2.1");
    // Another file, the same key.
    setup.put("aws-kms-key.2.1", &[b"again:", &before[..]].concat());
    let store = setup.open().expect("open");
    assert_eq!(key(&store, 2, 1), Some(before));
    assert!(setup.log.has("note: adopted the new file of key 2 version 1"));
    assert_eq!(warnings_and_errors(&setup), 0);
    setup.log.0.lock().expect("log").clear();
    setup.open().expect("open");
    assert!(!setup.log.has("adopted"), "once");
}

#[test]
fn a_file_with_another_key_is_refused() {
    let setup = used();
    remove(&setup, "aws-kms-key.2.1");
    setup.put_key("aws-kms-key.2.1", 66);
    for _ in 0..2 {
        let store = setup.open().expect("open");
        assert_eq!(key(&store, 2, 1), None);
        assert!(store.latest_or_new(id(2)).is_err());
        assert!(setup.log.has("error: key not loaded: key 2 version 1: its file holds another key"));
        assert_eq!(store.published.latest(id(1)), Some(version(2)));
    }
}

#[test]
fn a_file_that_names_another_algorithm_is_refused() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.new_keys().change(|recipe| recipe.algorithm = Algorithm::AesCtr);
    store.latest_or_new(id(2)).expect("new");
    let bytes = key(&store, 2, 1).expect("the key");
    remove(&setup, "aws-kms-key.2.1");
    // The same data key in format 1, which means AES_CBC.
    setup.put("aws-kms-key.2.1", wrap(&bytes).as_bytes());
    let store = setup.open().expect("open");
    assert_eq!(key(&store, 2, 1), None);
    assert!(setup.log.has("error: key not loaded: key 2 version 1: its file says AES_CBC"), "{:?}", setup.log.0);
}

#[test]
fn two_files_that_were_swapped_are_both_refused() {
    let setup = used();
    let path = |file: &str| setup.folder.path().join(file);
    fs::rename(path("aws-kms-key.1.1"), path("swap")).expect("rename");
    fs::rename(path("aws-kms-key.1.2"), path("aws-kms-key.1.1")).expect("rename");
    fs::rename(path("swap"), path("aws-kms-key.1.2")).expect("rename");
    let store = setup.open().expect("open");
    assert_eq!([key(&store, 1, 1), key(&store, 1, 2)], [None, None]);
    assert!(store.latest_or_new(id(1)).is_err());
    assert_eq!(store.published.latest(id(2)), Some(version(1)));
}

#[test]
fn a_file_that_is_empty_too_long_damaged_or_no_file_is_reported_with_its_cause_and_the_others_work() {
    let causes = [
        (Some(&b""[..]), "aws-kms-key.1.1 is empty. Restore the file from a backup"),
        (Some(&[7; 70_000]), "aws-kms-key.1.1 has 70000 bytes, more than any wrapped key"),
        (Some(b"garbage"), "key 1 version 1: KMS Decrypt failed: not a wrapped key, or damaged"),
        (Some(b"wrapped:15 bytes of key"), "key 1 version 1: KMS gave a key of 15 bytes"),
        (None, "aws-kms-key.1.1 has the name of a key file, but is no file"),
    ];
    for (contents, cause) in causes {
        let setup = used();
        remove(&setup, "aws-kms-key.1.1");
        match contents {
            Some(contents) => setup.put("aws-kms-key.1.1", contents),
            None => fs::create_dir(setup.folder.path().join("aws-kms-key.1.1")).expect("mkdir"),
        }
        let store = setup.open().expect("open");
        assert!(setup.log.has(&format!("error: key not loaded: {cause}")) || setup.log.has(cause), "{:?}", setup.log.0);
        assert_eq!(key(&store, 1, 1), None);
        assert_eq!(
            (store.published.latest(id(1)), store.published.latest(id(2))),
            (Some(version(2)), Some(version(1)))
        );
        assert!(!setup.kms.calls().contains(&Generate));
    }
}

#[test]
fn a_lost_manifest_is_made_anew_with_a_warning() {
    let setup = used();
    let before = read(&setup, MANIFEST);
    remove(&setup, MANIFEST);
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(2)));
    assert!(setup.log.has("warning: there is no manifest"));
    let checks = |manifest: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(manifest);
        text.lines().filter(|line| !line.contains("created") && !line.contains("inode")).map(str::to_owned).collect()
    };
    assert_eq!(checks(&read(&setup, MANIFEST)), checks(&before));
}

#[test]
fn a_damaged_manifest_is_put_aside_and_made_anew_with_a_warning() {
    let setup = used();
    remove(&setup, MANIFEST);
    setup.put(MANIFEST, b"{ \"format\": 1, \"keys\": [");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(2)));
    assert!(setup.log.has("warning: the manifest of the key files in"), "{:?}", setup.log.0);
    assert_eq!(read(&setup, "aws-kms-key.manifest.damaged"), b"{ \"format\": 1, \"keys\": [");
    setup.log.0.lock().expect("log").clear();
    setup.open().expect("open");
    assert_eq!(warnings_and_errors(&setup), 0);
}

#[test]
fn with_a_manifest_of_a_newer_format_keys_are_read_and_none_is_made() {
    let setup = used();
    remove(&setup, MANIFEST);
    setup.put(MANIFEST, b"{\"format\": 2, \"news\": true}");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(2)));
    for refused in [store.rotate(id(1)), store.latest_or_new(id(5))] {
        let error = refused.expect_err("no new keys").to_string();
        assert!(error.contains("format 2") && error.contains("Install the version"), "{error}");
    }
    assert!(!setup.kms.calls().contains(&Generate));
    assert!(!setup.log.has("there is no manifest"));
    assert_eq!(read(&setup, MANIFEST), b"{\"format\": 2, \"news\": true}");
}

#[test]
fn in_mariadb_backup_the_manifest_is_checked_and_not_written() {
    let setup = used();
    let manifest = read(&setup, MANIFEST);
    remove(&setup, "aws-kms-key.2.1");
    setup.put_key("aws-kms-key.2.1", 66);
    setup.put_key("aws-kms-key.9.1", 9);
    let store = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
    assert_eq!((key(&store, 2, 1), key(&store, 9, 1)), (None, Some(vec![9; 16])));
    assert_eq!(read(&setup, MANIFEST), manifest);
}

#[test]
fn thousands_of_files_that_are_adopted_are_one_line_in_the_log() {
    let setup = used();
    for number in 1..=2000 {
        setup.put_key(&format!("aws-kms-key.9.{number}"), 9);
    }
    setup.open().expect("open");
    let log = setup.log.0.lock().expect("log");
    let adopted: Vec<&String> = log.iter().filter(|line| line.contains("adopted")).collect();
    assert!(adopted.len() == 1 && adopted[0].contains("adopted 2000 key versions"), "{adopted:?}");
}
