//! The lines of the log that nothing else looks at: an operator has to find each of them, and no line that says what is not so.

use super::super::findings::{Findings, Scope};
use super::super::messages::{Messages, Wraps};
use super::super::test_kms::OTHER_MASTER_KEY;
use super::super::verify::{Verdict, Verified};
use super::two_servers::Meanwhile;
use super::*;

fn lines(setup: &Setup) -> Vec<String> {
    std::mem::take(&mut *setup.log.0.lock().expect("log"))
}

#[test]
fn a_folder_is_called_empty_only_if_it_is_and_its_manifest_missing_only_if_there_are_keys() {
    let setup = Setup::new();
    setup.open().expect("open");
    let told = lines(&setup);
    assert!(told.iter().any(|line| line.starts_with("note: no key files in ")), "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("warning: ")), "{told:?}");
    setup.put_key("aws-kms-key.1.1", 1);
    setup.open().expect("open");
    let told = lines(&setup);
    let missing = "warning: there is no manifest of the key files in ";
    assert!(told.iter().any(|line| line.starts_with(missing) && line.contains("made from the 1 that are")), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("no key files in ")), "{told:?}");
}

#[test]
fn a_manifest_that_another_server_makes_while_kms_is_asked_is_not_called_missing() {
    let setup = used();
    let [manifest, kept] = [MANIFEST, "kept"].map(|file| setup.folder.path().join(file));
    fs::rename(&manifest, &kept).expect("rename");
    lines(&setup);
    let kms = Arc::new(Meanwhile(TestKms::default(), move || drop(fs::rename(&kept, &manifest))));
    setup.open_as(Role::Server, kms).expect("open");
    let told = lines(&setup);
    assert!(told.iter().all(|line| line.starts_with("note: loaded ")), "{told:?}");
}

#[test]
fn ten_files_that_are_found_are_told_one_by_one_and_more_in_one_line() {
    for (keys, expected) in [(10, 10), (11, 1)] {
        let setup = used();
        (20..20 + keys).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
        setup.open().expect("open");
        let adopted = lines(&setup).into_iter().filter(|line| line.starts_with("note: adopted ")).collect::<Vec<_>>();
        assert_eq!(adopted.len(), expected, "{adopted:?}");
        assert_eq!(adopted[0].starts_with("note: adopted 11 key versions: "), keys == 11, "{adopted:?}");
    }
}

#[test]
fn a_file_that_is_not_trusted_is_not_called_adopted() {
    let setup = used();
    setup.put("aws-kms-key.1.9", &[&b"other:"[..], &[9; 16]].concat());
    setup.open().expect("open");
    let told = lines(&setup);
    assert!(
        told.iter().any(|line| line.starts_with("warning: key 1 version 9: ") && line.contains(OTHER_MASTER_KEY)),
        "{told:?}"
    );
    assert!(!told.iter().any(|line| line.contains("adopted")), "{told:?}");
}

#[test]
fn what_is_loaded_or_refused_when_a_key_is_asked_for_is_told_of_each_version() {
    let setup = Setup::new();
    let store = setup.open().expect("open");
    setup.put_key("aws-kms-key.4.1", 4);
    setup.put("aws-kms-key.4.2", b"garbage");
    lines(&setup);
    assert_eq!(store.latest_or_new(id(4)).expect("of two, one works"), version(1));
    let told = lines(&setup);
    assert!(told.contains(&"note: loaded key 4 version 1 (128 bits, AES_CBC)".to_owned()), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("error: key 4 version 2: KMS Decrypt failed")), "{told:?}");
}

#[test]
fn problems_that_begin_or_end_together_are_told_in_ten_lines_and_one() {
    let scope = Scope { is_all: true, was_asked_for: false };
    for (versions, more) in [(10, None), (12, Some(2))] {
        let (setup, findings) = (Setup::new(), Findings::default());
        let messages = Messages::new(setup.log);
        let check = |is_gone: bool| {
            let verified = (1..=versions).map(|id| {
                let name = KeyName::new(id, 1).expect("a name");
                let gone = || Verdict::Failed(KeyStoreError::Gone(name, "aws-kms-key".into()));
                Verified::new(name, None, if is_gone { gone() } else { Verdict::Good })
            });
            messages.restart_news(&findings.verified(verified.collect(), scope, |_| false), |_| Wraps {
                count: 0,
                own: BTreeSet::new(),
            });
            lines(&setup)
        };
        let (begun, over) = (check(true), check(false));
        let begins = |line: &&String| line.starts_with("error: a restart would not find key ");
        let ends = |line: &&String| line.starts_with("note: a restart would find key ");
        assert_eq!((begun.iter().filter(begins).count(), over.iter().filter(ends).count()), (10, 10));
        let rest = [&begun[10..], &over[10..]].concat();
        let Some(more) = more else {
            assert_eq!(rest, [""; 0]);
            continue;
        };
        assert_eq!(rest.len(), 2, "{rest:?}");
        assert!(
            rest[0].starts_with(&format!("error: {more} more problems like these would keep a restart")),
            "{rest:?}"
        );
        assert_eq!(rest[1], format!("note: {more} more problems like these are over"));
    }
}

#[test]
fn many_keys_that_are_re_wrapped_are_told_in_ten_lines_and_one_and_those_used_from_copies_in_one_for_each_reason() {
    for (keys, more) in [(10, None), (12, Some(2))] {
        let setup = Setup::new();
        (1..=keys).for_each(|number| setup.put_key(&format!("aws-kms-key.{number}.1"), number));
        let store = setup.open().expect("open");
        store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
        lines(&setup);
        assert_eq!(store.rewrap(None).expect("re-wrapped").count, usize::from(keys));
        let told = lines(&setup);
        assert_eq!(told.iter().filter(|line| line.starts_with("note: re-wrapped key ")).count(), 10, "{told:?}");
        let rest = told.iter().filter(|line| line.ends_with(" more key versions")).collect::<Vec<_>>();
        let expected = more.map(|more: usize| format!("note: re-wrapped {more} more key versions"));
        assert_eq!(rest, expected.iter().collect::<Vec<_>>());
        setup.kms.disable(OTHER_MASTER_KEY, true);
        setup.open().expect("open");
        let told = lines(&setup);
        let is_from_copy = |line: &&String| line.starts_with("warning: key ") && line.contains("is used from a copy");
        let from_copies: Vec<&String> = told.iter().filter(is_from_copy).collect();
        let others = format!("master key wraps, and so are {} more key version(s), since", keys - 1);
        assert!(from_copies.len() == 1 && from_copies[0].contains(&others), "{told:?}");
    }
}

#[test]
fn that_the_manifest_does_not_say_what_was_re_wrapped_is_told() {
    let setup = used();
    let store = setup.open().expect("open");
    // Neither is it a file that can be replaced, nor is there a name left to put it aside under.
    remove(&setup, MANIFEST);
    fs::create_dir_all(setup.folder.path().join(MANIFEST).join("in the way")).expect("mkdir");
    let numbered = (2..=99).map(|number| format!("aws-kms-key.manifest.damaged.{number}"));
    for name in numbered.chain(["aws-kms-key.manifest.damaged".to_owned()]) {
        fs::create_dir(setup.folder.path().join(name)).expect("mkdir");
    }
    store.new_keys().change(|settings| settings.master_key = MasterKeyId::parse(OTHER_MASTER_KEY));
    lines(&setup);
    assert_eq!(store.rewrap(Some(id(1))).expect("re-wrapped").count, 1);
    let told = lines(&setup);
    assert!(
        told.iter().any(|line| line.starts_with("warning: the manifest does not say yet what was re-wrapped: ")),
        "{told:?}"
    );
}
