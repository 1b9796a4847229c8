//! What is bound into a wrapped key, and asked for again.

use super::*;

const FILE: &str = "aws-kms-key.7.1";

fn with_context() -> Setup {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    store.new_keys().change(|settings| {
        settings.encryption_context = EncryptionContext::parse("server=db1").expect("a context");
    });
    store.latest_or_new(id(7)).expect("made");
    setup
}

#[test]
fn a_key_is_made_with_its_context_and_read_again_when_the_setting_is_gone() {
    let setup = with_context();
    let file: serde_json::Value = serde_json::from_slice(&read(&setup, FILE)).expect("format 2");
    assert_eq!(file["encryption_context"], serde_json::json!({"server": "db1", "mariadb_key_id": "7"}));
    assert_eq!(file["algorithm"], "AES_CBC");
    let store = setup.open().expect("open");
    assert_eq!(store.published.latest(id(7)), Some(version(1)));
    // Without the setting, the next version has none, and its file is one that the old plugin reads.
    assert_eq!(store.rotate(id(7)).expect("rotate"), version(2));
    assert!(read(&setup, "aws-kms-key.7.2").starts_with(b"wrapped:"));
    assert_eq!(setup.open().expect("open").published.latest(id(7)), Some(version(2)));
}

#[test]
fn a_file_that_was_moved_to_another_id_is_refused_however_it_was_edited() {
    let setup = with_context();
    let text = String::from_utf8(read(&setup, FILE)).expect("UTF-8");
    let as_8 = text.replace("\"key_id\": 7", "\"key_id\": 8");
    for (contents, why) in [
        (text.clone(), "its file holds key 7 version 1"),
        (as_8.clone(), "the encryption context in its file is that of another key"),
        // KMS finds that this is not what was bound.
        (as_8.replace("\"mariadb_key_id\": \"7\"", "\"mariadb_key_id\": \"8\""), "damaged"),
    ] {
        setup.put("aws-kms-key.8.1", contents.as_bytes());
        let store = setup.open().expect("open");
        let error = store.latest_or_new(id(8)).expect_err("moved").to_string();
        assert!(error.contains("key 8 version 1") && error.contains(why), "{error}");
        assert_eq!((key(&store, 8, 1), store.published.latest(id(7))), (None, Some(version(1))));
    }
}
