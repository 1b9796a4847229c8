//! A re-wrap of many keys of which something fails: what others would meet too ends it, and nothing else does.

use super::two_servers::Meanwhile;
use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

const KEYS: u32 = 40;

/// A server with many keys; `meanwhile` is done when KMS has been asked so many times to unwrap what it has wrapped anew.
fn with_keys(asked: usize, meanwhile: impl Fn(&Path) + Send + Sync + 'static) -> (Setup, KeyStore) {
    let setup = Setup::new();
    (1..=KEYS).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), 1));
    let store = setup.open().expect("open");
    let (folder, calls) = (setup.folder.path().to_owned(), AtomicUsize::new(0));
    let meanwhile = move || {
        if calls.fetch_add(1, Ordering::Relaxed) + 1 == asked {
            meanwhile(&folder);
        }
    };
    let store = KeyStore { kms: Arc::new(Meanwhile(TestKms::default(), meanwhile)), ..store };
    setup.kms.calls();
    (setup, store)
}

fn block(lock: &Path) {
    fs::remove_file(lock).expect("remove");
    fs::create_dir(lock).expect("in the way");
}

#[test]
fn kms_is_not_asked_to_wrap_what_cannot_be_stored() {
    let setup = used();
    let store = setup.open().expect("open");
    setup.kms.calls();
    block(&setup.folder.path().join(LOCK));
    assert!(store.rewrap(None).is_err());
    fs::remove_dir(setup.folder.path().join(LOCK)).expect("remove");
    fs::write(setup.folder.path().join("new"), b"{\"format\": 2}").expect("write");
    fs::rename(setup.folder.path().join("new"), setup.folder.path().join(MANIFEST)).expect("rename");
    assert!(store.rewrap(None).is_err());
    assert_eq!(setup.kms.calls(), []);
}

#[test]
fn a_lock_that_is_lost_while_kms_is_asked_ends_a_re_wrap_at_once() {
    // The second of three in the first group.
    let (_setup, store) = with_keys(2, |folder| block(&folder.join(LOCK)));
    let error = store.rewrap(None).expect_err("no lock");
    let KeyStoreError::NotAllRewrapped { of, skipped, names, .. } = error else { panic!("{error}") };
    assert_eq!((of, skipped, names.len()), (KEYS as usize, KEYS as usize - 1, KEYS as usize));
}

#[test]
fn a_key_file_that_somebody_has_changed_while_kms_was_asked_ends_nothing() {
    let (setup, store) = with_keys(2, |folder| {
        let path = folder.join("aws-kms-key.2.1");
        fs::remove_file(&path).expect("remove");
        fs::write(path, b"changed").expect("write");
    });
    let error = store.rewrap(None).expect_err("one was changed");
    let KeyStoreError::NotAllRewrapped { of, skipped, names, .. } = error else { panic!("{error}") };
    assert_eq!((of, skipped, names), (KEYS as usize, 0, vec![KeyName::new(2, 1).expect("a name")]));
    assert_eq!(read(&setup, "aws-kms-key.2.1"), b"changed");
}
