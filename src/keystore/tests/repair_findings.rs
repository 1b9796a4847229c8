//! What a repair says that it has found, and of which keys; and that it does no more than that.

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::super::files::first_page;
use super::super::offline::repair::{By, Outcome, Statement, examine};
use super::super::offline::{InnoDb, OpenFolder, list, retire};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::extra_master_keys::{ONE, set};
use super::repair::{NEW, contents, damage, name, put, trusting};
use super::repair_files::re_wrapped;
use super::*;

const KEPT: &str = "what key files held before a re-wrap is still kept:";

/// What was found, and what is done about it.
fn told(setup: &Setup, statement: &Statement) -> Vec<(By, String, String)> {
    let examined = setup.examined(statement);
    examined.findings().iter().map(|finding| (finding.by, finding.found.clone(), finding.remedy.clone())).collect()
}

#[test]
fn a_copy_takes_the_place_of_a_file_that_is_at_fault_and_of_no_other() {
    let setup = re_wrapped();
    // One of a later version of the plugin may be read by that.
    put(&setup, "aws-kms-key.7.2", b"{\"format\": 3}");
    let before = contents(&setup);
    assert_eq!(setup.found(&Statement::default())[0], (Some(name(7, 2)), By::Operator));
    setup.repaired(&Statement::default());
    assert_eq!(contents(&setup), before);
}

#[test]
fn what_there_is_instead_of_a_file_at_fault_is_told_with_what_to_do() {
    let setup = used();
    let store = Arc::new(setup.restart());
    set(&store, &[ONE]);
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    store.latest_or_new(id(8)).expect("it has no copies");
    drop(store);
    remove(&setup, "aws-kms-key.8.1");
    remove(&setup, "aws-kms-key.1.1");
    let other = wrap(&[66; 16]);
    put(&setup, "aws-kms-key.7.1", other.as_bytes());
    let told = told(&setup, &Statement::default());
    let begins = ["a start uses a copy", "move the file away: then a start", "it is left as it is"];
    assert!(told.len() == 3 && told.iter().zip(begins).all(|((_, _, is), begins)| is.starts_with(begins)), "{told:?}");
}

#[test]
fn why_a_copy_takes_no_place_is_told() {
    let setup = re_wrapped();
    remove(&setup, "aws-kms-key.7.2");
    setup.kms.disable(TEST_MASTER_KEY, true);
    let found = |setup: &Setup| told(setup, &Statement::default()).remove(0).1;
    let of_copy = "Nor is it to be had from aws-kms-key.7.2.before-rewrap: key 7 version 2: KMS Decrypt failed";
    assert!(found(&setup).contains(of_copy), "{}", found(&setup));
    setup.kms.set_failing(TEST_MASTER_KEY, Some(Class::Transient));
    assert!(
        !found(&setup).contains("Nor is it") && found(&setup).contains("could not be reached"),
        "{}",
        found(&setup)
    );
}

#[test]
fn what_is_kept_is_told_by_who_removes_it() {
    let setup = re_wrapped();
    // Of key 7, neither file is what it was; of key 8, nothing else tells.
    for file in ["aws-kms-key.7.1", "aws-kms-key.7.2"] {
        put(&setup, &format!("{file}.before-rewrap"), b"rubbish");
    }
    put(&setup, "aws-kms-key.7.1", b"garbage");
    remove(&setup, "aws-kms-key.7.2");
    setup.put("aws-kms-key.8.1.before-rewrap", b"rubbish");
    let forgets = Statement { forgets_copies: true, ..Statement::default() };
    let told = told(&setup, &forgets);
    let of = |by: By| -> Vec<&str> {
        told.iter()
            .filter(|(is, found, _)| *is == by && found.contains("kept"))
            .map(|(_, found, _)| &found[..])
            .collect()
    };
    assert_eq!(of(By::NextStart), [format!("{KEPT} key 7 version 1, key 7 version 2")]);
    assert_eq!(of(By::Repair), [format!("{KEPT} key 1 version 1")]);
    let unknown = "aws-kms-key.8.1.before-rewrap is kept, and neither a key file nor the manifest knows of it";
    assert_eq!(of(By::Operator), [unknown]);
}

#[test]
fn a_version_that_is_not_trusted_and_was_wrapped_anew_stays_so() {
    let setup = used();
    setup.put("aws-kms-key.1.5", &[b"other:", &[9; 16][..]].concat());
    drop(setup.restart());
    put(&setup, "aws-kms-key.1.5", [b"again:", &[9; 16][..]].concat());
    let before = contents(&setup);
    for statement in [Statement::default(), trusting(&[OTHER_MASTER_KEY])] {
        let found = setup.examined(&statement);
        let [finding] = found.findings() else { panic!("one finding") };
        assert_eq!((finding.name, finding.by), (Some(name(1, 5)), By::Operator));
        assert!(finding.found.contains("it turned up under a master key"), "{}", finding.found);
        setup.repaired(&statement);
        assert_eq!(contents(&setup), before);
    }
}

#[test]
fn what_the_next_start_does_is_told() {
    let setup = used();
    let again = [b"again:", &read(&setup, "aws-kms-key.7.1")[b"wrapped:".len()..]].concat();
    put(&setup, "aws-kms-key.7.1", again);
    setup.put_key("aws-kms-key.9.1", 9);
    let told = told(&setup, &Statement::default());
    assert!(told.iter().all(|(by, _, _)| *by == By::NextStart));
    let found: Vec<&str> = told.iter().map(|(_, found, _)| &found[..]).collect();
    assert_eq!(
        found,
        [
            "its file is another than the one that the manifest knows, and holds the same key",
            "the manifest does not know its file"
        ]
    );
}

#[test]
fn of_a_damaged_manifest_it_is_told_how_many_entries_are_left() {
    let setup = used();
    remove(&setup, "aws-kms-key.7.1");
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    retire(&folder, &[name(7, 1)], &InnoDb::None).expect("retired");
    drop(folder);
    damage(&setup);
    let (_, _, remedy) = told(&setup, &Statement::default()).remove(0);
    assert!(remedy.starts_with("made anew of 3 entries that can still be read, and of 0 key files."), "{remedy}");
}

#[test]
fn what_was_left_behind_in_a_copy_stays_so_when_its_manifest_is_written() {
    let setup = Setup::new();
    let folder = setup.folder.path();
    let open = |folder: &Path| {
        let opening = Opening { datadir: folder, folder, ..setup.opening(Role::Server, setup.kms.clone()) };
        KeyStore::open(opening).expect("open")
    };
    let store = open(folder);
    store.latest_or_new(id(7)).expect("made");
    setup.put("aws-kms-key.1.1", &[b"other:", &[9; 16][..]].concat());
    let store = {
        drop(store);
        open(folder)
    };
    store.rotate(id(7)).expect("rotated");
    let copy = tempfile::tempdir().expect("folder");
    for file in setup.files().iter().filter(|file| *file != "aws-kms-key.7.2") {
        fs::copy(folder.join(file), copy.path().join(file)).expect("copy");
    }
    let statement = trusting(&[OTHER_MASTER_KEY]);
    let time = Duration::from_secs(5);
    let examined = examine(copy.path(), copy.path(), &*setup.kms, &statement, time).expect("examined");
    assert!(matches!(examined.repair()[..], [Outcome::Repaired(_)]), "the manifest is written");
    setup.loud();
    let store = open(copy.path());
    assert_eq!(setup.loud(), Vec::<String>::new(), "nothing is missed");
    assert_eq!((store.published.latest(id(1)), store.rotate(id(7)).expect("rotated")), (Some(version(1)), version(3)));
}

#[test]
fn in_a_datadir_that_holds_its_own_keys_nothing_is_looked_at_twice() {
    let setup = Setup::new();
    let folder = setup.folder.path();
    let open = || KeyStore::open(Opening { datadir: folder, ..setup.opening(Role::Server, setup.kms.clone()) });
    open().expect("open").latest_or_new(id(1)).expect("made");
    open().expect("open").rotate(id(1)).expect("rotated");
    let found = |folder: &Path| -> Vec<String> {
        let time = Duration::from_secs(5);
        let examined = examine(folder, folder, &*setup.kms, &Statement::default(), time).expect("examined");
        examined.findings().iter().map(|finding| finding.found.clone()).collect()
    };
    assert_eq!(found(folder), [] as [&str; 0], "no key file is a stray one");
    setup.put(".aws-kms-key.new-abc", b"half");
    assert!(found(folder).iter().all(|found| found.starts_with("1 temporary file(s)")), "{:?}", found(folder));
    remove(&setup, ".aws-kms-key.new-abc");
    // In a copy, one may be missing that was made too late for it; not where the keys lie by themselves.
    let copy = tempfile::tempdir().expect("folder");
    for file in setup.files().iter().filter(|file| *file != "aws-kms-key.1.2") {
        fs::copy(folder.join(file), copy.path().join(file)).expect("copy");
    }
    assert_eq!(found(copy.path()), [] as [&str; 0]);
    let elsewhere = tempfile::tempdir().expect("folder");
    let examined = examine(copy.path(), elsewhere.path(), &*setup.kms, &Statement::default(), Duration::from_secs(5));
    let examined = examined.expect("examined");
    assert!(examined.findings().iter().any(|finding| finding.name == Some(name(1, 2))), "it is missed");
}

#[test]
fn what_is_in_the_place_of_the_manifest_and_is_no_file_is_moved_aside() {
    let setup = used();
    remove(&setup, MANIFEST);
    fs::create_dir(setup.folder.path().join(MANIFEST)).expect("create");
    fs::write(setup.folder.path().join(MANIFEST).join("what"), b"somebody has put here").expect("write");
    let kept = setup.repaired(&trusting(&[TEST_MASTER_KEY]));
    assert_eq!(kept, ["aws-kms-key.manifest.damaged"]);
    assert!(setup.folder.path().join("aws-kms-key.manifest.damaged/what").exists());
    assert_eq!(setup.restart().published.latest(id(7)), Some(version(2)));
    assert_eq!(setup.loud(), Vec::<String>::new());
}

#[test]
fn which_master_key_wraps_what_is_kept_stays_known_as_long_as_the_key_file_is_the_same() {
    for is_same_file in [true, false] {
        let setup = re_wrapped();
        let mut manifest: serde_json::Value = serde_json::from_slice(&read(&setup, MANIFEST)).expect("JSON");
        for entry in manifest["keys"].as_array_mut().expect("entries") {
            assert_eq!((&entry["master_key"], &entry["former_master_key"]), (&NEW.into(), &TEST_MASTER_KEY.into()));
            entry["is_trusted"] = false.into();
        }
        put(&setup, MANIFEST, manifest.to_string());
        if !is_same_file {
            let again = [b"again:", &read(&setup, "aws-kms-key.7.2.before-rewrap")[b"wrapped:".len()..]].concat();
            put(&setup, "aws-kms-key.7.2", again);
        }
        assert_eq!(setup.repaired(&trusting(&[NEW, TEST_MASTER_KEY])), [] as [&str; 0]);
        let store = setup.open_as(Role::Backup, setup.kms.clone()).expect("open");
        let entry = store.files.entry(name(7, 2)).expect("an entry");
        assert!(entry.is_trusted);
        assert_eq!(entry.former_master_key(), is_same_file.then_some(TEST_MASTER_KEY));
    }
}

#[test]
fn encrypted_data_without_any_key_is_told_and_an_empty_folder_is_not() {
    let setup = Setup::new();
    assert_eq!(told(&setup, &Statement::default()), []);
    fs::write(setup.datadir.path().join("ibdata1"), first_page(0x15, 10_428, 1, 1)).expect("write");
    let found = told(&setup, &Statement::default());
    assert!(matches!(&found[..], [(By::Operator, found, _)] if found.contains("ibdata1 is encrypted")), "{found:?}");
    let setup = used();
    fs::write(setup.datadir.path().join("ibdata1"), first_page(0x15, 10_428, 1, 1)).expect("write");
    assert_eq!(told(&setup, &Statement::default()), []);
}

#[test]
fn a_retired_version_that_data_needs_is_told() {
    let setup = used();
    let kept = read(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.1");
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    retire(&folder, &[name(7, 1)], &InnoDb::None).expect("retired");
    drop(folder);
    fs::create_dir(setup.datadir.path().join("db")).expect("folder");
    let table = setup.datadir.path().join("db/t.ibd");
    fs::write(setup.datadir.path().join("ib_logfile0"), b"Phys").expect("write");
    for (lowest_version, is_told) in [(0, false), (2, false), (1, true)] {
        fs::write(&table, first_page(0x15, 10_428, 7, lowest_version)).expect("write");
        let found = told(&setup, &Statement::default());
        assert_eq!(found.len(), usize::from(is_told), "{lowest_version} {found:?}");
        assert!(found.iter().all(|(by, found, remedy)| {
            *by == By::Operator && found.contains("db/t.ibd") && remedy.contains("aws-kms-key.7.1 back")
        }));
    }
    setup.put("aws-kms-key.7.1", &kept);
    assert_eq!(told(&setup, &Statement::default()), [], "the next start takes it back");
}

#[test]
fn of_a_file_at_fault_that_the_manifest_never_knew_it_is_not_said_to_restore_it() {
    let setup = used();
    put(&setup, "aws-kms-key.7.9", b"");
    let found = told(&setup, &Statement::default());
    assert!(matches!(&found[..], [(By::Operator, _, remedy)] if remedy.contains("move the file away")), "{found:?}");
    assert!(!found[0].1.contains("Restore"), "{found:?}");
    let listed = list(&OpenFolder::to_read(setup.folder.path()).expect("open")).expect("listed");
    let reason = listed.versions.iter().find(|listed| listed.name == name(7, 9)).and_then(|it| it.reason.clone());
    assert!(reason.is_some_and(|reason| reason.contains("move the file away") && !reason.contains("Restore")));
}

#[test]
fn a_file_that_the_servers_user_cannot_read_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let setup = used();
    let give = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), Some(user)).expect("chown");
    give(setup.datadir.path(), 4711);
    setup.files().iter().for_each(|file| give(&setup.folder.path().join(file), 4711));
    assert_eq!(told(&setup, &Statement::default()), []);
    give(&setup.folder.path().join("aws-kms-key.7.1"), 0);
    let found = told(&setup, &Statement::default());
    assert!(
        matches!(&found[..], [(By::Operator, found, _)] if found.contains("aws-kms-key.7.1 belongs to user 0") && found.contains("4711")),
        "{found:?}"
    );
    assert!(found[0].2.contains("chown") && found[0].2.ends_with("/aws-kms-key.7.1"), "{found:?}");
    // To whom it belongs already, a change of the owner does nothing.
    give(&setup.folder.path().join("aws-kms-key.7.1"), 4711);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o044);
    fs::set_permissions(setup.folder.path().join("aws-kms-key.7.1"), mode).expect("chmod");
    let found = told(&setup, &Statement::default());
    assert!(found.len() == 1 && found[0].2.contains("chmod u+r"), "{found:?}");
}

#[test]
fn of_a_file_at_fault_that_the_manifest_may_have_known_it_is_not_said_to_move_it_away() {
    for has_manifest in [true, false] {
        let setup = used();
        put(&setup, "aws-kms-key.7.1", b"");
        if has_manifest {
            // Its entry is one of a later version of the plugin.
            let manifest = String::from_utf8(read(&setup, MANIFEST)).expect("text");
            setup.put(MANIFEST, manifest.replace("AES_CBC", "AES_XTS").as_bytes());
        } else {
            remove(&setup, MANIFEST);
        }
        let found = told(&setup, &Statement::default());
        assert!(
            found.iter().all(|(_, _, remedy)| !remedy.contains("if no data needs it, move the file away")),
            "{found:?}"
        );
        let listed = list(&OpenFolder::to_read(setup.folder.path()).expect("open")).expect("listed");
        let reason = listed.versions.iter().find(|listed| listed.name == name(7, 1)).and_then(|it| it.reason.clone());
        assert!(reason.is_some_and(|reason| reason.contains("Restore the file")), "{found:?}");
    }
}

#[test]
fn a_key_that_data_needs_and_nobody_knows_is_told_and_not_made() {
    let setup = used();
    fs::create_dir(setup.datadir.path().join("db")).expect("folder");
    fs::write(setup.datadir.path().join("db/t.ibd"), first_page(0x15, 10_428, 9, 1)).expect("write");
    let found = told(&setup, &Statement::default());
    assert!(
        matches!(&found[..], [(By::Operator, found, remedy)] if found.contains("db/t.ibd is encrypted with it, and nothing is known") && remedy.contains("aws-kms-key.9.1")),
        "{found:?}"
    );
    let store = setup.open().expect("open");
    setup.kms.calls();
    let error = store.latest_or_new(id(9)).expect_err("data has another key 9").to_string();
    assert!(error.starts_with("key 9 is not made: ") && error.contains("db/t.ibd is encrypted with it"), "{error}");
    assert!(setup.kms.calls().is_empty() && !setup.files().iter().any(|file| file.contains(".9.")));
    assert!(store.figures().readiness().can_make_keys(), "it is that key's alone");
    store.latest_or_new(id(10)).expect("made");
    fs::remove_file(setup.datadir.path().join("db/t.ibd")).expect("removed");
    store.forget_failures();
    store.latest_or_new(id(9)).expect("made");
}
