//! The job that makes copies under the extra master keys: what fails, what it leaves to others, and what is said meanwhile.

use super::super::background::Job;
use super::super::extra_copies::MakeExtraCopies;
use super::extra_master_keys::{COPIES, ONE, TWO, list, set};
use super::faulty_disk::{Fails, FaultyDisk};
use super::two_servers::Meanwhile;
use super::*;

#[test]
fn a_master_key_that_fails_is_told_of_once_and_asked_again_and_holds_up_no_other() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    for number in 1..=9 {
        store.latest_or_new(id(number)).expect("made");
    }
    setup.kms.disable(ONE, true);
    let mut job = MakeExtraCopies::new(store.clone());
    // Later than the clock says while the test runs.
    let (mut now, mut pause) = (Instant::now() + Duration::from_secs(10_000), Duration::from_secs(1));
    setup.kms.calls();
    setup.log();
    for round in 0..8 {
        let next = job.run(now).expect("it is tried again");
        assert!(!store.figures().readiness().is_fully_wrapped() && store.figures().readiness().restart_is_ready());
        let encrypts = setup.kms.calls().iter().filter(|call| **call == Encrypt).count();
        assert_eq!(encrypts, if round == 0 { 2 + 9 } else { 2 }, "two of nine say enough");
        assert_eq!((job.run(now), setup.kms.calls()), (Some(next), vec![]), "it has a pause");
        assert!((pause..=pause * 5 / 4).contains(&(next - now)), "{pause:?} {:?}", next - now);
        (now, pause) = (next, pause * 2);
    }
    assert_eq!(setup.copies(COPIES), [TWO]);
    let log = setup.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].starts_with("warning: key ") && log[0].contains("has no copy yet") && log[0].contains(ONE));
    setup.kms.disable(ONE, false);
    assert_eq!(job.run(now), None);
    assert_eq!(setup.log(), [format!("note: all keys have their copies under the extra master key {ONE} now")]);
    assert_eq!(setup.copies(COPIES), [TWO, ONE]);
    assert!(store.figures().readiness().is_fully_wrapped());
}

#[test]
fn one_version_whose_copies_cannot_be_written_keeps_no_other_from_having_its_own() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    for key_id in 7..10 {
        store.latest_or_new(id(key_id)).expect("made");
    }
    setup.put(COPIES, br#"{"format": 2}"#);
    MakeExtraCopies::new(store.clone()).run(Instant::now());
    assert_eq!([8, 9].map(|id| setup.copies(&format!("aws-kms-key.{id}.1.extra")).len()), [2, 2]);
    assert!(setup.log().iter().any(|line| line.starts_with("warning: key 7 version 1, and perhaps others")));
}

#[test]
fn the_copies_of_many_keys_are_made_in_parts_between_which_other_jobs_have_their_turn() {
    let setup = Setup::new();
    let store = setup.open_extra(Role::Server);
    for key_id in 1..=40 {
        store.latest_or_new(id(key_id)).expect("made");
    }
    let mut job = MakeExtraCopies::with_runs_of(store.clone(), Duration::ZERO);
    let copies = |arn: &str| {
        let files = setup.files().into_iter().filter(|file| file.ends_with(".extra"));
        files.filter(|file| setup.copies(file).contains(&arn.to_owned())).count()
    };
    let now = Instant::now();
    let mut seen = Vec::new();
    loop {
        let next = job.run(now);
        seen.push((copies(ONE), copies(TWO)));
        assert_eq!(store.figures().readiness().is_fully_wrapped(), next.is_none());
        match next {
            Some(next) => assert!(next <= Instant::now(), "at once"),
            None => break,
        }
    }
    assert_eq!(seen, [(32, 0), (40, 32), (40, 40)]);
    // Where there is time for all of them, they are made at once.
    store.latest_or_new(id(41)).expect("made");
    (1..=40).for_each(|key_id| remove(&setup, &format!("aws-kms-key.{key_id}.1.extra")));
    let mut job = MakeExtraCopies::with_runs_of(store.clone(), Duration::from_secs(600));
    assert_eq!((job.run(now), copies(ONE), copies(TWO)), (None, 41, 41));
}

/// A server with key 7, and a KMS that does this when it unwraps a key for the server.
fn while_kms_is_asked(does: impl Fn(&Arc<KeyStore>) + Send + Sync + 'static) -> (Setup, Arc<KeyStore>) {
    let setup = Setup::new();
    let of_kms: Arc<Mutex<Option<Arc<KeyStore>>>> = Arc::default();
    let during = of_kms.clone();
    let meanwhile = move || {
        let store = during.lock().expect("store").clone();
        store.iter().for_each(&does);
    };
    let opening = setup.opening(Role::Server, Arc::new(Meanwhile(TestKms::default(), meanwhile)));
    opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE, TWO]));
    let store = Arc::new(KeyStore::open(opening).expect("open"));
    store.latest_or_new(id(7)).expect("made");
    *of_kms.lock().expect("store") = Some(store.clone());
    (setup, store)
}

#[test]
fn a_copy_that_is_not_wanted_any_more_when_kms_has_made_it_is_not_written() {
    let (setup, store) = while_kms_is_asked(|store| set(store, &["arn:aws:kms:eu-west-3:1:key/three"]));
    MakeExtraCopies::new(store).run(Instant::now());
    assert!(!setup.files().contains(&COPIES.to_owned()), "{:?}", setup.files());
}

#[test]
fn while_copies_are_being_made_the_keys_are_not_called_fully_wrapped() {
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let sees = seen.clone();
    let (_setup, store) = while_kms_is_asked(move |store| {
        sees.lock().expect("seen").push(store.figures().readiness().is_fully_wrapped());
    });
    assert_eq!(MakeExtraCopies::new(store.clone()).run(Instant::now()), None);
    assert_eq!(
        (&seen.lock().expect("seen")[..], store.figures().readiness().is_fully_wrapped()),
        (&[false; 2][..], true)
    );
}

#[test]
fn a_copy_that_cannot_be_stored_is_not_asked_of_kms() {
    let setup = Setup::new();
    let disk = FaultyDisk::default();
    let opening = setup.opening(Role::Server, setup.kms.clone());
    opening.new_keys.change(|settings| settings.extra_master_keys = list(&[ONE]));
    let store = Arc::new(KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open"));
    store.latest_or_new(id(7)).expect("made");
    setup.kms.calls();
    disk.plant(Fails::Lock, "aws-kms-key.lock", libc::EIO, 1);
    let mut job = MakeExtraCopies::new(store.clone());
    let next = job.run(Instant::now()).expect("it is tried again");
    assert_eq!((setup.kms.calls(), disk.left()), (vec![], 0));
    assert!(setup.log().iter().any(|line| line.contains("has no copy yet")));
    job.run(next);
    assert_eq!(setup.copies(COPIES), [ONE]);
}
