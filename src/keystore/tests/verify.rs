//! Whether a restart would work is known while the server runs, and whatever is found changes nothing of what is loaded.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::background::Job;
use super::super::retry::Retry;
use super::super::test_kms::{OTHER_MASTER_KEY, TEST_MASTER_KEY};
use super::super::verify;
use super::super::verify_job::VerifyJob;
use super::two_servers::Meanwhile;
use super::*;

pub(super) const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);
const MINUTES: Duration = Duration::from_secs(301);
pub(super) const MANY: u8 = 20;

/// A server whose keys 1 to `keys` are loaded, and its job.
pub(super) fn running(keys: u8) -> (Setup, Arc<KeyStore>, VerifyJob, Instant) {
    let setup = Setup::new();
    (1..=keys).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
    let store = Arc::new(setup.open().expect("open"));
    let now = Instant::now();
    let job = VerifyJob::new(store.clone(), now);
    setup.kms.calls();
    lines(&setup);
    (setup, store, job, now)
}

/// Runs what is due at `now` to its end, with its pauses. Answers how many steps it took, and when something is due again.
pub(super) fn run(job: &mut VerifyJob, mut now: Instant) -> (usize, Instant) {
    for steps in 1..1000 {
        let next = job.run(now).expect("it goes on");
        assert!(next > now, "other jobs have their turn");
        if next > now + Duration::from_secs(1) {
            return (steps, next);
        }
        now = next;
    }
    panic!("a check without an end");
}

pub(super) fn lines(setup: &Setup) -> Vec<String> {
    std::mem::take(&mut *setup.log.0.lock().expect("log"))
}

pub(super) fn decrypts(setup: &Setup) -> usize {
    setup.kms.calls().iter().filter(|call| **call == Decrypt).count()
}

pub(super) fn is_ready(store: &KeyStore) -> bool {
    store.figures().readiness().restart_is_ready()
}

/// The one line of the log since the last time.
pub(super) fn only_line(setup: &Setup) -> String {
    let mut lines = lines(setup);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn all_files_are_unwrapped_once_in_an_interval_a_few_at_a_time_and_one_of_each_master_key_every_hour() {
    let (setup, store, mut job, begun) = running(MANY);
    setup.put("aws-kms-key.30.1", &[&b"other:"[..], &[30; 16]].concat());
    store.load(KeyName::new(30, 1).expect("a name")).expect("loaded");
    setup.kms.calls();
    let next = job.run(begun).expect("it is due some time");
    assert!(next >= begun + HOUR.mul_f64(0.75) && next <= begun + HOUR, "not all servers ask at the same time");
    let of_others: Vec<_> = (0..20).map(|_| VerifyJob::new(store.clone(), begun).run(begun)).collect();
    assert!(of_others.iter().any(|other| *other != of_others[0]), "{of_others:?}");
    assert_eq!((job.run(begun + MINUTES), setup.kms.calls()), (Some(next), vec![]), "nothing is open");
    let before = store.figures().readiness().last_check();
    for hour in 1..18 {
        run(&mut job, begun + HOUR * hour);
        assert_eq!(decrypts(&setup), 2, "{TEST_MASTER_KEY} and {OTHER_MASTER_KEY}");
    }
    assert_eq!(store.figures().readiness().last_check(), before, "it was not all");
    let (steps, _) = run(&mut job, begun + DAY);
    assert_eq!(decrypts(&setup), usize::from(MANY) + 1);
    assert!(steps >= 4, "{steps}");
    assert!(store.figures().readiness().last_check() > before && is_ready(&store));
    assert!(lines(&setup).iter().all(|line| line.starts_with("warning: key 30") || line.starts_with("note: loaded")));
}

#[test]
fn with_an_interval_of_zero_nothing_is_asked_and_mariadb_backup_never_asks() {
    let (setup, store, mut job, begun) = running(3);
    store.set_verify_interval(Duration::ZERO);
    assert_eq!((job.run(begun + HOUR), job.run(begun + DAY * 2)), (None, None));
    store.set_verify_interval(DAY);
    assert!(job.run(begun).is_some());
    assert_eq!(setup.kms.calls(), []);
    let backup = Arc::new(setup.open_as(Role::Backup, setup.kms.clone()).expect("open"));
    setup.kms.calls();
    assert_eq!(VerifyJob::new(backup.clone(), begun).run(begun + DAY * 2), None);
    assert!(matches!(backup.verify(None).result, Err(KeyStoreError::BackupVerifiesNothing)));
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_file_that_is_lost_damaged_or_exchanged_is_told_once_and_once_that_it_is_whole_again() {
    let whole = wrap(&[2; 16]);
    for (damage, what) in [
        (None, "key file "),
        (Some(&b""[..]), "is empty"),
        (Some(b"garbage"), "not a wrapped key, or damaged"),
        (Some(wrap(&[66; 16]).as_bytes()), "its file holds another key"),
        (Some(wrap(&[2; 24]).as_bytes()), "its file holds another key"),
    ] {
        let (setup, store, mut job, begun) = running(3);
        remove(&setup, "aws-kms-key.2.1");
        damage.into_iter().for_each(|bytes| setup.put("aws-kms-key.2.1", bytes));
        run(&mut job, begun + DAY);
        let line = only_line(&setup);
        assert!(line.starts_with("error: a restart would not find key 2 version 1. It is in memory"), "{line}");
        assert!(line.contains(what) && line.contains("aws_key_management_rewrap_key = 2"), "{line}");
        assert!(!is_ready(&store) && store.figures().readiness().unready_since().is_some());
        let listed = &store.figures().version_list()[1];
        assert_eq!((listed.name, listed.state), (KeyName::new(2, 1).expect("a name"), VersionState::Unready));
        assert!(listed.error.as_ref().is_some_and(|error| error.contains(what)), "{:?}", listed.error);
        run(&mut job, begun + DAY + MINUTES);
        run(&mut job, begun + DAY * 2);
        assert_eq!(lines(&setup), [""; 0], "it is known");
        assert_eq!(
            (1..=3).map(|id| key(&store, id, 1)).collect::<Vec<_>>(),
            [1, 2, 3].map(|byte| Some(vec![byte; 16]))
        );
        setup.put("aws-kms-key.2.1", whole.as_bytes());
        run(&mut job, begun + DAY * 2 + MINUTES);
        assert_eq!(only_line(&setup), "note: a restart would find key 2 version 1 again");
        assert!(is_ready(&store) && store.figures().readiness().unready_since().is_none());
        assert!(store.figures().version_list().iter().all(|listed| listed.state == VersionState::Ok));
        run(&mut job, begun + DAY * 3);
        assert_eq!(lines(&setup), [""; 0]);
    }
}

#[test]
fn a_master_key_that_is_disabled_is_one_error_within_the_hour_and_one_note_when_it_is_enabled() {
    let (setup, store, mut job, begun) = running(MANY);
    setup.kms.disable(TEST_MASTER_KEY, true);
    run(&mut job, begun + HOUR);
    let line = lines(&setup).remove(0);
    let expected =
        format!("error: a restart would not find {MANY} key version(s): master key {TEST_MASTER_KEY} does not");
    assert!(line.starts_with(&expected), "{line}");
    assert!(line.contains("Enable the master key in KMS") && line.contains("rewrap_key = -1"), "{line}");
    assert!(!is_ready(&store));
    setup.kms.calls();
    run(&mut job, begun + DAY);
    assert_eq!(decrypts(&setup), 8, "the others would fail alike");
    assert_eq!(lines(&setup), [""; 0]);
    assert_eq!(store.published.count(), (usize::from(MANY), usize::from(MANY)));
    assert_eq!(store.latest_or_new(id(7)).expect("as before"), version(1));
    setup.kms.disable(TEST_MASTER_KEY, false);
    run(&mut job, begun + DAY + MINUTES);
    let lines = lines(&setup);
    let expected = format!("note: a restart would find the key versions of master key {TEST_MASTER_KEY} again");
    assert_eq!(lines.iter().filter(|line| **line == expected).count(), 1, "{lines:?}");
    assert!(is_ready(&store) && !lines.iter().any(|line| line.starts_with("error")));
}

#[test]
fn that_kms_does_not_answer_counts_after_three_rounds_and_that_it_refuses_the_credentials_at_once() {
    for (class, rounds) in
        [(Class::Transient, 3), (Class::Throttled, 3), (Class::NoCredentials, 3), (Class::BadCredentials, 1)]
    {
        let (setup, store, mut job, begun) = running(MANY);
        (1..=MANY).for_each(|key| setup.kms.refuse(key, class));
        let before = store.figures().readiness().last_check();
        let mut now = begun + DAY;
        for round in 1..=4 {
            run(&mut job, now);
            now += MINUTES;
            assert_eq!(is_ready(&store), round < rounds, "{class} {round}");
            assert!(decrypts(&setup) <= 8, "the others would fail alike");
            let lines = lines(&setup);
            assert_eq!(lines.len(), usize::from(round == rounds), "{lines:?}");
            assert!(lines.iter().all(|line| line.starts_with("error: a restart would find no keys, since KMS cannot")));
        }
        assert_eq!(store.figures().readiness().last_check(), before, "nothing was found out");
        (1..=MANY).for_each(|key| setup.kms.allow(key));
        run(&mut job, now);
        assert_eq!(only_line(&setup), "note: a restart could ask KMS again");
        assert!(is_ready(&store));
        assert_eq!(decrypts(&setup), usize::from(MANY), "nothing was known of the others");
    }
}

#[test]
fn a_round_with_an_answer_ends_the_count_of_those_without() {
    let (setup, store, mut job, begun) = running(3);
    let mut now = begun + DAY;
    for is_silent in [true, true, false, true, true] {
        match is_silent {
            true => (1..=3).for_each(|key| setup.kms.refuse(key, Class::Transient)),
            false => (1..=3).for_each(|key| setup.kms.allow(key)),
        }
        run(&mut job, now);
        now += if is_silent { MINUTES } else { DAY };
        assert!(is_ready(&store));
    }
    assert_eq!(lines(&setup), [""; 0]);
}

#[test]
fn a_file_that_is_restored_is_loaded_by_who_tries_failed_keys_again_and_a_restart_is_ready_again() {
    let setup = Setup::new();
    (1..=2).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
    drop(setup.open().expect("open"));
    remove(&setup, "aws-kms-key.2.1");
    let store = Arc::new(setup.open().expect("open"));
    let begun = Instant::now();
    let (mut job, mut retry) = (VerifyJob::new(store.clone(), begun), Retry::new(store.clone()));
    retry.run(begun + DAY);
    lines(&setup);
    run(&mut job, begun + DAY);
    assert_eq!((lines(&setup), is_ready(&store)), (Vec::new(), false), "it was told by who tries it again");
    setup.put_key("aws-kms-key.2.1", 2);
    assert_eq!(retry.run(Instant::now()).map(drop), Some(()));
    assert_eq!(key(&store, 2, 1), None, "not yet");
    run(&mut job, begun + DAY * 2);
    assert_eq!(key(&store, 2, 1), None, "a check publishes nothing");
    retry.run(Instant::now());
    assert_eq!(key(&store, 2, 1), Some(vec![2; 16]));
    assert!(is_ready(&store));
}

#[test]
fn the_folder_is_missed_once_and_nothing_is_put_into_an_empty_one() {
    let (setup, store, mut job, begun) = running(2);
    let kept = setup.folder.path().with_extension("kept");
    fs::rename(setup.folder.path(), &kept).expect("rename");
    fs::create_dir(setup.folder.path()).expect("create");
    for round in 0..3 {
        run(&mut job, begun + DAY + MINUTES * round);
        assert_eq!(lines(&setup).len(), usize::from(round == 0));
        assert!(!is_ready(&store));
    }
    assert_eq!((setup.files(), key(&store, 1, 1)), (Vec::new(), Some(vec![1; 16])));
    fs::remove_dir(setup.folder.path()).expect("remove");
    fs::rename(&kept, setup.folder.path()).expect("rename");
    run(&mut job, begun + DAY + MINUTES * 3);
    assert_eq!(only_line(&setup), "note: a restart would find the folder of the key files again");
    assert!(is_ready(&store));
}

#[test]
fn a_version_that_would_be_used_from_a_copy_is_ready_but_not_fully_wrapped() {
    let (setup, store, mut job, begun) = running(2);
    const NEW: &str = "arn:aws:kms:eu-west-1:1:key/new";
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(NEW));
    store.rewrap(None).expect("re-wrapped");
    lines(&setup);
    setup.kms.disable(NEW, true);
    run(&mut job, begun + DAY);
    let lines = lines(&setup);
    let readiness = store.figures().readiness();
    assert!(readiness.restart_is_ready() && !readiness.is_fully_wrapped(), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("warning: a restart would find 2 key version(s) only in copies")));
    assert!(!readiness.can_make_keys());
    assert!(
        lines.iter().any(|line| line.starts_with(&format!("warning: no new key could be made under master key {NEW}")))
    );
    assert_eq!(lines.len(), 2);
    setup.kms.disable(NEW, false);
    run(&mut job, begun + DAY * 2);
    assert!(readiness.is_fully_wrapped() && readiness.can_make_keys());
}

#[test]
fn a_version_of_another_algorithm_than_its_damaged_file_names_is_found_in_its_copy() {
    let (setup, store, ..) = running(1);
    store.new_keys().change(|settings| settings.algorithm = Algorithm::AesCtr);
    store.latest_or_new(id(7)).expect("made");
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse("arn:aws:kms:eu-west-1:1:key/new"));
    store.rewrap(None).expect("re-wrapped");
    remove(&setup, "aws-kms-key.7.1");
    setup.put("aws-kms-key.7.1", b"garbage");
    let asked = store.verify(Some(id(7)));
    let error = asked.result.expect_err("a damaged file").to_string();
    assert!(error.contains("key 7 version 1 is only in a copy") && error.contains("damaged"), "{error}");
    assert!(!store.figures().readiness().restart_is_ready() && store.rewrap(Some(id(7))).is_ok());
    assert!(
        store.verify(Some(id(7))).result.is_ok() && setup.log.has("a restart would find key 7 version 1 in its file")
    );
}

#[test]
fn whether_keys_can_be_made_is_asked_under_each_configured_master_key() {
    let (setup, store, mut job, begun) = running(1);
    let readiness = store.figures().readiness();
    store.new_keys().change(|settings| {
        settings.master_keys = MasterKeysOfIds::parse(&format!("50-59={OTHER_MASTER_KEY}")).expect("a list");
    });
    let files = setup.files();
    for (is_disabled, marks) in
        [(true, "warning: no new key could be made under"), (false, "note: new keys could be made")]
    {
        setup.kms.disable(OTHER_MASTER_KEY, is_disabled);
        run(&mut job, begun + if is_disabled { HOUR } else { HOUR + MINUTES });
        assert_eq!(readiness.can_make_keys(), !is_disabled);
        assert!(only_line(&setup).starts_with(marks));
        let told = store.verify(None);
        assert_eq!((told.result.expect("a restart would work"), told.lines.len()), (1, 3), "of keys that exist");
        assert_eq!(told.lines.iter().any(|line| line.starts_with("new keys: none could be made")), is_disabled);
        assert_eq!(setup.kms.calls().iter().filter(|call| **call == Generate).count(), 4);
    }
    assert_eq!(setup.files(), files, "none was made");
    // A failure that is not one of KMS is none that KMS could take back.
    readiness.set_made(false);
    run(&mut job, begun + DAY);
    assert!(!readiness.can_make_keys());
}

#[test]
fn a_master_key_that_makes_no_keys_and_is_not_configured_any_more_is_not_called_well_again() {
    let (setup, store, _, _) = running(1);
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    setup.kms.disable(OTHER_MASTER_KEY, true);
    store.verify(None).result.expect("the keys are good");
    assert!(only_line(&setup).starts_with("warning: no new key could be made under master key"));
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse("alias/test"));
    store.verify(None).result.expect("the keys are good");
    assert_eq!(lines(&setup), [] as [&str; 0]);
    assert!(store.figures().readiness().can_make_keys());
}

#[test]
fn who_asks_is_told_of_each_version_what_failed_first_and_the_statement_fails_with_the_count() {
    let (setup, store, mut job, begun) = running(3);
    let good = store.verify(None);
    assert_eq!(good.result.expect("all are good"), 3);
    assert_eq!(good.lines.len(), 4);
    assert_eq!(good.lines[1], format!("key 1 version 1: good, wrapped by master key {TEST_MASTER_KEY}"));
    remove(&setup, "aws-kms-key.3.1");
    let told = store.verify(None);
    let error = told.result.expect_err("one fails").to_string();
    assert!(error.starts_with("a restart would not find 1 of 3 key versions (see SHOW WARNINGS"), "{error}");
    assert!(error.contains("key 3 version 1") && told.lines[0].contains("key 3 version 1"), "{:?}", told.lines);
    assert!(told.lines[0].ends_with(". SET GLOBAL aws_key_management_rewrap_key = 3 makes its file anew"));
    assert!(!is_ready(&store));
    assert!(store.verify(Some(id(1))).result.is_ok(), "of this key, none");
    assert!(store.verify(Some(id(70))).result.is_err());
    assert!(!is_ready(&store), "key 3 is as it was");
    let (before, mut seen) = (key(&store, 3, 1), lines(&setup));
    seen.retain(|line| line.starts_with("error"));
    assert_eq!(seen.len(), 1, "{seen:?}");
    // It is made whole from memory.
    store.rewrap(Some(id(3))).expect("re-wrapped");
    assert!(is_ready(&store));
    run(&mut job, begun + DAY);
    assert!(is_ready(&store) && store.verify(None).result.is_ok());
    assert_eq!(key(&store, 3, 1), before);
}

#[test]
fn what_a_file_holds_is_compared_with_the_key_in_memory_and_not_only_with_the_manifest() {
    let (_setup, store, _, _) = running(2);
    let [one, two] = [1, 2].map(|id| KeyName::new(id, 1).expect("a name"));
    let verify = |in_memory| {
        let key = store.published.with_key(in_memory, DataKey::clone);
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut verified = verify::verify(&store.files, &*store.kms, &|_| key.clone(), &[one], deadline, &|_| true);
        verified.remove(0).verdict
    };
    assert!(matches!(verify(one), verify::Verdict::Good));
    assert!(matches!(verify(two), verify::Verdict::Failed(KeyStoreError::OtherKey(name)) if name == one));
}

#[test]
fn a_file_that_is_re_wrapped_while_kms_is_asked_is_looked_at_once_more() {
    let (setup, _, _, _) = running(1);
    let path = setup.folder.path().join("aws-kms-key.1.1");
    let kms = Arc::new(Meanwhile(TestKms::default(), move || {
        fs::remove_file(&path).expect("remove");
        fs::write(&path, [b"again:", &[1_u8; 16][..]].concat()).expect("write");
    }));
    let store = setup.open_as(Role::Server, kms.clone()).expect("open");
    kms.0.fail_next(&[(Decrypt, Class::Disabled)]);
    setup.put_key("aws-kms-key.1.1", 1);
    let told = store.verify(None);
    assert_eq!(told.result.expect("good by now"), 1);
}

#[test]
fn a_check_that_panics_is_reported_and_changes_nothing() {
    static PANICS: AtomicBool = AtomicBool::new(false);
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let kms = Arc::new(Meanwhile(TestKms::default(), || assert!(!PANICS.load(Ordering::Relaxed), "as planned")));
    let store = Arc::new(setup.open_as(Role::Server, kms).expect("open"));
    PANICS.store(true, Ordering::Relaxed);
    store.set_verify_interval(Duration::from_secs(1));
    let job = Box::new(VerifyJob::new(store.clone(), Instant::now()));
    let background = Background::start(store.bell(), vec![job, store.retry_job()], setup.log).expect("a thread");
    let until = Instant::now() + Duration::from_secs(10);
    while !setup.log.has("internal error in the job 'check whether a restart would work'") && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(background);
    assert!(setup.log.has("internal error in the job 'check whether a restart would work'"), "{:?}", setup.log.0);
    assert_eq!((store.latest_or_new(id(1)).expect("as before"), key(&store, 1, 1)), (version(1), Some(vec![1; 16])));
    assert!(is_ready(&store));
}

#[test]
fn after_a_folder_that_was_away_when_a_check_was_due_all_files_are_read() {
    let (setup, store, mut job, begun) = running(MANY);
    let away = setup.folder.path().with_extension("away");
    fs::rename(setup.folder.path(), &away).expect("rename");
    let (_, next) = run(&mut job, begun + HOUR);
    assert!(next <= begun + HOUR + MINUTES, "and not an hour later");
    assert!(!is_ready(&store));
    fs::rename(&away, setup.folder.path()).expect("rename");
    remove(&setup, "aws-kms-key.3.1");
    setup.kms.calls();
    lines(&setup);
    run(&mut job, next);
    assert_eq!(decrypts(&setup), usize::from(MANY) - 1);
    assert!(lines(&setup).iter().any(|line| line.starts_with("error: a restart would not find key 3 version 1")));
    assert!(!is_ready(&store));
}

#[test]
fn a_version_that_is_not_in_memory_is_not_said_to_be_made_anew_by_a_re_wrap() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.5.1", 5);
    setup.put_key("aws-kms-key.6.1", 6);
    setup.put("aws-kms-key.5.1", b"");
    let store = setup.open().expect("open");
    setup.put("aws-kms-key.6.1", b"");
    let told = store.verify(None).lines;
    let line_of = |key: &str| told.iter().find(|line| line.contains(key)).expect("a line").clone();
    assert!(line_of("key 6 version 1").contains("rewrap_key = 6 makes its file anew"), "{told:?}");
    let not_loaded = line_of("aws-kms-key.5.1");
    assert!(!not_loaded.contains("rewrap_key") && not_loaded.contains("Restore the file"), "{not_loaded}");
    assert!(store.rewrap(Some(id(5))).is_err());
}

#[test]
fn who_asks_and_finds_no_folder_changes_what_everybody_is_told() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let store = setup.open().expect("open");
    assert!(is_ready(&store));
    lines(&setup);
    let datadir = setup.datadir.path().join("aws-kms-key.datadir.json");
    let whole = fs::read(&datadir).expect("read");
    fs::write(&datadir, "x").expect("write");
    assert!(store.verify(None).result.is_err());
    assert!(!is_ready(&store) && only_line(&setup).starts_with("error: a restart would find no keys"));
    assert!(matches!(store.verify(Some(id(9))).result, Err(KeyStoreError::DamagedMemory { .. })));
    fs::write(&datadir, whole).expect("write");
    store.verify(None).result.expect("good");
    assert!(is_ready(&store));
}
