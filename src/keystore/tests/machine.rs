//! What the machine does not give: the key store goes on where that is safe, and says what is missing.

use super::faulty_disk::{Fails, FaultyDisk};
use super::*;
use crate::keystore::published::REFUSED_WITH;

#[test]
fn keys_whose_memory_cannot_be_protected_are_used_and_that_is_told_once() {
    let setup = Setup::new();
    for number in [1, 2] {
        setup.put_key(&format!("aws-kms-key.{number}.1"), number);
    }
    // MADV_DONTDUMP is not known to old kernels.
    REFUSED_WITH.set(Some(libc::EINVAL));
    let store = setup.open().expect("open");
    store.latest_or_new(id(7)).expect("new");
    store.rotate(id(1)).expect("rotate");
    REFUSED_WITH.set(None);
    assert!(!store.figures().memory_is_locked());
    store.latest_or_new(id(8)).expect("new");
    assert!(!store.figures().memory_is_locked(), "that this one is says nothing of the others");
    assert_eq!((key(&store, 1, 1), key(&store, 2, 1)), (Some(vec![1; 16]), Some(vec![2; 16])));
    let log = setup.log.0.lock().expect("log");
    for text in
        ["could not be locked into memory (Invalid argument", "could not be left out of core dumps (Invalid argument"]
    {
        let told: Vec<_> = log.iter().filter(|line| line.contains(text)).collect();
        assert!(matches!(told[..], [line] if line.starts_with("warning: data keys ")), "{text}: {log:?}");
    }
}

impl Setup {
    pub(super) fn open_on_faulty(&self, disk: &FaultyDisk, role: Role) -> KeyStore {
        KeyStore::open_on(Arc::new(disk.clone()), self.opening(role, self.kms.clone())).expect("open")
    }
}

#[test]
fn without_file_locks_no_key_is_made_and_the_message_names_the_file_system_and_what_to_do() {
    for code in [libc::ENOLCK, libc::EBADF, libc::EOPNOTSUPP, libc::ENOSYS] {
        let (setup, disk) = (Setup::new(), FaultyDisk::default());
        let store = setup.open().expect("open");
        for number in [1, 2] {
            store.latest_or_new(id(number)).expect("new");
        }
        let before = (setup.files(), read(&setup, MANIFEST));
        setup.kms.calls();
        disk.plant(Fails::Lock, LOCK, code, usize::MAX);
        let store = setup.open_on_faulty(&disk, Role::Server);
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
        assert!(!setup.log.has("warning"), "{:?}", setup.log.0);
        for error in [store.latest_or_new(id(7)), store.rotate(id(1)), store.rotate_all().map(|_| version(1))] {
            let error = error.expect_err("no locks").to_string();
            let folder = setup.folder.path().display();
            assert!(
                error.contains(&format!("no key is made in {folder}, since its file system gives no file locks")),
                "{error}"
            );
            assert!(error.contains("Keys that exist are used. Mount it with locks"), "{error}");
        }
        let error = store.rotate_all().expect_err("no locks").to_string();
        assert!(error.contains("1 of 2 keys") && error.contains("1 were not tried"), "{error}");
        assert_eq!(setup.kms.calls(), [Decrypt; 2], "KMS is asked for nothing new");
        assert!(!store.figures().readiness().can_make_keys());
        assert_eq!((setup.files(), read(&setup, MANIFEST)), before);
        disk.heal();
        assert_eq!(store.rotate(id(1)).expect("rotate"), version(2));
        assert!(store.figures().readiness().can_make_keys());
    }
}

#[test]
fn where_a_name_cannot_be_given_exclusively_no_key_is_made_and_nothing_is_left() {
    for code in [libc::EINVAL, libc::ENOSYS, libc::EPERM, libc::EOPNOTSUPP, libc::EMLINK] {
        let (setup, disk) = (Setup::new(), FaultyDisk::default());
        let store = setup.open_on_faulty(&disk, Role::Server);
        disk.plant(Fails::NameNew, "aws-kms-key.7.1", code, 1);
        let error = store.latest_or_new(id(7)).expect_err("no exclusive names").to_string();
        let folder = setup.folder.path().display();
        assert!(
            error.contains(&format!("no key is made in {folder}, since its file system has neither hard links")),
            "{error}"
        );
        assert!(
            error.contains("Keep the key files on another file system (aws_key_management_keyfile_dir)"),
            "{error}"
        );
        assert_eq!(store.published.latest(id(7)), None);
        assert_eq!(setup.files(), [LOCK, FOLDER_ID]);
        store.forget_failures();
        assert_eq!(store.latest_or_new(id(7)).expect("new"), version(1));
        // Others would fail like it.
        store.latest_or_new(id(8)).expect("new");
        disk.plant(Fails::NameNew, "", code, usize::MAX);
        setup.kms.calls();
        let error = store.rotate_all().expect_err("no exclusive names").to_string();
        assert!(error.contains("1 of 2 keys") && error.contains("1 were not tried"), "{error}");
        assert_eq!(setup.kms.calls(), [Generate, Decrypt]);
    }
}

#[test]
fn a_folder_that_is_only_read_is_told_at_start_by_one_warning_and_its_keys_are_used() {
    for (code, remedy) in
        [(libc::EROFS, "Make the file system writable"), (libc::EACCES, "Give the server's user write access")]
    {
        let (setup, disk) = (Setup::new(), FaultyDisk::default());
        setup.open().expect("open").latest_or_new(id(1)).expect("new");
        disk.plant(Fails::CheckWritable, "", code, usize::MAX);
        let store = setup.open_on_faulty(&disk, Role::Server);
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
        let warnings = std::mem::take(&mut *setup.log.0.lock().expect("log"));
        let warnings: Vec<_> = warnings.iter().filter(|line| !line.starts_with("note: ")).collect();
        let [warning] = warnings[..] else { panic!("{warnings:?}") };
        let folder = setup.folder.path().display();
        assert!(
            warning.starts_with(&format!("warning: nothing can be written to the folder of the key files, {folder} ("))
        );
        assert!(warning.contains("none can be made or rotated") && warning.contains(remedy), "{warning}");
        // Not where nothing is ever written.
        setup.open_on_faulty(&disk, Role::Backup);
        assert!(!setup.log.has("warning"), "{:?}", setup.log.0);
    }
    let (setup, disk) = (Setup::new(), FaultyDisk::default());
    disk.plant(Fails::CheckWritable, "", libc::EROFS, usize::MAX);
    setup.open_on_faulty(&disk, Role::Server);
    assert!(setup.log.has("warning: nothing can be written"), "a new server is told, too");
}

#[test]
fn where_it_cannot_be_told_whether_a_folder_is_only_read_nothing_is_said() {
    let (setup, disk) = (Setup::new(), FaultyDisk::default());
    disk.plant(Fails::CheckWritable, "", libc::ENOSYS, usize::MAX);
    setup.open_on_faulty(&disk, Role::Server);
    disk.heal();
    setup.open_on_faulty(&disk, Role::Server);
    assert!(!setup.log.has("warning"), "{:?}", setup.log.0);
}
