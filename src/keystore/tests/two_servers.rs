//! Two servers that were given the same folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::faulty_disk::FaultyDisk;
use super::lossy_disk::LossyDisk;
use super::*;
use crate::keystore::files::{Disk, SystemDisk};
use crate::kms::{EncryptionContext, KmsError, PlainKey, WrappedKey};

#[test]
fn a_key_that_the_other_server_has_made_meanwhile_is_used_and_not_made_again() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(1)).expect("made");
    setup.kms.calls();
    two.latest_or_new(id(1)).expect("loaded");
    assert_eq!(setup.kms.calls(), [Decrypt]);
    assert_eq!(key(&one, 1, 1), key(&two, 1, 1));
}

#[test]
fn rotations_at_the_same_time_give_different_numbers_and_both_are_in_the_manifest() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(1)).expect("made");
    two.latest_or_new(id(1)).expect("loaded");
    let rotate =
        |store: &KeyStore| -> Vec<u32> { (0..10).map(|_| store.rotate(id(1)).expect("rotate").value()).collect() };
    let mut versions = std::thread::scope(|scope| {
        let other = scope.spawn(|| rotate(&two));
        [rotate(&one), other.join().expect("no panic")].concat()
    });
    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<u32>>());
    setup.log.0.lock().expect("log").clear();
    let again = setup.open().expect("open");
    assert!((1..=21).all(|version| key(&again, 1, version).is_some()));
    assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

#[test]
fn a_first_key_that_both_make_at_the_same_time_is_the_same_for_both() {
    for _ in 0..20 {
        let setup = Setup::new();
        let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| two.latest_or_new(id(1)).expect("made or loaded"));
            one.latest_or_new(id(1)).expect("made or loaded");
            other.join().expect("no panic");
        });
        assert_eq!(key(&one, 1, 1), key(&two, 1, 1));
    }
}

#[test]
fn a_first_key_that_the_other_makes_before_any_look_into_the_folder_is_the_same_for_both() {
    let mut times = 0;
    for looks in 0.. {
        let (setup, disk) = (Setup::new(), FaultyDisk::default());
        let one = Arc::new(setup.open().expect("open"));
        let two = setup.open_on_faulty(&disk, Role::Server);
        let (other, lock) = (one.clone(), setup.folder.path().join(".aws-kms-key.lock"));
        disk.before_a_list(looks, move || {
            // While this one has the lock, the other waits for it.
            if !SystemDisk.is_locked(&lock).unwrap_or(false) {
                other.latest_or_new(id(1)).expect("made");
            }
        });
        let made = two.latest_or_new(id(1));
        if !disk.has_happened() {
            break;
        }
        assert!(made.is_ok(), "after {looks} looks: {made:?}");
        if let Some(others) = key(&one, 1, 1) {
            assert_eq!(Some(others), key(&two, 1, 1), "after {looks} looks");
            times += 1;
        }
    }
    assert!(times > 2, "{times}");
}

#[test]
fn a_key_file_that_the_other_server_may_have_read_is_not_taken_back_when_the_manifest_cannot_be_written() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    // Neither is it a file that can be replaced, nor is there a name left to put it aside under.
    fs::create_dir_all(setup.folder.path().join(MANIFEST).join("in the way")).expect("mkdir");
    let numbered = (2..=99).map(|number| format!("aws-kms-key.manifest.damaged.{number}"));
    for name in numbered.chain(["aws-kms-key.manifest.damaged".to_owned()]) {
        fs::create_dir(setup.folder.path().join(name)).expect("mkdir");
    }
    assert_eq!(one.latest_or_new(id(1)).expect("made"), version(1));
    assert!(setup.log.has("warning: key 1 version 1 is not in the manifest of the key files yet"), "{:?}", setup.log.0);
    assert_eq!(two.latest_or_new(id(1)).expect("loaded"), version(1));
    assert_eq!(key(&one, 1, 1), key(&two, 1, 1));
    // Later, it is recorded with the next one.
    fs::remove_dir_all(setup.folder.path().join(MANIFEST)).expect("remove");
    one.rotate(id(1)).expect("rotate");
    setup.log.0.lock().expect("log").clear();
    setup.open().expect("open");
    assert!(!setup.log.has("adopted") && !setup.log.has("warning"), "{:?}", setup.log.0);
}

#[test]
fn a_manifest_that_another_server_of_a_later_version_writes_meanwhile_is_left_alone() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    fs::remove_file(setup.folder.path().join(MANIFEST)).expect("remove");
    setup.put(MANIFEST, b"{\"format\": 2, \"news\": true}");
    for refused in [store.rotate(id(1)), store.latest_or_new(id(5))] {
        let error = refused.expect_err("no new keys").to_string();
        assert!(error.contains("format 2"), "{error}");
    }
    assert_eq!(read(&setup, MANIFEST), b"{\"format\": 2, \"news\": true}");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
}

#[test]
fn a_key_that_the_other_server_has_made_and_whose_file_is_lost_is_not_made_anew() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(7)).expect("made");
    fs::remove_file(setup.folder.path().join("aws-kms-key.7.1")).expect("remove");
    let manifest = read(&setup, MANIFEST);
    setup.kms.calls();
    let error = two.latest_or_new(id(7)).expect_err("lost").to_string();
    assert!(error.contains("aws-kms-key.7.1 is gone. Restore the file from a backup"), "{error}");
    assert_eq!((setup.kms.calls(), read(&setup, MANIFEST)), (vec![], manifest));
    // Its number is not used again either.
    assert_eq!(two.rotate(id(7)).expect("rotate"), version(2));
}

#[test]
fn a_file_with_another_key_than_the_other_server_has_made_is_refused_and_the_evidence_stays() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(7)).expect("made");
    fs::remove_file(setup.folder.path().join("aws-kms-key.7.1")).expect("remove");
    setup.put_key("aws-kms-key.7.1", 66);
    let manifest = read(&setup, MANIFEST);
    let error = two.latest_or_new(id(7)).expect_err("exchanged").to_string();
    assert!(error.contains("key 7 version 1: its file holds another key than the one that was made here"), "{error}");
    assert_eq!((key(&two, 7, 1), read(&setup, MANIFEST)), (None, manifest));
}

/// While KMS unwraps a key, somebody does something in the folder.
pub(super) struct Meanwhile<F>(pub(super) TestKms, pub(super) F);

impl<F: Fn() + Send + Sync> Kms for Meanwhile<F> {
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        self.0.generate_data_key(master_key, spec, context)
    }
    fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<(), KmsError> {
        self.0.check_can_generate(master_key, spec, context)
    }
    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        self.0.encrypt(master_key, key, context)
    }
    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        (self.1)();
        self.0.decrypt_all(wrapped, until)
    }
    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        (self.1)();
        self.0.decrypt(wrapped)
    }
}

/// Another server makes key 7, whose file somebody exchanges.
fn other_key_7(setup: &Setup) -> impl Fn() + Send + Sync + use<> {
    let elsewhere = Setup::new();
    elsewhere.open().expect("open").latest_or_new(id(7)).expect("made");
    let (manifest, folder) = (read(&elsewhere, MANIFEST), setup.folder.path().to_owned());
    move || fs::write(folder.join(MANIFEST), &manifest).expect("write")
}

#[test]
fn what_the_manifest_says_is_asked_again_before_a_found_key_is_published() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.7.1", 66);
    let kms = Arc::new(Meanwhile(TestKms::default(), other_key_7(&setup)));
    // Found at start, and later.
    for is_at_start in [true, false] {
        let store = match is_at_start {
            true => setup.open_as(Role::Server, kms.clone()).expect("open"),
            false => {
                fs::remove_file(setup.folder.path().join("aws-kms-key.7.1")).expect("remove");
                fs::remove_file(setup.folder.path().join(MANIFEST)).expect("remove");
                let store = setup.open_as(Role::Server, kms.clone()).expect("open");
                setup.put_key("aws-kms-key.7.1", 66);
                store
            }
        };
        let error = store.load(KeyName::new(7, 1).expect("a name")).expect_err("exchanged").to_string();
        assert!(error.contains("its file holds another key"), "{error}");
        assert_eq!(key(&store, 7, 1), None);
    }
}

#[test]
fn a_key_whose_file_was_lost_while_kms_was_asked_for_it_is_not_made_anew() {
    let setup = Setup::new();
    let kms = Arc::new(Meanwhile(TestKms::default(), other_key_7(&setup)));
    let store = setup.open_as(Role::Server, kms).expect("open");
    let error = store.latest_or_new(id(7)).expect_err("lost").to_string();
    assert!(error.contains("aws-kms-key.7.1 is gone"), "{error}");
    assert!(!setup.files().contains(&"aws-kms-key.7.1".to_owned()));
}

#[test]
fn an_entry_on_the_disk_is_right_where_this_server_remembers_another() {
    let setup = Setup::new();
    let (one, two) = (setup.open().expect("open"), setup.open().expect("open"));
    one.latest_or_new(id(1)).expect("made");
    two.latest_or_new(id(1)).expect("loaded");
    // The other server has wrapped it anew.
    let changed = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8").replace("key/test", "key/new");
    fs::write(setup.folder.path().join(MANIFEST), &changed).expect("write");
    two.rotate(id(1)).expect("rotate");
    let manifest = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8");
    assert_eq!((manifest.matches("key/new").count(), manifest.matches("key/test").count()), (1, 1), "{manifest}");
}

#[test]
fn what_the_manifest_says_now_is_asked_also_for_a_key_that_this_server_remembers() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    setup.put_key("aws-kms-key.7.1", 66);
    setup.open().expect("open");
    setup.kms.refuse(66, Class::Denied);
    let store = setup.open().expect("open");
    setup.kms.allow(66);
    other_key_7(&setup)();
    store.forget_failures();
    let error = store.latest_or_new(id(7)).expect_err("exchanged").to_string();
    assert!(error.contains("its file holds another key"), "{error}");
}

#[test]
fn before_a_key_is_made_the_manifest_is_read_even_if_it_looks_the_same() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    store.files.refresh().expect("known");
    // As long as before, in the same file, and of the same time.
    let path = setup.folder.path().join(MANIFEST);
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
    let changed = String::from_utf8(read(&setup, MANIFEST)).expect("UTF-8").replace("\"key_id\": 1", "\"key_id\": 7");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("chmod");
    let mut file = fs::File::options().write(true).open(&path).expect("open");
    std::io::Write::write_all(&mut file, changed.as_bytes()).expect("write");
    file.set_modified(modified).expect("set");
    let error = store.latest_or_new(id(7)).expect_err("it is lost").to_string();
    assert!(error.contains("aws-kms-key.7.1 is gone"), "{error}");
}

#[test]
fn a_manifest_that_a_network_file_system_shows_late_is_seen_when_it_is_opened() {
    let (setup, disk) = (Setup::new(), LossyDisk::new(&["/keys", "/data", "/data2"]));
    let open = |datadir: &str| {
        let (folder, datadir) = (Path::new("/keys"), Path::new(datadir));
        let opening = Opening { folder, datadir, ..setup.opening(Role::Server, setup.kms.clone()) };
        KeyStore::open_on(Arc::new(disk.clone()), opening).expect("open")
    };
    let (one, two) = (open("/data"), open("/data2"));
    one.latest_or_new(id(1)).expect("made");
    two.latest_or_new(id(1)).expect("loaded");
    // What stat says is as old as this.
    disk.cache_attributes();
    one.latest_or_new(id(7)).expect("made");
    two.files.refresh().expect("asked");
    assert_eq!(two.files.highest_recorded(id(7)), Some(version(1)));
}

#[test]
fn who_adds_a_file_reads_the_manifest_although_it_looks_as_before() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("made");
    // On NFS, what a file is comes from a cache: here its length, number and time are those of before.
    let (path, contents) = (setup.folder.path().join(MANIFEST), read(&setup, MANIFEST));
    let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
    let newer = String::from_utf8(contents).expect("UTF-8").replacen("\"format\": 1", "\"format\": 9", 1);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("writable");
    fs::write(&path, newer).expect("write");
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("set the time");
    store.files.refresh().expect("nothing has changed");
    store.files.check_may_add().expect("it was not read");
    assert!(matches!(store.files.begin_adding().map(drop), Err(KeyStoreError::NewerManifest(9))));
}
