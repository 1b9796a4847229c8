//! What a start refuses, or complains of, is put right; and no more than that.

use super::super::offline::repair::{By, Examination, Outcome, OwnMasterKey, Statement, examine};
use super::super::offline::{self, NewKey, OpenFolder, retire};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::*;
use zeroize::Zeroizing;

const NEW: &str = "arn:aws:kms:eu-west-1:1:key/new";
const TIME: Duration = Duration::from_secs(5);
const DAMAGED: &str = "aws-kms-key.manifest.damaged";

fn name(id: u32, version: u32) -> KeyName {
    KeyName::new(id, version).expect("a name")
}

pub(super) fn trusting(own: &[&str]) -> Statement {
    let parse = |text: &&str| OwnMasterKey::parse(text).expect("a master key");
    Statement { master_keys: own.iter().map(parse).collect(), ..Statement::default() }
}

impl Setup {
    fn examined(&self, statement: &Statement) -> Examination {
        let before = contents(self);
        let examination =
            examine(self.folder.path(), self.datadir.path(), &*self.kms, statement, TIME).expect("examined");
        assert_eq!(contents(self), before, "nothing is written");
        examination
    }

    /// What was found, by whom it is put right, in order.
    fn found(&self, statement: &Statement) -> Vec<(Option<KeyName>, By)> {
        self.examined(statement).findings().iter().map(|finding| (finding.name, finding.by)).collect()
    }

    /// Repairs, without a failure. Answers as what is kept what was there. A second repair has nothing to do.
    fn repaired(&self, statement: &Statement) -> Vec<String> {
        let examination = self.examined(statement);
        let mut all_kept = Vec::new();
        for (finding, outcome) in examination.findings().iter().zip(examination.repair()) {
            match outcome {
                Outcome::Repaired(kept) => all_kept.extend(kept),
                Outcome::Left => assert_ne!(finding.by, By::Repair),
                outcome => panic!("{}: {outcome:?}", finding.found),
            }
        }
        assert!(self.found(statement).iter().all(|(_, by)| *by != By::Repair));
        all_kept
    }

    fn loud(&self) -> Vec<String> {
        let log = std::mem::take(&mut *self.log.0.lock().expect("log"));
        log.into_iter().filter(|line| !line.starts_with("note: ")).collect()
    }

    fn restart(&self) -> KeyStore {
        self.loud();
        self.open().expect("open")
    }
}

/// All files, with what is in them.
fn contents(setup: &Setup) -> Vec<(String, Vec<u8>)> {
    let of = |folder: &Path| {
        let folder = folder.to_owned();
        files_in(&folder).into_iter().map(move |file| (file.clone(), fs::read(folder.join(&file)).unwrap_or_default()))
    };
    of(setup.folder.path()).chain(of(setup.datadir.path())).collect()
}

fn remove(setup: &Setup, file: &str) {
    fs::remove_file(setup.folder.path().join(file)).expect("remove");
}

/// In place of what is there, which nobody may write to.
fn exchange(folder: &Path, file: &str, contents: impl AsRef<[u8]>) {
    let _ = fs::remove_file(folder.join(file));
    fs::write(folder.join(file), contents).expect("write");
}

fn put(setup: &Setup, file: &str, contents: impl AsRef<[u8]>) {
    exchange(setup.folder.path(), file, contents);
}

fn plant(setup: &Setup, file: &str) {
    setup.put(file, &[b"other:", &[9; 16][..]].concat());
}

/// A server with keys 1.1, 7.1 and 7.2.
fn used() -> Setup {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    store.latest_or_new(id(7)).expect("made");
    store.rotate(id(7)).expect("rotated");
    setup.kms.calls();
    setup
}

/// Cuts the manifest after the entry of the last key version but `entries`.
fn damage(setup: &Setup) -> Vec<u8> {
    let text = String::from_utf8(read(setup, MANIFEST)).expect("UTF-8");
    let damaged = text.trim_end().trim_end_matches('}').as_bytes().to_vec();
    put(setup, MANIFEST, &damaged);
    damaged
}

#[test]
fn a_good_folder_needs_no_repair_and_no_kms() {
    let setup = used();
    assert_eq!(setup.found(&trusting(&[TEST_MASTER_KEY])), []);
    assert_eq!(setup.kms.calls(), []);
    let new = Setup::new();
    assert_eq!(new.found(&Statement::default()), []);
}

#[test]
fn of_a_damaged_manifest_all_that_can_be_read_stays_which_a_start_would_forget() {
    let setup = used();
    let store = setup.restart();
    store.latest_or_new(id(8)).expect("made");
    drop(store);
    remove(&setup, "aws-kms-key.8.1");
    plant(&setup, "aws-kms-key.1.5");
    drop(setup.restart());
    remove(&setup, "aws-kms-key.7.1");
    retire(&OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open"), &[name(7, 1)])
        .expect("retired");
    let damaged = damage(&setup);
    setup.kms.calls();
    let kept = setup.repaired(&Statement::default());
    assert_eq!(setup.kms.calls(), [], "the files are as the manifest says");
    assert_eq!(kept, [DAMAGED]);
    assert_eq!(read(&setup, DAMAGED), damaged);
    let store = setup.restart();
    // The gone one is missed, the planted one is not trusted, the retired one is retired.
    let loud = setup.loud();
    assert!(
        matches!(&loud[..], [gone, planted] if gone.contains("aws-kms-key.8.1 is gone") && planted.contains(OTHER_MASTER_KEY)),
        "{loud:?}"
    );
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    assert_eq!(store.rotate(id(8)).expect("rotated"), version(2), "its number is not used again");
    assert!(matches!(store.latest_or_new(id(7)), Ok(latest) if latest == version(2)));
}

#[test]
fn a_number_that_only_half_an_entry_tells_stays_used() {
    let setup = used();
    remove(&setup, "aws-kms-key.7.2");
    let text = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    put(&setup, MANIFEST, &text[..text.rfind("\"master_key\"").expect("an entry")]);
    let found = setup.found(&Statement::default());
    assert_eq!(found, [(None, By::Repair), (Some(name(7, 2)), By::Operator)]);
    setup.repaired(&Statement::default());
    let store = setup.restart();
    assert_eq!(store.rotate(id(7)).expect("rotated"), version(3));
}

#[test]
fn nothing_is_kept_over_what_was_kept_before() {
    let setup = used();
    setup.put(DAMAGED, b"of last year");
    damage(&setup);
    assert_eq!(setup.repaired(&Statement::default()), ["aws-kms-key.manifest.damaged.2"]);
    assert_eq!(read(&setup, DAMAGED), b"of last year");
}

#[test]
fn a_manifest_that_a_start_has_put_aside_is_read_too() {
    let setup = used();
    damage(&setup);
    fs::rename(setup.folder.path().join(MANIFEST), setup.folder.path().join(DAMAGED)).expect("put aside");
    remove(&setup, "aws-kms-key.7.2");
    let found = setup.found(&Statement::default());
    assert_eq!(found, [(None, By::Repair), (Some(name(7, 2)), By::Operator)]);
    assert_eq!(setup.repaired(&Statement::default()), Vec::<String>::new());
    assert!(setup.restart().rotate(id(7)).expect("rotated") == version(3));
}

#[test]
fn a_manifest_of_which_nothing_is_left_is_made_of_the_keys_whose_master_key_is_named_and_of_no_other() {
    for manifest in [None, Some(&b"\0\0\0\0"[..])] {
        let setup = used();
        plant(&setup, "aws-kms-key.7.9");
        remove(&setup, MANIFEST);
        manifest.map(|contents| setup.put(MANIFEST, contents));
        let before = contents(&setup);
        assert_eq!(setup.found(&Statement::default()), [(None, By::Operator)], "what a start would trust, it may not");
        setup.repaired(&Statement::default());
        assert_eq!((contents(&setup), setup.kms.calls()), (before, vec![]));
        let own = trusting(&[TEST_MASTER_KEY]);
        assert_eq!(setup.found(&own), [(Some(name(7, 9)), By::Operator), (None, By::Repair)]);
        setup.repaired(&own);
        let store = setup.restart();
        assert_eq!(store.published.latest(id(7)), Some(version(2)));
        assert_eq!(key(&store, 7, 9), Some(vec![9; 16]), "readable");
        let loud = setup.loud();
        assert!(matches!(&loud[..], [planted] if planted.contains(OTHER_MASTER_KEY)), "{loud:?}");
    }
}

#[test]
fn without_an_answer_of_kms_nothing_is_recorded_and_the_exit_tells() {
    let setup = used();
    remove(&setup, MANIFEST);
    setup.kms.fail_next(&[(Decrypt, Class::Transient); 3]);
    let found = setup.found(&trusting(&[TEST_MASTER_KEY]));
    assert!(found.len() == 4 && found.iter().all(|(_, by)| *by == By::Nobody), "{found:?}");
}

#[test]
fn a_version_that_is_not_trusted_becomes_so_only_by_its_master_key_s_name() {
    let setup = used();
    plant(&setup, "aws-kms-key.1.5");
    // Before a start has seen it, and after.
    for _ in 0..2 {
        for statement in
            [Statement::default(), trusting(&[TEST_MASTER_KEY]), trusting(&[&format!("7={OTHER_MASTER_KEY}")])]
        {
            let found = setup.found(&statement);
            assert!(found.iter().all(|(name_, by)| *name_ == Some(name(1, 5)) && *by != By::Repair), "{found:?}");
            let before = contents(&setup);
            setup.repaired(&statement);
            assert_eq!(contents(&setup), before);
        }
        assert_eq!(setup.restart().published.latest(id(1)), Some(version(1)));
    }
    setup.repaired(&trusting(&[&format!("1-5={OTHER_MASTER_KEY}")]));
    assert_eq!(setup.restart().published.latest(id(1)), Some(version(5)));
    assert_eq!(setup.loud(), Vec::<String>::new());
    for text in ["alias/mine", "1=alias/mine", "arn:aws:kms:eu-west-1:1:alias/mine", "no key", "x=no"] {
        assert!(OwnMasterKey::parse(text).is_err(), "{text}");
    }
}

#[test]
fn an_entry_that_cannot_be_read_is_made_anew_of_a_proven_file_and_what_it_said_is_kept() {
    let setup = used();
    let text = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    let damaged = text.replacen("AES_CBC", "AES_X", 1).replacen("\"created\"", "\"colour\": \"red\", \"created\"", 1);
    put(&setup, MANIFEST, &damaged);
    assert_eq!(setup.found(&Statement::default()), [(Some(name(1, 1)), By::NextStart)]);
    assert_eq!(setup.repaired(&trusting(&[TEST_MASTER_KEY])), [DAMAGED]);
    assert_eq!(read(&setup, DAMAGED), damaged.as_bytes());
    let manifest = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    assert!(manifest.contains("\"colour\": \"red\"") && !manifest.contains("AES_X"), "{manifest}");
    drop(setup.restart());
    assert_eq!(setup.loud(), Vec::<String>::new());
    // Unless it says that the file held another key.
    put(&setup, MANIFEST, &damaged);
    setup.put("aws-kms-key.2.1", wrap(&[2; 16]).as_bytes());
    let other = read(&setup, "aws-kms-key.2.1");
    put(&setup, "aws-kms-key.1.1", other);
    assert_eq!(setup.found(&trusting(&[TEST_MASTER_KEY]))[0], (Some(name(1, 1)), By::Operator));
}

/// Keys 1.1, 7.1 and 7.2, all re-wrapped a moment ago.
fn re_wrapped() -> Setup {
    let setup = used();
    let store = setup.restart();
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(NEW));
    assert_eq!(store.rewrap(None).expect("re-wrapped"), 3);
    setup.kms.calls();
    setup
}

#[test]
fn a_key_file_that_is_gone_damaged_or_exchanged_gets_the_copy_that_kms_has_proven() {
    let other = |setup: &Setup| Some(read(setup, "aws-kms-key.7.1"));
    let cases: [(fn(&Setup) -> Option<Vec<u8>>, bool); 4] =
        [(|_| None, false), (|_| Some(Vec::new()), false), (|_| Some(b"garbage".to_vec()), true), (other, true)];
    for (number, (held, is_kept)) in cases.into_iter().enumerate() {
        let setup = re_wrapped();
        let before = key(&setup.restart(), 7, 2);
        // The start has forgotten the copies.
        let store = setup.restart();
        assert_eq!(store.rewrap(None).expect("re-wrapped"), 3);
        let copy = read(&setup, "aws-kms-key.7.2.before-rewrap");
        let held = held(&setup);
        remove(&setup, "aws-kms-key.7.2");
        held.iter().for_each(|held| setup.put("aws-kms-key.7.2", held));
        drop(store);
        let kept = setup.repaired(&Statement::default());
        assert_eq!(kept, if is_kept { vec!["aws-kms-key.7.2.damaged"] } else { vec![] }, "{number}");
        if is_kept {
            assert_eq!(Some(read(&setup, "aws-kms-key.7.2.damaged")), held, "{number}");
        }
        assert_eq!(read(&setup, "aws-kms-key.7.2"), copy, "{number}");
        assert!(setup.files().contains(&"aws-kms-key.7.2.before-rewrap".to_owned()), "until a start has proven it");
        let store = setup.restart();
        assert_eq!((key(&store, 7, 2), store.published.latest(id(7))), (before, Some(version(2))));
        assert_eq!(setup.loud(), Vec::<String>::new());
    }
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
    assert!(failed(&examination).contains("aws-kms-key.7.2 was changed by somebody else meanwhile"));
    assert_eq!(read(&setup, "aws-kms-key.7.2"), b"restored meanwhile");
    let setup = used();
    damage(&setup);
    let examination = setup.examined(&Statement::default());
    drop(setup.restart());
    let before = contents(&setup);
    assert!(failed(&examination).contains("manifest.json was changed by somebody else meanwhile"));
    assert_eq!(contents(&setup), before);
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
fn imported_keys_of_a_later_manifest_are_left_alone() {
    let setup = Setup::new();
    let keys = [NewKey { name: name(1, 1), key: Zeroizing::new(vec![1; 16]) }];
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    let new = MasterKeyId::parse(NEW).expect("a master key");
    offline::import(&folder, &*setup.kms, &new, Algorithm::AesCbc, &keys).expect("imported");
    put(&setup, MANIFEST, b"{\"format\": 2}");
    let before = contents(&setup);
    assert_eq!(setup.found(&trusting(&[NEW])), [(None, By::Operator)]);
    setup.repaired(&trusting(&[NEW]));
    assert_eq!(contents(&setup), before);
}
