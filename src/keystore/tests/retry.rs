//! Keys that could not be loaded are tried again in the background.

use std::sync::mpsc;

use super::super::retry::Retry;
use super::*;

/// A key store in which key 1 works and key 5 is refused.
fn half_usable(class: Class) -> (Setup, Arc<KeyStore>) {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.5.1", 5);
    setup.kms.refuse(5, class);
    let store = Arc::new(setup.open().expect("open"));
    setup.kms.calls();
    (setup, store)
}

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[test]
fn a_key_that_was_refused_at_start_is_there_when_the_server_asks_once_it_is_allowed() {
    let (setup, store) = half_usable(Class::Denied);
    let bell = store.bell().clone();
    let background = Background::start(&bell, vec![store.retry_job()], setup.log).expect("a thread");
    setup.kms.allow(5);
    let until = in_seconds(10);
    while store.published.latest(id(5)).is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(background);
    assert_eq!(key(&store, 5, 1), Some(vec![5; 16]));
    assert!(setup.log.has("note: loaded key 5 version 1 (128 bits, AES_CBC), which had failed before"));
    assert!(setup.log.has("can be used after a restart of the server. Do not drop them"));
    assert_eq!(setup.kms.calls(), [Decrypt]);
    assert_eq!(store.latest_or_new(id(5)).expect("at once"), version(1));
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_key_is_tried_again_once_in_a_pause_that_doubles_whoever_asks() {
    let (setup, store) = half_usable(Class::Denied);
    let mut job = Retry::new(store.clone());
    let begun = Instant::now();
    let mut next = job.run(begun).expect("it is watched");
    assert_eq!(setup.kms.calls(), [], "the pause after the start is not over");
    for pause in [2, 4, 8] {
        std::thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(1300)));
        let now = in_seconds(if pause == 2 { 0 } else { 100 });
        next = job.run(now).expect("it is watched");
        assert_eq!(setup.kms.calls(), [Decrypt]);
        assert!(matches!(store.load(KeyName::new(5, 1).expect("a name")), Err(KeyStoreError::NotYet { .. })));
        assert_eq!(job.run(Instant::now()).map(drop), Some(()));
        assert_eq!(setup.kms.calls(), [], "nothing is due");
        let (least, most) = (pause - 1, pause * 5 / 4);
        let wait = store.failures.next_due().expect("it is watched").saturating_duration_since(Instant::now());
        assert!((least..=most).contains(&wait.as_secs()), "{wait:?}");
    }
    assert!(next >= begun);
}

#[test]
fn the_log_says_once_why_a_key_fails_and_again_when_the_reason_changes() {
    let (setup, store) = half_usable(Class::Denied);
    let mut job = Retry::new(store.clone());
    let lines = || std::mem::take(&mut *setup.log.0.lock().expect("log"));
    assert!(lines().iter().any(|line| line.starts_with("error: key not loaded: key 5")));
    job.run(in_seconds(100));
    assert_eq!(lines(), [""; 0]);
    setup.kms.refuse(5, Class::Disabled);
    job.run(in_seconds(200));
    assert!(
        matches!(&lines()[..], [line] if line.contains("key not loaded: key 5 version 1: KMS Decrypt failed: the master key is disabled"))
    );
    job.run(in_seconds(300));
    assert_eq!(lines(), [""; 0]);
}

#[test]
fn kms_is_not_asked_again_for_a_damaged_file_until_it_is_another() {
    // The second is a wrapped key, but of a length that no key has.
    for damage in [&b"garbage"[..], wrap(&[5; 5]).as_bytes()] {
        let setup = Setup::new();
        setup.put_key("aws-kms-key.1.1", 1);
        setup.put("aws-kms-key.5.1", damage);
        let store = Arc::new(setup.open().expect("open"));
        setup.kms.calls();
        let mut job = Retry::new(store.clone());
        job.run(in_seconds(100));
        assert_eq!(setup.kms.calls(), [Decrypt], "so that its digest is known");
        for seconds in [200, 300] {
            assert!(job.run(in_seconds(seconds)).is_some());
            assert_eq!(setup.kms.calls(), []);
        }
        setup.put_key("aws-kms-key.5.1", 5);
        job.run(in_seconds(400));
        assert_eq!(key(&store, 5, 1), Some(vec![5; 16]));
        assert_eq!(job.run(in_seconds(500)), None, "nothing is left to try");
    }
}

#[test]
fn servers_whose_keys_failed_at_the_same_moment_come_back_up_to_a_quarter_of_the_pause_later() {
    let (_setup, store) = half_usable(Class::Denied);
    let due = store.failures.next_due().expect("it is watched");
    let now = due - Duration::from_secs(8);
    let mut job = Retry::new(store);
    let late: Vec<Duration> = (0..100).map(|_| job.run(now).expect("it is watched") - due).collect();
    assert!(late.iter().all(|late| *late <= Duration::from_secs(2)), "{late:?}");
    assert!(late.iter().any(|late| *late > Duration::from_secs(1)), "{late:?}");
}

#[test]
fn a_file_that_was_gone_at_start_is_picked_up_when_it_is_restored() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(5)).expect("new");
    let before = key(&store, 5, 1);
    let (path, backup) = (setup.folder.path().join("aws-kms-key.5.1"), read(&setup, "aws-kms-key.5.1"));
    fs::remove_file(&path).expect("remove");
    let store = Arc::new(setup.open().expect("open"));
    let mut job = Retry::new(store.clone());
    assert!(job.run(in_seconds(100)).is_some());
    assert_eq!(key(&store, 5, 1), None);
    setup.put("aws-kms-key.5.1", &backup);
    job.run(in_seconds(200));
    assert_eq!(key(&store, 5, 1), before);
}

#[test]
fn of_many_keys_that_fail_together_a_few_are_tried_and_all_when_one_of_them_works() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    for number in 10..60 {
        setup.put_key(&format!("aws-kms-key.{number}.1"), number);
        setup.kms.refuse(number, Class::Disabled);
    }
    let store = Arc::new(setup.open().expect("open"));
    setup.kms.calls();
    let mut job = Retry::new(store.clone());
    job.run(in_seconds(100));
    assert_eq!(setup.kms.calls(), [Decrypt; 8]);
    (10..60).for_each(|number| setup.kms.allow(number));
    job.run(in_seconds(200));
    assert_eq!(setup.kms.calls(), [Decrypt; 50]);
    assert_eq!(store.published.ids().len(), 51);
    let told = setup.log.0.lock().expect("log").iter().filter(|line| line.contains("had failed before")).count();
    assert_eq!(told, 8 + 1, "the few, and then the others in one line");
    assert!(setup.log.has("key versions that had failed before, from key "), "{:?}", setup.log.0);
    let refused = setup.log.0.lock().expect("log").iter().filter(|line| line.contains("disabled")).count();
    assert_eq!(refused, 10, "the others in the last of these lines");
    assert!(setup.log.has("and 40 more that fail like it"), "{:?}", setup.log.0);
}

#[test]
fn a_version_that_never_was_is_not_tried_again() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let store = Arc::new(setup.open().expect("open"));
    assert!(store.load(KeyName::new(1, 77).expect("a name")).is_err());
    assert_eq!(Retry::new(store).run(in_seconds(100)), None);
}

#[test]
fn mariadb_backup_has_nothing_to_try_again() {
    let (setup, _) = half_usable(Class::Denied);
    let store = Arc::new(setup.open_as(Role::Backup, setup.kms.clone()).expect("open"));
    assert_eq!(Retry::new(store).run(in_seconds(100)), None);
}

#[test]
fn the_background_is_told_of_a_change_of_settings_and_of_a_version_that_is_refused() {
    let (setup, store) = half_usable(Class::Denied);
    setup.kms.refuse(7, Class::Denied);
    setup.put_key("aws-kms-key.7.1", 7);
    let (runs, ran) = mpsc::channel();
    let bell = store.bell().clone();
    let background = Background::start(&bell, vec![Box::new(Idle(runs))], setup.log).expect("a thread");
    let is_run = || ran.recv_timeout(Duration::from_secs(10)).expect("it is run");
    is_run();
    store.forget_failures();
    is_run();
    assert!(store.load(KeyName::new(7, 1).expect("a name")).is_err());
    is_run();
    drop(background);
    assert_eq!(setup.kms.calls(), [Decrypt]);
    // It is asked for again, and is not tried again at once.
    assert!(matches!(store.load(KeyName::new(7, 1).expect("a name")), Err(KeyStoreError::NotYet { .. })));
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn ten_keys_that_work_again_are_told_one_by_one() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    for number in 10..28 {
        setup.put_key(&format!("aws-kms-key.{number}.1"), number);
        setup.kms.refuse(number, Class::Disabled);
    }
    let store = Arc::new(setup.open().expect("open"));
    (10..28).for_each(|number| setup.kms.allow(number));
    Retry::new(store.clone()).run(in_seconds(100));
    assert_eq!(store.published.ids().len(), 19);
    let told = setup.log.0.lock().expect("log").iter().filter(|line| line.contains("had failed before")).count();
    assert_eq!(told, 8 + 10, "the few, and then the others");
}

#[test]
fn the_background_is_told_of_a_key_that_is_loaded_and_of_a_file_that_a_check_finds_restored() {
    let setup = Setup::new();
    (1..=2).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
    drop(setup.open().expect("open"));
    remove(&setup, "aws-kms-key.2.1");
    let store = Arc::new(setup.open().expect("open"));
    let (runs, ran) = mpsc::channel();
    let bell = store.bell().clone();
    let background = Background::start(&bell, vec![Box::new(Idle(runs))], setup.log).expect("a thread");
    let is_run = || ran.recv_timeout(Duration::from_secs(10)).expect("it is run");
    let is_not_run = || ran.recv_timeout(Duration::from_millis(200)).expect_err("there is nothing to do");
    is_run();
    // The start has told it of key 2.
    while ran.recv_timeout(Duration::from_millis(200)).is_ok() {}
    setup.put_key("aws-kms-key.4.1", 4);
    store.latest_or_new(id(4)).expect("loaded");
    // For its copies under extra master keys.
    is_run();
    store.verify(Some(id(1))).result.expect("good");
    is_not_run();
    store.verify(Some(id(2))).result.expect_err("gone");
    is_not_run();
    setup.put_key("aws-kms-key.2.1", 2);
    store.verify(Some(id(2))).result.expect("restored");
    is_run();
    drop(background);
}

#[test]
fn each_job_has_a_name_for_the_message_that_it_has_failed() {
    let (_setup, store) = half_usable(Class::Denied);
    let jobs = [store.retry_job(), store.extra_copies_job(), store.verify_job(), store.rotation_job()];
    let names = [
        "try keys again that could not be loaded",
        "make copies of keys under the extra master keys",
        "check whether a restart would work",
        "rotate keys because of their age",
    ];
    assert_eq!(jobs.map(|job| job.name()), names);
}

/// Says when it is run, and is never due.
struct Idle(mpsc::Sender<()>);

impl Job for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn run(&mut self, _: Instant) -> Option<Instant> {
        self.0.send(()).expect("the test listens");
        None
    }
}
