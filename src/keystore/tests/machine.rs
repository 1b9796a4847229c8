//! What the machine does not give: the key store goes on where that is safe, and says what is missing.

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
    assert_eq!((key(&store, 1, 1), key(&store, 2, 1)), (Some(vec![1; 16]), Some(vec![2; 16])));
    let log = setup.log.0.lock().expect("log");
    for text in
        ["could not be locked into memory (Invalid argument", "could not be left out of core dumps (Invalid argument"]
    {
        let told: Vec<_> = log.iter().filter(|line| line.contains(text)).collect();
        assert!(matches!(told[..], [line] if line.starts_with("warning: data keys ")), "{text}: {log:?}");
    }
}
