//! A manifest that is lost while the server runs is made anew of what the server knows, and not by the next start of what lies in
//! the folder.

use super::super::background::Job;
use super::super::verify_job::VerifyJob;
use super::extra_master_keys::ONE;
use super::repair::put;
use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAMAGED: &str = "aws-kms-key.manifest.damaged";

/// What a manifest says, without where it lies.
fn said(manifest: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(manifest).lines().filter(|line| !line.contains("inode")).map(str::to_owned).collect()
}

fn warnings(setup: &Setup) -> Vec<String> {
    let lines = std::mem::take(&mut *setup.log.0.lock().expect("log"));
    lines.into_iter().filter(|line| !line.starts_with("note: ")).collect()
}

/// A server whose manifest is damaged, or gone, and what was in it.
fn lost(damage: Option<&[u8]>) -> (Setup, Arc<KeyStore>, Vec<u8>) {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    let before = read(&setup, MANIFEST);
    match damage {
        Some(damage) => put(&setup, MANIFEST, damage),
        None => remove(&setup, MANIFEST),
    }
    warnings(&setup);
    (setup, store, before)
}

/// The manifest is whole again, and the log says so once.
fn assert_made_anew(setup: &Setup, before: &[u8], damage: Option<&[u8]>) {
    assert_eq!(said(&read(setup, MANIFEST)), said(before));
    let told = warnings(setup);
    assert!(told.len() == 1 && told[0].contains("was made anew of what the server knew"), "{told:?}");
    assert!(told[0].contains(if damage.is_some() { "was damaged (" } else { "was gone" }), "{told:?}");
    assert_eq!(setup.files().contains(&DAMAGED.to_owned()), damage.is_some());
    damage.into_iter().for_each(|damage| assert_eq!(read(setup, DAMAGED), damage));
}

#[test]
fn the_hourly_check_finds_it_and_a_key_file_that_is_lost_too_is_still_missed_by_the_next_start() {
    for damage in [None, Some(&b"{ \"format\": 1, \"keys\": ["[..])] {
        let (setup, store, before) = lost(damage);
        let now = Instant::now();
        let mut job = VerifyJob::new(store.clone(), now);
        job.run(now);
        assert_eq!(warnings(&setup), [] as [&str; 0], "it is not due");
        job.run(now + HOUR);
        assert_made_anew(&setup, &before, damage);
        job.run(now + HOUR * 2);
        assert_eq!(warnings(&setup), [] as [&str; 0], "once");
        remove(&setup, "aws-kms-key.7.2");
        setup.open().expect("open");
        assert!(setup.log.has("aws-kms-key.7.2 is gone"), "{:?}", setup.log.0);
    }
}

#[test]
fn so_does_who_asks_for_a_check_and_whoever_makes_a_key() {
    for damage in [None, Some(&b"garbage"[..])] {
        let (setup, store, before) = lost(damage);
        store.verify(None).result.expect("good");
        assert_made_anew(&setup, &before, damage);
        let (setup, store, _) = lost(damage);
        store.rotate(id(1)).expect("rotated");
        let recorded = setup.open().expect("open").files.recorded();
        assert_eq!(recorded.len(), 4, "{recorded:?}");
        assert!(warnings(&setup).iter().any(|line| line.contains("was made anew of what the server knew")));
    }
}

#[test]
fn one_that_is_there_is_left_as_it_is() {
    use std::os::unix::fs::MetadataExt;
    let setup = used();
    let store = setup.open().expect("open");
    let file = || {
        let metadata = fs::metadata(setup.folder.path().join(MANIFEST)).expect("metadata");
        (metadata.ino(), metadata.mtime_nsec())
    };
    let before = file();
    store.verify(None).result.expect("good");
    assert_eq!(file(), before);
    assert!(!store.files.manifest_is_lost());
}

#[test]
fn one_that_never_was_is_not_missed_and_one_of_a_later_version_is_left_alone() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.verify(None).result.expect("nothing to check");
    store.latest_or_new(id(1)).expect("made");
    assert_eq!(warnings(&setup), [] as [&str; 0]);
    put(&setup, MANIFEST, b"{\"format\": 2, \"news\": true}");
    store.verify(None).result.expect("good");
    assert_eq!(read(&setup, MANIFEST), b"{\"format\": 2, \"news\": true}");
    drop(store);
    // Of what it says nothing is known; what is loaded is listed all the same.
    let store = setup.open().expect("open");
    let listed: Vec<_> = store.figures().version_list().iter().map(|it| (it.name, it.state)).collect();
    assert_eq!(listed, [(KeyName::new(1, 1).expect("a name"), VersionState::Ok)]);
}

#[test]
fn what_another_server_or_the_tool_has_changed_is_in_the_list_after_the_next_check() {
    let setup = used();
    let store = Arc::new(setup.open().expect("open"));
    let other = setup.open().expect("open");
    other.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(ONE));
    other.rewrap(None).expect("re-wrapped");
    let under = |store: &KeyStore| {
        let list = store.figures().version_list();
        list.into_iter().filter(|it| it.master_key.as_deref() == Some(ONE)).count()
    };
    assert_eq!((under(&other), under(&store)), (3, 0));
    let now = Instant::now();
    let mut job = VerifyJob::new(store.clone(), now);
    job.run(now + HOUR);
    for _ in 0..10 {
        job.run(now + HOUR + Duration::from_secs(1));
    }
    assert_eq!(under(&store), 3);
}

#[test]
fn one_that_cannot_be_made_anew_is_told_once_each_time_it_is_lost() {
    let (setup, store, before) = lost(None);
    let lock = ".aws-kms-key.lock";
    let blocked = |is_blocked: bool| {
        let path = setup.folder.path().join(lock);
        if is_blocked {
            let _ = fs::remove_file(&path);
            fs::create_dir(&path).expect("create");
        } else {
            fs::remove_dir(&path).expect("remove");
        }
    };
    let told = || warnings(&setup).iter().filter(|line| line.contains("could not be made anew")).count();
    for _ in 0..2 {
        blocked(true);
        drop(store.verify(None));
        drop(store.verify(None));
        assert_eq!(told(), 1);
        // Somebody else restores it.
        blocked(false);
        put(&setup, MANIFEST, &before);
        store.verify(None).result.expect("good");
        assert_eq!(told(), 0);
        remove(&setup, MANIFEST);
    }
}
