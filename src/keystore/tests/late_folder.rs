//! A network folder that does not answer when the server starts is waited for like KMS.

use super::faulty_disk::{Fails, FaultyDisk};
use super::two_servers::Meanwhile;
use super::*;

/// A server with two keys, whose folder and datadir are on a disk with faults.
struct Late {
    setup: Setup,
    disk: FaultyDisk,
}

impl Late {
    fn new() -> Self {
        let setup = Setup::new();
        let store = setup.open().expect("open");
        for number in [1, 2] {
            store.latest_or_new(id(number)).expect("new");
        }
        setup.log.0.lock().expect("log").clear();
        setup.kms.calls();
        Self { setup, disk: FaultyDisk::default() }
    }

    fn open(&self, role: Role, startup_timeout: Duration) -> Result<KeyStore, KeyStoreError> {
        let opening = Opening { startup_timeout, ..self.setup.opening(role, self.setup.kms.clone()) };
        KeyStore::open_on(Arc::new(self.disk.clone()), opening)
    }

    fn name_of(folder: &tempfile::TempDir) -> String {
        folder.path().file_name().expect("a name").to_str().expect("UTF-8").to_owned()
    }

    /// All that a start reads.
    fn reads(&self) -> Vec<(Fails, String)> {
        let [keys, datadir] = [&self.setup.folder, &self.setup.datadir].map(Self::name_of);
        let of = |fails, names: &[&str]| names.iter().map(|name| (fails, (*name).to_owned())).collect::<Vec<_>>();
        [
            of(Fails::Canonicalize, &[&keys, &datadir]),
            of(Fails::List, &[&keys, &datadir]),
            of(Fails::Kind, &[MANIFEST, FOLDER_ID, MEMORY, "aws-kms-key.1.1", "aws-kms-key.2.1"]),
            of(Fails::Read, &[MANIFEST, FOLDER_ID, MEMORY, "aws-kms-key.1.1", "aws-kms-key.2.1"]),
        ]
        .concat()
    }

    fn has_both_keys(&self, store: &KeyStore) -> bool {
        [1, 2].into_iter().all(|number| store.published.latest(id(number)) == Some(version(1)))
    }
}

const NO_ANSWER: [i32; 9] = [
    libc::EIO,
    libc::ESTALE,
    libc::ETIMEDOUT,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::ENOTCONN,
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::EREMOTEIO,
];

#[test]
fn whatever_a_start_reads_is_waited_for_until_it_answers() {
    let count = Late::new().reads().len();
    let code = |read: usize| NO_ANSWER[read % NO_ANSWER.len()];
    let open = |read: usize| {
        let late = Late::new();
        let (fails, of) = late.reads().swap_remove(read);
        late.disk.plant(fails, &of, code(read), 2);
        let store = late.open(Role::Server, Duration::from_secs(20)).expect("open");
        assert_eq!(late.disk.left(), 0, "{fails:?} {of} was not asked for");
        assert!(late.has_both_keys(&store), "{fails:?} {of}");
        let log = late.setup.log.0.lock().expect("log");
        let waits = "note: waiting for the key files, for up to 20 s more: could not ";
        assert_eq!(log.iter().filter(|line| line.starts_with(waits)).count(), 1, "{fails:?} {of}: {log:?}");
        assert!(log.iter().all(|line| line.starts_with("note: ")), "{fails:?} {of}: {log:?}");
    };
    std::thread::scope(|scope| {
        (0..count).for_each(|read| drop(scope.spawn(move || open(read))));
    });
}

#[test]
fn all_that_says_of_a_folder_that_it_does_not_answer_is_waited_for() {
    std::thread::scope(|scope| {
        for code in NO_ANSWER {
            scope.spawn(move || {
                let late = Late::new();
                late.disk.plant(Fails::Read, "aws-kms-key.2.1", code, 1);
                let store = late.open(Role::Server, Duration::from_secs(20)).expect("open");
                assert!(late.has_both_keys(&store), "{code}");
                late.disk.plant(Fails::List, "", code, 1);
                let store = late.open(Role::Backup, Duration::from_secs(20)).expect("open");
                assert!(late.has_both_keys(&store), "{code}");
            });
        }
    });
}

#[test]
fn a_start_fails_with_the_error_when_its_time_is_over_and_publishes_nothing() {
    std::thread::scope(|scope| {
        for read in 0..Late::new().reads().len() {
            scope.spawn(move || {
                let late = Late::new();
                let (fails, of) = late.reads().swap_remove(read);
                late.disk.plant(fails, &of, libc::ESTALE, usize::MAX);
                let begun = Instant::now();
                let published: &'static PublishedKeys = Box::leak(Box::default());
                let opening = late.setup.opening(Role::Server, late.setup.kms.clone());
                let opening = Opening { startup_timeout: Duration::from_secs(2), published, ..opening };
                let error =
                    KeyStore::open_on(Arc::new(late.disk.clone()), opening).err().expect("no answer").to_string();
                assert!(error.starts_with("could not ") && error.contains("Stale file handle"), "{error}");
                assert!(error.ends_with("for a network folder, the network and its server"), "{error}");
                assert!((2..6).contains(&begun.elapsed().as_secs()), "{fails:?} {of}: {:?}", begun.elapsed());
                assert!(published.ids().is_empty());
                assert_eq!(late.setup.kms.calls(), [], "{fails:?} {of}");
            });
        }
    });
}

#[test]
fn mariadb_backup_waits_too() {
    let late = Late::new();
    for of in [&late.setup.folder, &late.setup.datadir].map(Late::name_of) {
        late.disk.plant(Fails::Canonicalize, &of, libc::EIO, 1);
        let store = late.open(Role::Backup, Duration::from_secs(20)).expect("open");
        assert!(late.has_both_keys(&store));
        assert!(late.setup.log.has("note: waiting for the key files, for up to 20 s more"), "{:?}", late.setup.log.0);
        late.setup.log.0.lock().expect("log").clear();
    }
}

#[test]
fn the_second_folder_of_a_backup_is_waited_for_and_its_keys_are_not_passed_over() {
    let (late, also) = (Late::new(), tempfile::tempdir().expect("folder"));
    fs::write(also.path().join("aws-kms-key.3.1"), wrap(&[3; 16]).as_bytes()).expect("write");
    let name = Late::name_of(&also);
    let in_also = format!("{name}/aws-kms-key.3.1");
    for (fails, of) in
        [(Fails::Kind, &*name), (Fails::List, &name), (Fails::Kind, "aws-kms-key.3.1"), (Fails::Kind, &in_also)]
    {
        late.disk.plant(fails, of, libc::ENOTCONN, 1);
        let opening = late.setup.opening(Role::Backup, late.setup.kms.clone());
        let opening = Opening { also: Some(also.path()), startup_timeout: Duration::from_secs(20), ..opening };
        let store = KeyStore::open_on(Arc::new(late.disk.clone()), opening).expect("open");
        assert_eq!(late.disk.left(), 0);
        assert_eq!(key(&store, 3, 1), Some(vec![3; 16]), "{fails:?} {of}");
    }
    // A key file that is in both is that of the first, also if that does not answer at once.
    fs::write(also.path().join("aws-kms-key.1.1"), wrap(&[66; 16]).as_bytes()).expect("write");
    late.disk.plant(Fails::Kind, &format!("{}/aws-kms-key.1.1", Late::name_of(&late.setup.folder)), libc::EIO, 1);
    let opening = late.setup.opening(Role::Backup, late.setup.kms.clone());
    let opening = Opening { also: Some(also.path()), startup_timeout: Duration::from_secs(20), ..opening };
    let store = KeyStore::open_on(Arc::new(late.disk.clone()), opening).expect("open");
    assert_eq!((late.disk.left(), late.has_both_keys(&store)), (0, true));
}

#[test]
fn a_start_without_any_patience_asks_the_folder_once() {
    let late = Late::new();
    late.disk.plant(Fails::List, "", libc::EIO, 2);
    assert!(late.open(Role::Server, Duration::ZERO).is_err());
    assert_eq!(late.disk.left(), 1);
    late.disk.heal();
    assert!(late.has_both_keys(&late.open(Role::Server, Duration::ZERO).expect("open")));
}

#[test]
fn the_wait_for_a_folder_ends_within_a_second_when_the_server_stops() {
    let late = Late::new();
    late.disk.plant(Fails::Read, MANIFEST, libc::ETIMEDOUT, usize::MAX);
    waits::tests::MUST_END.set(true);
    let begun = Instant::now();
    let error = late.open(Role::Server, Duration::from_secs(60)).err().expect("given up");
    waits::tests::MUST_END.set(false);
    assert!(matches!(error, KeyStoreError::FolderGivenUp), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_does_not_pass_by_itself_is_not_waited_for() {
    let late = Late::new();
    let begun = Instant::now();
    late.disk.plant(Fails::Read, "aws-kms-key.2.1", libc::EACCES, usize::MAX);
    let store = late.open(Role::Server, Duration::from_secs(60)).expect("the other key");
    assert_eq!(store.published.ids().len(), 1);
    assert!(late.setup.log.has("error: key not loaded: could not read key file"), "{:?}", late.setup.log.0);
    late.disk.plant(Fails::List, "", libc::EACCES, usize::MAX);
    let error = late.open(Role::Server, Duration::from_secs(60)).err().expect("unreadable").to_string();
    assert!(error.contains("cannot be opened: Permission denied"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_folder_that_goes_while_kms_is_waited_for_is_waited_for_again() {
    let late = Late::new();
    let disk = late.disk.clone();
    let kms = Arc::new(Meanwhile(TestKms::default(), move || disk.plant(Fails::Read, MEMORY, libc::EIO, 2)));
    let opening = late.setup.opening(Role::Server, kms);
    let startup_timeout = Duration::from_secs(20);
    let store = KeyStore::open_on(Arc::new(late.disk.clone()), Opening { startup_timeout, ..opening }).expect("open");
    assert_eq!(late.disk.left(), 0);
    assert!(late.has_both_keys(&store));
    let log = late.setup.log.0.lock().expect("log");
    assert!(log.iter().any(|line| line.starts_with("note: waiting for the key files")), "{log:?}");
    assert!(log.iter().all(|line| line.starts_with("note: ")), "{log:?}");
}
