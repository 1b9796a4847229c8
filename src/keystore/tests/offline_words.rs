//! What the reports of the offline tool say of each version, and in which words.

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::super::offline::repair::{Outcome, Statement};
use super::super::offline::{Found, InnoDb, OpenFolder, State, list, retire, verify};
use super::extra_master_keys::{ONE, TWO};
use super::repair::{damage, name, put};
use super::*;

const TIME: Duration = Duration::from_secs(5);

fn to_read(folder: &Path) -> OpenFolder {
    OpenFolder::to_read(folder).expect("open")
}

#[test]
fn each_state_has_its_word_and_half_of_them_are_wrong() {
    use State::*;
    let right = [(Ok, "ok"), (New, "new"), (LeftBehind, "left behind"), (Retired, "retired")];
    let wrong = [(Changed, "changed"), (NotTrusted, "not trusted"), (Missing, "missing"), (Unreadable, "unreadable")];
    for (states, is_wrong) in [(right, false), (wrong, true)] {
        for (state, word) in states {
            assert_eq!((state.as_str(), state.is_wrong()), (word, is_wrong));
        }
    }
}

#[test]
fn the_list_says_what_the_manifest_and_the_files_do_and_why_something_is_wrong() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    store.latest_or_new(id(1)).expect("made");
    store.new_keys().change(|settings| settings.algorithm = Algorithm::AesCtr);
    store.latest_or_new(id(7)).expect("made");
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    store.latest_or_new(id(8)).expect("it has no copies yet");
    setup.put("aws-kms-key.1.5", &[b"other:", &[9; 16][..]].concat());
    drop(setup.open_extra(Role::Server));
    let changed = read(&setup, "aws-kms-key.1.1");
    put(&setup, "aws-kms-key.8.1", changed);
    let listed = list(&to_read(setup.folder.path())).expect("listed").versions;
    let of = |id, version| listed.iter().find(|listed| listed.name == name(id, version)).expect("listed");
    let manifest: serde_json::Value = serde_json::from_slice(&read(&setup, MANIFEST)).expect("JSON");
    for (listed, entry) in listed.iter().zip(manifest["keys"].as_array().expect("entries")) {
        assert_eq!(listed.created.as_deref(), entry["created"].as_str());
    }
    assert_eq!(
        [of(1, 1), of(7, 1)].map(|listed| (listed.format, listed.reason.clone())),
        [(Some(1), None), (Some(2), None)]
    );
    assert_eq!(
        (of(7, 1).extra_master_keys.clone(), of(8, 1).extra_master_keys.len()),
        (vec![ONE.into(), TWO.into()], 0)
    );
    let reason = |id, version| (of(id, version).state, of(id, version).reason.clone().unwrap_or_default());
    assert!(
        matches!(reason(8, 1), (State::Changed, why) if why.starts_with("the file is not the one that the manifest"))
    );
    assert!(matches!(reason(1, 5), (State::NotTrusted, why) if why.starts_with("it turned up under a master key")));
}

/// A copy of a datadir without what was made last, or a copy of its key files alone.
fn copied(is_of_datadir: bool) -> tempfile::TempDir {
    let setup = Setup::new();
    let folder = setup.folder.path();
    let store = KeyStore::open(Opening { datadir: folder, ..setup.opening(Role::Server, setup.kms.clone()) });
    let store = store.expect("open");
    store.latest_or_new(id(7)).expect("made");
    store.rotate(id(7)).expect("rotated");
    let copy = tempfile::tempdir().expect("folder");
    for file in setup.files().iter().filter(|file| *file != "aws-kms-key.7.2") {
        fs::copy(folder.join(file), copy.path().join(file)).expect("copy");
    }
    if is_of_datadir {
        fs::write(copy.path().join("ibdata1"), b"").expect("write");
    }
    copy
}

#[test]
fn only_in_a_copy_of_a_datadir_something_can_have_been_left_behind() {
    for is_of_datadir in [true, false] {
        let copy = copied(is_of_datadir);
        let folder = to_read(copy.path());
        let states: Vec<State> = list(&folder).expect("listed").versions.iter().map(|listed| listed.state).collect();
        assert_eq!(states, [State::Ok, if is_of_datadir { State::LeftBehind } else { State::Missing }]);
        let verified = verify(&folder, &TestKms::default(), TIME).expect("verified");
        assert_eq!(verified.has_left_behind(), is_of_datadir);
        let found = &verified.versions[1].found;
        assert_eq!(found.as_str(), if is_of_datadir { "left behind" } else { "missing" });
        let why = found.reason().expect("a reason");
        assert_eq!(why.starts_with("its key file is not in this copy"), is_of_datadir, "{why}");
        // What ties it to its keys, only a datadir needs.
        fs::remove_file(copy.path().join(FOLDER_ID)).expect("remove");
        assert_eq!(to_read(copy.path()).check_as_datadir().is_err(), is_of_datadir);
    }
}

#[test]
fn a_datadir_says_where_its_keys_lie_unless_they_lie_in_itself() {
    let setup = used();
    let elsewhere = to_read(setup.datadir.path()).elsewhere().expect("read");
    assert_eq!(elsewhere, Some(setup.folder.path().canonicalize().expect("a path")));
    assert_eq!(to_read(setup.folder.path()).elsewhere().expect("read"), None);
    assert_eq!(to_read(copied(true).path()).elsewhere().expect("read"), None);
}

#[test]
fn a_verification_names_what_is_new_and_says_of_what_is_wrong_why() {
    let setup = used();
    setup.put_key("aws-kms-key.9.1", 9);
    put(&setup, "aws-kms-key.7.1", b"");
    setup.put("aws-kms-key.8.1", b"{\"format\": 2}");
    let verified = verify(&to_read(setup.folder.path()), &*setup.kms, TIME).expect("verified");
    let found: Vec<(&str, bool)> =
        verified.versions.iter().map(|it| (it.found.as_str(), it.found.reason().is_some())).collect();
    assert_eq!(found, [("good", false), ("damaged", true), ("good", false), ("damaged", true), ("new", false)]);
    assert!(!verified.has_left_behind());
    let why = verified.versions[1].found.reason().expect("a reason");
    assert!(why.contains("aws-kms-key.7.1 is empty"), "{why}");
    assert!(matches!(verified.versions[4].found, Found::New));
}

#[test]
fn a_version_that_is_not_the_highest_of_its_key_is_retired_whatever_other_keys_there_are() {
    let setup = used();
    remove(&setup, "aws-kms-key.7.1");
    let folder = OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
    retire(&folder, &[name(7, 1)], &InnoDb::None).expect("retired");
    let folder = to_read(setup.folder.path());
    let states: Vec<State> = list(&folder).expect("listed").versions.iter().map(|listed| listed.state).collect();
    assert_eq!(states, [State::Ok, State::Retired, State::Ok]);
}

#[test]
fn after_a_step_of_a_repair_that_fails_no_other_is_tried() {
    let setup = used();
    damage(&setup);
    setup.put(".aws-kms-key.new-abc", b"half");
    let examination = setup.examined(&Statement::default());
    put(&setup, MANIFEST, b"restored meanwhile");
    let outcomes = examination.repair();
    assert!(matches!(outcomes[..], [Outcome::Failed(_), Outcome::NotTried]), "{outcomes:?}");
    assert!(setup.files().contains(&".aws-kms-key.new-abc".to_owned()));
}
