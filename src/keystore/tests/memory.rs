//! The datadir remembers with which folder its keys lie: an empty or exchanged one in its place is noticed, and all that
//! people do with folders on purpose works.

use super::*;

/// A datadir with keys 1 and 5 in a folder of their own; the server is gone.
fn used() -> Setup {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.latest_or_new(id(1)).expect("new");
    store.latest_or_new(id(5)).expect("new");
    setup.kms.calls();
    setup
}

impl Setup {
    fn open_elsewhere(&self, datadir: &Path, folder: &Path) -> Result<KeyStore, KeyStoreError> {
        KeyStore::open(Opening { datadir, folder, ..self.opening(Role::Server, self.kms.clone()) })
    }

    /// Fails as it must. Answers the message.
    fn open_fails(&self, datadir: &Path, folder: &Path) -> String {
        let before = files_in(folder);
        self.kms.calls();
        let error = self.open_elsewhere(datadir, folder).err().expect("refused").to_string();
        assert_eq!((self.kms.calls(), files_in(folder)), (vec![], before));
        assert!(error.contains("No key is made or loaded"), "{error}");
        error
    }

    fn datadir(&self) -> &Path {
        self.datadir.path()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn is_remembered(&self) -> bool {
        self.datadir().join(MEMORY).exists()
    }
}

fn empty_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("mkdir");
    for file in files_in(from) {
        fs::copy(from.join(&file), to.join(&file)).expect("copy");
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// Key 1 works, and a new key can be made.
fn works(store: &KeyStore, setup: &Setup) {
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    store.latest_or_new(id(9)).expect("made");
    assert!(setup.kms.calls().contains(&Generate));
}

#[test]
fn an_empty_folder_in_place_of_the_key_folder_is_refused_and_the_message_names_the_right_one() {
    let (setup, empty) = (used(), empty_folder());
    let error = setup.open_fails(setup.datadir(), empty.path());
    let datadir = text(&setup.datadir().join(MEMORY));
    for part in [text(setup.folder()), format!("{} holds no keys", text(empty.path())), format!("move {datadir} away")]
    {
        assert!(error.contains(&part), "{part}: {error}");
    }
    assert!(error.len() < 450, "{}", error.len());
    // Also if nothing but the plugin's own files is missing in it: the folder was emptied.
    for file in files_in(setup.folder()).iter().filter(|file| *file != FOLDER_ID) {
        fs::remove_file(setup.folder().join(file)).expect("remove");
    }
    assert!(setup.open_fails(setup.datadir(), setup.folder()).contains("holds no keys"));
}

#[test]
fn the_folder_of_other_keys_is_refused() {
    let (setup, other) = (used(), used());
    let error = setup.open_fails(setup.datadir(), other.folder());
    assert!(error.contains(&text(setup.folder())) && error.contains("holds other keys"), "{error}");
}

#[test]
fn without_the_option_the_datadir_does_not_take_the_place_of_the_key_folder() {
    let setup = used();
    let error = setup.open_fails(setup.datadir(), setup.datadir());
    assert!(error.contains(&format!("lie in {}, but", text(setup.folder()))), "{error}");
    // Nor the other way round.
    let setup = Setup::new();
    let store = setup.open_elsewhere(setup.datadir(), setup.datadir()).expect("open");
    store.latest_or_new(id(1)).expect("new");
    setup.kms.calls();
    let error = setup.open_fails(setup.datadir(), setup.folder());
    assert!(error.contains(&format!("lie in {}, but", text(setup.datadir()))), "{error}");
}

#[test]
fn while_the_server_runs_no_key_is_made_or_loaded_in_an_empty_or_exchanged_folder() {
    let (setup, other) = (used(), used());
    let store = setup.open().expect("open");
    let aside = setup.folder().with_extension("aside");
    fs::rename(setup.folder(), &aside).expect("unmount");
    other.put_key("aws-kms-key.7.1", 7);
    for has_other_keys in [false, true] {
        fs::create_dir(setup.folder()).expect("mkdir");
        if has_other_keys {
            copy_all(other.folder(), setup.folder());
        }
        let before = files_in(setup.folder());
        setup.kms.calls();
        for refused in [store.rotate(id(1)), store.latest_or_new(id(7)), store.latest_or_new(id(8))] {
            let error = refused.expect_err("refused").to_string();
            assert!(error.contains(&text(&setup.datadir().join(MEMORY))), "{error}");
        }
        assert!(store.rotate_all().is_err());
        assert_eq!((setup.kms.calls(), files_in(setup.folder())), (vec![], before));
        fs::remove_dir_all(setup.folder()).expect("remove");
        store.forget_failures();
    }
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    fs::rename(&aside, setup.folder()).expect("mount");
    assert_eq!(store.rotate(id(1)).expect("the right folder is back"), version(2));
}

#[test]
fn that_the_memory_is_taken_away_while_the_server_runs_does_not_make_an_empty_folder_right() {
    let setup = used();
    let store = setup.open().expect("open");
    fs::remove_file(setup.datadir().join(MEMORY)).expect("remove");
    let aside = setup.folder().with_extension("aside");
    fs::rename(setup.folder(), &aside).expect("unmount");
    fs::create_dir(setup.folder()).expect("mkdir");
    assert!(matches!(store.latest_or_new(id(8)), Err(KeyStoreError::WrongFolder { .. })));
    fs::remove_dir(setup.folder()).expect("remove");
    fs::rename(&aside, setup.folder()).expect("mount");
    store.rotate(id(1)).expect("rotate");
    assert!(setup.is_remembered());
}

#[test]
fn a_new_datadir_is_new_until_its_first_key() {
    let setup = Setup::new();
    for _ in 0..2 {
        setup.open().expect("open");
        assert_eq!((files_in(setup.datadir()), setup.files()), (vec![], vec![]));
    }
    setup.kms.fail_next(&[(Generate, Class::Denied)]);
    setup.open().expect("open").latest_or_new(id(1)).expect_err("denied");
    // No key was made, so another folder is as good.
    let other = empty_folder();
    setup.open_elsewhere(setup.datadir(), other.path()).expect("open").latest_or_new(id(1)).expect("made");
    assert!(setup.is_remembered());
}

#[test]
fn two_servers_on_one_folder_and_a_datadir_that_was_made_anew_both_remember_it() {
    let setup = used();
    let second = empty_folder();
    works(&setup.open_elsewhere(second.path(), setup.folder()).expect("open"), &setup);
    let empty = empty_folder();
    for datadir in [setup.datadir(), second.path()] {
        setup.open_elsewhere(datadir, setup.folder()).expect("open");
        setup.open_fails(datadir, empty.path());
    }
}

#[test]
fn a_moved_folder_a_moved_datadir_a_clone_and_a_restored_backup_work() {
    let setup = used();
    // Moved, or copied with all that begins with aws-kms-key.
    let moved = empty_folder();
    copy_all(setup.folder(), moved.path());
    works(&setup.open_elsewhere(setup.datadir(), moved.path()).expect("moved folder"), &setup);
    let error = setup.open_fails(setup.datadir(), empty_folder().path());
    assert!(error.contains(&text(moved.path())), "the new place is remembered: {error}");
    let clone = empty_folder();
    copy_all(setup.datadir(), clone.path());
    works(&setup.open_elsewhere(clone.path(), setup.folder()).expect("moved datadir"), &setup);

    // All in the datadir, as it is by default: a backup, a clone, a moved datadir are copies of it.
    let setup = Setup::new();
    let store = setup.open_elsewhere(setup.datadir(), setup.datadir()).expect("open");
    store.latest_or_new(id(1)).expect("made");
    let copy = empty_folder();
    copy_all(setup.datadir(), copy.path());
    works(&setup.open_elsewhere(copy.path(), copy.path()).expect("copy"), &setup);
    let error = setup.open_fails(copy.path(), empty_folder().path());
    assert!(error.contains(&text(copy.path())), "{error}");
}

#[test]
fn a_datadir_that_a_state_transfer_replaces_while_the_server_runs_goes_on_with_its_own_keys() {
    let donor = Setup::new();
    let store = donor.open_elsewhere(donor.datadir(), donor.datadir()).expect("open");
    store.latest_or_new(id(3)).expect("made");
    let joiner = Setup::new();
    let store = joiner.open_elsewhere(joiner.datadir(), joiner.datadir()).expect("open");
    store.latest_or_new(id(1)).expect("made");
    for file in files_in(joiner.datadir()) {
        fs::remove_file(joiner.datadir().join(file)).expect("remove");
    }
    copy_all(donor.datadir(), joiner.datadir());
    assert_eq!(store.latest_or_new(id(3)).expect("loaded"), version(1));
    store.rotate(id(3)).expect("rotate");
    joiner.open_elsewhere(joiner.datadir(), joiner.datadir()).expect("restart");
}

#[test]
fn keys_of_an_earlier_version_or_of_another_plugin_are_remembered_from_the_first_start_on() {
    for has_manifest in [true, false] {
        let setup = used();
        fs::remove_file(setup.datadir().join(MEMORY)).expect("remove");
        fs::remove_file(setup.folder().join(FOLDER_ID)).expect("remove");
        if !has_manifest {
            fs::remove_file(setup.folder().join(MANIFEST)).expect("remove");
        }
        setup.open().expect("open");
        assert!(setup.is_remembered());
        setup.open_fails(setup.datadir(), empty_folder().path());
        works(&setup.open().expect("open"), &setup);
    }
}

#[test]
fn a_datadir_that_holds_the_key_files_of_an_earlier_version_refuses_an_empty_folder() {
    let setup = Setup::new();
    fs::write(setup.datadir().join("aws-kms-key.1.1"), wrap(&[1; 16]).as_bytes()).expect("write");
    let error = setup.open_fails(setup.datadir(), setup.folder());
    let all = text(&setup.datadir().join("aws-kms-key.*"));
    assert!(error.contains(&format!("lie in {}, but", text(setup.datadir()))) && error.contains(&all), "{error}");
    // They were copied to where they are to be.
    copy_all(setup.datadir(), setup.folder());
    works(&setup.open().expect("open"), &setup);
}

#[test]
fn key_files_that_were_copied_without_the_id_are_refused_and_the_message_says_what_is_missing() {
    let setup = used();
    fs::remove_file(setup.folder().join(FOLDER_ID)).expect("remove");
    let error = setup.open_fails(setup.datadir(), setup.folder());
    assert!(error.contains("aws-kms-key.folder.json is missing"), "{error}");
    // The way out for somebody who is sure.
    fs::remove_file(setup.datadir().join(MEMORY)).expect("remove");
    works(&setup.open().expect("open"), &setup);
    assert!(setup.is_remembered());
}

#[test]
fn whoever_removes_the_memory_can_begin_anew() {
    let (setup, empty) = (used(), empty_folder());
    setup.open_fails(setup.datadir(), empty.path());
    fs::remove_file(setup.datadir().join(MEMORY)).expect("remove");
    let store = setup.open_elsewhere(setup.datadir(), empty.path()).expect("open");
    assert_eq!(store.latest_or_new(id(1)).expect("made"), version(1));
}

#[test]
fn a_damaged_memory_is_named_and_nothing_is_made() {
    for (is_in_datadir, file) in [(true, MEMORY), (false, FOLDER_ID)] {
        let setup = used();
        let path = if is_in_datadir { setup.datadir() } else { setup.folder() }.join(file);
        for contents in ["", "{}", "{\"format\": 1}"] {
            fs::remove_file(&path).expect("remove");
            fs::write(&path, contents).expect("write");
            let error = setup.open().err().expect("damaged").to_string();
            assert!(error.contains(&format!("{} is damaged", text(&path))), "{error}");
        }
        assert_eq!(setup.kms.calls(), []);
    }
}

#[test]
fn in_a_folder_where_nothing_can_be_written_keys_are_used_and_a_warning_says_what_is_not_noticed() {
    let setup = used();
    fs::remove_file(setup.datadir().join(MEMORY)).expect("remove");
    fs::remove_file(setup.folder().join(FOLDER_ID)).expect("remove");
    fs::remove_file(setup.folder().join(LOCK)).expect("remove");
    // The tests may run as root, whom no mode keeps from writing: this is what cannot be opened for it.
    fs::create_dir(setup.folder().join(LOCK)).expect("mkdir");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(1)), Some(version(1)));
    assert!(setup.log.has("warning: the datadir cannot remember that its keys lie in"), "{:?}", setup.log.0);
}

#[test]
fn mariadb_backup_neither_asks_the_memory_nor_writes_it() {
    let (setup, empty) = (used(), empty_folder());
    let open = |datadir: &Path, folder: &Path| {
        KeyStore::open(Opening { datadir, folder, ..setup.opening(Role::Backup, setup.kms.clone()) }).expect("open")
    };
    open(setup.datadir(), empty.path());
    let target = empty_folder();
    assert_eq!(open(target.path(), setup.folder()).published.latest(id(1)), Some(version(1)));
    assert_eq!(files_in(target.path()), [""; 0]);
}

#[test]
fn a_folder_with_an_id_and_no_keys_does_not_pass_as_new_where_the_datadir_itself_has_keys() {
    let setup = Setup::new();
    setup.put(FOLDER_ID, b"{\"format\": 1, \"id\": \"5f0c1d6be1f04f0a9d7c1c6a0f6c2b3e\"}");
    fs::write(setup.datadir().join("aws-kms-key.1.1"), b"wrapped:0123456789abcdef").expect("write");
    assert!(setup.open_fails(setup.datadir(), setup.folder()).contains("holds no keys"));
    // Without keys anywhere it is new: a first start that was interrupted after it had named the folder.
    fs::remove_file(setup.datadir().join("aws-kms-key.1.1")).expect("remove");
    let store = setup.open().expect("open");
    assert_eq!(store.latest_or_new(id(1)).expect("made"), version(1));
}

#[test]
fn what_an_interrupted_server_left_is_removed_from_the_datadir_too() {
    let setup = used();
    let leftovers = [setup.folder(), setup.datadir()].map(|folder| folder.join(".aws-kms-key.new-abc"));
    leftovers.iter().for_each(|path| fs::write(path, b"half").expect("write"));
    setup.open().expect("open");
    assert!(!leftovers.iter().any(|path| path.exists()));
    assert!(setup.log.has("note: removed 2 temporary file(s)"), "{:?}", setup.log.0);
}
