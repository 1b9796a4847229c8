//! What a start refuses, or complains of, is put right; and no more than that.

use super::super::offline::repair::{By, Examination, Outcome, OwnMasterKey, Statement, examine};
use super::super::offline::{self, InnoDb, NewKey, OpenFolder, retire};
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::*;
use zeroize::Zeroizing;

pub(super) const NEW: &str = "arn:aws:kms:eu-west-1:1:key/new";
const TIME: Duration = Duration::from_secs(5);
const DAMAGED: &str = "aws-kms-key.manifest.damaged";

pub(super) fn name(id: u32, version: u32) -> KeyName {
    KeyName::new(id, version).expect("a name")
}

pub(super) fn trusting(own: &[&str]) -> Statement {
    let parse = |text: &&str| OwnMasterKey::parse(text).expect("a master key");
    Statement { master_keys: own.iter().map(parse).collect(), ..Statement::default() }
}

impl Setup {
    pub(super) fn examined(&self, statement: &Statement) -> Examination {
        let before = contents(self);
        let examination =
            examine(self.folder.path(), self.datadir.path(), &*self.kms, statement, TIME).expect("examined");
        assert_eq!(contents(self), before, "nothing is written");
        examination
    }

    /// What was found, by whom it is put right, in order.
    pub(super) fn found(&self, statement: &Statement) -> Vec<(Option<KeyName>, By)> {
        self.examined(statement).findings().iter().map(|finding| (finding.name, finding.by)).collect()
    }

    /// Repairs, without a failure. Answers as what is kept what was there. A second repair has nothing to do.
    pub(super) fn repaired(&self, statement: &Statement) -> Vec<String> {
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

    pub(super) fn loud(&self) -> Vec<String> {
        let log = std::mem::take(&mut *self.log.0.lock().expect("log"));
        log.into_iter().filter(|line| !line.starts_with("note: ")).collect()
    }

    pub(super) fn restart(&self) -> KeyStore {
        self.loud();
        self.open().expect("open")
    }
}

/// All files, with what is in them.
pub(super) fn contents(setup: &Setup) -> Vec<(String, Vec<u8>)> {
    let of = |folder: &Path| {
        let folder = folder.to_owned();
        files_in(&folder).into_iter().map(move |file| (file.clone(), fs::read(folder.join(&file)).unwrap_or_default()))
    };
    of(setup.folder.path()).chain(of(setup.datadir.path())).collect()
}

/// In place of what is there, which nobody may write to.
pub(super) fn exchange(folder: &Path, file: &str, contents: impl AsRef<[u8]>) {
    let _ = fs::remove_file(folder.join(file));
    fs::write(folder.join(file), contents).expect("write");
}

pub(super) fn put(setup: &Setup, file: &str, contents: impl AsRef<[u8]>) {
    exchange(setup.folder.path(), file, contents);
}

fn plant(setup: &Setup, file: &str) {
    setup.put(file, &[b"other:", &[9; 16][..]].concat());
}

/// Takes the end off the manifest. Answers what is left.
pub(super) fn damage(setup: &Setup) -> Vec<u8> {
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
    retire(
        &OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open"),
        &[name(7, 1)],
        &InnoDb::None,
    )
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
    assert!(setup.examined(&Statement::default()).findings()[0].found.contains("a damaged one that was put aside"));
    assert_eq!(setup.repaired(&Statement::default()), Vec::<String>::new());
    assert!(setup.restart().rotate(id(7)).expect("rotated") == version(3));
}

#[test]
fn a_manifest_of_which_nothing_is_left_is_made_of_the_keys_whose_master_key_is_named_and_of_no_other() {
    for manifest in [None, Some(&b"\0\0\0\0"[..])] {
        let setup = used();
        plant(&setup, "aws-kms-key.7.9");
        remove(&setup, MANIFEST);
        manifest.iter().for_each(|contents| setup.put(MANIFEST, contents));
        let before = contents(&setup);
        assert_eq!(setup.found(&Statement::default()), [(None, By::Operator)], "what a start would trust, it may not");
        assert!(!setup.examined(&Statement::default()).findings()[0].found.contains("put aside"), "there is none");
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
    let kept = setup.repaired(&trusting(&[&format!("1-5={OTHER_MASTER_KEY}")]));
    assert_eq!(kept, [] as [&str; 0], "nothing is lost");
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
    let mut found = setup.found(&trusting(&[TEST_MASTER_KEY]));
    found.retain(|(of, _)| *of == Some(name(1, 1)));
    assert_eq!(found, [(Some(name(1, 1)), By::Operator)]);
    // A start does not take it either.
    let store = setup.restart();
    assert_eq!(key(&store, 1, 1), None);
    assert!(setup.loud().iter().any(|line| line.contains("key 1 version 1: its file holds another key")));
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

#[test]
fn what_a_repair_has_put_aside_is_no_good_entry_at_the_next_start() {
    // A digest that is none; and two entries that contradict each other.
    for is_contradicted in [false, true] {
        let setup = used();
        let text = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
        let mut manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let entries = manifest["keys"].as_array_mut().expect("keys");
        let of_seven = entries.iter().position(|entry| entry["key_id"] == 7 && entry["key_version"] == 1).expect("7.1");
        let mut other = entries[of_seven].clone();
        let check = entries[of_seven]["key_check"].as_str().expect("text").to_owned();
        let flipped = if check.starts_with('0') { '1' } else { '0' };
        if is_contradicted {
            other["key_check"] = format!("{flipped}{}", &check[1..]).into();
            entries.push(other);
        } else {
            entries[of_seven]["key_check"] = format!("x{}", &check[1..]).into();
        }
        let damaged = manifest.to_string();
        put(&setup, MANIFEST, &damaged[..damaged.len() - 1]);
        setup.repaired(&Statement::default());
        let store = setup.restart();
        assert!(key(&store, 7, 1).is_some(), "{is_contradicted}: {:?}", setup.log.0);
    }
}

#[test]
fn the_number_of_a_copy_of_which_nothing_else_tells_is_not_used_again() {
    let setup = used();
    let store = Arc::new(setup.restart());
    store.new_keys().change(|settings| settings.extra_master_keys = ExtraMasterKeys::parse(NEW).expect("a list"));
    store.extra_copies_job().run(Instant::now());
    drop(store);
    for file in [MANIFEST, "aws-kms-key.7.2", "aws-kms-key.1.1"] {
        remove(&setup, file);
    }
    let store = setup.restart();
    let warned = setup.loud();
    assert!(
        warned.iter().any(|line| line.contains("aws-kms-key.7.2.extra holds copies of a key version")),
        "{warned:?}"
    );
    assert_eq!(store.rotate(id(7)).expect("rotated"), version(3));
    assert_eq!(store.rotate_all().expect("rotated"), 1);
    assert!(matches!(store.latest_or_new(id(1)), Err(KeyStoreError::Gone(..))), "not made anew");
    let found = setup.examined(&Statement::default());
    assert!(found.findings().iter().any(|finding| finding.found.contains("aws-kms-key.1.1.extra has copies")));
}
