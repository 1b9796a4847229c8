//! What is done with the key files from outside of a server.

use std::sync::atomic::Ordering;

use std::path::PathBuf;

use super::super::files::first_page;
use super::super::offline::{
    self, Found, InnoDb, NewKey, OfflineError, OpenFolder, Rewrapping, State, Verdict, Verification, import, list,
    retire, rewrap, verify,
};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::lossy_disk::{Faults, LossyDisk};
use super::*;
use crate::cipher::Algorithm::{AesCbc, AesCtr};
use zeroize::Zeroizing;

const NEW: &str = "arn:aws:kms:eu-west-1:1:key/new";
const TIME: Duration = Duration::from_secs(5);

fn new_key(id: u32, version: u32, key: &[u8]) -> NewKey {
    NewKey { name: name(id, version), key: Zeroizing::new(key.to_vec()) }
}

fn name(id: u32, version: u32) -> KeyName {
    KeyName::new(id, version).expect("a name")
}

fn master_key(arn: &str) -> MasterKeyId {
    MasterKeyId::parse(arn).expect("a master key")
}

impl Setup {
    fn to_read(&self) -> OpenFolder {
        OpenFolder::to_read(self.folder.path()).expect("open")
    }

    fn to_write(&self) -> OpenFolder {
        OpenFolder::to_write(self.folder.path(), self.datadir.path()).expect("open")
    }

    fn verified(&self) -> Verification {
        verify(&self.to_read(), &*self.kms, TIME).expect("verified")
    }

    fn import(&self, algorithm: Algorithm, keys: &[NewKey]) -> Result<offline::Imported, KeyStoreError> {
        import(&self.to_write(), &*self.kms, &master_key(NEW), algorithm, keys)
    }
}

fn states(setup: &Setup) -> Vec<(u32, u32, State, bool)> {
    let listing = list(&setup.to_read()).expect("listed");
    let of = |it: &offline::Listed| (it.name.id.value(), it.name.version.value(), it.state, it.is_latest);
    listing.versions.iter().map(of).collect()
}

#[test]
fn the_list_says_of_each_version_how_its_file_is_and_writes_nothing() {
    let setup = used();
    let files = setup.files();
    assert_eq!(states(&setup), [(1, 1, State::Ok, true), (7, 1, State::Ok, false), (7, 2, State::Ok, true)]);
    assert_eq!(setup.files(), files);
    remove(&setup, "aws-kms-key.7.2");
    remove(&setup, "aws-kms-key.1.1");
    setup.put("aws-kms-key.1.1", b"");
    setup.put_key("aws-kms-key.9.4", 9);
    setup.put("aws-kms-key.7.1.before-rewrap", b"old");
    setup.put("aws-kms-key.7.2.before-rewrap", b"old");
    setup.put("aws-kms-key.8.1.before-rewrap", b"old");
    setup.put("aws-kms-key.7.2.bak", b"whatever");
    setup.put(".aws-kms-key.new-1", b"half");
    assert_eq!(
        states(&setup),
        [
            (1, 1, State::Unreadable, false),
            (7, 1, State::Ok, true),
            (7, 2, State::Missing, false),
            (9, 4, State::New, true),
        ]
    );
    let listing = list(&setup.to_read()).expect("listed");
    assert_eq!(listing.other_files, [".aws-kms-key.new-1", "aws-kms-key.7.2.bak", "aws-kms-key.8.1.before-rewrap"]);
    assert_eq!(
        listing.versions.iter().map(|it| it.is_kept_before_rewrap).collect::<Vec<_>>(),
        [false, true, true, false]
    );
    let reason = |place: usize| listing.versions[place].reason.clone().unwrap_or_default();
    assert!(reason(0).contains("aws-kms-key.1.1 is empty. Restore"), "{}", reason(0));
    assert!(reason(2).contains("aws-kms-key.7.2 is gone. If a server"), "{}", reason(2));
    assert_eq!(listing.versions[1].master_key.as_deref(), Some(TEST_MASTER_KEY));
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_file_that_was_exchanged_is_listed_as_changed_and_found_out_by_a_verification() {
    let setup = used();
    let other = read(&setup, "aws-kms-key.7.2");
    remove(&setup, "aws-kms-key.7.1");
    setup.put("aws-kms-key.7.1", &other);
    assert_eq!(states(&setup)[1], (7, 1, State::Changed, false));
    let verification = setup.verified();
    assert_eq!((verification.verdict(), verification.good(), verification.needed()), (Verdict::Wrong, 2, 3));
    let found = &verification.versions[1].found;
    assert!(matches!(found, Found::Wrong(KeyStoreError::OtherKey(exchanged)) if *exchanged == name(7, 1)), "{found:?}");
    assert_eq!(found.as_str(), "exchanged");
}

#[test]
fn a_good_folder_is_verified_beside_a_server_and_without_a_right_to_write() {
    let setup = used();
    let store = setup.open().expect("open");
    let before: Vec<_> = setup.files().iter().map(|file| read(&setup, file)).collect();
    let verification = setup.verified();
    assert_eq!((verification.verdict(), verification.good(), verification.needed()), (Verdict::Good, 3, 3));
    assert_eq!(verification.master_keys(), [TEST_MASTER_KEY].into());
    assert_eq!(setup.files().iter().map(|file| read(&setup, file)).collect::<Vec<_>>(), before);
    assert!(!setup.kms.calls().contains(&Generate));
    drop(store);
}

#[test]
fn a_verification_tells_what_is_wrong_from_what_nobody_could_say() {
    let setup = used();
    let byte = *read(&setup, "aws-kms-key.7.2").last().expect("a byte");
    for (class, verdict, word) in [
        (Class::Denied, Verdict::Wrong, "refused by KMS"),
        (Class::Disabled, Verdict::Wrong, "refused by KMS"),
        (Class::Corrupt, Verdict::Wrong, "damaged"),
        (Class::Transient, Verdict::Unanswered, "no answer"),
        (Class::NoCredentials, Verdict::Unanswered, "no answer"),
        (Class::Config, Verdict::Unanswered, "no answer"),
    ] {
        setup.kms.refuse(byte, class);
        let verification = setup.verified();
        assert_eq!((verification.verdict(), verification.versions[2].found.as_str()), (verdict, word), "{class}");
        assert_eq!(verification.master_keys(), [TEST_MASTER_KEY].into(), "from the manifest");
        setup.kms.allow(byte);
    }
    // Of what is wrong without KMS, KMS need say nothing.
    setup.kms.refuse(byte, Class::Transient);
    remove(&setup, "aws-kms-key.1.1");
    let verification = setup.verified();
    assert_eq!(verification.verdict(), Verdict::Wrong);
    assert_eq!(verification.versions[0].found.as_str(), "missing");
    assert_eq!(Setup::new().verified().verdict(), Verdict::Wrong, "a folder without keys is no good backup");
}

#[test]
fn a_planted_key_file_is_no_good_one() {
    let setup = used();
    setup.put("aws-kms-key.7.3", &[b"other:", &[9; 16][..]].concat());
    let verification = setup.verified();
    assert_eq!(verification.verdict(), Verdict::Wrong);
    assert!(matches!(verification.versions[3].found, Found::NotTrusted));
    assert_eq!(verification.master_keys(), [OTHER_MASTER_KEY, TEST_MASTER_KEY].into());
}

#[test]
fn a_key_file_that_only_its_copy_stands_in_for_is_no_good_one() {
    let setup = used();
    let kept = read(&setup, "aws-kms-key.7.2");
    remove(&setup, "aws-kms-key.7.2");
    setup.put("aws-kms-key.7.2.before-rewrap", &kept);
    setup.put("aws-kms-key.7.2", b"garbage");
    let verification = setup.verified();
    assert_eq!(verification.verdict(), Verdict::Wrong);
    assert!(matches!(verification.versions[2].found, Found::OnlyCopy(_)));
}

#[test]
fn imported_keys_are_the_keys_of_the_next_server() {
    let setup = Setup::new();
    let keys = [new_key(1, 1, &[1; 16]), new_key(7, 1, &[7; 32]), new_key(7, 3, &[9; 24])];
    for algorithm in [AesCbc, AesCtr] {
        let setup = Setup { kms: setup.kms.clone(), ..Setup::new() };
        let imported = setup.import(algorithm, &keys).expect("imported");
        assert_eq!(imported.master_key.as_deref(), Some(NEW));
        assert!(imported.not_recorded.is_none() && imported.not_remembered.is_none());
        assert_eq!(setup.verified().verdict(), Verdict::Good);
        let store = setup.open().expect("open");
        for NewKey { name, key } in &keys {
            let (is, of) = store.published.with_key(*name, |it| (it.as_bytes().to_vec(), it.algorithm())).expect("is");
            assert!(is == **key && of == algorithm, "{name}");
        }
        assert_eq!(store.published.latest(id(7)), Some(version(3)));
        assert!(!setup.log.has("warning") && !setup.log.has("error"), "{:?}", setup.log.0);
        assert_eq!(store.rotate(id(7)).expect("rotated"), version(4));
    }
}

#[test]
fn no_key_is_imported_over_one_that_is_or_was_here_and_none_of_a_wrong_length() {
    let setup = used();
    let files = setup.files();
    let refused = |keys: &[NewKey]| setup.import(AesCbc, keys).err().expect("refused").to_string();
    let error = refused(&[new_key(8, 1, &[8; 16]), new_key(7, 5, &[9; 16])]);
    assert!(error.starts_with("key 7 version 2: key 7 is or was in this folder"), "{error}");
    let error = refused(&[new_key(8, 1, &[8; 16]), new_key(9, 1, &[9; 17])]);
    assert!(error.starts_with("key 9 version 1: its key has 17 bytes"), "{error}");
    remove(&setup, "aws-kms-key.1.1");
    let error = refused(&[new_key(1, 2, &[8; 16])]);
    assert!(error.starts_with("key 1 version 1: key 1 is or was in this folder"), "{error}");
    setup.put("aws-kms-key.1.1", b"x");
    assert_eq!(setup.files(), files);
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn an_import_that_kms_does_not_do_whole_leaves_nothing() {
    let keys = || [new_key(1, 1, &[1; 16]), new_key(7, 1, &[7; 32])];
    let setup = Setup::new();
    setup.kms.wraps_another_key.store(true, Ordering::Relaxed);
    let error = setup.import(AesCbc, &keys()).err().expect("refused");
    assert!(matches!(error, KeyStoreError::NotTheSameKey(_)), "{error}");
    setup.kms.wraps_another_key.store(false, Ordering::Relaxed);
    for call in [Encrypt, Decrypt] {
        setup.kms.fail_after(1, call, Class::Denied);
        let error = setup.import(AesCbc, &keys()).err().expect("refused").to_string();
        assert!(error.starts_with(&format!("key 7 version 1: KMS {call} failed: access denied")), "{error}");
    }
    assert_eq!(setup.files(), [LOCK]);
    assert_eq!(files_in(setup.datadir.path()), Vec::<String>::new());
    setup.import(AesCbc, &keys()).expect("imported");
}

/// At each sync that fails: all keys are there, or none, and then the datadir remembers none either.
#[test]
fn an_import_that_the_disk_does_not_do_whole_leaves_nothing() {
    const FOLDER: &str = "/keys";
    let keys = || [new_key(1, 1, &[1; 16]), new_key(7, 1, &[7; 32]), new_key(8, 1, &[8; 32])];
    let kms = TestKms::default();
    let import = |disk: &LossyDisk| {
        let folder =
            OpenFolder::to_write_on(Arc::new(disk.clone()), Path::new(FOLDER), Path::new(FOLDER)).expect("open");
        import(&folder, &kms, &master_key(NEW), AesCbc, &keys())
    };
    let counted = LossyDisk::new(&[FOLDER]);
    counted.set_faults(Faults::default());
    import(&counted).map(drop).expect("imported");
    let (mut failed, mut done) = (0, 0);
    for failing in 1..=counted.syncs() {
        let disk = LossyDisk::new(&[FOLDER]);
        disk.set_faults(Faults { failing_sync: Some(failing), ..Faults::default() });
        let imported = import(&disk);
        let names: Vec<String> = files::Disk::list(&disk, Path::new(FOLDER))
            .expect("list")
            .into_iter()
            .filter_map(|listed| listed.name.into_string().ok())
            .collect();
        let key_files = names.iter().filter(|name| KeyName::parse(name).is_some()).count();
        match imported {
            Ok(_) => {
                done += 1;
                assert_eq!(key_files, 3, "sync {failing}: {names:?}");
            }
            Err(error) => {
                failed += 1;
                assert_eq!(key_files, 0, "sync {failing}: {names:?}: {error}");
                assert!(!names.iter().any(|name| name == MEMORY), "sync {failing}: {names:?}");
                disk.set_faults(Faults::default());
                import(&disk).map(drop).expect("a second try");
            }
        }
    }
    assert!(failed >= 6 && done >= 1, "{failed} failed, {done} done");
}

#[test]
fn all_keys_are_wrapped_by_another_master_key_and_stay_what_they_are() {
    let setup = used();
    let before: Vec<_> = [(1, 1), (7, 1), (7, 2)].map(|(id, v)| key(&setup.open().expect("open"), id, v)).into();
    let store = setup.open().expect("open");
    store.new_keys().change(|settings| {
        settings.algorithm = AesCtr;
        settings.encryption_context = EncryptionContext::parse("server=db1").expect("a context");
    });
    store.rotate(id(1)).expect("rotated");
    let with_context = key(&store, 1, 2);
    drop(store);
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    let names: Vec<KeyName> = rewrapping.done.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, [name(1, 1), name(1, 2), name(7, 1), name(7, 2)]);
    assert!(
        rewrapping
            .done
            .iter()
            .all(|(_, before, now)| { before.as_deref() == Some(TEST_MASTER_KEY) && now.as_deref() == Some(NEW) })
    );
    assert!(rewrapping.failed.is_empty() && rewrapping.not_recorded.is_none());
    let listing = list(&setup.to_read()).expect("listed");
    let context: Vec<_> = listing.versions[1].encryption_context.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(context, ["mariadb_key_id=1", "server=db1"], "what was bound stays bound");
    setup.kms.disable(TEST_MASTER_KEY, true);
    assert_eq!(setup.verified().verdict(), Verdict::Good);
    assert_eq!(setup.verified().master_keys(), [NEW].into());
    let store = setup.open().expect("open");
    assert_eq!(before, [(1, 1), (7, 1), (7, 2)].map(|(id, v)| key(&store, id, v)));
    assert_eq!(key(&store, 1, 2), with_context);
    assert_eq!(store.published.algorithm(name(1, 2)), AesCtr);
}

#[test]
fn what_a_server_has_not_trusted_is_not_trusted_here_though_its_master_key_is_known() {
    const TENANT: &str = "arn:aws:kms:eu-west-1:7:key/tenant";
    let setup = used();
    let opening = || {
        let opening = setup.opening(Role::Server, setup.kms.clone());
        opening.new_keys.change(|settings| {
            settings.master_keys = MasterKeysOfIds::parse(&format!("10-19={TENANT}")).expect("a list");
        });
        KeyStore::open(opening).expect("open")
    };
    opening().latest_or_new(id(10)).expect("made");
    // The tenant's own data key, as the next version of another key.
    let planted = read(&setup, "aws-kms-key.10.1");
    setup.put("aws-kms-key.1.9", &planted);
    assert_eq!(opening().published.latest(id(1)), Some(version(1)));
    assert!(matches!(found_of(&setup, name(1, 9)), Found::NotTrusted));
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    assert!(
        matches!(&rewrapping.failed[..], [(one, KeyStoreError::NotAccepted(_))] if *one == name(1, 9)),
        "{:?}",
        rewrapping.failed
    );
    assert_eq!(read(&setup, "aws-kms-key.1.9"), planted);
    assert_eq!(setup.open().expect("open").published.latest(id(1)), Some(version(1)));
    // And one that no server has seen yet.
    setup.put("aws-kms-key.1.10", &planted);
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), Some(id(1)), TIME).expect("re-wrapped");
    assert!(rewrapping.failed.iter().any(|(failed, _)| *failed == name(1, 10)));
    assert_eq!(read(&setup, "aws-kms-key.1.10"), planted);
}

fn found_of(setup: &Setup, name: KeyName) -> Found {
    let versions = setup.verified().versions;
    versions.into_iter().find(|version| version.name == name).expect("there").found
}

#[test]
fn what_cannot_be_re_wrapped_is_as_it_was() {
    let setup = used();
    let planted = [b"other:", &[9; 16][..]].concat();
    setup.put("aws-kms-key.7.3", &planted);
    remove(&setup, "aws-kms-key.1.1");
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    let Rewrapping { done, failed, .. } = rewrapping;
    assert_eq!(done.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), [name(7, 1), name(7, 2)]);
    assert!(matches!(&failed[..], [
        (one, KeyStoreError::Gone(..)),
        (three, KeyStoreError::Offline(OfflineError::NotSeenYet(_)))
    ] if *one == name(1, 1) && *three == name(7, 3)));
    assert_eq!(read(&setup, "aws-kms-key.7.3"), planted);
    let before = read(&setup, "aws-kms-key.7.1");
    setup.kms.fail_after(0, Encrypt, Class::Denied);
    let only = Some(id(7));
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), only, TIME).expect("re-wrapped");
    assert!(matches!(&rewrapping.failed[..], [(one, KeyStoreError::Kms(..)), _] if *one == name(7, 1)));
    assert_eq!(read(&setup, "aws-kms-key.7.1"), before);
    let error = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), Some(id(5)), TIME).err();
    assert!(matches!(error, Some(KeyStoreError::NoSuchKey(_))));
}

#[test]
fn a_re_wrap_under_a_master_key_that_does_not_answer_ends_after_two_and_records_what_was_done() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    for number in 1..=40 {
        store.latest_or_new(id(number)).expect("made");
    }
    drop(store);
    // Of the groups, the first three are done.
    setup.kms.fail_after(9, Encrypt, Class::Denied);
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    assert_eq!((rewrapping.done.len(), rewrapping.failed.len(), rewrapping.not_tried.len()), (9, 1, 30));
    let manifest = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    assert_eq!(manifest.matches(&format!("\"master_key\": \"{NEW}\"")).count(), 9, "{manifest}");
    setup.kms.set_failing(NEW, Some(Class::Transient));
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    // Those that are wrapped by it already are had from what is kept of before.
    assert_eq!((rewrapping.failed.len(), rewrapping.not_tried.len()), (2, 38));
}

/// The head of one that is encrypted with a key version.
fn redo_log(id: u8, version: u8) -> Vec<u8> {
    [&[0xF0, 0x9F, 0x97, 0x9D][..], &[0; 44], &[0, 0, 0, id, 0, 0, 0, version]].concat()
}

/// All of InnoDB is in the datadir.
fn there() -> InnoDb {
    InnoDb::Elsewhere(Vec::new())
}

/// Nothing keeps these from being retired.
fn retire_and_take_back(setup: &Setup, names: &[KeyName]) {
    let manifest = read(setup, MANIFEST);
    retire(&setup.to_write(), names, &there()).expect("retired");
    setup.put(MANIFEST, &manifest);
}

#[test]
fn a_retired_version_is_missed_by_nobody_and_its_number_is_not_used_again() {
    let setup = used();
    let kept = read(&setup, "aws-kms-key.7.1");
    let refused = |names: &[KeyName]| retire(&setup.to_write(), names, &there()).expect_err("refused");
    assert!(matches!(refused(&[name(7, 1)]), KeyStoreError::Offline(OfflineError::StillThere(..))));
    assert!(matches!(refused(&[name(7, 9)]), KeyStoreError::Offline(OfflineError::NothingToRetire(_))));
    // What the server encrypts with, though its file is gone.
    let latest = read(&setup, "aws-kms-key.7.2");
    remove(&setup, "aws-kms-key.7.2");
    let error = retire(&setup.to_write(), &[name(7, 2)], &InnoDb::None).expect_err("refused");
    assert!(matches!(error, KeyStoreError::Offline(OfflineError::IsLatest(_))), "{error}");
    setup.put("aws-kms-key.7.2", &latest);
    remove(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.1.1");
    // A copy of it is still there.
    for copy in ["aws-kms-key.7.1.extra", "aws-kms-key.7.1.before-rewrap"] {
        setup.put(copy, &kept);
        assert!(refused(&[name(7, 1)]).to_string().contains(copy));
        remove(&setup, copy);
    }
    assert!(matches!(refused(&[name(7, 1), name(7, 9)]), KeyStoreError::Offline(OfflineError::NothingToRetire(_))));
    assert_eq!(setup.verified().verdict(), Verdict::Wrong, "all of them or none");
    // A table that needs it, or may: whatever somebody says who has checked.
    fs::create_dir(setup.datadir.path().join("db")).expect("folder");
    let table = setup.datadir.path().join("db/t.ibd");
    fs::write(setup.datadir.path().join("ib_logfile0"), redo_log(1, 7)).expect("write");
    fs::write(setup.datadir.path().join("ibdata1"), []).expect("write");
    for (key_id, lowest_version, is_used) in [(7, 1, true), (7, 0, true), (7, 2, false), (8, 1, false), (1, 1, true)] {
        fs::write(&table, first_page(0x15, 10_428, key_id, lowest_version)).expect("write");
        if is_used {
            let error = refused(&[name(1, 1), name(7, 1)]);
            assert!(matches!(error, KeyStoreError::Offline(OfflineError::InUse { others: 0, .. })), "{error}");
            assert!(error.to_string().contains("db/t.ibd"), "{error}");
        } else {
            assert!(matches!(refused(&[name(7, 9)]), KeyStoreError::Offline(OfflineError::NothingToRetire(_))));
            retire_and_take_back(&setup, &[name(1, 1), name(7, 1)]);
        }
    }
    fs::remove_file(&table).expect("dropped");
    let path = setup.datadir.path().join("ib_logfile0");
    fs::write(&path, redo_log(7, 1)).expect("write");
    let error = refused(&[name(1, 1), name(7, 1)]).to_string();
    assert!(error.starts_with("key 7 version 1: the redo log ") && error.contains("ib_logfile0"), "{error}");
    fs::remove_file(&path).expect("made anew");
    fs::remove_file(setup.datadir.path().join("ibdata1")).expect("removed");
    let running = setup.open().expect("open");
    setup.log.0.lock().expect("log").clear();
    retire(&setup.to_write(), &[name(1, 1), name(7, 1)], &InnoDb::None).expect("retired");
    assert_eq!(states(&setup), [(1, 1, State::Retired, false), (7, 1, State::Retired, false), (7, 2, State::Ok, true)]);
    assert_eq!((setup.verified().verdict(), setup.verified().needed()), (Verdict::Good, 1));
    // A server that has been running meanwhile keeps to it.
    assert_eq!(running.rotate(id(7)).expect("rotated"), version(3));
    drop(running);
    let store = setup.open().expect("open");
    assert!(!setup.log.has("error") && !setup.log.has("warning"), "{:?}", setup.log.0);
    assert_eq!(store.rotate_all().expect("rotated"), 1, "a key that is retired is not rotated");
    assert_eq!(store.rewrap(None).expect("re-wrapped").count, 3);
    assert!(matches!(store.latest_or_new(id(1)), Err(KeyStoreError::Retired(..))), "never a second key 1");
    drop(store);
    // What turns up again is used again, and missed again.
    setup.put("aws-kms-key.7.1", &kept);
    assert!(key(&setup.open().expect("open"), 7, 1).is_some());
    remove(&setup, "aws-kms-key.7.1");
    assert_eq!(states(&setup)[1], (7, 1, State::Missing, false));
}

/// Key files of the C++ plugin, without a manifest.
fn of_another_plugin() -> Setup {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.7.1", 7);
    setup
}

#[test]
fn keys_that_are_imported_or_re_wrapped_cost_those_beside_them_no_trust() {
    let setup = of_another_plugin();
    let error = setup.import(AesCbc, &[new_key(9, 1, &[9; 16])]).err().expect("refused");
    assert!(
        matches!(error, KeyStoreError::Offline(OfflineError::NotRecordedYet(first)) if first == name(1, 1)),
        "{error}"
    );
    drop(setup.open().expect("open"));
    setup.import(AesCbc, &[new_key(9, 1, &[9; 16])]).expect("imported");
    assert_eq!(setup.open().expect("open").published.ids().len(), 3);
    assert_eq!(setup.verified().verdict(), Verdict::Good);

    let setup = of_another_plugin();
    setup.put("aws-kms-key.8.1", &[b"other:", &[8; 16][..]].concat());
    let only = Some(id(7));
    assert_eq!(rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), only, TIME).expect("re-wrapped").done.len(), 1);
    assert_eq!((setup.verified().verdict(), setup.verified().good()), (Verdict::Good, 3));

    let setup = of_another_plugin();
    setup.kms.fail_after(1, Encrypt, Class::Denied);
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    assert_eq!((rewrapping.done.len(), rewrapping.failed.len()), (1, 1));
    assert_eq!((setup.verified().verdict(), setup.verified().good()), (Verdict::Good, 2));
    let store = setup.open().expect("open");
    assert_eq!([id(1), id(7)].map(|id| store.published.latest(id)), [Some(version(1)); 2]);
}

#[test]
fn a_retired_version_that_a_table_of_the_datadir_needs_is_wrong() {
    let setup = Setup::new();
    let folder = setup.folder.path();
    // The keys lie in the datadir.
    let opening = Opening { datadir: folder, folder, ..setup.opening(Role::Server, setup.kms.clone()) };
    let store = KeyStore::open(opening).expect("open");
    store.latest_or_new(id(7)).expect("made");
    store.rotate(id(7)).expect("rotated");
    drop(store);
    let kept = read(&setup, "aws-kms-key.7.1");
    remove(&setup, "aws-kms-key.7.1");
    retire(&OpenFolder::to_write(folder, folder).expect("open"), &[name(7, 1)], &InnoDb::None).expect("retired");
    fs::create_dir(folder.join("mysql")).expect("folder");
    fs::write(folder.join("mysql/t.ibd"), first_page(0x15, 10_428, 7, 1)).expect("write");
    let verification = setup.verified();
    assert_eq!((verification.verdict(), verification.good(), verification.needed()), (Verdict::Wrong, 1, 2));
    let reason = verification.versions.iter().find_map(|version| version.found.reason()).expect("a reason");
    assert!(reason.contains("mysql/t.ibd is encrypted with it"), "{reason}");
    setup.put("aws-kms-key.7.1", &kept);
    assert_eq!(setup.verified().verdict(), Verdict::Good);
}

#[test]
fn a_re_wrap_tells_of_the_keys_that_had_a_master_key_of_their_own() {
    let setup = Setup::new();
    let opening = setup.opening(Role::Server, setup.kms.clone());
    opening.new_keys.change(|settings| {
        settings.master_keys = MasterKeysOfIds::parse(&format!("7={OTHER_MASTER_KEY}")).expect("a list");
    });
    let store = KeyStore::open(opening).expect("open");
    for number in [1, 7] {
        store.latest_or_new(id(number)).expect("made");
    }
    drop(store);
    let rewrapping = rewrap(&setup.to_write(), &*setup.kms, &master_key(NEW), None, TIME).expect("re-wrapped");
    assert_eq!((rewrapping.done.len(), &rewrapping.of_own_master_keys[..]), (2, &[name(7, 1)][..]));
    // It is one like all others now; wrapped by its own again, it is kept apart again.
    assert!(!setup.open().expect("open").files.has_own_master_key(name(7, 1)));
    rewrap(&setup.to_write(), &*setup.kms, &master_key(OTHER_MASTER_KEY), Some(id(7)), TIME).expect("re-wrapped");
    assert!(setup.open().expect("open").files.has_own_master_key(name(7, 1)));
}

#[test]
fn what_lies_outside_of_the_datadir_is_asked_too_and_missed_if_nobody_names_it() {
    let setup = used();
    remove(&setup, "aws-kms-key.7.1");
    let elsewhere = tempfile::tempdir().expect("folder");
    let folder = elsewhere.path().to_owned();
    let named = |paths: &[&Path]| {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        retire(&setup.to_write(), &[name(7, 1)], &InnoDb::Elsewhere(paths))
    };
    let missed = |paths: &[&Path]| match named(paths) {
        Err(KeyStoreError::Offline(OfflineError::NotSeen(what))) => what,
        other => panic!("{other:?}"),
    };
    let both = "the redo log (ib_logfile0) and the system tablespace (ibdata1)";
    // Whether there is a table in the datadir or not.
    assert_eq!(missed(&[]), both);
    let datadir = setup.datadir.path();
    fs::create_dir(datadir.join("db")).expect("folder");
    fs::write(datadir.join("db/t.ibd"), first_page(0x15, 10_428, 8, 1)).expect("write");
    assert_eq!((missed(&[]), missed(&[&folder])), (both.to_owned(), both.to_owned()));
    assert!(named(&[&folder.join("none")]).is_err_and(|error| error.to_string().contains("none")));
    // A file is that of a tablespace, and only one of them is the system's.
    let path = |name: &str| folder.join(name);
    fs::write(path("ib_logfile0"), redo_log(7, 1)).expect("write");
    assert!(matches!(named(&[&path("ib_logfile0")]), Err(KeyStoreError::NoTablespace(_))));
    let numbered = |number: u8, page: Vec<u8>| [&page[..37], &[number], &page[38..]].concat();
    fs::write(path("other"), numbered(3, first_page(0x15, 10_428, 7, 2))).expect("write");
    assert_eq!(missed(&[&folder, &path("other")]), "the system tablespace (ibdata1)");
    for (file, contents, is_named, needs_it) in [
        ("ib_logfile0", redo_log(7, 1), false, true),
        ("ib_logfile0", redo_log(7, 2), false, false),
        ("undo001", first_page(0x15, 10_428, 7, 1), false, true),
        ("undo001", first_page(0x15, 10_428, 7, 2), false, false),
        ("ibdata1", first_page(0x15, 10_428, 7, 1), false, true),
        ("ibdata1", first_page(0x15, 10_428, 7, 2), false, false),
        ("data1", first_page(0x15, 10_428, 7, 0), true, true),
        ("data1", first_page(0x15, 10_428, 8, 0), true, false),
        ("other", numbered(3, first_page(0x15, 10_428, 7, 1)), true, true),
        ("other", numbered(3, first_page(0x15, 10_428, 7, 2)), true, false),
    ] {
        let of_server = if file == "data1" { "data1" } else { "ibdata1" };
        let _ = fs::remove_file(path("ibdata1"));
        fs::write(path(of_server), first_page(0x15, 10_428, 9, 1)).expect("write");
        fs::write(path(file), contents).expect("write");
        let file_path = path(file);
        let paths: &[&Path] = if is_named { &[&folder, &file_path] } else { &[&folder] };
        let manifest = read(&setup, MANIFEST);
        let answer = named(paths);
        let is_refused =
            matches!(answer, Err(KeyStoreError::Offline(OfflineError::InUse { .. } | OfflineError::InRedoLog(..))));
        assert_eq!((is_refused, answer.is_ok()), (needs_it, !needs_it), "{file} {answer:?}");
        setup.put(MANIFEST, &manifest);
    }
    // A server without InnoDB has nothing of it.
    let without = || retire(&setup.to_write(), &[name(7, 1)], &InnoDb::None);
    assert!(matches!(without(), Err(KeyStoreError::Offline(OfflineError::HasInnoDb))));
    fs::remove_file(datadir.join("db/t.ibd")).expect("removed");
    fs::write(datadir.join("ib_buffer_pool"), "0,0").expect("write");
    assert!(matches!(without(), Err(KeyStoreError::Offline(OfflineError::HasInnoDb))));
    fs::remove_file(datadir.join("ib_buffer_pool")).expect("removed");
    without().expect("retired");
}

#[test]
fn what_needs_a_retired_version_is_found_beside_what_cannot_be_read() {
    let setup = used();
    let datadir = setup.datadir.path();
    let needing = |names: &[KeyName]| setup.to_write().files.needing(datadir, &|name| names.contains(&name));
    fs::create_dir(datadir.join("db")).expect("folder");
    std::os::unix::fs::symlink("nowhere", datadir.join("db/a.isl")).expect("link");
    fs::write(datadir.join("db/t.ibd"), first_page(0x15, 10_428, 7, 1)).expect("write");
    fs::write(datadir.join("ib_logfile0"), redo_log(1, 1)).expect("write");
    let found = needing(&[name(1, 1), name(7, 1), name(7, 2)]);
    let files: Vec<(KeyName, PathBuf)> = found.needing.into_iter().collect();
    assert_eq!(files, [(name(1, 1), datadir.join("ib_logfile0")), (name(7, 1), datadir.join("db/t.ibd"))]);
    assert_eq!(found.not_read, [datadir.join("db/a.isl")]);
    fs::remove_file(datadir.join("ib_logfile0")).expect("removed");
    assert_eq!(needing(&[]).not_read.len(), 2, "there is a redo log elsewhere");
}
