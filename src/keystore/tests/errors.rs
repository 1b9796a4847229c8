//! What an error says, and what it is about.

use super::*;
use crate::kms::KmsError;

#[test]
fn of_many_names_eight_are_told_and_how_many_more_there_are() {
    let text = |count: u32| {
        let names = (1..=count).map(|version| KeyName::new(7, version).expect("a name")).collect();
        KeyStoreError::NotAllVerified { failed: 0, of: 0, names, first: String::new() }.to_string()
    };
    for (count, ends) in [
        (1, "key 7 version 1. First"),
        (8, "key 7 version 8. First"),
        (9, "key 7 version 8, 1 more. First"),
        (10, ", 2 more. First"),
    ] {
        assert!(text(count).contains(ends), "{}", text(count));
    }
}

#[test]
fn what_was_given_up_says_nothing_of_keys_and_what_is_about_one_key_nothing_of_others() {
    let name = KeyName::new(7, 1).expect("a name");
    let io = || std::io::Error::from_raw_os_error(libc::EIO);
    let of_new_master_key = |error| {
        let error = Box::new(error);
        KeyStoreError::NewMasterKey { name, arn: "arn:aws:kms:eu-west-1:1:key/new".to_owned(), error }
    };
    let locked = || KeyStoreError::Locked("/keys".into());
    // Given up; keeps others from being made.
    for (error, is_given_up, keeps) in [
        (KeyStoreError::GivenUp(name.id), true, false),
        (KeyStoreError::LockGivenUp("/keys".into()), true, false),
        (KeyStoreError::FolderGivenUp, true, false),
        (of_new_master_key(KeyStoreError::LockGivenUp("/keys".into())), true, false),
        (of_new_master_key(locked()), false, true),
        (locked(), false, true),
        (KeyStoreError::Kms(name, KmsError::new(Decrypt, Class::Denied, "")), false, true),
        (KeyStoreError::Io { action: "write", path: "/keys".into(), error: io() }, false, true),
        (KeyStoreError::NotAllowed(name.id), false, false),
        (KeyStoreError::Exists("/keys/aws-kms-key.7.1".into()), false, false),
        (KeyStoreError::NoVersionLeft(name.id), false, false),
    ] {
        assert_eq!((error.is_given_up(), error.keeps_keys_from_being_made()), (is_given_up, keeps), "{error}");
    }
}
