//! Key files that are gone or damaged, leftovers, and what ties the datadir to its keys: what a repair does about them.

use super::super::offline::OpenFolder;
use super::super::offline::repair::{By, Examination, Outcome, Statement};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::repair::{NEW, contents, damage, exchange, name, put};
use super::*;

/// Keys 1.1, 7.1 and 7.2, all re-wrapped a moment ago.
pub(super) fn re_wrapped() -> Setup {
    let setup = used();
    let store = setup.restart();
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(NEW));
    assert_eq!(store.rewrap(None).expect("re-wrapped").count, 3);
    setup.kms.calls();
    setup
}

#[test]
fn a_key_file_that_is_gone_damaged_or_exchanged_gets_the_copy_that_kms_has_proven() {
    let other = wrap(&[66; 16]);
    let cases = [(None, false), (Some(&b""[..]), false), (Some(b"garbage"), true), (Some(other.as_bytes()), true)];
    for (number, (held, is_kept)) in cases.into_iter().enumerate() {
        let setup = re_wrapped();
        let before = key(&setup.restart(), 7, 2);
        // The start has forgotten the copies.
        let store = setup.restart();
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, 3);
        let copy = read(&setup, "aws-kms-key.7.2.before-rewrap");
        remove(&setup, "aws-kms-key.7.2");
        held.iter().for_each(|held| setup.put("aws-kms-key.7.2", held));
        drop(store);
        let kept = setup.repaired(&Statement::default());
        assert_eq!(kept, if is_kept { vec!["aws-kms-key.7.2.damaged"] } else { vec![] }, "{number}");
        if is_kept {
            assert_eq!(Some(&read(&setup, "aws-kms-key.7.2.damaged")[..]), held, "{number}");
        }
        assert_eq!(read(&setup, "aws-kms-key.7.2"), copy, "{number}");
        assert!(setup.files().contains(&"aws-kms-key.7.2.before-rewrap".to_owned()), "until a start has proven it");
        let store = setup.restart();
        assert_eq!((key(&store, 7, 2), store.published.latest(id(7))), (before, Some(version(2))));
        assert_eq!(setup.loud(), Vec::<String>::new());
    }
}

#[test]
fn a_version_that_is_not_trusted_stays_so_when_its_copy_takes_its_place() {
    let setup = used();
    setup.put("aws-kms-key.1.5", &[b"other:", &[9; 16][..]].concat());
    drop(setup.restart());
    let path = |file: &str| setup.folder.path().join(file);
    fs::rename(path("aws-kms-key.1.5"), path("aws-kms-key.1.5.before-rewrap")).expect("rename");
    setup.repaired(&Statement::default());
    assert!(path("aws-kms-key.1.5").exists());
    assert_eq!(setup.restart().published.latest(id(1)), Some(version(1)));
}

#[test]
fn a_copy_that_is_not_proven_takes_no_place() {
    let setup = re_wrapped();
    remove(&setup, "aws-kms-key.7.2");
    let before = contents(&setup);
    // KMS says nothing, or refuses; or it is another key's.
    setup.kms.fail_next(&[(Decrypt, Class::Transient)]);
    assert_eq!(setup.found(&Statement::default())[0], (Some(name(7, 2)), By::Nobody));
    setup.kms.disable(TEST_MASTER_KEY, true);
    assert_eq!(setup.found(&Statement::default())[0], (Some(name(7, 2)), By::Operator));
    setup.kms.disable(TEST_MASTER_KEY, false);
    let other = read(&setup, "aws-kms-key.7.1.before-rewrap");
    let copy = read(&setup, "aws-kms-key.7.2.before-rewrap");
    put(&setup, "aws-kms-key.7.2.before-rewrap", other);
    assert_eq!(setup.found(&Statement::default())[0], (Some(name(7, 2)), By::Operator));
    setup.repaired(&Statement::default());
    put(&setup, "aws-kms-key.7.2.before-rewrap", copy);
    assert_eq!(contents(&setup), before);
    // A key file whose master key is disabled is not at fault.
    setup.repaired(&Statement::default());
    let setup = re_wrapped();
    put(&setup, "aws-kms-key.7.2", [b"other:", &[9; 16][..]].concat());
    setup.kms.disable(OTHER_MASTER_KEY, true);
    let before = contents(&setup);
    assert_eq!(setup.found(&Statement::default())[0], (Some(name(7, 2)), By::Operator));
    setup.repaired(&Statement::default());
    assert_eq!(contents(&setup), before);
}

#[test]
fn what_is_kept_of_before_a_re_wrap_goes_only_when_told_and_where_the_key_file_is_proven() {
    let setup = re_wrapped();
    let before = contents(&setup);
    assert_eq!(setup.found(&Statement::default()), [(None, By::NextStart)]);
    setup.repaired(&Statement::default());
    assert_eq!(contents(&setup), before);
    put(&setup, "aws-kms-key.1.1", b"garbage");
    let last = *read(&setup, "aws-kms-key.7.1").last().expect("a byte");
    setup.kms.refuse(last, Class::Denied);
    remove(&setup, "aws-kms-key.1.1.before-rewrap");
    setup.put("aws-kms-key.1.1.before-rewrap", b"rubbish");
    setup.repaired(&Statement { forgets_copies: true, ..Statement::default() });
    let kept: Vec<String> = setup.files().into_iter().filter(|file| file.ends_with(".before-rewrap")).collect();
    assert_eq!(kept, ["aws-kms-key.1.1.before-rewrap", "aws-kms-key.7.1.before-rewrap"]);
}

#[test]
fn temporary_files_that_nobody_has_open_are_removed() {
    let setup = used();
    for folder in [&setup.folder, &setup.datadir] {
        fs::write(folder.path().join(".aws-kms-key.new-abc"), b"half").expect("write");
    }
    fs::write(setup.folder.path().join(".aws-kms-key.new-xyz"), b"in use").expect("write");
    let in_use = fs::File::open(setup.folder.path().join(".aws-kms-key.new-xyz")).expect("open");
    in_use.lock().expect("lock");
    assert_eq!(setup.found(&Statement::default()), [(None, By::Repair)]);
    setup.repaired(&Statement::default());
    assert!(!files_in(setup.datadir.path()).contains(&".aws-kms-key.new-abc".to_owned()));
    assert_eq!(setup.files()[..2], [LOCK.to_owned(), ".aws-kms-key.new-xyz".to_owned()]);
    // In one of the two only.
    for folder in [&setup.folder, &setup.datadir] {
        fs::write(folder.path().join(".aws-kms-key.new-abc"), b"half").expect("write");
        assert!(setup.examined(&Statement::default()).findings()[0].found.starts_with("1 temporary file(s)"));
        setup.repaired(&Statement::default());
        assert!(!folder.path().join(".aws-kms-key.new-abc").exists());
    }
}

#[test]
fn what_has_changed_since_it_was_looked_at_is_left_alone() {
    let setup = re_wrapped();
    remove(&setup, "aws-kms-key.7.2");
    let examination = setup.examined(&Statement::default());
    setup.put("aws-kms-key.7.2", b"restored meanwhile");
    let failed = |examination: &Examination| -> String {
        let failed = examination.repair().into_iter().find_map(|outcome| match outcome {
            Outcome::Failed(error) => Some(error.to_string()),
            _ => None,
        });
        failed.expect("a failure")
    };
    let before = contents(&setup);
    assert!(failed(&examination).contains("aws-kms-key.7.2 was changed by somebody else meanwhile"));
    assert_eq!(contents(&setup), before, "nor is anything recorded");
    let setup = used();
    damage(&setup);
    let examination = setup.examined(&Statement::default());
    drop(setup.restart());
    let before = contents(&setup);
    assert!(failed(&examination).contains("manifest.json was changed by somebody else meanwhile"));
    assert_eq!(contents(&setup), before);
    // What ties the datadir to its keys, in the folder and in the datadir.
    for is_in_datadir in [false, true] {
        let setup = used();
        put(&setup, FOLDER_ID, [&read(&setup, FOLDER_ID)[..], b"}"].concat());
        let examination = setup.examined(&Statement::default());
        let (folder, file) = if is_in_datadir { (&setup.datadir, MEMORY) } else { (&setup.folder, FOLDER_ID) };
        exchange(folder.path(), file, b"restored meanwhile");
        let before = contents(&setup);
        assert!(failed(&examination).contains(&format!("{file} was changed by somebody else meanwhile")));
        assert_eq!(contents(&setup), before);
    }
}

#[test]
fn a_datadir_that_remembers_nothing_and_one_with_key_files_of_its_own_are_told_of() {
    let setup = used();
    assert_eq!(setup.found(&Statement::default()), []);
    fs::remove_file(setup.datadir.path().join(MEMORY)).expect("remove");
    assert_eq!(setup.found(&Statement::default()), [(None, By::NextStart)]);
    drop(setup.restart());
    assert_eq!(setup.found(&Statement::default()), []);
    for file in ["aws-kms-key.3.1", "aws-kms-key.7.1.before-rewrap"] {
        fs::write(setup.datadir.path().join(file), b"of before").expect("write");
    }
    assert_eq!(setup.found(&Statement::default()), [(None, By::Operator)]);
    let examination = setup.examined(&Statement::default());
    assert!(
        examination.findings()[0].found.starts_with("aws-kms-key.3.1 and 1 other files of keys lie in the datadir")
    );
}

#[test]
fn the_datadir_and_its_keys_are_tied_together_by_what_is_left_or_by_the_operator_s_word() {
    let right = Statement { folder_is_right: true, ..Statement::default() };
    let id = |setup: &Setup| String::from_utf8(read(setup, FOLDER_ID)).expect("UTF-8");
    type Damage = fn(&Setup);
    let cases: [(Damage, bool); 8] = [
        // Another id, moved on purpose.
        (|setup| put(setup, FOLDER_ID, format!("{{\"format\": 1, \"id\": \"{}\"}}", "b".repeat(32))), false),
        (|setup| remove(setup, FOLDER_ID), false),
        (|setup| put(setup, FOLDER_ID, b"{"), false),
        (|setup| exchange(setup.datadir.path(), MEMORY, b""), false),
        // The id can still be read.
        (
            |setup| {
                put(
                    setup,
                    FOLDER_ID,
                    read(setup, FOLDER_ID).split_last().expect("bytes").1.strip_suffix(b"}").expect("}"),
                )
            },
            true,
        ),
        (
            |setup| {
                exchange(
                    setup.datadir.path(),
                    MEMORY,
                    format!("{}folder", String::from_utf8_lossy(&read(setup, FOLDER_ID))),
                )
            },
            true,
        ),
        (
            |setup| {
                exchange(
                    setup.datadir.path(),
                    MEMORY,
                    format!("{}folder", String::from_utf8_lossy(&read(setup, FOLDER_ID))),
                );
                put(setup, FOLDER_ID, [&read(setup, FOLDER_ID)[..], b"}"].concat());
            },
            true,
        ),
        (
            |setup| {
                fs::remove_file(setup.datadir.path().join(MEMORY)).expect("remove");
                put(setup, FOLDER_ID, [&read(setup, FOLDER_ID)[..], b"}"].concat());
            },
            true,
        ),
    ];
    for (number, (damage, is_proven)) in cases.into_iter().enumerate() {
        let setup = used();
        let before = id(&setup);
        damage(&setup);
        // Nothing else is looked at in a folder that may be the wrong one.
        setup.put(".aws-kms-key.new-abc", b"half");
        let damaged = contents(&setup);
        assert!(setup.open().is_err(), "{number}");
        if !is_proven {
            assert_eq!(setup.found(&Statement::default()), [(None, By::Operator)], "{number}");
            setup.repaired(&Statement::default());
            assert_eq!(contents(&setup), damaged, "{number}");
        }
        let nothing = Statement::default();
        let kept = setup.repaired(if is_proven { &nothing } else { &right });
        assert!(kept.iter().all(|kept| kept.ends_with(".before-repair")), "{number}: {kept:?}");
        let after = contents(&setup);
        let is_changed =
            |(file, held): &&(String, Vec<u8>)| !after.iter().any(|now| now == &(file.clone(), held.clone()));
        let tie = damaged.iter().filter(|(file, _)| [FOLDER_ID, MEMORY].contains(&file.as_str()));
        assert_eq!(kept.len(), tie.filter(is_changed).count(), "{number}: what is as it should be is left");
        for (file, held) in damaged.iter().filter(|(file, _)| [FOLDER_ID, MEMORY].contains(&file.as_str())) {
            let after = contents(&setup);
            assert!(after.iter().any(|(_, now)| now == held), "{number}: what {file} held is lost");
        }
        let store = setup.restart();
        assert_eq!((store.published.latest(super::id(7)), setup.loud()), (Some(version(2)), vec![]), "{number}");
        if is_proven {
            assert_eq!(id(&setup), before, "{number}: other datadirs remember it");
        }
    }
}

#[test]
fn what_a_later_version_has_written_to_tie_them_together_is_left_alone() {
    let right = Statement { folder_is_right: true, ..Statement::default() };
    let later = format!("{{\"format\": 2, \"id\": \"{}\"}}", "b".repeat(32));
    let setup = used();
    put(&setup, FOLDER_ID, &later);
    assert_eq!(setup.found(&right), [(None, By::Operator)]);
    setup.repaired(&right);
    assert_eq!(read(&setup, FOLDER_ID), later.as_bytes());
}

#[test]
fn a_folder_without_keys_cannot_be_made_the_right_one() {
    let setup = used();
    let right = Statement { folder_is_right: true, ..Statement::default() };
    for file in setup.files() {
        remove(&setup, &file);
    }
    assert_eq!(setup.found(&right), [(None, By::Operator)]);
    setup.repaired(&right);
    assert!(setup.open().is_err());
}

#[test]
fn a_key_file_that_is_gone_while_an_extra_master_key_wraps_a_copy_is_left_to_a_rewrap_which_makes_it() {
    let setup = used();
    let store = Arc::new(setup.restart());
    store.new_keys().change(|settings| {
        settings.extra_master_keys = ExtraMasterKeys::parse(NEW).expect("a list");
    });
    store.extra_copies_job().run(Instant::now());
    drop(store);
    remove(&setup, "aws-kms-key.7.1");
    let examination = setup.examined(&Statement::default());
    let [finding] = examination.findings() else { panic!("one") };
    assert_eq!((finding.name, finding.by), (Some(name(7, 1)), By::Operator));
    assert!(finding.remedy.contains("rewrap makes the key file of it"), "{}", finding.remedy);
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    let master_key = MasterKeyId::parse(TEST_MASTER_KEY).expect("a name");
    let rewrapping =
        super::super::offline::rewrap(&folder, &*setup.kms, &master_key, None, Duration::from_secs(5)).expect("done");
    assert!(rewrapping.failed.is_empty() && rewrapping.done.len() == 3);
    assert!(setup.files().contains(&"aws-kms-key.7.1.extra".to_owned()), "the copies stay");
    drop(setup.restart());
    assert_eq!(setup.loud(), Vec::<String>::new());
}

#[test]
fn a_key_file_that_was_re_wrapped_and_not_recorded_is_not_looked_for_where_an_earlier_master_key_is() {
    let setup = re_wrapped();
    let store = setup.restart();
    let recorded = read(&setup, MANIFEST);
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    store.rewrap(Some(id(7))).expect("re-wrapped");
    drop(store);
    put(&setup, MANIFEST, &recorded);
    setup.kms.asked_where.lock().expect("asked").clear();
    assert!(setup.found(&Statement::default()).iter().all(|(_, by)| *by == By::NextStart));
    assert_eq!(*setup.kms.asked_where.lock().expect("asked"), [None, None], "each in all regions");
}
