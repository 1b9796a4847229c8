//! What lies in the place of a key file, or of what is kept of one, and is neither: nothing is written over it.

use super::super::extra_copies::MakeExtraCopies;
use super::super::offline::repair::Statement;
use super::extra_master_keys::{COPIES, ONE, TWO, used};
use super::faulty_disk::{Fails, FaultyDisk};
use super::*;

const FILE: &str = "aws-kms-key.7.1";

/// Puts something in the place of a key file. Answers whether it is still so, under another name.
type Obstacle = (fn(&Path), fn(&Path) -> bool);

const OBSTACLES: [Obstacle; 2] = [
    (|path| fs::write(path, vec![7; 70_000]).expect("write"), |path| fs::read(path).is_ok_and(|it| it == [7; 70_000])),
    (|path| fs::create_dir(path).expect("create"), Path::is_dir),
];

#[test]
fn a_re_wrap_moves_what_can_be_no_key_file_aside_and_makes_the_file_anew() {
    for (put, is_kept) in OBSTACLES {
        let (setup, store, before) = used();
        let path = setup.folder.path().join(FILE);
        remove(&setup, FILE);
        put(&path);
        let told = store.verify(None);
        assert!(
            told.lines[0].contains("SET GLOBAL aws_key_management_rewrap_key = 7 makes its file"),
            "{:?}",
            told.lines
        );
        assert!(!store.figures().readiness().restart_is_ready());
        store.rewrap(Some(id(7))).expect("re-wrapped");
        assert!(is_kept(&path.with_extension("1.damaged")), "{:?}", setup.files());
        assert!(store.figures().readiness().restart_is_ready());
        drop(store);
        setup.log();
        assert_eq!(key(&setup.open_extra(Role::Server), 7, 1), before);
        assert!(!setup.log.has("error") && !setup.log.has("warning"), "{:?}", setup.log());
    }
}

#[test]
fn one_that_may_not_be_read_is_moved_aside_too_and_one_of_which_the_folder_does_not_answer_is_left() {
    let setup = Setup::new();
    let disk = FaultyDisk::default();
    let opening = setup.opening(Role::Server, setup.kms.clone());
    let store = Arc::new(KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open"));
    store.latest_or_new(id(7)).expect("made");
    let before = read(&setup, FILE);
    // It is not for us to do anything about a disk that does not answer.
    disk.plant(Fails::Read, FILE, libc::EIO, 10);
    let told = store.verify(None);
    let line = told.lines.iter().find(|line| line.contains(FILE)).expect("a line");
    assert!(!line.contains("rewrap_key") && line.contains("Check the disk"), "{line}");
    assert!(setup.log.has("do not restart the server before the file can be read again"), "{:?}", setup.log.0);
    store.rewrap(None).expect_err("not read");
    assert_eq!((read(&setup, FILE), setup.files().iter().filter(|name| name.contains("damaged")).count()), (before, 0));
    disk.heal();
    disk.plant(Fails::Read, FILE, libc::EACCES, 10);
    assert!(store.verify(None).lines.iter().any(|line| line.contains("rewrap_key = 7 makes its file anew")));
    store.rewrap(None).expect("re-wrapped");
    disk.heal();
    assert!(setup.files().contains(&format!("{FILE}.damaged")), "{:?}", setup.files());
    store.verify(None).result.expect("good");
}

#[test]
fn what_is_kept_of_before_a_re_wrap_and_cannot_be_read_is_not_written_over() {
    let setup = Setup::new();
    let disk = FaultyDisk::default();
    let opening = setup.opening(Role::Server, setup.kms.clone());
    let store = KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open");
    for number in [7, 8] {
        store.latest_or_new(id(number)).expect("made");
    }
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(ONE));
    store.rewrap(None).expect("re-wrapped");
    let other = KeyName::new(8, 1).expect("a name");
    let kept = format!("{FILE}.before-rewrap");
    let (proven, now) = (read(&setup, &kept), read(&setup, FILE));
    for code in [libc::EIO, libc::EACCES] {
        disk.plant(Fails::Read, &kept, code, 10);
        store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(TWO));
        let error = store.rewrap(None).expect_err("it cannot be read").to_string();
        assert!(error.contains(&kept) && error.starts_with("1 of 2"), "{error}");
        disk.heal();
        assert_eq!((read(&setup, &kept), read(&setup, FILE)), (proven.clone(), now.clone()));
        // It keeps no other key from being wrapped anew.
        assert_eq!(store.files.master_key(other).as_deref(), Some(TWO));
        store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(ONE));
        store.rewrap(Some(id(8))).expect("re-wrapped");
    }
    store.rewrap(None).expect("re-wrapped");
    assert_eq!(read(&setup, &kept), proven);
}

#[test]
fn a_file_with_copies_that_is_damaged_is_kept_when_it_is_made_anew() {
    for makes_anew in [true, false] {
        let (setup, store, _) = used();
        setup.put(COPIES, b"{ \"format\": 1, \"key_id\": 7, cut");
        match makes_anew {
            true => {
                store.verify(None);
                MakeExtraCopies::new(store.clone()).run(Instant::now());
            }
            false => drop(store.rewrap(None).expect("re-wrapped")),
        }
        assert_eq!(setup.copies(COPIES), [ONE, TWO]);
        assert_eq!(read(&setup, &format!("{COPIES}.damaged")), b"{ \"format\": 1, \"key_id\": 7, cut");
    }
}

#[test]
fn a_repair_moves_it_aside_and_puts_the_copy_in_its_place() {
    for (put, is_kept) in OBSTACLES {
        let (setup, store, before) = used();
        store.rewrap(None).expect("re-wrapped");
        drop(store);
        remove(&setup, FILE);
        let path = setup.folder.path().join(FILE);
        put(&path);
        assert_eq!(setup.repaired(&Statement::default()), ["aws-kms-key.7.1.damaged"]);
        assert!(is_kept(&path.with_extension("1.damaged")), "{:?}", setup.files());
        assert_eq!(key(&setup.open_extra(Role::Server), 7, 1), before);
    }
}
