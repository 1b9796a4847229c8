//! Rotation by age, on clocks that the test sets.

use super::super::offline;
use super::super::rotation_period::RotateByAge;
use super::super::test_kms::WhileMaking;
use super::*;
use crate::own_threads;

/// A server whose time passes when the test says so.
pub(super) struct Server {
    pub(super) store: Arc<KeyStore>,
    job: RotateByAge,
    now: Instant,
    wall: Arc<Mutex<SystemTime>>,
}

impl Server {
    pub(super) fn new(store: KeyStore, days: u32) -> Self {
        let store = Arc::new(store);
        store.set_rotation_period(days);
        let wall = Arc::new(Mutex::new(SystemTime::now()));
        let of_job = wall.clone();
        let job = RotateByAge::new(store.clone(), Box::new(move || *of_job.lock().expect("wall")));
        Self { store, job, now: Instant::now(), wall }
    }

    /// On the old keys of a folder.
    pub(super) fn on(setup: &Setup, days: u32) -> Self {
        Self::new(KeyStore::open(opening(setup)).expect("open"), days)
    }

    /// Sets the wall clock.
    fn set_clock(&self, change: impl Fn(SystemTime) -> SystemTime) {
        let mut wall = self.wall.lock().expect("wall");
        *wall = change(*wall);
    }

    /// The job is not run meanwhile.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.now += time;
        self.set_clock(|wall| wall + time);
    }

    /// The job is run when it wants to. Answers when keys were rotated.
    pub(super) fn live(&mut self, time: Duration) -> Vec<Instant> {
        let end = self.now + time;
        let mut times = Vec::new();
        while self.now < end {
            let before = self.store.figures().rotations();
            let next = self.run();
            let made = self.store.figures().rotations() - before;
            assert!(made <= 1, "one at a time");
            times.extend((made == 1).then_some(self.now));
            self.sleep(next.unwrap_or(end).min(end) - self.now);
        }
        times
    }

    /// On a thread of the plugin's own, as in a server.
    pub(super) fn run(&mut self) -> Option<Instant> {
        let (job, now) = (&mut self.job, self.now);
        std::thread::scope(|scope| {
            let run = || {
                own_threads::enter();
                job.run(now)
            };
            scope.spawn(run).join().expect("no panic")
        })
    }

    pub(super) fn latest(&self, number: u32) -> u32 {
        self.store.published.latest(id(number)).expect("a version").value()
    }
}

pub(super) fn opening(setup: &Setup) -> Opening<'_> {
    let who = || if own_threads::is_current() { "rotation_period" } else { "dba@localhost" }.to_owned();
    Opening { who, ..setup.opening(Role::Server, setup.kms.clone()) }
}

fn make(store: &KeyStore, keys: u32) {
    for number in 1..=keys {
        store.latest_or_new(id(number)).expect("made");
    }
}

/// Keys 1 to `keys`, all made on that day.
fn made_on(day: &str, keys: u32) -> Setup {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    make(&store, keys);
    set_created(&setup, day);
    setup.kms.calls();
    setup
}

fn set_created(setup: &Setup, day: &str) {
    let manifest = String::from_utf8(read(setup, MANIFEST)).expect("UTF-8");
    let created = |line: &str| match line.contains("\"created\"") {
        true => format!("      \"created\": \"{day}T00:00:00Z\","),
        false => line.to_owned(),
    };
    setup.put(MANIFEST, manifest.lines().map(created).collect::<Vec<_>>().join("\n").as_bytes());
}

pub(super) fn old_keys(keys: u32) -> Setup {
    made_on("2001-09-09", keys)
}

const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn keys_that_are_old_are_rotated_one_by_one_with_pauses_and_not_in_the_first_hour() {
    let setup = old_keys(5);
    let mut server = Server::on(&setup, 100);
    let begun = server.now;
    let times = server.live(5 * HOUR);
    assert_eq!(times.len(), 5);
    assert!(times[0] >= begun + HOUR && times[0] <= begun + 2 * HOUR);
    assert!(times.windows(2).all(|two| (MINUTE..=3 * MINUTE).contains(&(two[1] - two[0]))), "{times:?}");
    assert!((1..=5).all(|number| server.latest(number) == 2));
    assert_eq!(server.store.figures().last_rotation_by(), "rotation_period");
    assert!(setup.log.has("note: rotated 1 key, asked for by rotation_period. InnoDB's background threads"));
    assert_eq!(server.live(5 * HOUR).len(), 0, "they are young now");
}

#[test]
fn no_key_is_rotated_by_age_unless_that_is_set_and_a_set_is_noticed_while_the_server_runs() {
    let setup = old_keys(1);
    let mut server = Server::on(&setup, 0);
    assert_eq!(server.run(), None, "only the bell wakes it");
    assert_eq!(server.live(10 * DAY).len(), 0);
    server.store.set_rotation_period(30);
    assert_eq!(server.live(3 * HOUR).len(), 1);
    server.store.set_rotation_period(0);
    server.sleep(100 * DAY);
    assert_eq!(server.live(3 * HOUR).len(), 0);
}

#[test]
fn due_dates_are_spread_over_a_tenth_of_the_period_and_never_before_its_end() {
    let setup = Setup::new();
    let mut server = Server::on(&setup, 100);
    make(&server.store, 20);
    server.run();
    server.sleep(100 * DAY - 3 * HOUR);
    assert_eq!(server.live(2 * HOUR).len(), 0);
    server.sleep(5 * DAY);
    let by_half = server.live(HOUR).len();
    assert!((1..20).contains(&by_half), "{by_half}");
    server.sleep(5 * DAY);
    assert_eq!(server.live(2 * HOUR).len(), 20 - by_half);
}

#[test]
fn a_clock_that_is_set_postpones_all_until_it_has_been_steady_for_an_hour() {
    let setup = Setup::new();
    let mut server = Server::on(&setup, 100);
    server.store.latest_or_new(id(1)).expect("made");
    assert_eq!(server.live(5 * HOUR).len(), 0);
    server.set_clock(|wall| wall + 400 * DAY);
    assert_eq!(server.live(59 * MINUTE).len(), 0);
    assert!(setup.log.has("note: the system's clock was set"));
    server.set_clock(|wall| wall - 400 * DAY);
    assert_eq!(server.live(5 * HOUR).len(), 0, "it was put right");
    // Small steps in one direction are a large one.
    for _ in 0..4 {
        server.set_clock(|wall| wall + 2 * MINUTE);
        server.live(20 * MINUTE);
    }
    assert_eq!(setup.log.0.lock().expect("log").iter().filter(|line| line.contains("clock was set")).count(), 3);
    server.set_clock(|wall| wall + 400 * DAY);
    assert_eq!(server.live(3 * HOUR).len(), 1, "so it is");
}

#[test]
fn a_key_that_was_made_in_the_future_is_not_due() {
    let setup = made_on("2999-01-01", 2);
    assert_eq!(Server::on(&setup, 1).live(DAY).len(), 0);
    assert_eq!(setup.kms.calls(), [Decrypt, Decrypt]);
}

#[test]
fn nothing_is_rotated_while_the_server_is_starting_nor_in_a_backup() {
    let setup = old_keys(1);
    let starting = Opening { is_starting: || true, ..opening(&setup) };
    let backup = Opening { role: Role::Backup, ..opening(&setup) };
    let before = setup.files();
    for opening in [starting, backup] {
        let mut server = Server::new(KeyStore::open(opening).expect("open"), 1);
        assert_eq!(server.live(5 * HOUR).len(), 0);
    }
    assert_eq!((setup.files(), setup.kms.calls()), (before, vec![Decrypt, Decrypt]));
    assert!(!setup.log.has("error"), "{:?}", setup.log.0);
}

#[test]
fn a_key_with_a_higher_version_that_is_not_trusted_or_not_loaded_is_left_alone() {
    for (contents, class) in
        [([b"other:", &[9; 16][..]].concat(), None), ([b"wrapped:", &[9; 16][..]].concat(), Some(Class::Denied))]
    {
        let setup = old_keys(1);
        setup.put("aws-kms-key.1.2", &contents);
        class.into_iter().for_each(|class| setup.kms.refuse(9, class));
        let mut server = Server::on(&setup, 100);
        assert_eq!(server.latest(1), 1);
        setup.kms.calls();
        assert_eq!(server.live(3 * HOUR).len(), 0);
        let calls = setup.kms.calls();
        assert!(!calls.contains(&Generate) && (class.is_some() || calls.is_empty()), "{calls:?}");
        assert_eq!(setup.files().iter().filter(|file| file.starts_with("aws-kms-key.1.")).count(), 2);
        let told =
            || setup.log.0.lock().expect("log").iter().filter(|line| line.contains("is not rotated by itself")).count();
        assert_eq!(told(), 1, "{:?}", setup.log.0);
        server.live(3 * DAY);
        assert_eq!(told(), 1, "once");
    }
}

#[test]
fn a_higher_version_that_was_left_behind_or_is_retired_is_in_nobodys_way_and_its_number_stays_used() {
    for is_copied in [true, false] {
        let setup = old_keys(1);
        let store = setup.open().expect("open");
        store.rotate(id(1)).expect("rotated");
        store.latest_or_new(id(2)).expect("made");
        drop(store);
        remove(&setup, "aws-kms-key.1.2");
        if is_copied {
            // The manifest is one that was copied here, with a backup of the whole datadir. Where the older file is removed before,
            // the copy may get its number.
            let [manifest, copy] = [MANIFEST, "copy"].map(|file| setup.folder.path().join(file));
            fs::copy(&manifest, &copy).expect("copy");
            fs::rename(&copy, &manifest).expect("rename");
        } else {
            // With both, since the highest version is retired with all others only; the older one is put back.
            let older = read(&setup, "aws-kms-key.1.1");
            remove(&setup, "aws-kms-key.1.1");
            let folder = offline::OpenFolder::to_write(setup.folder.path(), setup.datadir.path()).expect("open");
            let names = [1, 2].map(|version| KeyName::new(1, version).expect("a name"));
            offline::retire(&folder, &names, &offline::InnoDb::None).expect("retired");
            setup.put("aws-kms-key.1.1", &older);
        }
        set_created(&setup, "2001-09-09");
        let opening =
            Opening { datadir: if is_copied { setup.folder.path() } else { setup.datadir.path() }, ..opening(&setup) };
        let mut server = Server::new(KeyStore::open(opening).expect("open"), 100);
        assert_eq!(server.latest(1), 1);
        assert_eq!(server.live(4 * HOUR).len(), 2, "{:?}", setup.log.0);
        assert_eq!(server.latest(1), 3);
    }
}

#[test]
fn of_two_servers_with_one_folder_one_rotates_and_the_other_loads() {
    let setup = old_keys(2);
    let datadir = tempfile::tempdir().expect("folder");
    let mut one = Server::on(&setup, 100);
    let mut two =
        Server::new(KeyStore::open(Opening { datadir: datadir.path(), ..opening(&setup) }).expect("open"), 100);
    assert_eq!(one.live(3 * HOUR).len(), 2);
    setup.kms.calls();
    assert_eq!(two.live(3 * HOUR).len(), 0);
    assert_eq!(setup.kms.calls(), [Decrypt, Decrypt]);
    assert_eq!((two.latest(1), two.latest(2)), (2, 2));
    assert_eq!(key(&one.store, 1, 2), key(&two.store, 1, 2));
    assert!(!setup.log.has("error") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

#[test]
fn what_the_other_server_makes_while_kms_is_asked_is_loaded_and_nothing_is_made() {
    let setup = old_keys(1);
    let other = Arc::new(setup.open().expect("open"));
    let rotates = other.clone();
    let kms = Arc::new(WhileMaking(setup.kms.clone(), move || {
        rotates.rotate(id(1)).expect("the other rotates");
        Ok(())
    }));
    let mut server = Server::new(KeyStore::open(Opening { kms, ..opening(&setup) }).expect("open"), 100);
    assert_eq!(server.live(3 * HOUR).len(), 0);
    assert_eq!(server.latest(1), 2);
    assert_eq!(key(&server.store, 1, 2), key(&other, 1, 2));
    assert!(!setup.files().contains(&"aws-kms-key.1.3".to_owned()), "{:?}", setup.files());
    assert_eq!(server.store.figures().rotations_failed(), 0);
}

#[test]
fn the_age_is_that_of_the_manifest_on_the_disk() {
    let setup = old_keys(1);
    let mut server = Server::on(&setup, 100);
    setup.kms.calls();
    set_created(&setup, "2999-01-01");
    assert_eq!(server.live(3 * HOUR).len(), 0);
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_period_that_is_short_for_so_many_keys_is_kept_all_the_same() {
    const KEYS: u32 = 99;
    let setup = old_keys(KEYS);
    let mut server = Server::on(&setup, 1);
    let times = server.live(5 * HOUR);
    assert_eq!(times.len(), KEYS as usize);
    // All of them in a tenth of the period, on average.
    let longest = DAY / 10 / KEYS * 3 / 2;
    assert!(times.windows(2).all(|two| (longest / 3..=longest).contains(&(two[1] - two[0]))), "{times:?}");
}
